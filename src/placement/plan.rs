//! The plan of a session: mesh, stages, head region, trees, floorplan.
//!
//! ```text
//!   | head region | stage 0 | stage 1 | ...       all of them `rows` high, west to east; see `floor` for the bands
//! ```
//! Invariant: byte counts here are those of the largest PE of a region, so what is planned passes the ledger.
//! Invariant: no shape and no request makes a plan panic. Called by `host`; `search` chooses the mesh.

use crate::fabric::Chip;
use crate::math::checkpoint::ModelShape;
use crate::math::split::{largest, part};

use super::budget::{self, MESSAGE_WORDS_MAX, SIZE_MAX, StageSizes};
use super::error::PlanError;
use super::floor::{Floor, places, tree_root};
use super::search;

/// Group counts of the trees of each kind of line, from the leaves; every list ends in 1 and is as long as K.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Trees {
    /// Along y.
    pub y: Vec<usize>,
    /// Along x in a layer region.
    pub x: Vec<usize>,
    /// Along x in the head region.
    pub head: Vec<usize>,
}

impl Trees {
    /// Those of `groups` for lines of so many members.
    pub fn new([rows, cols, head_cols]: [usize; 3], levels: usize) -> Self {
        Self { y: groups(rows, levels), x: groups(cols, levels), head: groups(head_cols, levels) }
    }

    fn lists(&self) -> [(&'static str, &Vec<usize>); 3] {
        [("y", &self.y), ("x", &self.x), ("x in the head", &self.head)]
    }

    /// Are these lists of `levels` levels?
    fn are_of(&self, levels: usize) -> bool {
        let is = |list: &Vec<usize>| list.len() == levels && list.last() == Some(&1) && !list.contains(&0);
        self.lists().into_iter().all(|(_, list)| is(list))
    }

    /// The first count that is more than the members of its level: the line's, or the groups of the level below. The
    /// line, the level from 1, the count, the members.
    fn beyond(&self, lengths: [usize; 3]) -> Option<(&'static str, usize, usize, usize)> {
        self.lists().into_iter().zip(lengths).find_map(|((axis, list), n)| {
            let members = std::iter::once(n).chain(list.iter().copied());
            let mut levels = list.iter().zip(members).enumerate();
            levels.find(|(_, (found, have))| *found > have).map(|(i, (found, have))| (axis, i + 1, *found, have))
        })
    }
}

/// What is asked of a plan.
#[derive(Clone, Debug)]
pub struct PlanRequest {
    /// Columns and rows of a layer region; `None` searches for the mesh of the least estimated host time.
    pub mesh: Option<(u32, u32)>,
    /// Positions to provide for.
    pub context: usize,
    /// Bytes of a stored K or V element.
    pub kv_bytes: usize,
    /// All generated positions go to one row (`concat`), after `prompt` distributed ones.
    pub concat_prompt: Option<usize>,
    /// Levels of the K-trees, 1 to 8.
    pub k_tree: usize,
    /// Their group counts; `None`: those with the fewest stages (`groups`).
    pub trees: Option<Trees>,
    /// Colors that the kernel takes on a floorplan without turns; every track of a turn is one more.
    pub straight_colors: u32,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Columns of a layer region.
    pub cols: usize,
    /// Rows of every region.
    pub rows: usize,
    /// Layers of each stage.
    pub stages: Vec<std::ops::Range<usize>>,
    /// Columns of the head region.
    pub head_cols: usize,
    /// Positions that a row can hold.
    pub cap: usize,
    /// Positions that the session can hold.
    pub capacity: usize,
    /// K-tree groups along y.
    pub groups_y: Vec<usize>,
    /// Along x in a layer region.
    pub groups_x: Vec<usize>,
    /// Along x in the head region.
    pub groups_head: Vec<usize>,
    /// Where the regions lie.
    pub floor: Floor,
}

/// What arenas must have room for beside weights and KV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Decode.
    Decode,
    /// Decode, and before it a prefill of one position on each row and each column at once.
    Prefill,
}

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
        let stages = shape.n_layers.div_ceil(per_stage);
        let head_cols = head_cols.map_err(|need| {
            let hint = "use more rows";
            let ledger = [need, 0, 0];
            PlanError::TooSmall { cols, rows, what: "the head on all columns", need, have, hint, ledger }
        })?;
        let (have_cols, have_rows) = (chip.cols as usize, chip.rows as usize);
        let bands = places(head_cols, cols, stages, rows, have_cols).last().map_or(1, |p| p.band + 1);
        let (need, have) = (bands * rows, have_rows);
        if need > have {
            return Err(PlanError::TooTall { cols, rows, head_cols, stages, bands, have_cols, need, have });
        }
        Ok(Self { cols, rows, stages, head_cols, bands, cap })
    }

    /// Lays the ways of the floorplan.
    ///
    /// # Errors
    /// `Colors` when they take more than the chip has; `GroupsBeyond`.
    pub fn finish(self, shape: &ModelShape, chip: &Chip, r: &PlanRequest) -> Result<Plan, PlanError> {
        let Self { cols, rows, stages, head_cols, bands, cap } = self;
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

impl Plan {
    /// Plans `shape` on `chip`, with room for a prefill if this mesh (without one: any mesh) has it, else for decode.
    ///
    /// # Errors
    /// Says what does not fit and by how much.
    pub fn new(shape: &ModelShape, chip: &Chip, r: &PlanRequest) -> Result<Self, PlanError> {
        check(shape, r)?;
        let Some(mesh) = r.mesh else {
            let fastest = |room| search::fastest(shape, chip, r, room);
            return fastest(Room::Prefill).or_else(|_| fastest(Room::Decode));
        };
        let (cols, rows) = on_chip(mesh, chip)?;
        let head_cols = budget::head_cols(shape, chip, rows);
        let sketch = |room| Sketch::new(shape, chip, r, (cols, rows), head_cols, room)?.finish(shape, chip, r);
        sketch(Room::Prefill).or_else(|_| sketch(Room::Decode))
    }

    /// Every mesh worth a thought that holds `shape` on `chip`; the mesh of the request alone, if it names one.
    ///
    /// # Errors
    /// What does not fit, of the last mesh that was tried.
    pub fn sketches(shape: &ModelShape, chip: &Chip, r: &PlanRequest) -> Result<Vec<Sketch>, PlanError> {
        check(shape, r)?;
        let Some((cols, rows)) = r.mesh else { return search::all(shape, chip, r) };
        let (cols, rows) = on_chip((cols, rows), chip)?;
        let head_cols = budget::head_cols(shape, chip, rows);
        Ok(vec![Sketch::new(shape, chip, r, (cols, rows), head_cols, Room::Decode)?])
    }

    /// The trees.
    pub fn trees(&self) -> Trees {
        Trees { y: self.groups_y.clone(), x: self.groups_x.clone(), head: self.groups_head.clone() }
    }

    /// Bytes of tiles on the fullest PE of a stage and of the head, each kind's most.
    pub fn fullest_bytes(&self, shape: &ModelShape, kv_bytes: usize) -> [usize; 2] {
        let sizes = StageSizes::new(shape, self.cols, self.rows, self.cap);
        let layers = self.stages.iter().map(std::ops::Range::len).max().unwrap_or(0);
        let stage = sizes.fixed_bytes() + layers * sizes.layer_bytes(kv_bytes, shape.qkv_bias);
        [stage, budget::head_bytes(shape, self.head_cols, self.rows)]
    }

    /// The plan with the fewest PEs; the mesh of the request does not count.
    ///
    /// # Errors
    /// As `new`.
    pub fn smallest(shape: &ModelShape, chip: &Chip, r: &PlanRequest) -> Result<Self, PlanError> {
        check(shape, r)?;
        search::smallest(shape, chip, r)
    }

    /// PEs of all regions.
    pub fn pes(&self) -> usize {
        self.rows * (self.head_cols + self.cols * self.stages.len())
    }
}

fn on_chip((cols, rows): (u32, u32), chip: &Chip) -> Result<(usize, usize), PlanError> {
    let (cols, rows) = (cols as usize, rows as usize);
    let (have_cols, have_rows) = (chip.cols as usize, chip.rows as usize);
    if cols == 0 || rows == 0 || rows > have_rows || cols > have_cols {
        return Err(PlanError::OffMesh { cols, rows, have_cols, have_rows });
    }
    Ok((cols, rows))
}

fn check(shape: &ModelShape, r: &PlanRequest) -> Result<(), PlanError> {
    budget::check_shape(shape)?;
    let fail = |field, need, found| Err(PlanError::Shape { field, need, found });
    if r.context > SIZE_MAX {
        return fail("context", "at most 2^31", r.context);
    }
    if !(1..=8).contains(&r.k_tree) {
        return fail("k-tree", "1 to 8 levels", r.k_tree);
    }
    if let Some(trees) = r.trees.as_ref().filter(|trees| !trees.are_of(r.k_tree)) {
        let (levels, found) = (r.k_tree, trees.y.len().saturating_sub(1));
        return Err(PlanError::GroupLevels { levels, need: levels - 1, found });
    }
    Ok(())
}

/// Slots of the fullest row.
fn positions_of_a_row(r: &PlanRequest, rows: usize) -> usize {
    match r.concat_prompt {
        None => r.context.div_ceil(rows).max(1),
        Some(prompt) => part(prompt, rows, rows - 1).len().saturating_add(r.context.saturating_sub(prompt).max(1)),
    }
}

/// Group counts of K levels for a line of n: about n^((K-1)/K), .., n^(1/K), 1; two levels by the shortest path.
pub fn groups(n: usize, levels: usize) -> Vec<usize> {
    let mut counts = Vec::new();
    for level in 1..levels {
        let count = (n as f64).powf((levels - level) as f64 / levels as f64).round() as usize;
        counts.push(count.max(1));
    }
    if levels == 2 {
        // Stages on the longest way: half a group, then half the groups; the fewest stages, fewest groups first.
        let stages = |g: usize| n.div_ceil(g) / 2 + g / 2;
        counts[0] = (1..=n).min_by_key(|g| stages(*g)).unwrap_or(1);
    }
    counts.push(1);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_end_in_one_and_have_k_levels() {
        for n in 1..40 {
            for k in 1..4 {
                let g = groups(n, k);
                assert_eq!((g.len(), g[k - 1]), (k, 1), "{n} {k}: {g:?}");
                assert!(g.iter().all(|c| (1..=n.max(1)).contains(c)), "{n} {k}: {g:?}");
            }
        }
        assert_eq!(groups(16, 2), [3, 1]);
    }
}
