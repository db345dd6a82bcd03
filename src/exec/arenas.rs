//! The arenas of a wafer between two launches: what the next launch finds in the tiles that both have.
//!
//! Invariant: nothing computed here; a tile is the words that the launch before left in it, on the same PE.
//! Called by `host`, which hands them to the next launch's `fill`.

use std::sync::Arc;

use crate::arena::{Memory, Tile};
use crate::fabric::{Endpoints, Layout, TileId};
use crate::units::Coord;

/// See the module.
pub struct Arenas {
    memories: Vec<Memory>,
    layout: Arc<Layout>,
    /// By PE of the layout: worker and local id.
    homes: Vec<(u16, u32)>,
    ends: Vec<Arc<Endpoints>>,
}

impl Arenas {
    pub(super) fn new(
        memories: Vec<Memory>,
        layout: Arc<Layout>,
        homes: Vec<(u16, u32)>,
        ends: Vec<Arc<Endpoints>>,
    ) -> Self {
        Self { memories, layout, homes, ends }
    }

    /// The words of a tile, if the launch before had it.
    pub fn tile(&self, pe: Coord, id: TileId) -> Option<&[u32]> {
        let (worker, local) = self.homes[self.layout.find(pe)? as usize];
        let tiles = self.ends[usize::from(worker)].of(local).tiles;
        let &(_, place, words) = tiles.iter().find(|t| t.0 == id)?;
        Some(self.memories[usize::from(worker)].tile(Tile { place, words }))
    }
}
