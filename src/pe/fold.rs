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
    #[inline(always)]
    pub(super) fn fold(self, store: &mut Memory, from: u32, tile: Tile, fold: Fold) {
        match fold {
            Fold::Set => store.copy(from, tile.place, tile.words()),
            Fold::Add => {
                let (own, other) = store.pair(tile, from);
                add_assign(self.part.kernels(), bytemuck::cast_slice_mut(own), bytemuck::cast_slice(other));
            }
            _ => self.fold_otherwise(store, from, tile, fold),
        }
    }

    /// `fold` of what is not as frequent.
    #[inline(never)]
    fn fold_otherwise(self, store: &mut Memory, from: u32, tile: Tile, fold: Fold) {
        let (own, other) = store.pair(tile, from);
        match fold {
            Fold::AddF16 => add_f16(bytemuck::cast_slice_mut(own), bytemuck::cast_slice(other)),
            Fold::Max => max_assign(self.part.kernels(), bytemuck::cast_slice_mut(own), bytemuck::cast_slice(other)),
            Fold::MaxId => fold_max_id(bytemuck::cast_slice_mut(own), bytemuck::cast_slice(other)),
            Fold::Set | Fold::Add => unreachable!("`fold` does these itself"),
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
