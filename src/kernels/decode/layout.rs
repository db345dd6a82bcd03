//! Routes and tiles of decode.
//!
//! Invariant: tiles are declared in the order in which a token visits them: by stage, then layer, then phase.

use crate::arena::Owner;
use crate::collectives::Tree;
use crate::fabric::{Direction, Layout, LayoutError, TileDecl, TileId, Tx};
use crate::units::Coord;

use super::{Decode, tile};

/// Visit keys: weights by stage, layer and phase first; then what is touched all the time.
fn weight_key(stage: usize, layer: usize, which: u16) -> u64 {
    (stage as u64) << 40 | (layer as u64) << 16 | u64::from(which)
}

fn state_key(stage: usize) -> u64 {
    1 << 60 | (stage as u64) << 40
}

impl Decode {
    /// The layout of the whole model.
    ///
    /// # Errors
    /// A defect in the coloring (two writers).
    pub fn layout(&self) -> Result<Layout, LayoutError> {
        let mut layout = Layout::default();
        let (rows, head_cols, cols) = (self.plan.rows, self.plan.head_cols, self.plan.cols);
        for (region, (first, width)) in self.regions().into_iter().enumerate() {
            for col in 0..width {
                for row in 0..rows {
                    let pe = layout.pe(Coord::new((first + col) as u32, row as u32));
                    pe.region = region as u16;
                    pe.share = (col * 65536 / width) as u16;
                }
            }
        }
        for (first, width) in self.regions() {
            let x_groups = if width == head_cols && first == 0 { &self.plan.groups_head } else { &self.plan.groups_x };
            for row in 0..rows {
                self.x_tree(first, width, row, x_groups).lay_out(&mut layout, first > 0)?;
            }
            for col in 0..width {
                self.y_tree(first + col).lay_out(&mut layout, first > 0)?;
            }
        }
        for stage in 0..self.plan.stages.len() {
            let first = self.stage_col(stage);
            let mut col = 0;
            while col < cols {
                let band = self.columns().slice(col).band;
                for row in 0..rows {
                    self.band_tree(first, &band, row).lay_out(&mut layout, true)?;
                }
                col = band.end;
            }
            if self.concat_prompt.is_none() {
                self.shift_routes(&mut layout, first)?;
            }
            self.stage_tiles(&mut layout, stage);
        }
        self.command_routes(&mut layout)?;
        self.hand_over_routes(&mut layout)?;
        self.head_tiles(&mut layout);
        Ok(layout)
    }

    fn regions(&self) -> Vec<(usize, usize)> {
        let stages = (0..self.plan.stages.len()).map(|s| (self.stage_col(s), self.plan.cols));
        std::iter::once((0, self.plan.head_cols)).chain(stages).collect()
    }

    pub(super) fn x_tree(&self, first: usize, width: usize, row: usize, groups: &[usize]) -> Tree {
        let line = (first..first + width).map(|c| Coord::new(c as u32, row as u32)).collect();
        Tree { line, groups: groups.to_vec(), base: self.x_base() }
    }

    pub(super) fn y_tree(&self, col: usize) -> Tree {
        let line = (0..self.plan.rows).map(|r| Coord::new(col as u32, r as u32)).collect();
        Tree { line, groups: self.plan.groups_y.clone(), base: self.y_base() }
    }

    pub(super) fn band_tree(&self, first: usize, band: &std::ops::Range<usize>, row: usize) -> Tree {
        let line = band.clone().map(|c| Coord::new((first + c) as u32, row as u32)).collect();
        Tree { line, groups: vec![1], base: self.band_base() }
    }

    /// Every row but the top one sends up, on its parity's color.
    fn shift_routes(&self, layout: &mut Layout, first: usize) -> Result<(), LayoutError> {
        for col in first..first + self.plan.cols {
            for row in 1..self.plan.rows {
                let at = |r: usize| Coord::new(col as u32, r as u32);
                layout.line(self.shift_color(row), at(row), at(row - 1), false)?;
            }
        }
        Ok(())
    }

    /// Host to the head root; from there along its row, and from every PE of the row along its column.
    fn command_routes(&self, layout: &mut Layout) -> Result<(), LayoutError> {
        let root = self.head_root();
        layout.route(root, self.host_color(), Direction::Host, Tx::RAMP)?;
        let (cols, rows) = (self.plan.head_cols as u32, self.plan.rows as u32);
        if cols * rows == 1 {
            return Ok(());
        }
        for col in 0..cols {
            for row in 0..rows {
                let at = Coord::new(col, row);
                let mut tx = if at == root { Tx::NONE } else { Tx::RAMP };
                let rx = if row != root.row {
                    if row < root.row { Direction::South } else { Direction::North }
                } else if col == root.col {
                    Direction::Ramp
                } else {
                    if col < root.col { Direction::East } else { Direction::West }
                };
                if row <= root.row && row > 0 {
                    tx = tx.and(Direction::North);
                }
                if row >= root.row && row + 1 < rows {
                    tx = tx.and(Direction::South);
                }
                if row == root.row && col <= root.col && col > 0 {
                    tx = tx.and(Direction::West);
                }
                if row == root.row && col >= root.col && col + 1 < cols {
                    tx = tx.and(Direction::East);
                }
                layout.route(at, self.command_color(), rx, tx)?;
            }
        }
        Ok(())
    }

    /// From the x root of a region to all columns of the next; from the last one back to all columns of the head.
    fn hand_over_routes(&self, layout: &mut Layout) -> Result<(), LayoutError> {
        let regions = self.regions();
        for row in 0..self.plan.rows {
            for (i, &(first, width)) in regions.iter().enumerate() {
                let at = |c: usize| Coord::new(c as u32, row as u32);
                let groups = if i == 0 { &self.plan.groups_head } else { &self.plan.groups_x };
                let root = first + self.tree_root(groups, width) as usize;
                let (color, target, west) = match regions.get(i + 1) {
                    Some(&(first, width)) => (self.hand_over_color(i), first..first + width, false),
                    None => (self.return_color(), 0..self.plan.head_cols, true),
                };
                let out = if west { Direction::West } else { Direction::East };
                layout.route(at(root), color, Direction::Ramp, Tx::to(out))?;
                let end = if west { 0 } else { target.end - 1 };
                let mut col = root;
                while col != end {
                    col = if west { col - 1 } else { col + 1 };
                    let mut tx = if target.contains(&col) { Tx::RAMP } else { Tx::NONE };
                    if col != end {
                        tx = tx.and(out);
                    }
                    layout.route(at(col), color, out.opposite(), tx)?;
                }
            }
        }
        Ok(())
    }

    fn stage_tiles(&self, layout: &mut Layout, stage: usize) {
        for col in 0..self.plan.cols {
            for row in 0..self.plan.rows {
                let at = Coord::new((self.stage_col(stage) + col) as u32, row as u32);
                for layer in self.plan.stages[stage].clone() {
                    self.layer_tiles(layout, stage, layer, at, col, row);
                }
                let local = self.local(col);
                let (h, f, cap) = (self.hidden_of(row).len(), self.ffn_of(col).len(), self.plan.cap);
                let wide = (local.qkv() + 1).max(2 * f + 1);
                let moved = (2 * local.kv() * self.kv.bytes()).div_ceil(4);
                let pairs = local.slice.pairs.len();
                let key = state_key(stage);
                let mut add = |id, name, owner, words: usize| {
                    layout.tile(at, TileDecl { id, name, owner, bytes: words as u32 * 4, visit: key });
                };
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
                if row == self.root_row() as usize {
                    add(tile::FREQ, "rope frequencies", Owner::Weights, 2 * pairs);
                    add(tile::SIN_COS, "sine, cosine", Owner::Activations, 2 * pairs);
                }
            }
        }
    }

    fn layer_tiles(&self, layout: &mut Layout, stage: usize, layer: usize, at: Coord, col: usize, row: usize) {
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
        if self.shape.qkv_bias && row == self.root_row() as usize {
            add(tile::BIAS, "bias qkv", Owner::Weights, 4 * local.qkv());
        }
        add(tile::KEYS, "K", Owner::Kv, cells);
        add(tile::VALUES, "V", Owner::Kv, cells);
    }

    fn head_tiles(&self, layout: &mut Layout) {
        for col in 0..self.plan.head_cols {
            for row in 0..self.plan.rows {
                let at = Coord::new(col as u32, row as u32);
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
