//! The wafers that come with the crate, and the list of presets. Every constant has its source in the chip's data.
//!
//! Invariant: `wse3` holds what silicon runs say, `wse3-sim` what the vendor's simulator says; they are not mixed, and
//! neither borrows a measured rate of `wse2`. Fits are to the calibration cells alone; `plummer accuracy` shows how far
//! off the rest is.

use super::chip::{Chip, EventEnergy, Overheads, Rates};
use super::others::{blackhole, dojo};
use super::provenance::Provenance::{Assumed, Fitted, Measured, Stated};
use super::provenance::Source;

impl Chip {
    /// Names of the presets.
    pub const PRESETS: [&'static str; 6] = ["wse2", "wse3", "wse3-sim", "dojo", "tenstorrent-blackhole", "bench"];

    /// A chip by name.
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "wse2" => Some(wse2()),
            "wse3" => Some(wse3()),
            "wse3-sim" => Some(wse3_sim()),
            "dojo" => Some(dojo()),
            "tenstorrent-blackhole" => Some(blackhole()),
            "bench" => Some(bench()),
            _ => None,
        }
    }
}

/// Energies of events at 7 nm as MuchiSim (ISPASS'24) has them, with the pitch of a chip.
pub(super) fn muchisim(pitch: f64) -> EventEnergy {
    EventEnergy { sram_read: 5.8, sram_write: 9.1, router: 3.0, wire: 0.15, flop: 30.0, pitch }
}

fn muchisim_sources() -> Source {
    Source::new("energy", Stated, "MuchiSim (ISPASS'24), a 7 nm model; the vendor has published no energy of an event")
}

/// Of a chip that MuchiSim was not made for.
pub(super) fn muchisim_borrowed() -> Source {
    Source::new("energy", Assumed, "no number of this chip is published; MuchiSim's 7 nm model, as for wse2")
}

pub(super) fn wse2() -> Chip {
    Chip {
        name: "wse2".to_owned(),
        cols: 750,
        rows: 994,
        arena_bytes: 49_152,
        reserved_bytes: 8_192,
        colors: 24,
        colors_reserved: 3,
        lane_depth: 2,
        queue_wavelets: 8,
        clock_hz: 1.1e9,
        alpha: 1,
        ramp: 2,
        turn_cycles: 0,
        ser_num: 1,
        ser_den: 1,
        issue_cycles: 0,
        stage_cycles: 1,
        route_write_cycles: 10,
        host_roundtrip_cycles: 220_000,
        power_watts: 15_000.0,
        f32: Rates { mac: 1.0, element: 1.0, per_wavelet: 1, ..wse2_f16() },
        f16: wse2_f16(),
        overheads: Overheads {
            exchange: 130,
            exchange_word: 0.0,
            call: 34,
            relay: 8,
            silu: 137.0,
            layer: 2775.0,
            t10_shift: 104.0,
            t10_word: 3.75,
            t10_stage: 14.65,
            ladder_get: 424.5,
            ladder_word: 2.1,
        },
        energy: muchisim(0.195),
        sources: wse2_sources(),
    }
}

fn wse2_f16() -> Rates {
    Rates { mac: 0.5, element: 0.5, vector: 2.19, axpy: 2.19, launch: 38.65, special: 10.0, per_wavelet: 2 }
}

fn wse2_sources() -> Vec<Source> {
    vec![
        Source::new("cols rows", Stated, "usable fabric of the vendor's SDK"),
        Source::new("arena_bytes", Stated, "48 KB, Hot Chips 34"),
        Source::new("reserved_bytes", Assumed, "small kernels; released decode kernels take about 26 KiB"),
        Source::new("colors colors_reserved", Stated, "SDK documentation: 24, of which memcpy keeps 21-23"),
        Source::new("lane_depth queue_wavelets", Assumed, "in the range of the SDK's queue depths of 2 to 6 wavelets"),
        Source::new("clock_hz", Stated, "Hot Chips 34 and WaferLLM; the SDK's examples say 0.85 GHz"),
        Source::new("alpha ramp stage_cycles ser_num ser_den", Stated, "Luczynski et al., HPDC'24"),
        Source::new("turn_cycles route_write_cycles", Assumed, "no published number"),
        Source::new("issue_cycles", Assumed, "part of T_R in HPDC'24's model"),
        Source::new("host_roundtrip_cycles", Stated, "about 200 us a blocking transaction, SDK notes, at 1.1 GHz"),
        Source::new("power_watts", Stated, "WaferLLM's energy method"),
        Source::new("f16.mac", Stated, "WaferLLM's kernels: 2 MAC a cycle of a SIMD 4 wide"),
        Source::new("f16.axpy f16.launch", Fitted, "45 public GEMM runs on WSE-3; fixed before any fit to WSE-2"),
        Source::new("f16.per_wavelet f32.per_wavelet", Stated, "32-bit wavelets: two f16 in the SDK's fabric SIMD"),
        Source::new("f16.element", Assumed, "as a multiply-add"),
        Source::new("f16.vector", Assumed, "as an AXPY"),
        Source::new("f16.special f32.special", Assumed, "no published number"),
        Source::new("f32", Assumed, "no f32 run is published: half the f16 rate, the same overheads"),
        Source::new("overheads.exchange", Fitted, "WaferLLM Table 3, LLaMA3-8B prefill at 480, 600 and 720"),
        Source::new("overheads.exchange_word", Assumed, "no published number; exchange holds what there is of it"),
        Source::new("overheads.call", Fitted, "WaferLLM Table 6, GEMV of 16K by 16K, 720x720 taken as its mesh"),
        Source::new("overheads.relay", Fitted, "t10_stage less what a message of one wavelet takes by the rules"),
        Source::new("overheads.silu overheads.layer", Fitted, "WaferLLM Table 4, LLaMA3-8B decode at 420, 540 and 660"),
        Source::new("overheads.t10_shift overheads.t10_word", Fitted, "Table 3, T10: LLaMA3-8B, and QWen2-72B at 600"),
        Source::new("overheads.t10_stage", Fitted, "Table 4, T10: LLaMA3-8B"),
        Source::new(
            "overheads.ladder_get overheads.ladder_word",
            Fitted,
            "Tables 3 and 4, Ladder: LLaMA3-8B, and QWen2-72B prefill at 480",
        ),
        muchisim_sources(),
        Source::new("energy.pitch", Stated, "root of 38,000 square micrometres a core, Hot Chips 34"),
    ]
}

/// What silicon runs of WSE-3 say.
fn wse3() -> Chip {
    Chip {
        name: "wse3".to_owned(),
        cols: 755,
        rows: 1170,
        alpha: 2,
        turn_cycles: 20,
        ser_num: 9,
        ser_den: 8,
        stage_cycles: 7,
        power_watts: 23_000.0,
        f32: Rates { mac: 2.0, element: 0.41, per_wavelet: 1, ..wse3_f16() },
        f16: wse3_f16(),
        overheads: Overheads { exchange: 75, call: 90, ..Overheads::default() },
        sources: wse3_sources(),
        ..wse2()
    }
}

fn wse3_f16() -> Rates {
    Rates { mac: 0.167, element: 0.207, vector: 16.0, axpy: 2.19, launch: 38.65, special: 10.0, per_wavelet: 2 }
}

/// What both WSE-3 presets share.
fn wse3_common() -> Vec<Source> {
    vec![
        Source::new("cols rows", Stated, "usable fabric of the vendor's SDK"),
        Source::new("arena_bytes", Stated, "49,152 B, of which the memcpy library leaves 44,976"),
        Source::new("reserved_bytes", Assumed, "small kernels; real decode kernels take 26 KiB"),
        Source::new("colors colors_reserved", Stated, "24, of which memcpy keeps 21-23"),
        Source::new("lane_depth queue_wavelets", Assumed, "in the range of the SDK's queue depths of 4 to 8 wavelets"),
        Source::new("clock_hz", Assumed, "as WSE-2's; disputed between 0.75 and 1.1 GHz"),
        Source::new("ramp", Assumed, "as WSE-2's (HPDC'24)"),
        Source::new("route_write_cycles", Assumed, "no published number"),
        Source::new("host_roundtrip_cycles", Stated, "about 200 us a blocking transaction, SDK notes, at 1.1 GHz"),
        Source::new("power_watts", Stated, "vendor: about 23 kW"),
        Source::new("f16.special f32.special", Assumed, "no published number"),
        Source::new("f16.per_wavelet f32.per_wavelet", Stated, "32-bit wavelets: two f16 in the SDK's fabric SIMD"),
        Source::new("f16.launch f32.launch", Fitted, "45 public GEMM runs in f16 on CS-3"),
        muchisim_borrowed(),
    ]
}

fn wse3_sources() -> Vec<Source> {
    let own = [
        Source::new("alpha", Measured, "two independent silicon studies"),
        Source::new("turn_cycles ser_num ser_den", Measured, "third-party silicon study: 20, and 1.125 a wavelet"),
        Source::new("issue_cycles", Assumed, "part of overheads"),
        Source::new(
            "stage_cycles overheads.call",
            Fitted,
            "MeshGEMV on CS-3: the 7 calibration points, one element a core",
        ),
        Source::new("f16.axpy f32.axpy", Fitted, "45 public GEMM runs in f16 on CS-3"),
        Source::new("f16.mac overheads.exchange", Fitted, "MeshGEMM on CS-3: the 6 calibration points"),
        Source::new("f32.mac", Measured, "third-party silicon study: 0.5 FMA a cycle"),
        Source::new("f16.element f32.element", Measured, "third-party silicon study: copies of 4.82 and 2.44 a cycle"),
        Source::new("f16.vector f32.vector", Measured, "third-party silicon study: set-up of 16"),
        Source::new("overheads", Assumed, "no silicon run says more than 0"),
    ];
    wse3_common().into_iter().chain(own).collect()
}

/// What the vendor's simulator says of WSE-3: 1.4 to 1.7 times optimistic on memory-bound vector operations.
fn wse3_sim() -> Chip {
    let f16 =
        Rates { mac: 0.25, element: 0.125, vector: 16.0, axpy: 3.08, launch: 38.65, special: 10.0, per_wavelet: 2 };
    Chip {
        name: "wse3-sim".to_owned(),
        turn_cycles: 33,
        ser_num: 1,
        ser_den: 1,
        issue_cycles: 5,
        stage_cycles: 1,
        f32: Rates { mac: 2.0, element: 0.25, per_wavelet: 1, ..f16 },
        f16,
        overheads: Overheads { exchange: 72, exchange_word: 0.56, call: 319, relay: 4, ..Overheads::default() },
        sources: wse3_sim_sources(),
        ..wse3()
    }
}

fn wse3_sim_sources() -> Vec<Source> {
    let own = [
        Source::new("alpha turn_cycles ser_num ser_den", Measured, "simulator runs: 2, 33, and 1 a wavelet"),
        Source::new("stage_cycles", Assumed, "as WSE-2's (HPDC'24)"),
        Source::new("issue_cycles", Fitted, "simulator runs: 7 from dispatch to the first wavelet, less T_R"),
        Source::new("f16.mac f32.mac", Measured, "simulator runs: 4.0 and 0.5 FMA a cycle"),
        Source::new("f16.element f32.element", Measured, "simulator runs: copies of 8.0 and 4.0 a cycle"),
        Source::new("f16.vector f32.vector", Measured, "simulator runs: set-up of 16"),
        Source::new(
            "f16.axpy f32.axpy overheads.exchange overheads.exchange_word",
            Fitted,
            "simulator runs of MeshGEMM, P = 3, without products (L0) and with one a step (L1)",
        ),
        Source::new(
            "overheads.call",
            Fitted,
            "simulator runs of a GEMV tile: 358 before its first product, less launch",
        ),
        Source::new("overheads.relay", Fitted, "simulator runs of store and forward: 16.1 a stage beside the words"),
        Source::new("overheads", Assumed, "no simulator run says more than 0"),
    ];
    wse3_common().into_iter().chain(own).collect()
}

fn bench() -> Chip {
    let mut chip = Chip {
        name: "bench".to_owned(),
        cols: 1000,
        rows: 850,
        queue_wavelets: 16, // the burst of the engine's benchmarks is by value
        ..wse2()
    };
    chip.sources.retain(|s| !s.of.iter().any(|name| name == "cols" || name == "lane_depth"));
    chip.sources.push(Source::new(
        "cols rows lane_depth queue_wavelets",
        Assumed,
        "synthetic: no such chip; rest as wse2",
    ));
    chip
}
