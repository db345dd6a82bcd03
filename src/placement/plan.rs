//! The plan of a session: mesh, stages, head region, trees; and the search for the smallest mesh that fits.
//!
//! ```text
//!   | head region | stage 0 | stage 1 | ... | last stage |      all of them `rows` high, west to east
//! ```
//! Invariant: byte counts here are those of the largest PE of a region, so what is planned passes the ledger.

use crate::fabric::Chip;
use crate::math::checkpoint::ModelShape;
use crate::math::split::part;

use super::columns::Columns;

/// What is asked of a plan.
#[derive(Clone, Copy, Debug)]
pub struct PlanRequest {
    /// Columns and rows of a layer region; `None` searches for the fewest PEs.
    pub mesh: Option<(u32, u32)>,
    /// Positions to provide for.
    pub context: usize,
    /// Bytes of a stored K or V element.
    pub kv_bytes: usize,
    /// All generated positions go to one row (`concat`), after `prompt` distributed ones.
    pub concat_prompt: Option<usize>,
    /// Levels of the K-trees.
    pub k_tree: usize,
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
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A mesh of this size cannot hold one layer, or the head.
    #[error("mesh {cols}x{rows}: {what} needs {need} B on its fullest PE, an arena has {have} B for tiles ({hint})")]
    TooSmall { cols: usize, rows: usize, what: &'static str, need: usize, have: usize, hint: &'static str },
    /// The regions side by side are wider than the wafer.
    #[error("mesh {cols}x{rows}: head region and {stages} stages are {width} columns wide, the chip has {have}")]
    TooWide { cols: usize, rows: usize, stages: usize, width: usize, have: usize },
    /// More rows than the chip has, or a zero.
    #[error("mesh {cols}x{rows}: need at least 1x1 and at most the chip's {have_cols}x{have_rows}")]
    OffMesh { cols: usize, rows: usize, have_cols: usize, have_rows: usize },
    /// No mesh fits.
    #[error("no mesh holds this model with {context} positions on chip {chip}: {last}")]
    NoMesh { context: usize, chip: String, last: Box<PlanError> },
}

/// Bytes of a tile on the 16-byte grid.
fn grid(bytes: usize) -> usize {
    bytes.next_multiple_of(16)
}

impl Plan {
    /// Plans `shape` on `chip`.
    ///
    /// # Errors
    /// Says what does not fit and by how much.
    pub fn new(shape: &ModelShape, chip: &Chip, r: &PlanRequest) -> Result<Self, PlanError> {
        if let Some((cols, rows)) = r.mesh {
            return Self::on_mesh(shape, chip, r, cols as usize, rows as usize);
        }
        let mut best: Option<(usize, Self)> = None;
        let mut last = None;
        for rows in 1..=96.min(chip.rows as usize) {
            for cols in 1..=64.min(chip.cols as usize) {
                match Self::on_mesh(shape, chip, r, cols, rows) {
                    Ok(plan) => {
                        let pes = plan.pes();
                        if best.as_ref().is_none_or(|b| pes < b.0) {
                            best = Some((pes, plan));
                        }
                    }
                    Err(error) => last = Some(error),
                }
            }
        }
        match (best, last) {
            (Some((_, plan)), _) => Ok(plan),
            (None, Some(last)) => {
                Err(PlanError::NoMesh { context: r.context, chip: chip.name.clone(), last: Box::new(last) })
            }
            (None, None) => Err(PlanError::OffMesh { cols: 0, rows: 0, have_cols: 0, have_rows: 0 }),
        }
    }

    /// PEs in use.
    pub fn pes(&self) -> usize {
        self.rows * (self.head_cols + self.cols * self.stages.len())
    }

    /// Columns in use.
    pub fn width(&self) -> usize {
        self.head_cols + self.cols * self.stages.len()
    }

    fn on_mesh(shape: &ModelShape, chip: &Chip, r: &PlanRequest, cols: usize, rows: usize) -> Result<Self, PlanError> {
        let (have_cols, have_rows) = (chip.cols as usize, chip.rows as usize);
        if cols == 0 || rows == 0 || rows > have_rows || cols > have_cols {
            return Err(PlanError::OffMesh { cols, rows, have_cols, have_rows });
        }
        let have = (chip.arena_bytes - chip.reserved_bytes) as usize;
        let cap = match r.concat_prompt {
            None => r.context.div_ceil(rows).max(1),
            Some(prompt) => part(prompt, rows, rows - 1).len() + r.context.saturating_sub(prompt).max(1),
        };
        let fixed = stage_fixed_bytes(shape, cols, rows, cap);
        let layer = layer_bytes(shape, cols, rows, cap, r.kv_bytes);
        if fixed + layer > have {
            let hint = "use more columns or rows, or a smaller -c";
            return Err(PlanError::TooSmall { cols, rows, what: "one layer", need: fixed + layer, have, hint });
        }
        let per_stage = ((have - fixed) / layer).min(shape.n_layers);
        let n_stages = shape.n_layers.div_ceil(per_stage);
        let stages: Vec<_> = (0..n_stages).map(|s| part(shape.n_layers, n_stages, s)).collect();
        let head_cols = head_cols(shape, chip, rows, have).ok_or(PlanError::TooSmall {
            cols,
            rows,
            what: "the head",
            need: have + 1,
            have,
            hint: "use more rows",
        })?;
        let plan = Self {
            cols,
            rows,
            stages,
            head_cols,
            cap,
            capacity: if r.concat_prompt.is_some() { r.context } else { cap * rows },
            groups_y: groups(rows, r.k_tree),
            groups_x: groups(cols, r.k_tree),
            groups_head: groups(head_cols, r.k_tree),
        };
        if plan.width() > have_cols {
            let width = plan.width();
            return Err(PlanError::TooWide { cols, rows, stages: n_stages, width, have: have_cols });
        }
        Ok(plan)
    }
}

/// Group counts of K levels for a line of n: about n^((K-1)/K), .., n^(1/K), 1; two levels by the shortest path.
fn groups(n: usize, levels: usize) -> Vec<usize> {
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

/// Largest column's counts: (query heads, KV heads, local dims of a head).
fn head_counts(shape: &ModelShape, cols: usize) -> (usize, usize, usize) {
    let columns = Columns::new(shape, cols);
    (0..cols).fold((0, 0, 0), |(q, kv, d), c| {
        let s = columns.slice(c);
        (q.max(s.kv_heads.len() * columns.group), kv.max(s.kv_heads.len()), d.max(2 * s.pairs.len()))
    })
}

/// Tiles that a stage PE has once.
fn stage_fixed_bytes(shape: &ModelShape, cols: usize, rows: usize, cap: usize) -> usize {
    let (q, kv, d) = head_counts(shape, cols);
    let (h, f) = (shape.hidden.div_ceil(rows), shape.ffn.div_ceil(cols));
    let wide = ((q + 2 * kv) * d + 1).max(2 * f + 1);
    let words = [h, h, h, wide, f, q * cap, q * d, q, q, kv * d * 2, kv * d * 2, d, d];
    words.iter().map(|w| grid(w * 4)).sum()
}

/// Tiles that a stage PE has per layer.
fn layer_bytes(shape: &ModelShape, cols: usize, rows: usize, cap: usize, kv_bytes: usize) -> usize {
    let (q, kv, d) = head_counts(shape, cols);
    let (h, f) = (shape.hidden.div_ceil(rows), shape.ffn.div_ceil(cols));
    let qkv = (q + 2 * kv) * d;
    let weights = grid(2 * h * qkv) + grid(2 * q * d * h) + grid(2 * h * 2 * f) + grid(2 * f * h);
    let vectors = 2 * grid(4 * h) + if shape.qkv_bias { grid(4 * qkv) } else { 0 };
    weights + vectors + 2 * grid(kv * d * cap * kv_bytes)
}

/// The fewest head columns whose arenas hold the tables.
fn head_cols(shape: &ModelShape, chip: &Chip, rows: usize, have: usize) -> Option<usize> {
    let h = shape.hidden.div_ceil(rows);
    let tables = if shape.tied { 1 } else { 2 };
    (1..=shape.vocab.min(chip.cols as usize)).find(|cols| {
        let v = shape.vocab.div_ceil(*cols);
        tables * grid(2 * h * v) + 3 * grid(4 * h) + grid(4 * (v + 1)) + 4 * 16 <= have
    })
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
