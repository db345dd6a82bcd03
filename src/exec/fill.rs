//! Memories of the parts before a launch: address space for what is declared, tiles filled, one thread a part.
//!
//! Invariant: each worker's memory is written by one thread; what a tile holds depends on its PE and id alone.
//! Called by `fleet`.

use crate::arena::{Memory, Tile};
use crate::fabric::{Part, TileId};
use crate::units::Coord;

use super::fleet::RunOptions;

/// Memory of every part, filled in parallel, one thread a part.
pub(super) fn fill_memories(
    parts: &[Part],
    options: &RunOptions,
    fill: &(impl Fn(Coord, TileId, &mut [u32]) + Sync),
) -> Vec<Memory> {
    let one = |part: &Part| {
        let mut memory = Memory::new(part.tile_words, part.buffer_words, options.full_arenas)
            .expect("the host has address space for the declared tiles");
        for pe in part.endpoints.iter().filter(|_| !options.dry) {
            for &(id, place, words) in &pe.tiles {
                let [tile] = memory.tiles_mut([Tile { place, words }]);
                fill(pe.coord.unwrap_or(Coord::new(0, 0)), id, tile);
            }
        }
        memory
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = parts.iter().map(|part| scope.spawn(move || one(part))).collect();
        threads.into_iter().map(|t| t.join().expect("filling tiles does not panic")).collect()
    })
}
