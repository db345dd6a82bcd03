//! Utilisation: what share of what the cores could have done was done, and where the rest went.
//!
//! ```text
//!   MAC utilisation   multiplications x cycles a MAC / (cycles x PEs)     of the region, and of all cores of the chip
//!   busy share        compute and issue cycles / (cycles x PEs)           of all, of the border, of each region
//!   bubbles           1 - sum over regions (PEs x cycles it works) / (cycles x PEs)       one request in a pipeline
//! ```
//! A region *works* from the arrival of a token (or chunk) until it has sent it on; the ways between regions are no
//! region's work. So bubbles are what a second request in the pipeline could use.
//!
//! Invariant: pure arithmetic on what runs counted.

use serde::{Deserialize, Serialize};

use crate::fabric::Chip;
use crate::host::dry::RegionBusy;

/// Shares of 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Utilisation {
    /// Multiplications at the chip's rate, of the PEs in use.
    pub mac: f64,
    /// Of all PEs of the chip.
    pub mac_of_chip: f64,
    /// Cycles in which PEs computed or issued, products or not.
    pub busy: f64,
    /// Of the PEs on the borders of regions.
    pub edge_busy: f64,
    /// PEs on borders among all in use.
    pub edge_cores: f64,
    /// PE-cycles in which a region waits because the token is in another.
    pub bubbles: f64,
    /// Busy share of each region: the head's, if there is one, then each stage's.
    pub busy_by_region: Vec<f64>,
}

fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

impl Utilisation {
    /// Of a span of `cycles` in which the regions were busy for `regions` and `macs` products of f32 were made;
    /// region i had work before it for `works[i]` cycles.
    pub fn of(chip: &Chip, cycles: u64, macs: u64, regions: &[RegionBusy], works: &[u64]) -> Self {
        let sum = |f: fn(&RegionBusy) -> u64| regions.iter().map(f).sum::<u64>() as f64;
        let (pes, edge) = (sum(|r| r.pes), sum(|r| r.edge_pes));
        let (span, all) = (cycles as f64, f64::from(chip.cols) * f64::from(chip.rows));
        let product = macs as f64 * chip.f32.mac;
        let at_work: f64 = regions.iter().zip(works).map(|(r, w)| r.pes as f64 * *w as f64).sum();
        Self {
            mac: ratio(product, span * pes),
            mac_of_chip: ratio(product, span * all),
            busy: ratio(sum(|r| r.busy), span * pes),
            edge_busy: ratio(sum(|r| r.edge_busy), span * edge),
            edge_cores: ratio(edge, pes),
            bubbles: 1.0 - ratio(at_work, span * pes),
            busy_by_region: regions.iter().map(|r| ratio(r.busy as f64, span * r.pes as f64)).collect(),
        }
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let p = |share: f64| share * 100.0;
        let most = self.busy_by_region.iter().copied().fold(0.0, f64::max);
        let least = self.busy_by_region.iter().copied().fold(1.0, f64::min);
        format!(
            "{:.2} % of MACs ({:.2} % of the chip's), cores busy {:.2} % ({:.2} to {:.2} by stage), {:.1} % of them \
             on an edge and busy {:.2} %, pipeline bubbles {:.1} %",
            p(self.mac),
            p(self.mac_of_chip),
            p(self.busy),
            p(least),
            p(most),
            p(self.edge_cores),
            p(self.edge_busy),
            p(self.bubbles)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_regions_that_take_turns_have_half_the_cycles_in_bubbles() {
        let chip = Chip::preset("wse2").expect("a preset");
        let region = RegionBusy { pes: 10, busy: 200, edge_pes: 4, edge_busy: 40 };
        let u = Utilisation::of(&chip, 100, 500, &[region, region], &[50, 50]);
        assert_eq!((u.bubbles, u.busy, u.edge_busy, u.edge_cores), (0.5, 0.2, 0.1, 0.4));
        assert_eq!(u.busy_by_region, [0.2, 0.2]);
        assert_eq!(u.mac, 500.0 * chip.f32.mac / 2000.0);
        assert_eq!(u.mac_of_chip, 500.0 * chip.f32.mac / (100.0 * 750.0 * 994.0));
    }
}
