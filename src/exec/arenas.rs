//! The arenas of a wafer between two launches: what the next launch finds in the tiles that both have.
//!
//! Invariant: nothing computed here; a tile is the words that the launch before left in it, on the same PE.
//! Called by `host`, which hands them to the next launch's `fill`.

use crate::arena::{Memory, Tile};
use crate::fabric::{Endpoints, TileId};
use crate::units::Coord;

use std::collections::HashMap;

type Tiles = Vec<(TileId, u32, u32)>;

/// See the module.
pub struct Arenas {
    memories: Vec<Memory>,
    /// Worker, then id, place and words of its tiles.
    tiles: HashMap<Coord, (usize, Tiles)>,
}

impl Arenas {
    pub(super) fn new(memories: Vec<Memory>, parts: Vec<Vec<Endpoints>>) -> Self {
        let of_part = |(worker, part): (usize, Vec<Endpoints>)| {
            part.into_iter().filter_map(move |pe| Some((pe.coord?, (worker, pe.tiles))))
        };
        Self { memories, tiles: parts.into_iter().enumerate().flat_map(of_part).collect() }
    }

    /// The words of a tile, if the launch before had it.
    pub fn tile(&self, pe: Coord, id: TileId) -> Option<&[u32]> {
        let (worker, tiles) = self.tiles.get(&pe)?;
        let &(_, place, words) = tiles.iter().find(|t| t.0 == id)?;
        Some(self.memories[*worker].tile(Tile { place, words }))
    }
}
