//! How many positions the arenas hold beside a model's weights, by shift and by concat.
//!
//! Shift spreads positions over all rows; concat (the paper's baseline) puts every generated one into the bottom row.
//! Both leave the same arenas, so the ratio is the number of rows: the decode mesh side.
//!
//! Invariant: a capacity is the largest context for which there is a plan on this mesh with these stages. Called by
//! `app` and `report`.

use serde::Serialize;

use crate::fabric::Chip;
use crate::math::checkpoint::ModelShape;
use crate::math::split::largest;

use super::{Plan, PlanRequest};

/// Positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Capacity {
    /// Balanced over the rows.
    pub shift: usize,
    /// All in the bottom row.
    pub concat: usize,
}

impl Capacity {
    /// One line for people.
    pub fn line(&self) -> String {
        let ratio = self.shift / self.concat.max(1);
        format!("{} positions by shift, {} by concat ({ratio}x)", self.shift, self.concat)
    }

    /// Of `mesh` with no more stages than `stages`, whose ways can be laid.
    pub fn of(shape: &ModelShape, chip: &Chip, r: &PlanRequest, mesh: (usize, usize), stages: usize) -> Self {
        let most = |concat_prompt| {
            let fits = |context: usize| {
                let r = PlanRequest { context, concat_prompt, mesh: Some((mesh.0 as u32, mesh.1 as u32)), ..r.clone() };
                Plan::sketches(shape, chip, &r).is_ok_and(|found| found[0].stages <= stages)
            };
            let beyond = (0..30).map(|power| 1 << power).find(|context| !fits(*context)).unwrap_or(1 << 30);
            largest(beyond / 2, beyond - 1, fits)
        };
        let rows = mesh.1;
        // A row that holds a position more holds it in all rows: the last of them is the capacity.
        let shift = most(None);
        Self { shift: shift / rows * rows, concat: most(Some(0)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shift_holds_as_many_times_more_as_there_are_rows() {
        let shape = ModelShape {
            hidden: 64,
            n_layers: 3,
            n_heads: 4,
            n_kv_heads: 2,
            head_dim: 16,
            ffn: 96,
            vocab: 100,
            norm_eps: 1e-5,
            inv_freq: vec![1.0; 8],
            tied: true,
            qkv_bias: false,
        };
        let chip = Chip { arena_bytes: 16 << 10, ..Chip::preset("wse2").expect("a preset") };
        for mesh in [(4, 4), (8, 6), (5, 12)] {
            let r = PlanRequest {
                mesh: None,
                context: 1,
                kv_bytes: 2,
                concat_prompt: None,
                k_tree: 2,
                trees: None,
                straight_colors: 18,
                spread: crate::placement::Spread::default(),
                in_chunks: crate::placement::InChunks::default(),
            };
            let stages = 3;
            let c = Capacity::of(&shape, &chip, &r, mesh, stages);
            assert!(c.concat > 1, "{mesh:?} {c:?}");
            assert_eq!(c.shift, c.concat * mesh.1, "{mesh:?}");
        }
    }
}
