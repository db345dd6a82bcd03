//! `waferllm-skeleton`: a layer as the WaferLLM paper timed it, as a list of operations.  (timing.md; waferllm.md 3, 4)
//!
//! Padded tiles, K and V of full width, one head, no mask, no lm_head, nothing fused: a performance skeleton, whose
//! time is multiplied by the number of layers. Not the LLaMA that writes text: `plummer generate` runs that.
//! Paper numerics: f16 storage, transport (two a wavelet) and accumulation.
//!
//! Decode: `decode`, with the graphs that it is compared with.
//! Prefill, 9 products in 11.5 P rounds: 5 are preceded by floor(P / 2) alignment rounds of the left operand (Q, AV, O,
//! up, down; K, V and gate find it aligned, the score needs none); norms and softmax are single-root chains.
//! Left out of prefill, as in the formula that explains the paper's tables: the row reductions of Q K^T (GEMM-T), which
//! the ring product stands for (64x64 PEs, 8x8 tiles: GEMM-T takes 1.11 of MeshGEMM, so about 1 % of a layer).
//!
//! Invariant: a list depends on shapes alone. Called by `report` and tests.

use crate::fabric::Chip;
use crate::kernels::Numerics;
use crate::kernels::gemm::product_cycles;
use crate::math::gemm::Dims;
use crate::units::Cycles;

use super::line::{Axis, Op, Program};
use super::shape::{Tiles, groups_of};

/// Chip, mesh side and tiles of a layer.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// Rates.
    pub chip: &'a Chip,
    /// Side of the mesh.
    pub p: usize,
    /// Tiles.
    pub tiles: Tiles,
}

impl Layer<'_> {
    fn words(&self, elements: usize) -> u32 {
        Numerics::Paper.travel_words(self.chip, elements) as u32
    }

    /// Sum of `elements` f16 along an axis.
    pub fn sum(&self, axis: Axis, elements: usize) -> Op {
        Op::Allreduce { axis, words: self.words(elements) }
    }

    /// A GEMV tile inside a layer, whose constant holds the launches.
    pub fn gemv(&self, k: usize, n: usize) -> Op {
        let rates = &self.chip.f16;
        Op::Compute(Cycles((k as f64 * (rates.axpy + n as f64 * rates.mac)).ceil() as u64))
    }

    /// One GEMV as timed alone: call, launch, product, sum along y.
    pub fn mesh_gemv(&self, n: usize) -> Program {
        let call = Cycles(u64::from(self.chip.overheads.call));
        let ops = vec![Op::Compute(call + self.chip.f16.gemv(n, n)), self.sum(Axis::Y, n)];
        self.program(vec![groups_of(self.p), 1], ops)
    }

    /// One GEMM as timed alone: alignment and product.
    pub fn mesh_gemm(&self, size: Dims) -> Program {
        self.program(vec![1], vec![self.align(size.m, size.k), self.product(size)])
    }

    fn program(&self, groups: Vec<usize>, ops: Vec<Op>) -> Program {
        let groups = [groups.clone(), groups];
        Program { cols: self.p, rows: self.p, groups, ops }
    }

    /// One prefill layer as measured by the paper.
    pub fn prefill(&self) -> Program {
        let Tiles { d, f, s } = self.tiles;
        let norm = self.sum(Axis::X, s);
        let align = |k| self.align(s, k);
        let product = |k, n| self.product(Dims { m: s, k, n });
        let ops = [
            vec![norm, align(d), product(d, d), product(d, d), product(d, d)],
            vec![product(d, s), norm, norm],
            vec![align(s), product(s, d), align(d), product(d, d)],
            vec![norm, align(d), product(d, f), product(d, f)],
            vec![align(f), product(f, d)],
        ];
        self.program(vec![1], ops.concat())
    }

    /// The left operand's way into alignment: every row runs all rounds.
    fn align(&self, m: usize, k: usize) -> Op {
        let (rounds, round) = ((self.p / 2) as u32, Cycles(u64::from(self.chip.overheads.exchange)));
        Op::Shift { rounds, words: [self.words(m * k), 0], product: Cycles::ZERO, round }
    }

    /// A product on the rings, with the move that brings both operands home.
    fn product(&self, size: Dims) -> Op {
        Op::Shift {
            rounds: self.p as u32,
            words: [self.words(size.m * size.k), self.words(size.k * size.n)],
            product: product_cycles(&self.chip.f16, size),
            round: Cycles(u64::from(self.chip.overheads.exchange)),
        }
    }
}
