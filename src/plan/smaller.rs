//! The same work on a mesh so many times smaller: what is too large to be executed in seconds is executed there.
//!
//! Columns, rows, hidden and feed-forward dimensions, heads' dimensions and positions are all so many times less, so
//! every core has tiles of the same size and lines are so many times shorter; a KV head keeps its band of columns. A
//! closed form is computed for both meshes; what the execution takes over its form on the smaller one corrects the form
//! on the larger one.
//!
//! Invariant: `times` = 1 is the mesh itself. Called by `prompt` and `confirm`.

use crate::math::checkpoint::ModelShape;
use crate::placement::Columns;

use super::closed::Mesh;

/// See the module.
#[derive(Clone, Debug)]
pub struct Smaller {
    /// How many times.
    pub times: usize,
    /// Sizes of one layer of the model on it (at 1: of all).
    pub shape: ModelShape,
    /// Columns and rows.
    pub mesh: Mesh,
}

impl Smaller {
    /// The least so many times for which it fits, as it does where one side is one core.
    pub fn fitting(shape: &ModelShape, mesh: Mesh, fits: impl Fn(&Self) -> bool) -> Self {
        let most = mesh.0.max(mesh.1);
        let found = (1..most).map(|times| Self::by(times, shape, mesh)).find(|s| fits(s));
        found.unwrap_or_else(|| Self::by(most, shape, mesh))
    }

    fn by(times: usize, shape: &ModelShape, (cols, rows): Mesh) -> Self {
        if times == 1 {
            return Self { times, shape: shape.clone(), mesh: (cols, rows) };
        }
        let less = |n: usize| n.div_ceil(times).max(1);
        let columns = Columns::new(shape, cols);
        let first = columns.slice(0);
        // Columns of whole bands; whole heads on a column stay whole.
        let (few, n_kv_heads, head_dim) = match first.band.len() {
            1 => (less(cols), less(cols) * first.kv_heads.len(), shape.head_dim),
            band => (less(band) * shape.n_kv_heads, shape.n_kv_heads, 2 * first.pairs.len().max(1) * less(band)),
        };
        let low = less(rows);
        let shape = ModelShape {
            hidden: shape.hidden.div_ceil(rows) * low,
            ffn: shape.ffn.div_ceil(cols) * few,
            n_kv_heads,
            n_heads: n_kv_heads * columns.group,
            head_dim,
            inv_freq: vec![1.0; head_dim / 2],
            n_layers: 1,
            ..shape.clone()
        };
        Self { times, shape, mesh: (few, low) }
    }

    /// So many times less, at least 1.
    pub fn less(&self, n: usize) -> usize {
        n.div_ceil(self.times).max(1)
    }

    /// As a configuration has it.
    pub fn sides(&self) -> Option<(u32, u32)> {
        Some((self.mesh.0 as u32, self.mesh.1 as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sizes::Sizes;

    #[test]
    fn a_smaller_mesh_has_the_same_tiles() {
        for (name, mesh) in [("llama3-8b", (128, 96)), ("llama2-13b", (30, 50)), ("llama2-13b", (400, 160))] {
            let shape = Sizes::preset(name).expect("a preset").config.shape;
            for times in 1..9 {
                let s = Smaller::by(times, &shape, mesh);
                let tiles = |shape: &ModelShape, (cols, rows): Mesh| {
                    let columns = Columns::new(shape, cols);
                    let first = columns.slice(0);
                    let heads = (first.kv_heads.len(), columns.group, first.pairs.len());
                    (shape.hidden.div_ceil(rows), shape.ffn.div_ceil(cols), heads)
                };
                assert_eq!(tiles(&s.shape, s.mesh), tiles(&shape, mesh), "{name} {mesh:?} / {times}");
                assert!(s.mesh.0 <= mesh.0 && s.mesh.1 <= mesh.1);
            }
        }
    }
}
