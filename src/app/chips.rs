//! `plummer chips`: every preset with the source of every constant.

use std::fmt::Write as _;

use crate::fabric::Chip;

use super::args::Chips;

/// Lists the presets.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(low: &Chips) -> anyhow::Result<()> {
    let chips: Vec<Chip> = Chip::PRESETS.iter().filter_map(|name| Chip::preset(name)).collect();
    if low.json {
        let text = serde_json::to_string_pretty(&serde_json::json!({ "schema": "plummer.chips.1", "chips": chips }))?;
        return super::print(format!("{text}\n").as_bytes());
    }
    let mut text = String::new();
    for chip in chips {
        writeln!(
            text,
            "{}: {}x{} PEs, {} B each ({} for code), {} of {} colors, {:.2} GHz, alpha {} ramp {} turn {} stage {}, {}/{} cycles a wavelet, lanes of {} bursts, queues of {} wavelets, {} W",
            chip.name,
            chip.cols,
            chip.rows,
            chip.arena_bytes,
            chip.reserved_bytes,
            chip.usable_colors(),
            chip.colors,
            chip.clock_hz / 1e9,
            chip.alpha,
            chip.ramp,
            chip.turn_cycles,
            chip.stage_cycles,
            chip.ser_num,
            chip.ser_den,
            chip.lane_depth,
            chip.queue_wavelets,
            chip.power_watts
        )?;
        for (format, r) in [("f32", chip.f32), ("f16", chip.f16)] {
            writeln!(
                text,
                "  {format}: {} cycles a MAC, {} an element, {} a vector operation, {} a special function ({:?})",
                r.mac, r.element, r.vector, r.special, r.source
            )?;
        }
        chip.sources.iter().try_for_each(|s| writeln!(text, "  - {s}"))?;
    }
    super::print(text.as_bytes())
}
