//! Meshes of other vendors as PLMR parameter sets: what is public of them, in the terms of this machine.
//!
//! They have no colors and no routes that software sets: packets carry addresses. So a kernel that runs here says what
//! its data movement would take on links of that latency and width, not how it would be programmed there.
//! Invariant: what their vendors do not publish is marked assumed.

use super::chip::{Chip, Overheads, Rates};
use super::presets::{muchisim, muchisim_borrowed, wse2};
use super::provenance::Provenance::{Assumed, Stated};
use super::provenance::Source;

const NO_COLORS: &str = "no such thing there: packets are routed by address; as wse2, so that its kernels fit";
const UNPUBLISHED: &str = "no published number; as wse2";

/// One Tesla D1 die of a Dojo tile.
pub(super) fn dojo() -> Chip {
    let f16 = Rates {
        mac: 1.0 / 256.0,
        element: 0.0625,
        vector: 10.0,
        axpy: 2.0,
        launch: 10.0,
        special: 10.0,
        per_wavelet: 2,
    };
    Chip {
        name: "dojo".to_owned(),
        cols: 18,
        rows: 19,
        arena_bytes: 1_250_000,
        clock_hz: 2.0e9,
        ser_num: 1,
        ser_den: 64,
        host_roundtrip_cycles: 400_000,
        power_watts: 400.0,
        f32: Rates { mac: 0.0625, per_wavelet: 1, ..f16 },
        f16,
        overheads: Overheads::default(),
        energy: muchisim(1.35),
        sources: vec![
            Source::new(
                "cols rows",
                Assumed,
                "354 nodes on a D1 die are stated; the largest full rectangle of 18 columns",
            ),
            Source::new("arena_bytes", Stated, "1.25 MB a node, Hot Chips 34"),
            Source::new("reserved_bytes lane_depth queue_wavelets", Assumed, UNPUBLISHED),
            Source::new("colors colors_reserved", Assumed, NO_COLORS),
            Source::new("clock_hz", Stated, "2 GHz, Hot Chips 34"),
            Source::new("ser_num ser_den", Stated, "512 GB/s in each direction (AI Day 2021) at 2 GHz"),
            Source::new("alpha ramp turn_cycles issue_cycles stage_cycles route_write_cycles", Assumed, UNPUBLISHED),
            Source::new("host_roundtrip_cycles", Assumed, "200 us, as the wafers'"),
            Source::new("power_watts", Stated, "400 W a D1 die, AI Day 2021"),
            Source::new("f16.mac", Stated, "362 TFLOPS in BF16 of 354 nodes at 2 GHz: a peak"),
            Source::new("f32.mac", Stated, "22.6 TFLOPS in FP32 of 354 nodes at 2 GHz: a peak"),
            Source::new("f16 f32", Assumed, "no published number"),
            Source::new("overheads", Assumed, "no published number: 0"),
            muchisim_borrowed(),
            Source::new("energy.pitch", Stated, "root of 645 square millimetres a die over 354 nodes"),
        ],
        ..wse2()
    }
}

/// Tenstorrent Blackhole, the full chip.
pub(super) fn blackhole() -> Chip {
    let f16 = Rates {
        mac: 1.0 / 1024.0,
        element: 1.0 / 32.0,
        vector: 10.0,
        axpy: 2.0,
        launch: 10.0,
        special: 10.0,
        per_wavelet: 2,
    };
    Chip {
        name: "tenstorrent-blackhole".to_owned(),
        cols: 14,
        rows: 10,
        arena_bytes: 1_572_864,
        reserved_bytes: 73_728,
        clock_hz: 1.35e9,
        alpha: 9,
        ramp: 5,
        ser_num: 1,
        ser_den: 16,
        host_roundtrip_cycles: 270_000,
        power_watts: 300.0,
        f32: Rates { mac: 1.0 / 32.0, per_wavelet: 1, ..f16 },
        f16,
        overheads: Overheads::default(),
        energy: muchisim(2.07),
        sources: vec![
            Source::new("cols rows", Stated, "14x10 Tensix tiles, vendor's programming guide; a p100 has 120 of them"),
            Source::new("arena_bytes reserved_bytes", Stated, "1536 KiB of L1, 1464 KB of it usable: vendor's guide"),
            Source::new("lane_depth queue_wavelets", Assumed, UNPUBLISHED),
            Source::new("colors colors_reserved", Assumed, NO_COLORS),
            Source::new("clock_hz", Stated, "up to 1.35 GHz, vendor's card specification"),
            Source::new(
                "alpha ramp",
                Stated,
                "public ISA documentation: 9 from router to router, about 5 to and from one",
            ),
            Source::new("ser_num ser_den", Stated, "public ISA documentation: a flit of 64 bytes a cycle"),
            Source::new("turn_cycles issue_cycles stage_cycles route_write_cycles", Assumed, UNPUBLISHED),
            Source::new("host_roundtrip_cycles", Assumed, "200 us, as the wafers'"),
            Source::new("power_watts", Stated, "300 W, the whole card, vendor's specification"),
            Source::new("f16.mac", Assumed, "third-party 332 TFLOPS in BF16 of 120 tiles at 1.35 GHz: a peak"),
            Source::new(
                "f32.mac f16.element f32.element",
                Assumed,
                "32 lanes of the vector unit, one operation each a cycle",
            ),
            Source::new("f16 f32", Assumed, "no published number"),
            Source::new("overheads", Assumed, "no published number: 0"),
            muchisim_borrowed(),
            Source::new("energy.pitch", Assumed, "about 600 square millimetres a chip over 140 tiles"),
        ],
        ..wse2()
    }
}
