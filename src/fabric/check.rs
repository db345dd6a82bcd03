//! The values that a chip can have: a range for every field, and what fields must be to each other.
//!
//! Invariant: a chip that passes makes no engine counter overflow and no kernel divide by zero. Called wherever a chip
//! comes from a user.

use super::chip::{Chip, ChipError};

/// Longest message, and so the longest tile, in 32-bit words: the fabric counts them in 16 bits.
pub const TILE_WORDS_MAX: u64 = u16::MAX as u64;
/// Largest arena: ten times the largest of a preset.
const ARENA_BYTES_MAX: u64 = 16 << 20;
const CYCLES_MAX: f64 = 1e6;
/// Least of what is divided by, or what no machine does for nothing: arithmetic, power.
const LEAST: f64 = 1e-6;

impl Chip {
    /// Is every value one that a machine can have?
    ///
    /// # Errors
    /// The first field that is not, with what is needed and what was found.
    pub fn check(&self) -> Result<(), ChipError> {
        if self.name.is_empty() || self.name.chars().any(char::is_control) {
            return Err(self.wrong("name", "characters that can be printed".to_owned(), format!("{:?}", self.name)));
        }
        self.check_ranges()?;
        let arena = self.arena_bytes;
        let words = (arena / 4).min(TILE_WORDS_MAX);
        self.at_most("reserved_bytes", self.reserved_bytes, arena - 1, "less than arena_bytes")?;
        self.at_most("colors_reserved", self.colors_reserved.into(), (self.colors - 1).into(), "less than colors")?;
        self.at_most("queue_wavelets", self.queue_wavelets.into(), words, "the words of an arena or of a message")?;
        self.check_sources()
    }

    fn check_ranges(&self) -> Result<(), ChipError> {
        let whole: [(&str, u64, u64, u64); 18] = [
            ("cols", self.cols.into(), 1, 4096),
            ("rows", self.rows.into(), 1, 4096),
            ("arena_bytes", self.arena_bytes, 1024, ARENA_BYTES_MAX),
            ("colors", self.colors.into(), 1, 128),
            ("lane_depth", self.lane_depth.into(), 1, 64),
            ("alpha", self.alpha.into(), 1, 1000),
            ("ser_num", self.ser_num.into(), 1, 1000),
            ("ser_den", self.ser_den.into(), 1, 1000),
            ("ramp", self.ramp.into(), 0, 1_000_000),
            ("turn_cycles", self.turn_cycles.into(), 0, 1_000_000),
            ("issue_cycles", self.issue_cycles.into(), 0, 1_000_000),
            ("stage_cycles", self.stage_cycles.into(), 0, 1_000_000),
            ("route_write_cycles", self.route_write_cycles.into(), 0, 1_000_000),
            ("host_roundtrip_cycles", self.host_roundtrip_cycles, 0, 1 << 40),
            ("f32.per_wavelet", self.f32.per_wavelet.into(), 1, 1),
            ("f16.per_wavelet", self.f16.per_wavelet.into(), 1, 2),
            ("overheads.exchange", self.overheads.exchange.into(), 0, 1_000_000),
            ("overheads.call", self.overheads.call.into(), 0, 1_000_000),
        ];
        for (field, found, least, most) in whole {
            if !(least..=most).contains(&found) {
                return Err(self.wrong(field, format!("{least} to {most}"), found.to_string()));
            }
        }
        self.at_most("overheads.relay", self.overheads.relay.into(), 1_000_000, "1000000")?;
        for (field, found, least, most) in self.reals() {
            if !(least..=most).contains(&found) {
                return Err(self.wrong(field, format!("{least} to {most}"), found.to_string()));
            }
        }
        Ok(())
    }

    /// Real numbers with their ranges; NaN is in none.
    fn reals(&self) -> Vec<(&'static str, f64, f64, f64)> {
        let (o, e) = (&self.overheads, &self.energy);
        let mut all = vec![("clock_hz", self.clock_hz, 1.0, 1e12), ("power_watts", self.power_watts, LEAST, 1e9)];
        let some = [
            ("f32.mac", self.f32.mac),
            ("f32.element", self.f32.element),
            ("f32.special", self.f32.special),
            ("f16.mac", self.f16.mac),
            ("f16.element", self.f16.element),
            ("f16.special", self.f16.special),
            ("energy.flop", e.flop),
        ];
        all.extend(some.map(|(field, value)| (field, value, LEAST, CYCLES_MAX)));
        let any = [
            ("f32.vector", self.f32.vector),
            ("f32.axpy", self.f32.axpy),
            ("f32.launch", self.f32.launch),
            ("f16.vector", self.f16.vector),
            ("f16.axpy", self.f16.axpy),
            ("f16.launch", self.f16.launch),
            ("overheads.exchange_word", o.exchange_word),
            ("overheads.silu", o.silu),
            ("overheads.layer", o.layer),
            ("overheads.t10_shift", o.t10_shift),
            ("overheads.t10_word", o.t10_word),
            ("overheads.t10_stage", o.t10_stage),
            ("overheads.ladder_get", o.ladder_get),
            ("overheads.ladder_word", o.ladder_word),
            ("energy.sram_read", e.sram_read),
            ("energy.sram_write", e.sram_write),
            ("energy.router", e.router),
            ("energy.wire", e.wire),
            ("energy.pitch", e.pitch),
        ];
        all.extend(any.map(|(field, value)| (field, value, 0.0, CYCLES_MAX)));
        all
    }

    fn at_most(&self, field: &str, found: u64, most: u64, why: &str) -> Result<(), ChipError> {
        if found <= most {
            return Ok(());
        }
        Err(self.wrong(field, format!("at most {most} ({why})"), found.to_string()))
    }

    pub(super) fn wrong(&self, field: &str, need: String, found: String) -> ChipError {
        ChipError::Value { chip: self.name.escape_debug().to_string(), field: field.to_owned(), need, found }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_value_is_named_with_what_is_needed_and_what_was_found() {
        let good = Chip::preset("wse2").unwrap();
        let check = |edit: fn(&mut Chip), says: [&str; 2]| {
            let mut chip = good.clone();
            edit(&mut chip);
            let text = chip.check().unwrap_err().to_string();
            assert!(says.iter().all(|part| text.contains(part)), "{says:?}: {text}");
        };
        check(|c| c.lane_depth = 0, ["`lane_depth`: need 1 to 64", "found 0"]);
        check(|c| c.f16.mac = f64::NAN, ["`f16.mac`: need 0.000001 to 1000000", "found NaN"]);
        check(|c| c.f32.mac = 0.0, ["`f32.mac`: need 0.000001 to 1000000", "found 0"]);
        check(|c| c.f16.element = 0.0, ["`f16.element`: need 0.000001", "found 0"]);
        check(|c| c.f32.special = 0.0, ["`f32.special`: need 0.000001", "found 0"]);
        check(|c| c.power_watts = 0.0, ["`power_watts`: need 0.000001 to 1000000000", "found 0"]);
        check(|c| c.energy.flop = 0.0, ["`energy.flop`: need 0.000001", "found 0"]);
        check(|c| c.clock_hz = 0.0, ["`clock_hz`: need 1 to", "found 0"]);
        check(|c| c.f32.per_wavelet = 2, ["`f32.per_wavelet`: need 1 to 1", "found 2"]);
        check(|c| c.energy.wire = -1.0, ["`energy.wire`", "found -1"]);
        check(|c| c.reserved_bytes = 49_152, ["`reserved_bytes`: need at most 49151", "less than arena_bytes"]);
        check(|c| c.arena_bytes = (16 << 20) + 1, ["`arena_bytes`", "16777216"]);
        check(|c| c.queue_wavelets = 13_000, ["`queue_wavelets`: need at most 12288", "13000"]);
    }
}
