//! One line of a benchmark: what one algorithm needed and took on one mesh, and the number formats it ran in.
//!
//! Invariant: every number but `host_seconds` is a function of algorithm, mesh, size, numerics and chip alone: a dry
//! run gives the same row. A refused row has what the layout says and no measured number.
//! Made by the host's benchmarks of GEMV and GEMM, printed by `app`.

use serde::{Deserialize, Serialize};

use crate::fabric::{Chip, Rates};

/// Number formats of a kernel; rates of the chip follow them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Numerics {
    /// f16 weights; activations, transport and accumulation in f32, one element a wavelet.
    #[default]
    Default,
    /// As in the paper: storage, transport and accumulation in f16, every operation rounded.
    Paper,
}

impl Numerics {
    /// Its name in flags and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Paper => "paper",
        }
    }

    /// The chip's rates of the format that is accumulated.
    pub fn rates(self, chip: &Chip) -> &Rates {
        match self {
            Self::Default => &chip.f32,
            Self::Paper => &chip.f16,
        }
    }

    /// 32-bit words of a tile of `n` elements that travels: one wavelet each.
    pub fn travel_words(self, chip: &Chip, n: usize) -> usize {
        n.div_ceil(self.rates(chip).per_wavelet.max(1) as usize)
    }
}

/// See the module. Field names are those of `plummer bench --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Algorithm.
    pub algo: String,
    /// Columns x rows.
    pub mesh: String,
    /// GEMV: M x N of r = x W. GEMM: M x K x N.
    pub size: String,
    /// Number formats.
    pub numerics: Numerics,
    /// Most colors routed at one core (the R of PLMR).
    pub colors_per_core: u32,
    /// Most links between two ramps of one message (the L of PLMR).
    pub longest_hop: u32,
    /// Longest chain of dependent messages.
    pub depth: Option<u32>,
    /// Bytes of tiles at the fullest core, without the chip's reserve for code and stack (the M of PLMR).
    pub arena_peak: u64,
    /// Wavelets x links.
    pub wavelets: Option<u64>,
    /// Largest clock of any core at the end.
    pub cycles: Option<u64>,
    /// Most cycles that one core computed (or issued).
    pub compute_cycles: Option<u64>,
    /// The rest of `cycles`: communication that computing does not hide.
    pub comm_cycles: Option<u64>,
    /// What the kernel's own formula says, where it has one.
    pub closed_form_cycles: Option<u64>,
    /// Host time of the run, without laying out and filling.
    pub host_seconds: Option<f64>,
    /// Why the chip cannot run it.
    pub refused: Option<String>,
}

/// All rows of a run: the object that `--json` prints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rows {
    /// In the order in which they were asked for.
    pub rows: Vec<Row>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn travelling_words_follow_format_and_chip() {
        let mut chip = Chip::preset("wse2").unwrap();
        for (numerics, per_wavelet, n, words) in [
            (Numerics::Default, 2, 5, 5),
            (Numerics::Paper, 2, 5, 3),
            (Numerics::Paper, 2, 0, 0),
            (Numerics::Paper, 1, 5, 5),
        ] {
            chip.f16.per_wavelet = per_wavelet;
            assert_eq!(numerics.travel_words(&chip, n), words, "{numerics:?} {per_wavelet} {n}");
        }
    }
}
