//! A mesh that holds the model by its bytes, before the ways between regions are laid.
//!
//! Invariant: byte counts are those of the largest PE of a region. Called by `plan`, `search` and, to rank meshes, by
//! the planner.

use crate::fabric::Chip;
use crate::math::checkpoint::ModelShape;
use crate::math::split::{largest, part};

use super::budget::{self, MESSAGE_WORDS_MAX, StageSizes};
use super::error::PlanError;
use super::floor::{Floor, places, tree_root};
use super::plan::{Plan, PlanRequest, Room, Trees};

/// A mesh that holds the model, before its ways are laid.
#[derive(Clone, Debug)]
pub struct Sketch {
    /// Columns of a layer region.
    pub cols: usize,
    /// Rows of every region.
    pub rows: usize,
    /// Pipeline stages.
    pub stages: usize,
    /// Columns of the head region.
    pub head_cols: usize,
    /// Bands of rows that the regions take.
    pub bands: usize,
    /// Columns of the wafer that they take.
    pub width: usize,
    /// No stage and no head column more than the arenas ask for?
    pub is_least: bool,
    cap: usize,
}

impl Sketch {
    /// PEs of all regions.
    pub fn pes(&self) -> usize {
        self.rows * (self.head_cols + self.cols * self.stages)
    }

    /// The most positions of a prompt that go through a layer at once, up to `most`, by the fullest PE's bytes; 0 where
    /// not one fits. For a choice alone: the kernel's own layout decides (`kernels::prefill`).
    pub fn chunk_room(&self, shape: &ModelShape, chip: &Chip, kv_bytes: usize, most: usize) -> usize {
        let sizes = StageSizes::new(shape, self.cols, self.rows, self.cap);
        let layers = shape.n_layers.div_ceil(self.stages);
        let kept = layers.saturating_mul(sizes.layer_bytes(kv_bytes, shape.qkv_bias));
        let fits = |n: usize| {
            let (on_col, on_row) = (n.div_ceil(self.cols), n.div_ceil(self.rows));
            let (bytes, longest) = sizes.prefill(kv_bytes, on_col, on_row);
            kept.saturating_add(bytes) <= budget::have(chip) && longest <= MESSAGE_WORDS_MAX
        };
        if fits(1) { largest(1, most.max(1), fits) } else { 0 }
    }

    /// Requests of the sketch's context whose K and V the arenas hold beside each other, at least 1; with room for
    /// prompts in chunks of `chunk` positions, if it is not 0.
    pub fn requests(&self, shape: &ModelShape, chip: &Chip, kv_bytes: usize, chunk: usize) -> usize {
        let sizes = StageSizes::new(shape, self.cols, self.rows, self.cap);
        let layers = shape.n_layers.div_ceil(self.stages);
        let prefill = sizes.prefill(kv_bytes, chunk.div_ceil(self.cols), chunk.div_ceil(self.rows)).0;
        let once = sizes.fixed_bytes().max(if chunk > 0 { prefill } else { 0 });
        let one = layers.saturating_mul(sizes.layer_bytes(kv_bytes, shape.qkv_bias)).saturating_add(once);
        let more = layers.saturating_mul(sizes.cell_bytes(kv_bytes)).max(1);
        1 + budget::have(chip).saturating_sub(one) / more
    }

    /// Tracks that the turns into stages and the way home take at least (`floor`): every column takes one row of each.
    pub fn tracks_least(&self) -> usize {
        if self.bands < 2 { 0 } else { self.rows.div_ceil(self.cols).max(self.rows.div_ceil(self.head_cols)) }
    }

    /// Does `cols x rows` hold the model? `head_cols` as `budget::head_cols` found it for these rows.
    ///
    /// # Errors
    /// What does not fit and by how much.
    pub(super) fn new(
        shape: &ModelShape,
        chip: &Chip,
        r: &PlanRequest,
        (cols, rows): (usize, usize),
        head_cols: Result<usize, usize>,
        room: Room,
    ) -> Result<Self, PlanError> {
        let have = budget::have(chip);
        let cap = positions_of_a_row(r, rows);
        let sizes = StageSizes::new(shape, cols, rows, cap);
        let fixed = match room {
            Room::Decode => sizes.fixed_bytes(),
            Room::Prefill => sizes.with_prefill_bytes(r.kv_bytes),
        };
        let layer = sizes.layer_bytes(r.kv_bytes, shape.qkv_bias);
        let need = fixed.saturating_add(layer);
        if need > have {
            let shorter = StageSizes::new(shape, cols, rows, 1);
            let least = shorter.fixed_bytes().saturating_add(shorter.layer_bytes(r.kv_bytes, shape.qkv_bias));
            let is_all = (cols, rows) == (chip.cols as usize, chip.rows as usize);
            let hint = match (least <= have, is_all) {
                (true, false) => "use more columns or rows, or a smaller -c",
                (true, true) => "use a smaller -c",
                (false, false) => "use more columns or rows; no -c fits",
                (false, true) => "no -c fits",
            };
            let ledger = sizes.ledger(r.kv_bytes, shape.qkv_bias);
            return Err(PlanError::TooSmall { cols, rows, what: "one layer", need, have, hint, ledger });
        }
        let need = sizes.message_words();
        if need > MESSAGE_WORDS_MAX {
            return Err(PlanError::TooLong { cols, rows, need, have: MESSAGE_WORDS_MAX });
        }
        let per_stage = ((have - fixed) / layer.max(1)).clamp(1, shape.n_layers);
        let least_stages = shape.n_layers.div_ceil(per_stage);
        let stages = least_stages.max(r.spread.stages.min(shape.n_layers));
        let least_head = head_cols.map_err(|need| {
            let hint = "use more rows";
            let ledger = [need, 0, 0];
            PlanError::TooSmall { cols, rows, what: "the head on all columns", need, have, hint, ledger }
        })?;
        let (have_cols, have_rows) = (chip.cols as usize, chip.rows as usize);
        let head_cols = least_head.max(r.spread.head_cols.min(have_cols).min(shape.vocab));
        let regions = places(head_cols, cols, stages, rows, have_cols);
        let bands = regions.last().map_or(1, |p| p.band + 1);
        let width = regions.iter().map(|p| p.col + p.cols).max().unwrap_or(0);
        let (need, have) = (bands * rows, have_rows);
        if need > have {
            return Err(PlanError::TooTall { cols, rows, head_cols, stages, bands, have_cols, need, have });
        }
        let is_least = (stages, head_cols) == (least_stages, least_head);
        Ok(Self { cols, rows, stages, head_cols, bands, width, is_least, cap })
    }

    /// Lays the ways of the floorplan.
    ///
    /// # Errors
    /// `Colors` when they take more than the chip has; `GroupsBeyond`.
    pub fn finish(self, shape: &ModelShape, chip: &Chip, r: &PlanRequest) -> Result<Plan, PlanError> {
        let Self { cols, rows, stages, head_cols, bands, cap, .. } = self;
        let trees = r.trees.clone().unwrap_or_else(|| Trees::new([rows, cols, head_cols], r.k_tree));
        if let Some((axis, level, found, have)) = trees.beyond([rows, cols, head_cols]) {
            return Err(PlanError::GroupsBeyond { cols, rows, axis, level, found, have });
        }
        let Trees { y: groups_y, x: groups_x, head: groups_head } = trees;
        let roots = [tree_root(head_cols, &groups_head), tree_root(cols, &groups_x)];
        let floor = Floor::new(places(head_cols, cols, stages, rows, chip.cols as usize), rows, roots);
        let (tracks, have) = (floor.tracks, chip.colors.saturating_sub(chip.colors_reserved) as usize);
        let need = (r.straight_colors as usize).saturating_add(tracks);
        if tracks > 0 && need > have {
            return Err(PlanError::Colors { cols, rows, bands, tracks, need, have });
        }
        Ok(Plan {
            cols,
            rows,
            stages: (0..stages).map(|s| part(shape.n_layers, stages, s)).collect(),
            head_cols,
            cap,
            capacity: if r.concat_prompt.is_some() { r.context } else { cap * rows },
            groups_y,
            groups_x,
            groups_head,
            floor,
        })
    }
}

/// Slots of the fullest row.
fn positions_of_a_row(r: &PlanRequest, rows: usize) -> usize {
    match r.concat_prompt {
        None => r.context.div_ceil(rows).max(1),
        Some(prompt) => part(prompt, rows, rows - 1).len().saturating_add(r.context.saturating_sub(prompt).max(1)),
    }
}
