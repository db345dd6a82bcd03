//! A chip is data: mesh, arena, colors, clock, link and arithmetic rates, power; each with where it comes from.
//!
//! Invariant: nothing else in the crate knows a chip by name; a user's TOML file can say all that a preset says.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::link::Timing;
use crate::units::{Bytes, Cycles};

/// Where a constant comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provenance {
    /// Measured on silicon or stated by the vendor.
    Stated,
    /// Fitted to published measurements.
    Fitted,
    /// Nobody has published it.
    Assumed,
}

/// Arithmetic rates of a compute element for one number format.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Cycles per multiply-accumulate inside a vector operation.
    pub mac: f64,
    /// Cycles per other element-wise operation (add, multiply, compare, convert).
    pub element: f64,
    /// Cycles to set up one vector operation (an AXPY, an element-wise pass).
    pub vector: f64,
    /// Cycles per value of exp, reciprocal, root, sine or cosine.
    pub special: f64,
    /// Elements that one wavelet carries (and a streaming add takes in at link rate).
    #[serde(default = "one")]
    pub per_wavelet: u32,
    /// Where the rates come from.
    pub source: Provenance,
}

fn one() -> u32 {
    1
}

impl Rates {
    /// Cycles of a GEMV tile of `k x n`: k AXPYs of length n.
    pub fn gemv(&self, k: usize, n: usize) -> Cycles {
        Cycles((k as f64 * (self.vector + n as f64 * self.mac)).ceil() as u64)
    }

    /// Cycles of one element-wise pass over n values.
    pub fn elementwise(&self, n: usize) -> Cycles {
        Cycles((self.vector + n as f64 * self.element).ceil() as u64)
    }

    /// Cycles of n special functions in one pass.
    pub fn special(&self, n: usize) -> Cycles {
        Cycles((self.vector + n as f64 * self.special).ceil() as u64)
    }
}

/// Largest arena of a chip file: the words of the longest message, a tile that fills it, are counted in 16 bits.
const ARENA_BYTES_MAX: u64 = 4 * u16::MAX as u64;

/// A chip. Cycles are of its clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chip {
    /// Name in reports.
    pub name: String,
    /// Columns of the usable fabric.
    pub cols: u32,
    /// Rows.
    pub rows: u32,
    /// Address space of a PE.
    pub arena_bytes: u64,
    /// Code and stack in it.
    pub reserved_bytes: u64,
    /// Routable colors.
    pub colors: u32,
    /// Colors that the system keeps.
    pub colors_reserved: u32,
    /// Bursts that a lane holds.
    pub lane_depth: u8,
    /// Longest burst buffered by value, in wavelets.
    pub queue_wavelets: u32,
    /// Hz.
    pub clock_hz: f64,
    /// Cycles a hop.
    pub alpha: u32,
    /// Cycles between compute element and router (T_R).
    pub ramp: u32,
    /// Extra cycles at a turn.
    pub turn_cycles: u32,
    /// Cycles per wavelet, numerator.
    pub ser_num: u32,
    /// Cycles per wavelet, denominator.
    pub ser_den: u32,
    /// Cycles to issue a send.
    pub issue_cycles: u32,
    /// The `+ 1` of a dependent stage.
    pub stage_cycles: u32,
    /// Rates in f32 (products of 16-bit weights and f32 activations).
    pub f32: Rates,
    /// Rates in f16.
    pub f16: Rates,
    /// Cycles to write one route between launches.
    pub route_write_cycles: u32,
    /// Cycles of a round trip to the host (sampling there).
    pub host_roundtrip_cycles: u64,
    /// Power of the whole chip, watts.
    pub power_watts: f64,
    /// One line a constant (or group): `name: stated | fitted | assumed, source`.
    pub sources: Vec<String>,
}

/// Why a chip file is refused.
#[derive(Debug, thiserror::Error)]
pub enum ChipError {
    /// Cannot be read.
    #[error("chip file {path}: {error}")]
    Read { path: String, error: std::io::Error },
    /// Not TOML, or a field is missing, unknown or of the wrong type.
    #[error("chip file {path}: {error}")]
    Parse { path: String, error: Box<toml::de::Error> },
    /// A value in it that no machine can have.
    #[error("chip file {path}: {error}")]
    File { path: String, error: Box<ChipError> },
    /// A value that no machine can have.
    #[error("chip `{chip}`, field `{field}`: need {need}, found {found}")]
    Value { chip: String, field: &'static str, need: &'static str, found: String },
}

impl Chip {
    /// Reads a chip from a TOML file.
    ///
    /// # Errors
    /// Names the file, the field, what was needed and what was found.
    pub fn from_toml_file(path: &Path) -> Result<Self, ChipError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| ChipError::Read { path: shown.clone(), error })?;
        Self::from_toml(&shown, &text)
    }

    /// Reads a chip from the text of the file `path`.
    ///
    /// # Errors
    /// As `from_toml_file`.
    pub fn from_toml(path: &str, text: &str) -> Result<Self, ChipError> {
        let parse = |error| ChipError::Parse { path: path.to_owned(), error: Box::new(error) };
        let chip: Self = toml::from_str(text).map_err(parse)?;
        match chip.check() {
            Ok(()) => Ok(chip),
            Err(error) => Err(ChipError::File { path: path.to_owned(), error: Box::new(error) }),
        }
    }

    /// Is every value one that a machine can have?
    ///
    /// # Errors
    /// The first field that is not.
    pub fn check(&self) -> Result<(), ChipError> {
        let rates = [&self.f32, &self.f16];
        let mut values = rates.iter().flat_map(|r| [r.mac, r.element, r.vector, r.special]);
        let finite = values.all(|v| (0.0..1e6).contains(&v));
        let delays = [self.ramp, self.turn_cycles, self.issue_cycles, self.stage_cycles, self.route_write_cycles];
        let checks: [(&'static str, bool, &'static str, String); 16] = [
            ("cols", (1..=4096).contains(&self.cols), "1 to 4096", self.cols.to_string()),
            ("rows", (1..=4096).contains(&self.rows), "1 to 4096", self.rows.to_string()),
            (
                "arena_bytes",
                (1024..=ARENA_BYTES_MAX).contains(&self.arena_bytes),
                "1024 to 262140 (a message is a tile at most, and its words are counted in 16 bits)",
                self.arena_bytes.to_string(),
            ),
            (
                "reserved_bytes",
                self.reserved_bytes < self.arena_bytes,
                "less than arena_bytes",
                self.reserved_bytes.to_string(),
            ),
            ("colors", (1..=128).contains(&self.colors), "1 to 128", self.colors.to_string()),
            (
                "colors_reserved",
                self.colors_reserved < self.colors,
                "less than colors",
                self.colors_reserved.to_string(),
            ),
            ("lane_depth", (1..=64).contains(&self.lane_depth), "1 to 64", self.lane_depth.to_string()),
            ("clock_hz", self.clock_hz > 0.0 && self.clock_hz < 1e12, "above 0", self.clock_hz.to_string()),
            ("alpha", (1..=1000).contains(&self.alpha), "1 to 1000", self.alpha.to_string()),
            (
                "ser_num / ser_den",
                (1..=1000).contains(&self.ser_num) && (1..=1000).contains(&self.ser_den),
                "1 to 1000 each",
                format!("{} / {}", self.ser_num, self.ser_den),
            ),
            (
                "ramp, turn_cycles, issue_cycles, stage_cycles, route_write_cycles",
                delays.iter().all(|d| *d <= 1_000_000),
                "0 to 1000000 each",
                format!("{delays:?}"),
            ),
            (
                "queue_wavelets",
                u64::from(self.queue_wavelets) <= self.arena_bytes / 4,
                "at most the words of an arena",
                self.queue_wavelets.to_string(),
            ),
            (
                "host_roundtrip_cycles",
                self.host_roundtrip_cycles <= 1 << 40,
                "at most 2^40",
                self.host_roundtrip_cycles.to_string(),
            ),
            ("power_watts", (0.0..1e9).contains(&self.power_watts), "0 to 1e9", self.power_watts.to_string()),
            (
                "per_wavelet",
                self.f32.per_wavelet == 1 && (1..=2).contains(&self.f16.per_wavelet),
                "1 in f32, 1 or 2 in f16",
                format!("{} and {}", self.f32.per_wavelet, self.f16.per_wavelet),
            ),
            ("f32 / f16", finite, "rates from 0 to 1e6 cycles", format!("{:?}", rates)),
        ];
        match checks.into_iter().find(|c| !c.1) {
            None => Ok(()),
            Some((field, _, need, found)) => Err(ChipError::Value { chip: self.name.clone(), field, need, found }),
        }
    }

    /// Colors that a program may use.
    pub fn usable_colors(&self) -> u32 {
        self.colors - self.colors_reserved
    }

    /// The arena.
    pub fn arena(&self) -> Bytes {
        Bytes(self.arena_bytes)
    }

    /// Constants of the clock.
    pub fn timing(&self) -> Timing {
        Timing {
            alpha: self.alpha,
            ramp: self.ramp,
            turn: self.turn_cycles,
            ser_num: self.ser_num,
            ser_den: self.ser_den,
            issue: self.issue_cycles,
            stage: self.stage_cycles,
            lane_depth: self.lane_depth,
            queue_wavelets: self.queue_wavelets,
        }
    }

    /// Cycles of a GEMV tile of `k x n` in f32: k AXPYs of length n.
    pub fn gemv(&self, k: usize, n: usize) -> Cycles {
        self.f32.gemv(k, n)
    }

    /// Cycles of one element-wise pass over n values in f32.
    pub fn elementwise(&self, n: usize) -> Cycles {
        self.f32.elementwise(n)
    }

    /// Cycles of n special functions in one pass in f32.
    pub fn special(&self, n: usize) -> Cycles {
        self.f32.special(n)
    }
}
