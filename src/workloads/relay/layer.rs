//! A layer of the skeleton by T10 and by Ladder: the sum of its operations, each from equal clocks.
//!
//! Prefill: the nine products. Decode: T10's nine local products and thirteen relayed sums; Ladder's nine products with
//! their loads. Of WaferLLM's own software neither rounds nor SiLU nor the layer constant is charged to the baselines:
//! their constants were fitted to their own rows of the tables.
//!
//! Invariant: closed forms, equal to execution at small P (`tests/kernels/relays.rs`). Called by `report`.

use crate::fabric::Chip;
use crate::math::gemm::Dims;
use crate::workloads::shape::Tiles;

use super::gemm::RelayGemm;
use super::gemv::RelayGemv;
use super::{Policy, RelayCost};

/// Software of both systems' relays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RelayCosts {
    /// T10: a block on its way across a line.
    pub t10_block: RelayCost,
    /// T10: the header of a sum.
    pub t10_sum: RelayCost,
    /// Ladder: a block of a product of matrices from its owner.
    pub ladder_block: RelayCost,
    /// Ladder: a block of W in a product with a vector.
    pub ladder_gemv: RelayCost,
}

impl RelayCosts {
    /// What the chip's published constants leave for software: a published constant is cycles per core of a line; from
    /// it go what a message takes by the chip's rules, and what else the program sends per core. Ladder's fetches in a
    /// product of matrices go over 3/4 of a line on average.
    pub fn of(chip: &Chip) -> Self {
        let (t, o) = (chip.timing(), &chip.overheads);
        let ser = f64::from(t.ser_num) / f64::from(t.ser_den);
        let message = f64::from(2 * t.ramp + t.alpha + t.issue + t.stage);
        let chain = message + f64::from(t.alpha); // Ladder's sum: a stage and a hop of the broadcast
        let relay = |message: f64, word: f64| RelayCost { message: message.max(0.0), word: word.max(0.0) };
        Self {
            t10_block: relay(o.t10_shift - message, o.t10_word - ser),
            t10_sum: relay(o.t10_stage - 2.0 * message - ser, 0.0),
            ladder_block: relay(o.ladder_get / 0.75 - message, o.ladder_word / 0.75 - ser),
            ladder_gemv: relay(o.ladder_get - message - chain, o.ladder_word - ser),
        }
    }
}

/// A layer on a mesh.
#[derive(Clone, Copy, Debug)]
pub struct RelayLayer<'a> {
    /// Rates.
    pub chip: &'a Chip,
    /// System.
    pub policy: Policy,
    /// Side of the mesh.
    pub p: usize,
    /// Tiles.
    pub tiles: Tiles,
}

impl RelayLayer<'_> {
    /// Cycles of a prefill layer.
    pub fn prefill_cycles(&self) -> u64 {
        let Tiles { d, f, s } = self.tiles;
        let costs = RelayCosts::of(self.chip);
        let relay = if self.policy == Policy::T10 { costs.t10_block } else { costs.ladder_block };
        let product = |times: u64, k, n| {
            let block = Dims { m: s, k, n };
            let (policy, p, chip) = (self.policy, self.p, self.chip.clone());
            times * RelayGemm { policy, p, block, relay, chip }.closed_form_cycles()
        };
        // Q, K, V, O; Q K^T; S V; up, gate; down.
        product(4, d, d) + product(1, d, s) + product(1, s, d) + product(2, d, f) + product(1, f, d)
    }

    /// Cycles of a decode layer.
    pub fn decode_cycles(&self) -> u64 {
        let Tiles { d, f, s } = self.tiles;
        let costs = RelayCosts::of(self.chip);
        let relay = if self.policy == Policy::T10 { costs.t10_sum } else { costs.ladder_gemv };
        let gemv = |k, n| RelayGemv { policy: self.policy, p: self.p, k, n, relay, chip: self.chip.clone() };
        let product = |times: u64, k, n| times * gemv(k, n).closed_form_cycles();
        // Q, K, V, O; score; A V; up, gate; down.
        let products = product(4, d, d) + product(1, d, s) + product(1, s, d) + product(2, d, f) + product(1, f, d);
        match self.policy {
            Policy::Ladder => products,
            // Two norms, max and sum beside the nine sums of the products.
            Policy::T10 => products + 4 * gemv(0, 1).closed_form_cycles(),
        }
    }
}
