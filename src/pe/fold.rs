//! What a receive does with the words that it takes.
//!
//! Invariant: element by element, tile first, burst second. Called by `ops`, in stream with the take.

use crate::arena::{Memory, Tile};
use crate::link::Store;
use crate::math::binary16::add_f16;
use crate::math::vector::{add_assign, max_assign};

use super::handle::Pe;

/// What a receive does with the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// Overwrite the tile.
    Set,
    /// Add in f32: tile = tile + burst.
    Add,
    /// Add in f16, two to a word, each sum rounded: tile = tile + burst.
    AddF16,
    /// Larger value in f32, -0.0 counted as +0.0.
    Max,
    /// (logit, id) pairs: larger logit, lower id on ties.
    MaxId,
}

impl Pe<'_> {
    /// Folds the words at `from` into a tile.
    pub(super) fn fold(self, store: &mut Memory, from: u32, tile: Tile, fold: Fold) {
        if fold == Fold::Set {
            store.copy(from, tile.place, tile.words());
            return;
        }
        let kernels = self.part.kernels();
        let (own, other) = store.pair(tile, from);
        if fold == Fold::AddF16 {
            return add_f16(bytemuck::cast_slice_mut(own), bytemuck::cast_slice(other));
        }
        let (own, other): (&mut [f32], &[f32]) = (bytemuck::cast_slice_mut(own), bytemuck::cast_slice(other));
        match fold {
            Fold::Set | Fold::AddF16 => {}
            Fold::Add => add_assign(kernels, own, other),
            Fold::Max => max_assign(kernels, own, other),
            Fold::MaxId => fold_max_id(own, other),
        }
    }
}

/// Pairs (logit, id as bits).
fn fold_max_id(own: &mut [f32], other: &[f32]) {
    for (a, b) in own.chunks_exact_mut(2).zip(other.chunks_exact(2)) {
        let best = crate::math::reduce::max_id((a[0], a[1].to_bits()), (b[0], b[1].to_bits()));
        (a[0], a[1]) = (best.0, f32::from_bits(best.1));
    }
}
