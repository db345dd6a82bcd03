//! GEMV on a mesh, serially: the order of operations of `kernels::gemv` in plain loops.
//!
//! Core (px, py) multiplies x[blk(py)] by W[blk(py), blk(px)], k ascending, each step one fused multiply-add; then the
//! rows of a column are summed:
//!
//! ```text
//!   tree       see `ktree`
//!   chain      v1 + v0, then v2 + that, ..                                 down to the last row
//!   ring       segment s (of the tile's transport words): v[s+1] + v[s], then v[s+2] + that, ..   along the ring
//! ```
//!
//! Invariant: derived from this text, not from the kernels that it checks. Called by tests and examples.

use half::f16;

use crate::math::binary16::fma_f16;
use crate::math::fma::fma;
use crate::math::split::{part, split};

use super::ktree::{self, ktree};

/// The order in which the rows of a column are summed.
#[derive(Clone, Debug)]
pub enum Sum {
    /// Group counts of a K-tree.
    Tree(Vec<usize>),
    /// One after the other.
    Chain,
    /// Rows in the order of the ring.
    Ring(Vec<usize>),
}

/// Plain numbers of a product r = x W.
#[derive(Clone, Debug)]
pub struct GemvRecipe {
    /// Columns of the mesh.
    pub cols: usize,
    /// Rows of the mesh.
    pub rows: usize,
    /// Length of r.
    pub n: usize,
    /// Order of the sum.
    pub sum: Sum,
    /// f16 for everything; else f32.
    pub half: bool,
    /// Elements of a transport word.
    pub per_word: usize,
}

/// r = x W; `w(k, n)` gives f16 bits.
pub fn mesh_gemv(r: &GemvRecipe, x: &[f32], w: &dyn Fn(usize, usize) -> u16) -> Vec<f32> {
    let mut out = Vec::with_capacity(r.n);
    for columns in split(r.n, r.cols) {
        let partial = |rows: std::ops::Range<usize>| -> Vec<f32> {
            columns
                .clone()
                .map(|n| if r.half { dot_half(x, w, rows.clone(), n) } else { dot(x, w, rows.clone(), n) })
                .collect()
        };
        let members: Vec<Vec<f32>> = split(x.len(), r.rows).map(partial).collect();
        out.extend(reduce(r, members));
    }
    out
}

fn dot(x: &[f32], w: &dyn Fn(usize, usize) -> u16, rows: std::ops::Range<usize>, n: usize) -> f32 {
    rows.fold(0.0, |acc, k| fma(x[k], f16::from_bits(w(k, n)).to_f32(), acc))
}

fn dot_half(x: &[f32], w: &dyn Fn(usize, usize) -> u16, rows: std::ops::Range<usize>, n: usize) -> f32 {
    let step = |acc, k: usize| fma_f16(f16::from_f32(x[k]), f16::from_bits(w(k, n)), acc);
    rows.fold(f16::ZERO, step).to_f32()
}

fn reduce(r: &GemvRecipe, members: Vec<Vec<f32>>) -> Vec<f32> {
    let add: ktree::Combine = if r.half { |acc: f32, v: f32| f16::from_f32(acc + v).to_f32() } else { ktree::add };
    match &r.sum {
        Sum::Tree(groups) => ktree(members, groups, add),
        Sum::Chain => {
            let mut sides = members.into_iter();
            let first = sides.next().unwrap_or_default();
            sides.fold(first, |acc, own| own.iter().zip(&acc).map(|(own, acc)| add(*own, *acc)).collect())
        }
        Sum::Ring(order) => {
            let width = members[0].len();
            let words = width.div_ceil(r.per_word);
            let segment_of = |word: usize| (0..r.rows).find(|&s| part(words, r.rows, s).contains(&word)).unwrap_or(0);
            let at = |i: usize| {
                let first = segment_of(i / r.per_word);
                let member = |step: usize| members[order[(first + step) % r.rows]][i];
                (1..r.rows).fold(member(0), |acc, step| add(member(step), acc))
            };
            (0..width).map(at).collect()
        }
    }
}
