//! The layout of decode: regions, trees, tiles; `routes` has the ways between.
//!
//! Invariant: tiles are declared in the order in which a token visits them: by stage, then layer, then phase.

use crate::arena::Owner;
use crate::fabric::{Layout, LayoutError, TileDecl, TileId};
use crate::units::Coord;

use super::{Decode, tile};

/// Visit keys: weights by stage, layer and phase first; then what is touched all the time.
fn weight_key(stage: usize, layer: usize, which: u16) -> u64 {
    1 << 59 | (stage as u64) << 40 | (layer as u64) << 16 | u64::from(which)
}

pub(in crate::kernels) fn state_key(stage: usize) -> u64 {
    1 << 60 | (stage as u64) << 40
}

impl Decode {
    /// The layout of the whole model.
    ///
    /// # Errors
    /// A defect in the coloring (two writers).
    pub fn layout(&self) -> Result<Layout, LayoutError> {
        let mut layout = Layout::default();
        self.name_pes(&mut layout);
        self.routes(&mut layout, &self.lines())?;
        for stage in 0..self.plan.stages.len() {
            self.stage_tiles(&mut layout, stage);
        }
        self.head_tiles(&mut layout);
        Ok(layout)
    }

    /// All PEs of regions, with what the host needs to know of them.
    pub(in crate::kernels) fn name_pes(&self, layout: &mut Layout) {
        layout.reserve(self.plan.pes());
        for (region, place) in self.plan.floor.regions.iter().enumerate() {
            for (col, row) in cells(place.cols, self.plan.rows) {
                let pe = layout.pe(place.at(col, row));
                pe.region = region as u16;
                pe.share = (col * 65536 / place.cols) as u16;
            }
        }
    }

    fn stage_tiles(&self, layout: &mut Layout, stage: usize) {
        let place = self.stage_place(stage);
        for col in 0..self.plan.cols {
            for row in 0..self.plan.rows {
                let at = place.at(col, row);
                layout.pe(at).tiles.reserve(13 + 9 * self.plan.stages[stage].len());
                for layer in self.plan.stages[stage].clone() {
                    self.layer_tiles(layout, stage, layer, at, col, row);
                }
                let local = self.local(col);
                let (h, f, cap) = (self.hidden_of(row).len(), self.ffn_of(col).len(), self.plan.cap);
                let wide = (local.qkv() + 1).max(2 * f + 1);
                let moved = (2 * local.kv() * self.kv.bytes()).div_ceil(4);
                let pairs = local.dims / 2;
                let key = state_key(stage);
                let mut add = |id, name, owner, words: usize| {
                    layout.tile(at, TileDecl { id, name, owner, bytes: words as u32 * 4, visit: key });
                };
                if row == self.root_row() {
                    add(tile::FREQ, "rope frequencies", Owner::Weights, 2 * pairs);
                }
                add(tile::X, "x", Owner::Activations, h);
                add(tile::XG, "x*g", Owner::Activations, h);
                add(tile::Y, "y", Owner::Activations, h);
                add(tile::WIDE, "qkv, gate|up", Owner::Activations, wide);
                add(tile::ACT, "ffn", Owner::Activations, f);
                add(tile::SCORE, "score", Owner::Activations, local.q_heads() * cap);
                add(tile::ATT, "attention", Owner::Activations, local.att());
                add(tile::MAX, "max", Owner::Activations, local.q_heads());
                add(tile::SUM, "sum", Owner::Activations, local.q_heads());
                if self.concat_prompt.is_none() {
                    add(tile::SHIFT_OUT, "shift out", Owner::Receive, moved);
                    add(tile::SHIFT_IN, "shift in", Owner::Receive, moved);
                }
                if row == self.root_row() {
                    add(tile::SIN_COS, "sine, cosine", Owner::Activations, 2 * pairs);
                }
            }
        }
    }

    pub(in crate::kernels) fn layer_tiles(
        &self,
        layout: &mut Layout,
        stage: usize,
        layer: usize,
        at: Coord,
        col: usize,
        row: usize,
    ) {
        let local = self.local(col);
        let (h, f) = (self.hidden_of(row).len(), self.ffn_of(col).len());
        let cells = local.kv() * self.plan.cap * self.kv.bytes();
        let mut add = |which: u16, name, owner, bytes: usize| {
            let visit = if owner == Owner::Kv { state_key(stage) | 1 } else { weight_key(stage, layer, which) };
            layout.tile(at, TileDecl { id: tile::of_layer(layer, which), name, owner, bytes: bytes as u32, visit });
        };
        add(tile::W_QKV, "W qkv", Owner::Weights, 2 * h * local.qkv());
        add(tile::W_O, "W o", Owner::Weights, 2 * h * local.att());
        add(tile::W_UP, "W gate|up", Owner::Weights, 2 * h * 2 * f);
        add(tile::W_DOWN, "W down", Owner::Weights, 2 * h * f);
        add(tile::NORM_ATT, "norm", Owner::Weights, 4 * h);
        add(tile::NORM_FFN, "norm ffn", Owner::Weights, 4 * h);
        if self.shape.qkv_bias && row == self.root_row() {
            add(tile::BIAS, "bias qkv", Owner::Weights, 4 * local.qkv());
        }
        add(tile::KEYS, "K", Owner::Kv, cells);
        add(tile::VALUES, "V", Owner::Kv, cells);
    }

    pub(in crate::kernels) fn head_tiles(&self, layout: &mut Layout) {
        for col in 0..self.plan.head_cols {
            for row in 0..self.plan.rows {
                let at = self.plan.floor.regions[0].at(col, row);
                let (h, v) = (self.hidden_of(row).len(), self.vocab_of(col).len());
                let mut add = |id: TileId, name, owner, bytes: usize, key| {
                    layout.tile(at, TileDecl { id, name, owner, bytes: bytes as u32, visit: key });
                };
                let last = weight_key(self.plan.stages.len(), 0, 0);
                add(tile::OUTPUT, "lm_head", Owner::Weights, 2 * h * v, last);
                if !self.shape.tied {
                    add(tile::EMBEDDING, "embedding", Owner::Weights, 2 * h * v, last + 1);
                }
                let key = state_key(self.plan.stages.len());
                add(tile::FINAL_NORM, "final norm", Owner::Weights, 4 * h, key);
                add(tile::X, "x", Owner::Activations, 4 * h, key);
                add(tile::XG, "x*g", Owner::Activations, 4 * h, key);
                add(tile::LOGITS, "logits", Owner::Activations, 4 * (v + 1), key);
                add(tile::COMMAND, "command", Owner::Receive, 4, key);
                add(tile::OWN, "own id", Owner::Activations, 4, key);
                add(tile::BEST, "best", Owner::Activations, 8, key);
            }
        }
    }
}

/// Every (col, row) of a region.
pub(in crate::kernels) fn cells(cols: usize, rows: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..cols).flat_map(move |col| (0..rows).map(move |row| (col, row)))
}
