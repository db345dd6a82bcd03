//! `plummer chips`: which chips are known, with the source of every constant.
//!
//! Invariant: prints what `fabric::Chip` says, and nothing of its own. Called by the command.

use anyhow::{Context as _, Result};

use crate::fabric::Chip;

/// The text of `plummer chips`: all presets for people, or one as a chip file.
pub fn text(name: Option<&str>) -> Result<String> {
    match name {
        None => Ok(list()),
        Some(name) => Ok(toml::to_string(&Chip::preset(name).context("no such preset")?)?),
    }
}

fn list() -> String {
    let mut text = String::new();
    for chip in Chip::PRESETS.iter().filter_map(|name| Chip::preset(name)) {
        text += &format!(
            "{}: {}x{} cores, {} bytes each ({} reserved), {} colors ({} reserved), {:.0} MHz, {} W\n",
            chip.name,
            chip.cols,
            chip.rows,
            chip.arena_bytes,
            chip.reserved_bytes,
            chip.colors,
            chip.colors_reserved,
            chip.clock_hz / 1e6,
            chip.power_watts
        );
        for source in &chip.sources {
            text += &format!("  {source}\n");
        }
    }
    text
}
