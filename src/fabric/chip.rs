//! A chip is data: mesh, arena, colors, clock, link and arithmetic rates, energies; each with where it comes from.
//!
//! Invariant: nothing else in the crate knows a chip by name; a user's TOML file can say all that a preset says.
//! Values are held to what a machine can have in `check`; names, units and provenance of constants are in `provenance`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::provenance::Source;
use crate::link::Timing;
use crate::units::{Bytes, Cycles};

/// Arithmetic rates of a compute element for one number format.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Cycles per multiply-accumulate inside an AXPY.
    pub mac: f64,
    /// Cycles per other element-wise operation (add, multiply, compare, convert).
    pub element: f64,
    /// Cycles to set up one vector operation on its own (an element-wise pass).
    pub vector: f64,
    /// Cycles to issue one AXPY of a running loop of them (c_v of the published formulas).
    pub axpy: f64,
    /// Cycles to start a loop of AXPYs: one a GEMV tile, one for each k of a GEMM tile (c_k).
    pub launch: f64,
    /// Cycles per value of exp, reciprocal, root, sine or cosine.
    pub special: f64,
    /// Elements that one wavelet carries (and a streaming add takes in at link rate).
    pub per_wavelet: u32,
}

impl Rates {
    /// Cycles of a GEMV tile of `k x n`: one loop of k AXPYs of length n; nothing for an empty tile.
    pub fn gemv(&self, k: usize, n: usize) -> Cycles {
        if k * n == 0 {
            return Cycles::ZERO;
        }
        whole(self.launch + k as f64 * (self.axpy + n as f64 * self.mac))
    }

    /// Cycles of a GEMM tile `m x k x n`: for each k a loop of n AXPYs of length m; nothing for an empty tile.
    pub fn gemm(&self, m: usize, k: usize, n: usize) -> Cycles {
        if m * k * n == 0 {
            return Cycles::ZERO;
        }
        let loop_of_n = self.launch + n as f64 * (self.axpy + m as f64 * self.mac);
        whole(k as f64 * loop_of_n)
    }

    /// Cycles of one element-wise pass over n values.
    pub fn elementwise(&self, n: usize) -> Cycles {
        whole(self.vector + n as f64 * self.element)
    }

    /// Cycles of n special functions in one pass.
    pub fn special(&self, n: usize) -> Cycles {
        whole(self.vector + n as f64 * self.special)
    }
}

/// Rounded up; without a call into the mathematics library, which programs would feel.
fn whole(cycles: f64) -> Cycles {
    let floor = cycles as u64;
    Cycles(floor.saturating_add(u64::from(cycles > floor as f64)))
}

/// What the published programs spend on software beside products and messages; zero where no measurement says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overheads {
    /// Cycles of a core for one round of asynchronous exchange: posts, completion tasks (c_s). GEMM charges it.
    pub exchange: u32,
    /// Cycles of a core for each word that it sends in such a round, where moves and products share memory ports.
    pub exchange_word: f64,
    /// Cycles of a core for one call of a GEMV with its allreduce (c_AR). GEMV charges it.
    pub call: u32,
    /// Cycles of a core between receiving a message and sending it on (store and forward).
    pub relay: u32,
    /// Cycles an element of SiLU in the published decode (c_e). The published skeleton charges it.
    pub silu: f64,
    /// Cycles a layer of the published decode that its operations do not explain (c_L).
    pub layer: f64,
    /// T10 prefill: cycles a core and shift (h_T).
    pub t10_shift: f64,
    /// T10 prefill: cycles a core and word that is relayed (k_T).
    pub t10_word: f64,
    /// T10 decode: cycles a relayed stage (b_T).
    pub t10_stage: f64,
    /// Ladder: cycles a core and remote get (g_L).
    pub ladder_get: f64,
    /// Ladder: cycles a core and word that is fetched (k_L).
    pub ladder_word: f64,
}

impl Overheads {
    /// Do rounds of asynchronous exchange cost anything?
    pub fn charges_rounds(&self) -> bool {
        self.exchange > 0 || self.exchange_word > 0.0
    }

    /// Cycles of a round of asynchronous exchange in which a core sends so many words.
    pub fn round(&self, words: usize) -> Cycles {
        if self.exchange_word == 0.0 {
            return Cycles(u64::from(self.exchange));
        }
        let by_word = words as f64 * self.exchange_word;
        let floor = by_word as u64;
        // To the nearest, as in `whole` without a call.
        Cycles(u64::from(self.exchange) + floor + u64::from(by_word - floor as f64 >= 0.5))
    }
}

/// Energy of single events, for an account apart from power x time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventEnergy {
    /// pJ to read a 32-bit word of a core's memory.
    pub sram_read: f64,
    /// pJ to write one.
    pub sram_write: f64,
    /// pJ a wavelet and router.
    pub router: f64,
    /// pJ a bit and millimetre of wire.
    pub wire: f64,
    /// pJ a floating-point operation (a multiply-add is two).
    pub flop: f64,
    /// Millimetres between two neighbours.
    pub pitch: f64,
}

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
    /// Cycles to write one route between launches.
    pub route_write_cycles: u32,
    /// Cycles of a round trip to the host (sampling there).
    pub host_roundtrip_cycles: u64,
    /// Power of the whole chip, watts.
    pub power_watts: f64,
    /// Rates in f32 (products of 16-bit weights and f32 activations).
    pub f32: Rates,
    /// Rates in f16.
    pub f16: Rates,
    /// Software of the published programs.
    pub overheads: Overheads,
    /// Energies of events, pJ.
    pub energy: EventEnergy,
    /// Where the constants come from; what nothing here names is assumed.
    #[serde(default)]
    pub sources: Vec<Source>,
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
    /// A value that no machine can have, in a file.
    #[error("chip file {path}: {error}")]
    In { path: String, error: Box<ChipError> },
    /// A value that no machine can have.
    #[error("chip `{chip}`, field `{field}`: need {need}, found {found}")]
    Value { chip: String, field: String, need: String, found: String },
}

/// Largest chip file: far above any, and `--chip` may name a device without an end.
const FILE_BYTES_MAX: u64 = 1 << 20;

impl Chip {
    /// Reads a chip from a TOML file.
    ///
    /// # Errors
    /// Names the file, the field, what was needed and what was found.
    pub fn from_toml_file(path: &Path) -> Result<Self, ChipError> {
        let shown = path.display().to_string();
        let text = read(path).map_err(|error| ChipError::Read { path: shown.clone(), error })?;
        Self::from_toml(&shown, &text)
    }

    /// Reads a chip from the text of the file `path`.
    ///
    /// # Errors
    /// As `from_toml_file`.
    pub fn from_toml(path: &str, text: &str) -> Result<Self, ChipError> {
        let parse = |error| ChipError::Parse { path: path.to_owned(), error: Box::new(error) };
        let chip: Self = toml::from_str(text).map_err(parse)?;
        chip.check().map_err(|error| ChipError::In { path: path.to_owned(), error: Box::new(error) })?;
        Ok(chip)
    }

    /// Colors that a program may use.
    pub fn usable_colors(&self) -> u32 {
        self.colors - self.colors_reserved
    }

    /// The arena.
    pub fn arena(&self) -> Bytes {
        Bytes(self.arena_bytes)
    }

    /// Cores of the usable fabric.
    pub fn cores(&self) -> u64 {
        u64::from(self.cols) * u64::from(self.rows)
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

/// All of a small text file.
fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        let why = format!("need at most {FILE_BYTES_MAX} bytes of TOML, found more");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, why));
    }
    Ok(text)
}
