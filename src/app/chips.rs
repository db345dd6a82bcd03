//! `plummer chips`: which chips are known, with the source of every constant.
//!
//! Invariant: prints what `fabric::Chip` says, and nothing of its own. Called by the command; `open` by all that run.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::energy::CrossCheck;
use crate::fabric::Chip;

/// The text of `plummer chips`: all presets for people, or one chip (a preset or a file) as a chip file; with `json`
/// the fields of such a file, of one or of all of them.
pub fn text(name: Option<&str>, json: bool) -> Result<String> {
    match (name, json) {
        (None, false) => Ok(list()),
        (Some(name), false) => Ok(open(name)?.to_toml()),
        (None, true) => Ok(serde_json::to_string(&presets().collect::<Vec<_>>())? + "\n"),
        (Some(name), true) => Ok(serde_json::to_string(&open(name)?)? + "\n"),
    }
}

fn presets() -> impl Iterator<Item = Chip> {
    Chip::PRESETS.iter().filter_map(|name| Chip::preset(name))
}

/// The chip that `--chip` names. A file that kept a preset's name and changed its values is not reported as the preset.
pub fn open(name: &str) -> Result<Chip> {
    if let Some(chip) = Chip::preset(name) {
        return Ok(chip);
    }
    if !Path::new(name).is_file() {
        bail!("chip `{name}`: neither a file nor one of {}", Chip::PRESETS.join(", "));
    }
    super::files::reads(Path::new(name)).with_context(|| format!("chip `{name}`"))?;
    let mut chip = Chip::from_toml_file(Path::new(name))?;
    if Chip::preset(&chip.name).is_some_and(|preset| preset != chip) {
        chip.name = format!("{} ({name})", chip.name);
    }
    Ok(chip)
}

/// Every preset as a PLMR parameter set, with what is unknown of it.
fn list() -> String {
    let mut text = String::new();
    for chip in presets() {
        describe(&mut text, &chip);
        text.push('\n');
    }
    text + "plummer chips NAME prints one with units and sources, as a file for --chip to be edited.\n"
}

fn describe(out: &mut String, chip: &Chip) {
    let link = f64::from(chip.ser_den) / f64::from(chip.ser_num);
    let (alpha, ramp) = (chip.provenance("alpha"), chip.provenance("ramp"));
    let _ = writeln!(out, "{}", chip.name);
    let cores = chip.cores();
    let _ = writeln!(out, "  P  {}x{} cores = {cores} ({})", chip.cols, chip.rows, chip.provenance("cols"));
    let (a, r) = (chip.alpha, chip.ramp);
    let _ = writeln!(
        out,
        "  L  {a} cycles a hop ({alpha}), {r} to and from a router ({ramp}), {link:.3} wavelets a cycle a link"
    );
    let (arena, reserved) = (chip.arena_bytes, chip.reserved_bytes);
    let _ = writeln!(out, "  M  {arena} bytes a core ({}), {reserved} reserved", chip.provenance("arena_bytes"));
    let (usable, of) = (chip.usable_colors(), chip.colors);
    let _ = writeln!(out, "  R  {usable} of {of} colors usable ({})", chip.provenance("colors"));
    let mac = |name: &str, mac: f64| {
        format!("{:.2} MAC a cycle in {name} ({})", 1.0 / mac, chip.provenance(&format!("{name}.mac")))
    };
    let _ = writeln!(out, "     {}, {}", mac("f16", chip.f16.mac), mac("f32", chip.f32.mac));
    let (clock, power) = (chip.clock_hz / 1e6, chip.power_watts);
    let _ = writeln!(
        out,
        "     {clock:.0} MHz ({}), {power} W ({})",
        chip.provenance("clock_hz"),
        chip.provenance("power_watts")
    );
    let energy = CrossCheck::of(chip);
    let (power, events, share) = (energy.by_power, energy.by_events, 100.0 * energy.busy_share());
    let known = chip.provenance("energy.flop");
    let _ = writeln!(
        out,
        "     {power:.1} pJ a core and cycle by power; {events:.1} by events while it multiplies in f16 ({share:.0} %; \
         {known})"
    );
    let _ = writeln!(out, "  unknown, assumed: {}", chip.assumed().join(", "));
}
