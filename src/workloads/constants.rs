//! Fitted constants of the workloads: software costs that no hardware document states, each with its provenance.
//!
//! Hardware constants (alpha, T_R, wavelet and MAC rates) are the chip's. These are what the released kernels and the
//! two baselines spend in software; they are fitted to the calibration cells of `report::published` alone. Some trade
//! off against each other (round against inner k, SiLU against layer), so no single value is hardware truth.
//! Called by `skeleton`, the relays, and `report` for its list of assumptions.

use crate::fabric::Provenance;

use super::relay::RelayCost;
use super::relay::layer::RelayCosts;

/// A constant for people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constant {
    /// Letter of timing.md and name.
    pub name: &'static str,
    /// Value.
    pub value: f64,
    /// Unit.
    pub unit: &'static str,
    /// Where it comes from.
    pub provenance: Provenance,
    /// What it was fitted to, or who states it.
    pub source: &'static str,
}

/// Software costs in cycles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// c_s: a round of exchanges in prefill (tasks, descriptors).
    pub round: u64,
    /// c_k: one k of a GEMM tile (descriptor loads and a launch).
    pub inner_k: f64,
    /// c_e: one element of SiLU in decode.
    pub silu: u64,
    /// Softmax, one position of a row in decode.
    pub softmax: u64,
    /// c_L: a decode layer.
    pub layer: u64,
    /// c_AR: a GEMV call.
    pub gemv_call: u64,
}

/// The values; `CONSTANTS` says where they come from.
pub const COSTS: Costs = Costs { round: 128, inner_k: 38.65, silu: 125, softmax: 10, layer: 2880, gemv_call: 33 };

/// Software of the baselines' relays.
pub const RELAY_COSTS: RelayCosts = RelayCosts {
    t10_block: RelayCost { message: 98.0, word: 2.75 },
    t10_sum: RelayCost { message: 1.7, word: 0.0 },
    ladder_block: RelayCost { message: 560.0, word: 1.8 },
    ladder_gemv: RelayCost { message: 391.0, word: 1.4 },
};

const fn fitted(name: &'static str, value: f64, unit: &'static str, source: &'static str) -> Constant {
    Constant { name, value, unit, provenance: Provenance::Fitted, source }
}

const T10_PREFILL: &str = "Table 3, T10, LLaMA3-8B, three meshes, and QWen2-72B at 600x600";
const LADDER_PREFILL: &str = "Table 3, Ladder, LLaMA3-8B, three meshes, and QWen2-72B at 480x480";
const LADDER_DECODE: &str = "Table 4, Ladder, LLaMA3-8B, three meshes";

/// All of them.
pub const CONSTANTS: [Constant; 13] = [
    fitted("c_s, exchange round", COSTS.round as f64, "cycles", "Table 3, WaferLLM, LLaMA3-8B, three meshes"),
    fitted("c_k, inner k of a GEMM tile", COSTS.inner_k, "cycles", "45 public WSE-3 GEMM runs, not the paper's tables"),
    fitted("c_e, SiLU element", COSTS.silu as f64, "cycles", "Table 4, WaferLLM, LLaMA3-8B, three meshes"),
    Constant {
        name: "softmax, position of a row",
        value: COSTS.softmax as f64,
        unit: "cycles",
        provenance: Provenance::Assumed,
        source: "as the chip's special functions",
    },
    fitted("c_L, decode layer", COSTS.layer as f64, "cycles", "Table 4, WaferLLM, LLaMA3-8B, three meshes"),
    fitted("c_AR, GEMV call", COSTS.gemv_call as f64, "cycles", "Table 6, MeshGEMV 16K on 720x720"),
    fitted("T10, relay of a block", RELAY_COSTS.t10_block.message, "cycles", T10_PREFILL),
    fitted("T10, wavelet of a relayed block", RELAY_COSTS.t10_block.word, "cycles", T10_PREFILL),
    fitted("T10, header of a sum", RELAY_COSTS.t10_sum.message, "cycles", "Table 4, T10, LLaMA3-8B, three meshes"),
    fitted("Ladder, relay of a block", RELAY_COSTS.ladder_block.message, "cycles", LADDER_PREFILL),
    fitted("Ladder, wavelet of a relayed block", RELAY_COSTS.ladder_block.word, "cycles", LADDER_PREFILL),
    fitted("Ladder, relay of a block of W", RELAY_COSTS.ladder_gemv.message, "cycles", LADDER_DECODE),
    fitted("Ladder, wavelet of it", RELAY_COSTS.ladder_gemv.word, "cycles", LADDER_DECODE),
];
