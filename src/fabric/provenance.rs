//! Where a chip's constants come from, by field; and a chip as a TOML file that states its units.
//!
//! Invariant: a constant that no source names is assumed, and everything assumed can be listed.
//! Called by reports (`assumed`), by `plummer chips`, and by the check of a chip file.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::chip::{Chip, ChipError};

/// How well a constant is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provenance {
    /// Stated by the vendor or in a publication.
    Stated,
    /// Measured by others, on silicon or (`wse3-sim`) in the vendor's simulator.
    Measured,
    /// Fitted to published measurements.
    Fitted,
    /// Unknown: nobody has published it.
    Assumed,
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stated => "stated",
            Self::Measured => "measured",
            Self::Fitted => "fitted",
            Self::Assumed => "unknown, assumed",
        })
    }
}

/// Where some constants come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Fields (`alpha`, `f16.mac`) or groups of them (`f16`); where two sources name a field, the longer name holds.
    pub of: Vec<String>,
    /// How well they are known.
    pub is: Provenance,
    /// Where from.
    pub from: String,
}

impl Source {
    /// A source of the fields in `of`, separated by spaces.
    pub(super) fn new(of: &str, is: Provenance, from: &str) -> Self {
        Self { of: of.split_whitespace().map(str::to_owned).collect(), is, from: from.to_owned() }
    }
}

/// Every constant with its unit, in the order of the file.
pub const FIELDS: [(&str, &str); 49] = [
    ("cols", "cores"),
    ("rows", "cores"),
    ("arena_bytes", "bytes a core"),
    ("reserved_bytes", "bytes of the arena for code and stack"),
    ("colors", "colors of a router"),
    ("colors_reserved", "colors that the system keeps"),
    ("lane_depth", "bursts a lane"),
    ("queue_wavelets", "wavelets (32 bits) buffered by value"),
    ("clock_hz", "Hz"),
    ("alpha", "cycles a hop"),
    ("ramp", "cycles between core and router"),
    ("turn_cycles", "cycles more at a turn"),
    ("ser_num", "cycles"),
    ("ser_den", "wavelets in ser_num cycles, a link and direction"),
    ("issue_cycles", "cycles a send"),
    ("stage_cycles", "cycles a receive or combine"),
    ("route_write_cycles", "cycles a route"),
    ("host_roundtrip_cycles", "cycles"),
    ("power_watts", "W, the whole chip"),
    ("f32.mac", "cycles a multiply-add in an AXPY"),
    ("f32.element", "cycles an element"),
    ("f32.vector", "cycles a vector operation on its own"),
    ("f32.axpy", "cycles an AXPY of a running loop"),
    ("f32.launch", "cycles a loop of AXPYs"),
    ("f32.special", "cycles an exp, reciprocal, root, sine or cosine"),
    ("f32.per_wavelet", "elements a wavelet"),
    ("f16.mac", "cycles a multiply-add in an AXPY"),
    ("f16.element", "cycles an element"),
    ("f16.vector", "cycles a vector operation on its own"),
    ("f16.axpy", "cycles an AXPY of a running loop"),
    ("f16.launch", "cycles a loop of AXPYs"),
    ("f16.special", "cycles an exp, reciprocal, root, sine or cosine"),
    ("f16.per_wavelet", "elements a wavelet"),
    ("overheads.exchange", "cycles a round of asynchronous exchange"),
    ("overheads.call", "cycles a GEMV with its allreduce"),
    ("overheads.relay", "cycles a message that a core passes on"),
    ("overheads.silu", "cycles an element of the published SiLU"),
    ("overheads.layer", "cycles a layer of the published decode"),
    ("overheads.t10_shift", "cycles a core and shift, T10 prefill"),
    ("overheads.t10_word", "cycles a core and word, T10 prefill"),
    ("overheads.t10_stage", "cycles a relayed stage, T10 decode"),
    ("overheads.ladder_get", "cycles a core and get, Ladder"),
    ("overheads.ladder_word", "cycles a core and word, Ladder"),
    ("energy.sram_read", "pJ a word"),
    ("energy.sram_write", "pJ a word"),
    ("energy.router", "pJ a wavelet and router"),
    ("energy.wire", "pJ a bit and mm"),
    ("energy.flop", "pJ a floating-point operation"),
    ("energy.pitch", "mm between neighbours"),
];

/// Is `name` the field, or a group that holds it?
fn names(name: &str, field: &str) -> bool {
    field == name || field.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
}

impl Chip {
    /// The source of a field, if one is given.
    pub fn source(&self, field: &str) -> Option<&Source> {
        let length = |s: &Source| s.of.iter().filter(|n| names(n, field)).map(String::len).max();
        self.sources.iter().filter(|s| length(s).is_some()).max_by_key(|s| length(s))
    }

    /// How well a field is known, or the least known field of a group.
    pub fn provenance(&self, name: &str) -> Provenance {
        let fields = FIELDS.iter().filter(|f| names(name, f.0));
        fields.map(|f| self.source(f.0).map_or(Provenance::Assumed, |s| s.is)).max().unwrap_or(Provenance::Assumed)
    }

    /// Fields that nobody has published, in the order of the file; a group whose every field is so (the
    /// width of a wavelet aside) by its own name.
    pub fn assumed(&self) -> Vec<&'static str> {
        let unknown = |field: &str| self.provenance(field) == Provenance::Assumed;
        let mut found: Vec<&'static str> = Vec::new();
        for (field, _) in FIELDS.iter().filter(|f| unknown(f.0)) {
            let group = field.split_once('.').map_or(*field, |(group, _)| group);
            let rates = FIELDS.iter().filter(|f| names(group, f.0) && !f.0.ends_with(".per_wavelet"));
            let whole = rates.into_iter().all(|f| unknown(f.0));
            let name = if whole { group } else { *field };
            if found.last() != Some(&name) {
                found.push(name);
            }
        }
        found
    }

    /// The chip as a TOML file, each constant under its unit.
    pub fn to_toml(&self) -> String {
        // A chip has no value that TOML lacks: strings, numbers, tables.
        let plain = toml::to_string_pretty(self).unwrap_or_default();
        let (mut text, mut group) = (String::new(), String::new());
        for line in plain.lines() {
            if let Some(name) = line.strip_prefix('[') {
                group = name.trim_matches(['[', ']']).to_owned() + ".";
            }
            let key = group.clone() + line.split(" = ").next().unwrap_or_default();
            if let Some((_, unit)) = FIELDS.iter().find(|f| f.0 == key) {
                text += &format!("# {unit}\n");
            }
            text += line;
            text.push('\n');
        }
        text
    }

    pub(super) fn check_sources(&self) -> Result<(), ChipError> {
        for name in self.sources.iter().flat_map(|s| &s.of) {
            if !FIELDS.iter().any(|f| names(name, f.0)) {
                return Err(self.wrong("sources.of", "a field of the chip".to_owned(), format!("`{name}`")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dotted names of the leaves of a TOML table.
    fn leaves(table: &toml::Table, prefix: &str, out: &mut Vec<String>) {
        for (key, value) in table.iter().filter(|e| !["name", "sources"].contains(&e.0.as_str())) {
            match value {
                toml::Value::Table(inner) => leaves(inner, &format!("{prefix}{key}."), out),
                _ => out.push(format!("{prefix}{key}")),
            }
        }
    }

    #[test]
    fn every_constant_of_every_preset_has_a_unit_and_a_source() {
        for name in Chip::PRESETS {
            let chip = Chip::preset(name).unwrap();
            chip.check().unwrap();
            let mut found = Vec::new();
            leaves(&toml::Table::try_from(&chip).unwrap(), "", &mut found);
            found.sort();
            let mut listed: Vec<String> = FIELDS.iter().map(|f| f.0.to_owned()).collect();
            listed.sort();
            assert_eq!(found, listed);
            for (field, _) in FIELDS {
                assert!(chip.source(field).is_some_and(|s| !s.from.is_empty()), "{name}: {field} has no source");
            }
        }
    }

    #[test]
    fn a_printed_chip_reads_back_and_states_its_units() {
        for name in Chip::PRESETS {
            let chip = Chip::preset(name).unwrap();
            let text = chip.to_toml();
            assert_eq!(toml::from_str::<Chip>(&text).unwrap(), chip);
            let units = text.lines().filter(|l| l.starts_with("# ")).count();
            assert_eq!(units, FIELDS.len(), "{name}");
        }
    }

    #[test]
    fn the_longest_name_holds_and_what_nothing_names_is_assumed() {
        let mut chip = Chip::preset("wse2").unwrap();
        chip.sources = vec![
            Source::new("f16 alpha", Provenance::Stated, "a"),
            Source::new("f16.special", Provenance::Assumed, "b"),
        ];
        assert_eq!(chip.provenance("f16.mac"), Provenance::Stated);
        assert_eq!(chip.provenance("f16"), Provenance::Assumed);
        let assumed = chip.assumed();
        assert!(assumed.contains(&"f16.special") && assumed.contains(&"f32") && assumed.contains(&"cols"));
        assert!(!assumed.contains(&"alpha") && !assumed.contains(&"f16.mac"));
        chip.sources.push(Source::new("bandwidth", Provenance::Stated, "c"));
        assert!(chip.check().unwrap_err().to_string().contains("`bandwidth`"));
    }
}
