//! The chips that come with the crate. Every constant has its source on its line.

use super::chip::{Chip, Provenance, Rates};

impl Chip {
    /// Names of the presets.
    pub const PRESETS: [&'static str; 3] = ["wse2", "wse3", "bench"];

    /// A chip by name.
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "wse2" => Some(wse2()),
            "wse3" => Some(wse3()),
            "bench" => Some(bench()),
            _ => None,
        }
    }
}

fn sources(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|s| (*s).to_owned()).collect()
}

fn wse2() -> Chip {
    Chip {
        name: "wse2".to_owned(),
        cols: 750,             // stated: usable fabric of the vendor's SDK
        rows: 994,             // stated: same
        arena_bytes: 49_152,   // stated: 48 KB, Hot Chips 34
        reserved_bytes: 8_192, // assumed: small kernels; released decode kernels take about 26 KiB
        colors: 24,            // stated: SDK documentation
        colors_reserved: 3,    // stated: 21-23 belong to memcpy
        lane_depth: 2,         // assumed: bursts a lane; queues hold 2-6 wavelets
        queue_wavelets: 8,     // assumed: in the range of the SDK's queue depths, in + out
        clock_hz: 1.1e9,       // stated: Hot Chips 34, WaferLLM
        alpha: 1,              // stated: Luczynski et al., HPDC'24
        ramp: 2,               // stated: HPDC'24
        turn_cycles: 0,        // assumed: no cost published for this chip
        ser_num: 1,            // stated: 1 wavelet a cycle and direction
        ser_den: 1,            // stated: same
        issue_cycles: 0,       // assumed: part of T_R in HPDC'24's model
        stage_cycles: 1,       // stated: the + 1 of 2 T_R + 1, HPDC'24
        f32: Rates { mac: 1.0, element: 1.0, vector: 2.19, special: 10.0, per_wavelet: 1, source: Provenance::Assumed },
        f16: Rates { mac: 0.5, element: 0.5, vector: 2.19, special: 10.0, per_wavelet: 2, source: Provenance::Fitted },
        route_write_cycles: 10,         // assumed: no published number
        host_roundtrip_cycles: 220_000, // stated: about 200 us a blocking transaction, SDK notes, at 1.1 GHz
        power_watts: 15_000.0,          // stated: WaferLLM's energy method
        sources: sources(&[
            "cols, rows: stated, usable fabric of the vendor's SDK",
            "arena_bytes: stated, Hot Chips 34",
            "reserved_bytes: assumed (released decode kernels take about 26 KiB)",
            "colors, colors_reserved: stated, SDK documentation (21 usable)",
            "lane_depth, queue_wavelets: assumed, in the range of the SDK's queue depths",
            "clock_hz: stated, Hot Chips 34",
            "alpha, ramp, stage_cycles, ser: stated, Luczynski et al., HPDC'24",
            "turn_cycles, issue_cycles, route_write_cycles: assumed, no published number",
            "f16.mac 0.5: fitted, WaferLLM's kernels (2 MAC a cycle); vector 2.19: fitted to 45 public GEMM runs",
            "f32 rates: assumed, half of f16; f16.element 0.5 (adds): assumed, as MACs; special: assumed 10 cycles",
            "f16.per_wavelet 2: stated, two f16 a wavelet in the SDK's fabric SIMD (f32: one, its width)",
            "host_roundtrip_cycles: stated, about 200 us a blocking transaction",
            "power_watts: stated, WaferLLM's energy method",
        ]),
    }
}

fn wse3() -> Chip {
    Chip {
        name: "wse3".to_owned(),
        cols: 755,             // stated: usable fabric of the vendor's SDK
        rows: 1170,            // stated: same
        colors_reserved: 3,    // stated: memcpy; LAUNCH is not needed
        alpha: 2,              // stated: two independent silicon studies
        turn_cycles: 20,       // stated: third-party silicon study
        ser_num: 9,            // stated: 1.125 cycles a wavelet, third-party silicon study
        ser_den: 8,            // stated: same
        power_watts: 23_000.0, // stated: vendor
        f32: Rates { mac: 2.0, element: 0.41, vector: 16.0, special: 10.0, per_wavelet: 1, source: Provenance::Stated },
        f16: Rates {
            mac: 0.342,
            element: 0.207,
            vector: 16.0,
            special: 10.0,
            per_wavelet: 2,
            source: Provenance::Stated,
        },
        sources: sources(&[
            "cols, rows: stated, usable fabric of the vendor's SDK",
            "arena_bytes: stated, vendor",
            "reserved_bytes, lane_depth, queue_wavelets, issue_cycles, route_write_cycles, special: assumed",
            "clock_hz: stated, disputed between 0.75 and 1.1 GHz",
            "alpha 2, ser 9/8, turn 20: stated, third-party silicon studies",
            "ramp 2, stage 1: stated for WSE-2 (HPDC'24), assumed here",
            "f32 mac 2.0 (0.5 FMA a cycle), f16 mac 0.342 (2.92 a cycle): stated, silicon study",
            "f32 and f16 copies 2.44 and 4.82 a cycle, vector set-up 16: stated, silicon study",
            "f16.per_wavelet 2: stated, a 32-bit wavelet carries two f16 in the SDK's fabric SIMD",
            "power_watts: stated, vendor",
            "host_roundtrip_cycles: stated, about 200 us a blocking transaction",
        ]),
        ..wse2()
    }
}

fn bench() -> Chip {
    Chip {
        name: "bench".to_owned(),
        cols: 1000,         // synthetic
        rows: 850,          // synthetic
        queue_wavelets: 16, // synthetic: the burst of the engine's benchmarks is by value
        sources: sources(&["everything: assumed; a synthetic 1000x850 mesh with the other constants of wse2"]),
        ..wse2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_sound_and_survive_toml() {
        for name in Chip::PRESETS {
            let chip = Chip::preset(name).unwrap();
            chip.check().unwrap();
            let text = toml::to_string(&chip).unwrap();
            assert_eq!(toml::from_str::<Chip>(&text).unwrap(), chip);
        }
    }

    #[test]
    fn a_bad_value_is_named() {
        let chip = Chip { lane_depth: 0, ..wse2() };
        let error = chip.check().unwrap_err().to_string();
        assert!(error.contains("lane_depth") && error.contains('0'), "{error}");
        assert!(Chip { arena_bytes: 262_140, ..wse2() }.check().is_ok(), "65,535 words");
        let error = Chip { arena_bytes: 262_144, ..wse2() }.check().unwrap_err().to_string();
        assert!(error.contains("arena_bytes") && error.contains("262144"), "{error}");
    }
}
