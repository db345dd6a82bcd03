//! Arenas: where the words of tiles live on the host, the ledger that holds a PE to its 48 KiB, and the slab of
//! program futures.
//!
//! Invariant: a tile has an offset in its PE's address space (the ledger's) and a place on the host (this room's);
//! programs see neither. Of tiles that cores trade the places change owners (`collectives::moving`).
//! Called by `fabric` (layout), `pe` and `exec`.

mod ledger;
mod memory;
mod slab;

pub use ledger::{Ledger, LedgerError, Owner};
pub use memory::{Memory, Tile};
pub use slab::Slab;
