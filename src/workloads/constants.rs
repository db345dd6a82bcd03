//! Fitted constants of the workloads: software costs that no hardware document states, each with its provenance.
//!
//! Hardware constants (alpha, T_R, wavelet and MAC rates) are the chip's. These are what the released kernels and the
//! two baselines spend in software; they are fitted to the calibration cells of `report::published` alone. Some trade
//! off against each other (round against inner k, SiLU against layer), so no single value is hardware truth.
//! Called by `skeleton`, the relays, and `report` for its list of assumptions.

use crate::fabric::Provenance;

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
pub const COSTS: Costs = Costs { round: 136, inner_k: 38.65, silu: 125, softmax: 10, layer: 2850, gemv_call: 35 };

const fn fitted(name: &'static str, value: f64, unit: &'static str, source: &'static str) -> Constant {
    Constant { name, value, unit, provenance: Provenance::Fitted, source }
}

/// All of them.
pub const CONSTANTS: [Constant; 6] = [
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
];
