//! The layout of prefill: decode's persistent tiles first, then what a chunk needs; and the chunk that fits.
//!
//! Invariant: a tile that both launches have lies at the same address of the arena in both.

use crate::arena::Owner;
use crate::collectives::{Cycle, MovingRoot, Way};
use crate::fabric::{Layout, LayoutError, TileDecl};
use crate::kernels::decode::layout::{cells, state_key};
use crate::kernels::decode::routes::Lines;
use crate::kernels::decode::{Local, tile as kept};
use crate::math::split::largest;
use crate::placement::Place;
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
    passing: [usize; 2],
    product: usize,
    work: usize,
    angles: usize,
}

impl Sizes {
    fn tiles(&self) -> [(crate::fabric::TileId, &'static str, Owner, usize); 6] {
        [
            (tile::X, "x of a chunk", Owner::Activations, self.x),
            (tile::PASSING[0], "passing", Owner::Receive, self.passing[0]),
            (tile::PASSING[1], "passing", Owner::Receive, self.passing[1]),
            (tile::PRODUCT, "qkv, gate|up of a chunk", Owner::Activations, self.product),
            (tile::WORK, "partial product, scores", Owner::Activations, self.work),
            (tile::ANGLES, "sine, cosine of a chunk", Owner::Activations, self.angles),
        ]
    }

    fn bytes(&self) -> usize {
        self.tiles().iter().map(|t| (4 * t.3).next_multiple_of(16)).sum()
    }

    fn longest_message(&self) -> usize {
        self.passing[0].max(self.work)
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

    /// Tiles on a PE for chunks of `chunk` positions, with `older` earlier ones of a row in passing.
    fn sizes(&self, col: usize, row: usize, chunk: usize, older: usize) -> Sizes {
        let d = &self.decode;
        let (local, h, f) = (d.local(col), d.hidden_of(row).len(), d.ffn_of(col).len());
        let (on_col, on_row) = (chunk.div_ceil(d.plan.cols), chunk.div_ceil(d.plan.rows));
        let run = on_col.min(on_row);
        let wide = (local.qkv() + 1).max(2 * f + 1);
        let older = older.max(on_row);
        // Inputs of O and down come into the product's tile, which is free by then.
        let both = (on_col * (h + 1)).max(self.kv_words(&local, older));
        let scores = local.q_heads() * on_row * (older + 1);
        Sizes {
            x: on_col * h,
            passing: [both.max(on_row * local.att()).max(on_row * f), both],
            product: on_row * wide,
            work: (run * wide.max(h)).max(Self::state_words(&local, on_row) + scores),
            angles: on_row * local.dims,
        }
    }

    /// Bytes that are free beside what stays, on the PEs that can be the fullest: (column, row, bytes). The longest
    /// stage counts; slices of the hidden dimension are longest on the first rows.
    pub(super) fn free(&self) -> Vec<(usize, usize, usize)> {
        let d = &self.decode;
        let have = d.chip.arena_bytes.saturating_sub(d.chip.reserved_bytes) as usize;
        let stage = (0..d.plan.stages.len()).max_by_key(|s| d.plan.stages[*s].len()).unwrap_or(0);
        let root = d.root_row();
        let fullest = cells(d.plan.cols, d.plan.rows).filter(|(_, row)| *row == 0 || *row == root);
        let free = |(col, row)| {
            let (mut layout, at) = (Layout::default(), d.stage_place(stage).at(col, row));
            self.kept_tiles(&mut layout, stage, at, col, row);
            (col, row, have.saturating_sub(layout.pe(at).ledger().total().0 as usize))
        };
        fullest.map(free).collect()
    }

    /// Bytes of tiles on the fullest PE.
    pub fn fullest_bytes(&self) -> usize {
        let have = self.decode.chip.arena_bytes.saturating_sub(self.decode.chip.reserved_bytes) as usize;
        let need = |(col, row, free)| have - free + self.sizes(col, row, self.chunk, self.older).bytes();
        self.free().into_iter().map(need).max().unwrap_or(0)
    }

    /// Do chunks of `chunk` positions fit, with `older` earlier ones of a row in passing?
    fn fits(&self, free: &[(usize, usize, usize)], chunk: usize, older: usize) -> bool {
        free.iter().all(|&(col, row, free)| {
            let sizes = self.sizes(col, row, chunk, older);
            sizes.bytes() <= free && sizes.longest_message() <= MESSAGE_WORDS_MAX
        })
    }

    /// Earlier positions of a row that pass at once beside a chunk that fits: as many as there is room for. (A single
    /// chunk has none.)
    pub(super) fn older_at_once(&self, free: &[(usize, usize, usize)], chunk: usize) -> usize {
        let share = chunk.div_ceil(self.decode.plan.rows);
        let most = if chunk < self.prompt { self.decode.plan.cap } else { share };
        largest(share, most, |n| self.fits(free, chunk, n))
    }

    /// The largest chunk, at most the prompt, whose tiles fit beside what stays on every PE.
    ///
    /// # Errors
    /// What one position lacks.
    pub(super) fn largest_chunk(&self, free: &[(usize, usize, usize)]) -> Result<usize, PrefillRefused> {
        let d = &self.decode;
        if self.prompt == 0 || self.prompt > d.plan.capacity {
            return Err(PrefillRefused::Prompt { found: self.prompt, fits: d.plan.capacity });
        }
        let (need, have) = (d.colors() as usize, d.chip.usable_colors() as usize);
        if need > have {
            return Err(PrefillRefused::Colors { need, have });
        }
        let lacks = |&(col, row, free): &(usize, usize, usize)| {
            let need = self.sizes(col, row, 1, 1).bytes();
            (need > free).then(|| PrefillRefused::Arena { pe: d.stage_place(0).at(col, row), need, have: free })
        };
        match free.iter().find_map(lacks) {
            Some(refused) => Err(refused),
            None => Ok(largest(1, self.prompt, |n| self.fits(free, n, 1))),
        }
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
        self.routes(&mut layout, &d.lines())?;
        for stage in 0..d.plan.stages.len() {
            let place = d.stage_place(stage);
            for (col, row) in cells(place.cols, d.plan.rows) {
                let at = place.at(col, row);
                self.kept_tiles(&mut layout, stage, at, col, row);
                for (id, name, owner, words) in self.sizes(col, row, self.chunk, self.older).tiles() {
                    let bytes = 4 * words as u32;
                    layout.tile(at, TileDecl { id, name, owner, bytes, visit: state_key(stage) });
                }
            }
        }
        d.head_tiles(&mut layout);
        Ok(layout)
    }

    /// Most colors at one PE; as decode's.
    ///
    /// # Errors
    /// A defect in the coloring (two writers).
    pub fn colors_at_most(&self) -> Result<u32, LayoutError> {
        self.decode.most_colors(|layout, lines| self.routes(layout, lines))
    }

    /// All routes of these lines.
    fn routes(&self, layout: &mut Layout, lines: &Lines) -> Result<(), LayoutError> {
        let d = &self.decode;
        let (head, stages) = (&d.plan.floor.regions[0], &d.plan.floor.regions[1..]);
        d.tree_routes(layout, lines, (head, false))?;
        for place in stages {
            self.stage_routes(layout, lines, place)?;
        }
        d.way_routes(layout, lines)
    }

    /// Rings, chains, and the multicast of every band.
    fn stage_routes(&self, layout: &mut Layout, lines: &Lines, place: &Place) -> Result<(), LayoutError> {
        let (cols, rows, columns) = (place.cols, self.decode.plan.rows, self.decode.columns());
        for row in lines.rows.clone() {
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
        for col in lines.cols_of(cols) {
            let line: Vec<Coord> = (0..rows).map(|r| place.at(col, r)).collect();
            Cycle::Interleave.lay_out(layout, &line, Y_RING, Way::Forward)?;
            MovingRoot::lay_out(layout, &line, COLUMN_CHAIN)?;
        }
        Ok(())
    }
}
