//! The plan of a session: mesh, stages, head region, trees, floorplan.
//!
//! ```text
//!   | head region | stage 0 | stage 1 | ...       all of them `rows` high, west to east; see `floor` for the bands
//! ```
//! Invariant: byte counts here are those of the largest PE of a region, so what is planned passes the ledger.
//! Invariant: no shape and no request makes a plan panic. Called by `host`; `search` chooses the mesh.

use crate::fabric::Chip;
use crate::math::checkpoint::ModelShape;
use crate::math::split::even_groups;

use super::budget::{self, SIZE_MAX, StageSizes};
use super::error::PlanError;
use super::floor::Floor;
use super::search;
use super::sketch::Sketch;

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
    pub(super) fn beyond(&self, lengths: [usize; 3]) -> Option<(&'static str, usize, usize, usize)> {
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
    /// On more cores than the arenas ask for.
    pub spread: Spread,
    /// Of the prompt, what goes in chunks on these regions, where a mesh is searched for.
    pub in_chunks: InChunks,
}

/// A prompt that goes through the layers in chunks; without positions: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InChunks {
    /// Its length.
    pub positions: usize,
    /// Positions at once, at most; 0: as many as the arenas hold.
    pub at_once: usize,
    /// Tokens that follow.
    pub answer: usize,
}

/// Stages and head columns, at least; 0: as few as the arenas hold. More stages take more tokens at once and longer
/// ways, a wider head is quicker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Spread {
    /// Pipeline stages, at most one a layer.
    pub stages: usize,
    /// Columns of the head region, at most the chip's and one a token of the vocabulary.
    pub head_cols: usize,
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

    /// As `sketches`, each also with more stages and head columns than the arenas ask for.
    ///
    /// # Errors
    /// As `sketches`.
    pub fn candidates(shape: &ModelShape, chip: &Chip, r: &PlanRequest) -> Result<Vec<Sketch>, PlanError> {
        let least = Self::sketches(shape, chip, r)?;
        Ok(least.into_iter().flat_map(|sketch| search::spreads((shape, chip, r), sketch)).collect())
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

/// Group counts of K levels for a line of n: about n^((K-1)/K), .., n^(1/K), 1; two levels by the shortest path.
pub fn groups(n: usize, levels: usize) -> Vec<usize> {
    let mut counts: Vec<usize> = (1..levels).map(|level| even_groups(n, level, levels)).collect();
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
