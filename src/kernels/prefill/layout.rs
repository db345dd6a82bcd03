//! The layout of prefill: decode's persistent tiles first, then what a chunk needs; and the chunk that fits.
//!
//! Invariant: a tile that both launches have lies at the same address of the arena in both.

use crate::arena::Owner;
use crate::collectives::{Cycle, MovingRoot, Way};
use crate::fabric::{Layout, LayoutError, TileDecl};
use crate::kernels::decode::layout::{cells, state_key};
use crate::kernels::decode::{Local, tile as kept};
use crate::units::{Color, Coord};

use super::{BAND, COLUMN_CHAIN, Prefill, ROW_CHAIN, X_RING, Y_RING, tile};

/// Words of the longest message.
const MESSAGE_WORDS_MAX: usize = u16::MAX as usize;

/// Why a prompt cannot be prefilled on this placement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefillRefused {
    /// Arenas are full of weights and KV.
    #[error(
        "prefill of one position needs {need} B beside weights and KV on PE {pe}, its arena has {have} B \
         (use a larger mesh or a smaller -c)"
    )]
    Arena { pe: Coord, need: usize, have: usize },
    /// Rings, chains and the ways between regions take too many colors.
    #[error("prefill needs {need} colors, the chip has {have} usable")]
    Colors { need: usize, have: usize },
    /// A prompt without positions, or with more than the KV tiles hold.
    #[error("prefill needs a prompt of 1 to {fits} positions, found {found}")]
    Prompt { found: usize, fits: usize },
}

/// Words of the tiles that a chunk needs on one PE.
pub(super) struct Sizes {
    x: usize,
    passing: usize,
    product: usize,
    work: usize,
    angles: usize,
}

impl Sizes {
    fn tiles(&self) -> [(crate::fabric::TileId, &'static str, Owner, usize); 6] {
        [
            (tile::X, "x of a chunk", Owner::Activations, self.x),
            (tile::PASSING[0], "passing", Owner::Receive, self.passing),
            (tile::PASSING[1], "passing", Owner::Receive, self.passing),
            (tile::PRODUCT, "qkv, gate|up of a chunk", Owner::Activations, self.product),
            (tile::WORK, "partial product, scores", Owner::Activations, self.work),
            (tile::ANGLES, "sine, cosine of a chunk", Owner::Activations, self.angles),
        ]
    }

    fn bytes(&self) -> usize {
        self.tiles().iter().map(|t| (4 * t.3).next_multiple_of(16)).sum()
    }

    fn longest_message(&self) -> usize {
        self.passing.max(self.work)
    }
}

impl Prefill {
    /// Words of `n` positions of K and V as they pass.
    pub(super) fn kv_words(&self, local: &Local, n: usize) -> usize {
        (2 * n * local.kv() * self.decode.kv.bytes()).div_ceil(4)
    }

    /// Words of o, l, m (the state of attention) on a PE.
    pub(super) fn state_words(local: &Local, queries: usize) -> usize {
        queries * (local.att() + 2 * local.q_heads())
    }

    fn sizes(&self, col: usize, row: usize, chunk: usize) -> Sizes {
        let d = &self.decode;
        let (local, h, f) = (d.local(col), d.hidden_of(row).len(), d.ffn_of(col).len());
        let (on_col, on_row) = (chunk.div_ceil(d.plan.cols), chunk.div_ceil(d.plan.rows));
        let run = on_col.min(on_row);
        let wide = (local.qkv() + 1).max(2 * f + 1);
        let passing = [on_col * (h + 1), on_row * local.att(), on_row * f, self.kv_words(&local, on_row), h];
        let scores = local.q_heads() * on_row * (on_row + 1);
        Sizes {
            x: on_col * h,
            passing: passing.into_iter().max().unwrap_or(0),
            product: on_row * wide,
            work: (run * wide.max(h)).max(Self::state_words(&local, on_row) + scores),
            angles: on_row * local.dims,
        }
    }

    /// Earlier positions of a row that pass at once: as many as both passing tiles and, beside o, l and m, the scores
    /// have room for on every PE. At least the share of a row in a chunk: the tiles are made for that.
    pub(super) fn older_at_once(&self, chunk: usize) -> usize {
        let d = &self.decode;
        let queries = chunk.div_ceil(d.plan.rows);
        let fits = |col: usize, n: usize| {
            let (sizes, local) = (self.sizes(col, d.plan.rows - 1, chunk), d.local(col));
            let scores = local.q_heads() * queries * (n + 1);
            self.kv_words(&local, n) <= sizes.passing && Self::state_words(&local, queries) + scores <= sizes.work
        };
        let all = |n: &usize| (0..d.plan.cols).all(|col| fits(col, *n));
        (queries..=d.plan.cap.max(queries)).take_while(all).last().unwrap_or(queries)
    }

    /// Bytes of what stays on a PE, and of a chunk's tiles.
    fn bytes(&self, stage: usize, col: usize, row: usize, chunk: usize) -> (usize, Sizes) {
        let d = &self.decode;
        let mut layout = Layout::default();
        let at = d.stage_place(stage).at(col, row);
        self.kept_tiles(&mut layout, stage, at, col, row);
        (layout.pe(at).ledger().total().0 as usize, self.sizes(col, row, chunk))
    }

    /// The largest chunk, at most the prompt, whose tiles fit beside what stays on every PE.
    ///
    /// # Errors
    /// What one position lacks.
    pub(super) fn largest_chunk(&self) -> Result<usize, PrefillRefused> {
        let d = &self.decode;
        if self.prompt == 0 || self.prompt > d.plan.capacity {
            return Err(PrefillRefused::Prompt { found: self.prompt, fits: d.plan.capacity });
        }
        let (need, have) = (d.colors() as usize, d.chip.usable_colors() as usize);
        if need > have {
            return Err(PrefillRefused::Colors { need, have });
        }
        let have = d.chip.arena_bytes.saturating_sub(d.chip.reserved_bytes) as usize;
        // The longest stage counts; slices of the hidden dimension are longest on the first rows.
        let stage = (0..d.plan.stages.len()).max_by_key(|s| d.plan.stages[*s].len()).unwrap_or(0);
        let mut chunk = self.prompt;
        for (col, row) in cells(d.plan.cols, d.plan.rows) {
            if row > 0 && row != d.root_row() {
                continue;
            }
            let fits = |chunk: usize| {
                let (kept, sizes) = self.bytes(stage, col, row, chunk);
                (kept + sizes.bytes() <= have && sizes.longest_message() <= MESSAGE_WORDS_MAX, kept, sizes)
            };
            if fits(chunk).0 {
                continue;
            }
            let (mut good, mut bad) = (0, chunk);
            while bad - good > 1 {
                let middle = good + (bad - good) / 2;
                if fits(middle).0 { good = middle } else { bad = middle }
            }
            chunk = good;
            if chunk == 0 {
                let (_, kept, sizes) = fits(1);
                let pe = d.stage_place(stage).at(col, row);
                return Err(PrefillRefused::Arena { pe, need: sizes.bytes(), have: have.saturating_sub(kept) });
            }
        }
        Ok(chunk)
    }

    /// What decode has as well, in its order; then what every row needs because its positions are finished there.
    pub(in crate::kernels) fn kept_tiles(&self, layout: &mut Layout, stage: usize, at: Coord, col: usize, row: usize) {
        let d = &self.decode;
        let (local, is_root) = (d.local(col), row == d.root_row());
        for layer in d.plan.stages[stage].clone() {
            d.layer_tiles(layout, stage, layer, at, col, row);
        }
        let mut add = |id, name, words: usize| {
            let (owner, visit) = (Owner::Weights, state_key(stage));
            layout.tile(at, TileDecl { id, name, owner, bytes: words as u32 * 4, visit });
        };
        add(kept::FREQ, "rope frequencies", local.dims);
        for layer in d.plan.stages[stage].clone().filter(|_| d.shape.qkv_bias && !is_root) {
            add(kept::of_layer(layer, kept::BIAS), "bias qkv", local.qkv());
        }
    }

    /// The layout of the whole model.
    ///
    /// # Errors
    /// A defect in the coloring (two writers).
    pub fn layout(&self) -> Result<Layout, LayoutError> {
        let d = &self.decode;
        let mut layout = Layout::default();
        d.name_pes(&mut layout);
        let head = d.plan.floor.regions[0];
        for row in 0..d.plan.rows {
            d.x_tree(&head, row, &d.plan.groups_head).lay_out(&mut layout, false)?;
        }
        for col in 0..head.cols {
            d.y_tree(&head, col).lay_out(&mut layout, false)?;
        }
        for stage in 0..d.plan.stages.len() {
            self.stage_routes(&mut layout, stage)?;
            let place = d.stage_place(stage);
            for (col, row) in cells(place.cols, d.plan.rows) {
                let at = place.at(col, row);
                self.kept_tiles(&mut layout, stage, at, col, row);
                for (id, name, owner, words) in self.sizes(col, row, self.chunk).tiles() {
                    let bytes = 4 * words as u32;
                    layout.tile(at, TileDecl { id, name, owner, bytes, visit: state_key(stage) });
                }
            }
        }
        d.command_routes(&mut layout)?;
        d.hand_over_routes(&mut layout)?;
        d.head_tiles(&mut layout);
        Ok(layout)
    }

    /// Rings, chains, and the multicast of every band.
    fn stage_routes(&self, layout: &mut Layout, stage: usize) -> Result<(), LayoutError> {
        let d = &self.decode;
        let (place, columns) = (d.stage_place(stage), d.columns());
        let (cols, rows) = (place.cols, d.plan.rows);
        for row in 0..rows {
            let line: Vec<Coord> = (0..cols).map(|c| place.at(c, row)).collect();
            Cycle::Interleave.lay_out(layout, &line, X_RING, Way::Forward)?;
            MovingRoot::lay_out(layout, &line, ROW_CHAIN)?;
            let mut col = 0;
            while col < cols {
                let band = columns.slice(col).band;
                let root = band.start + band.len() / 2;
                for end in [band.start, band.end - 1].into_iter().filter(|end| *end != root) {
                    layout.line(Color(BAND), line[root], line[end], true)?;
                }
                col = band.end;
            }
        }
        for col in 0..cols {
            let line: Vec<Coord> = (0..rows).map(|r| place.at(col, r)).collect();
            Cycle::Interleave.lay_out(layout, &line, Y_RING, Way::Forward)?;
            MovingRoot::lay_out(layout, &line, COLUMN_CHAIN)?;
        }
        Ok(())
    }
}
