//! Memories of the parts before a launch: address space for what is declared, tiles filled, one thread a part.
//!
//! Invariant: each worker's memory is written by one thread; what a tile holds depends on its PE and id alone.
//! Called by `fleet`.

use crate::arena::{Memory, Tile};
use crate::fabric::{Part, TileId};
use crate::units::Coord;

use super::fleet::{LaunchError, RunOptions};

/// Empty memory of every part.
pub(super) fn memories(parts: &[Part], options: &RunOptions) -> Result<Vec<Memory>, LaunchError> {
    let one = |(worker, part): (usize, &Part)| {
        let words = part.tile_words as u64 + part.buffer_words as u64;
        if words > u64::from(u32::MAX) {
            return Err(LaunchError::Words { worker, need: words, have: u64::from(u32::MAX) });
        }
        let need = 4 * words;
        Memory::new(part.tile_words, part.buffer_words, options.full_arenas).map_err(|error| LaunchError::Memory {
            worker,
            need,
            error,
        })
    };
    parts.iter().enumerate().map(one).collect()
}

/// Memory of every part, filled in parallel, one thread a part.
pub(super) fn fill_memories(
    parts: &[Part],
    memories: Vec<Memory>,
    options: &RunOptions,
    fill: &(impl Fn(Coord, TileId, &mut [u32]) + Sync),
) -> Result<Vec<Memory>, LaunchError> {
    if options.dry {
        return Ok(memories);
    }
    let one = |part: &Part, mut memory: Memory| {
        for pe in part.endpoints.iter() {
            for &(id, place, words) in pe.tiles {
                let [tile] = memory.tiles_mut([Tile { place, words }]);
                fill(pe.coord, id, tile);
            }
        }
        memory
    };
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (have, (part, memory)) in parts.iter().zip(memories).enumerate() {
            let thread = std::thread::Builder::new().spawn_scoped(scope, move || one(part, memory));
            threads.push(thread.map_err(|error| LaunchError::Threads { need: parts.len(), have, error })?);
        }
        // A panic of `fill` is a defect of the kernel: it goes on to the caller.
        let filled = |thread: std::thread::ScopedJoinHandle<'_, Memory>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        Ok(threads.into_iter().map(filled).collect())
    })
}
