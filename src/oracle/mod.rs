//! What the wafer must compute, computed without a wafer.
//!
//! [`Oracle`] is serial: no actors, links, routes or async. From the plain numbers of a [`Recipe`] it derives slices,
//! tree order and the rows of positions by itself, and must equal every logit of the wafer bit for bit.
//! [`F64Oracle`] knows no mesh at all; it bounds the numerical error of both.
//!
//! Invariant: imports only `units` and `math`; shares no code with placement, kernels or collectives, else it shared
//! their mistakes. Called by tests and by `plummer verify`.

mod f64;
mod ktree;
mod mesh_gemv;
mod serial;
mod slices;
#[cfg(test)]
mod tests;

pub use self::f64::F64Oracle;
pub use mesh_gemv::{GemvRecipe, Sum, mesh_gemv};
pub use serial::{Chunks, Observed, Oracle};

/// Where the positions of a sequence live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvMode {
    /// Rows stay balanced: of n = q R + r positions the bottom r rows hold q + 1, the others q; the oldest on top.
    Shift,
    /// Prompt positions are split over the rows, every later one is on the bottom row.
    Concat {
        /// Positions of the prompt.
        prompt: usize,
    },
}

/// How K and V are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvType {
    /// Rounded to binary16, to nearest even.
    F16,
    /// As they are.
    F32,
}

/// The numbers of a session that decide in which order it adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// Columns of a layer region.
    pub cols: usize,
    /// Rows of every region.
    pub rows: usize,
    /// Columns of the head region.
    pub head_cols: usize,
    /// K-tree group counts along y, from the leaves; the last is 1.
    pub groups_y: Vec<usize>,
    /// The same along x in a layer region.
    pub groups_x: Vec<usize>,
    /// The same along x in the head region.
    pub groups_head: Vec<usize>,
    /// Where positions live.
    pub kv: KvMode,
    /// How K and V are stored.
    pub kv_type: KvType,
}

impl Recipe {
    /// Everything on one PE: no reduction ever crosses a link.
    pub fn one_pe(kv_type: KvType) -> Self {
        Self {
            cols: 1,
            rows: 1,
            head_cols: 1,
            groups_y: vec![1],
            groups_x: vec![1],
            groups_head: vec![1],
            kv: KvMode::Shift,
            kv_type,
        }
    }

    fn check(&self) -> Result<(), RecipeError> {
        for (place, have) in [("cols", self.cols), ("rows", self.rows), ("head_cols", self.head_cols)] {
            if have == 0 {
                return Err(RecipeError::EmptyMesh { place });
            }
        }
        for (place, have) in
            [("groups_y", &self.groups_y), ("groups_x", &self.groups_x), ("groups_head", &self.groups_head)]
        {
            if have.last() != Some(&1) || have.contains(&0) {
                return Err(RecipeError::Groups { place, have: have.clone() });
            }
        }
        Ok(())
    }
}

/// A recipe that describes no mesh or no tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    /// A side of the mesh is zero.
    #[error("recipe: {place} is 0, need at least 1")]
    EmptyMesh {
        /// The field.
        place: &'static str,
    },
    /// A group list is empty, has a zero or does not end in 1.
    #[error("recipe: {place} is {have:?}, need positive group counts that end in 1")]
    Groups {
        /// The field.
        place: &'static str,
        /// Its value.
        have: Vec<usize>,
    },
}
