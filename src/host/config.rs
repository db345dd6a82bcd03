//! What a session is to be: chip, mesh, context, how K and V are kept, how the host runs it.
//!
//! Invariant: plain values; what does not fit is found by `planning`. Called by `app`, tests and benches.

use crate::fabric::Chip;
use crate::kernels::decode::KvFormat;
use crate::math::Kernels;
use crate::placement::{InChunks, Spread, Trees};

/// Where positions live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kv {
    /// Balanced by shift (paper 4.3).
    Shift,
    /// Generated positions pile up in the bottom row: the baseline.
    Concat,
}

/// What a session is to be.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Chip.
    pub chip: Chip,
    /// Columns and rows of a layer region; `None`: the least estimated host time (see `placement`).
    pub mesh: Option<(u32, u32)>,
    /// Shift or concat.
    pub kv: Kv,
    /// Format of K and V.
    pub kv_type: KvFormat,
    /// Levels of the K-trees.
    pub k_tree: usize,
    /// Their group counts; `None`: those with the fewest stages.
    pub trees: Option<Trees>,
    /// Stages and head columns beyond those that the arenas ask for.
    pub spread: Spread,
    /// Positions to provide for.
    pub context: usize,
    /// Positions of the prompt (concat distributes them).
    pub prompt: usize,
    /// Of the prompt, what goes in chunks on decode's regions: an automatic mesh has room for it.
    pub in_chunks: InChunks,
    /// Worker threads.
    pub workers: usize,
    /// Back and poison whole arenas.
    pub arena_full: bool,
    /// Poll in seeded random order.
    pub random_schedule: Option<u64>,
    /// Arithmetic level; `None`: the best of this host.
    pub kernels: Option<Kernels>,
}

impl SessionConfig {
    /// One position on an automatic mesh, with the defaults of the command line, on one worker.
    pub fn new(chip: Chip) -> Self {
        Self {
            chip,
            mesh: None,
            kv: Kv::Shift,
            kv_type: KvFormat::F16,
            k_tree: 2,
            trees: None,
            spread: Spread::default(),
            context: 1,
            prompt: 1,
            in_chunks: InChunks::default(),
            workers: 1,
            arena_full: false,
            random_schedule: None,
            kernels: None,
        }
    }
}
