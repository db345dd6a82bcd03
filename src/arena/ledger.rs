//! The account of one PE's 48 KiB: who owns which bytes.
//!
//! Invariant: the sum of all entries and the reserve is at most the budget, or there is an error that prints the sum.

use std::fmt;

use crate::units::{Bytes, Coord};

/// What a tile is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// Weights and other constants of the model.
    Weights,
    /// Keys and values.
    Kv,
    /// Activations.
    Activations,
    /// Buffers that bursts are received into.
    Receive,
}

impl Owner {
    /// Every owner, in printing order.
    pub const ALL: [Self; 4] = [Self::Weights, Self::Kv, Self::Activations, Self::Receive];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Kv => "KV",
            Self::Activations => "activations",
            Self::Receive => "receive buffers",
        }
    }
}

/// Named sums of one PE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// (tile, owner, bytes), in address order.
    pub entries: Vec<(&'static str, Owner, u64)>,
}

impl Ledger {
    /// Adds a tile.
    pub fn charge(&mut self, tile: &'static str, owner: Owner, bytes: u64) {
        self.entries.push((tile, owner, bytes));
    }

    /// Bytes of one owner.
    pub fn of(&self, owner: Owner) -> Bytes {
        Bytes(self.entries.iter().filter(|e| e.1 == owner).map(|e| e.2).sum())
    }

    /// Bytes of all tiles, each rounded up to the 16-byte grid of tiles.
    pub fn total(&self) -> Bytes {
        Bytes(self.entries.iter().map(|e| e.2.next_multiple_of(16)).sum())
    }

    /// Holds the ledger to a budget.
    ///
    /// # Errors
    /// Over budget: PE, need, have, every entry, and the largest tile as the one to shrink.
    pub fn check(&self, pe: Coord, budget: Bytes, reserved: Bytes) -> Result<(), LedgerError> {
        let need = self.total() + reserved;
        if need <= budget {
            return Ok(());
        }
        let (largest, bytes) = self.entries.iter().max_by_key(|e| e.2).map_or(("-", 0), |e| (e.0, e.2));
        let fits = bytes.next_multiple_of(16).checked_sub(need.0 - budget.0).map(|fits| Bytes(fits / 16 * 16));
        Err(LedgerError { pe, need, budget, reserved, ledger: self.clone(), largest, fits })
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (tile, owner, bytes) in &self.entries {
            writeln!(f, "  {tile:<16} {bytes:>7} B  {}", owner.name())?;
        }
        write!(f, "  {:<16} {:>7} B", "tiles", self.total().0)
    }
}

/// A PE that needs more than it has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "arena of PE {pe} is over budget: need {} ({} for code and stack), have {budget}; \
     the largest tile is `{largest}`: shrink that one {}\n{ledger}",
    need,
    reserved,
    fits.map_or("and others".to_owned(), |fits| format!("to at most {fits}"))
)]
pub struct LedgerError {
    /// Which PE.
    pub pe: Coord,
    /// Tiles and reserve.
    pub need: Bytes,
    /// The arena.
    pub budget: Bytes,
    /// Code and stack.
    pub reserved: Bytes,
    /// Every tile.
    pub ledger: Ledger,
    /// The tile to shrink.
    pub largest: &'static str,
    /// Bytes at which it would fit beside the others, if they leave any.
    pub fits: Option<Bytes>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_arena_passes_and_one_byte_more_is_refused_with_the_ledger() {
        let mut ledger = Ledger::default();
        ledger.charge("w_qkv", Owner::Weights, 40_000);
        ledger.charge("kv", Owner::Kv, 960);
        let pe = Coord::new(3, 4);
        assert_eq!(ledger.check(pe, Bytes(49_152), Bytes(8_192)), Ok(()));
        ledger.charge("x", Owner::Activations, 1);
        let error = ledger.check(pe, Bytes(49_152), Bytes(8_192)).unwrap_err().to_string();
        for part in ["(3, 4)", "49168 B", "49152 B", "w_qkv", "40000 B", "to at most 39984 B", "receive"] {
            assert_eq!(error.contains(part), part != "receive", "{part} in {error}");
        }
    }

    #[test]
    fn the_size_that_is_named_fits_and_the_next_does_not() {
        let (pe, budget, reserved) = (Coord::new(0, 0), Bytes(4_096), Bytes(1_001));
        let check = |first: u64, second: u64| {
            let mut ledger = Ledger::default();
            ledger.charge("first", Owner::Weights, first);
            ledger.charge("second", Owner::Kv, second);
            ledger.check(pe, budget, reserved)
        };
        for second in [1, 15, 16, 500, 1_541] {
            let fits = check(3_100, second).unwrap_err().fits.expect("room for some of the first");
            assert_eq!(check(fits.0, second), Ok(()), "{second}");
            assert!(check(fits.0 + 1, second).is_err(), "{second}");
        }
        let error = check(3_200, 3_100).unwrap_err();
        assert_eq!((error.largest, error.fits), ("first", None));
        assert!(error.to_string().contains("shrink that one and others"), "{error}");
    }
}
