//! `plummer chips`: which chips are known, with the source of every constant.
//!
//! Invariant: prints what `fabric::Chip` says, and nothing of its own. Called by the command; `open` by all that run.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::fabric::Chip;

/// The text of `plummer chips`: all presets for people, or one as a chip file.
pub fn text(name: Option<&str>) -> Result<String> {
    match name {
        None => Ok(list()),
        Some(name) => Ok(toml::to_string_pretty(&Chip::preset(name).context("no such preset")?)?),
    }
}

/// The chip that `--chip` names. A file that kept a preset's name and changed its values is not reported as the preset.
pub fn open(name: &str) -> Result<Chip> {
    if let Some(chip) = Chip::preset(name) {
        return Ok(chip);
    }
    if !Path::new(name).is_file() {
        bail!("--chip {name}: neither a file nor one of {}", Chip::PRESETS.join(", "));
    }
    let mut chip = Chip::from_toml_file(Path::new(name))?;
    if Chip::preset(&chip.name).is_some_and(|preset| preset != chip) {
        chip.name = format!("{} ({name})", chip.name);
    }
    Ok(chip)
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
