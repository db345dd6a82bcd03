//! What an objective counts: the same of a mesh by closed forms and of a finalist.
//!
//! ```text
//!   latency   seconds of a request     total
//!   energy    joules of a request      total x cores in use x (chip's power / cores)
//!   tokens    tokens a second          output x copies / max(slowest, total / requests)
//! ```
//! *Energy*: with the whole chip's power any two plans compare as their latencies do; what tells them apart is the
//! share of it that their cores take, as if the others were off or at somebody else's service. (What the events of a
//! run take is nearly all arithmetic and so the same for every plan: `app` prints it beside.)
//!
//! *Tokens*: requests are independent and each has its own K and V. With R of them under way one ends every
//! max(slowest, total / R): `slowest` is what a request keeps the busiest region for, prompt and answer, and R is what
//! the arenas hold. A placement that leaves room for itself is there several times.
//!
//! Invariant: pure arithmetic. Called by `search` and `confirm`.

use crate::fabric::Chip;

use super::ask::{Ask, Objective};

/// What objectives are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Cycles of a request from its first token to its last.
    pub total: u64,
    /// Cycles for which it keeps the busiest region at work, or blocks it.
    pub slowest: u64,
    /// PEs in use on a wafer.
    pub pes: usize,
    /// Requests whose K and V the arenas hold.
    pub requests: usize,
    /// Placements that a wafer has room for.
    pub copies: usize,
}

impl Terms {
    /// Of one request.
    pub fn seconds(&self, chip: &Chip) -> f64 {
        self.total as f64 / chip.clock_hz
    }

    /// Of one request, on the cores in use.
    pub fn joules(&self, ask: &Ask) -> f64 {
        let chip = &ask.config.chip;
        let share = self.pes as f64 / chip.cores() as f64;
        chip.power_watts * share * ask.wafers as f64 * self.seconds(chip)
    }

    /// Of the wafers.
    pub fn tokens_per_s(&self, ask: &Ask) -> f64 {
        let every = (self.slowest as f64).max(self.total as f64 / self.requests.max(1) as f64).max(1.0);
        (ask.output * self.copies.max(1)) as f64 * ask.config.chip.clock_hz / every
    }

    /// By the objective; the less the better.
    pub(super) fn score(&self, ask: &Ask) -> f64 {
        match ask.objective {
            Objective::Latency => self.seconds(&ask.config.chip),
            Objective::Energy => self.joules(ask),
            Objective::Tokens => 1.0 / self.tokens_per_s(ask),
        }
    }
}

/// How often a rectangle of so many columns and rows lies on a chip beside itself.
pub fn copies(chip: &Chip, (width, height): (usize, usize)) -> usize {
    (chip.cols as usize / width.max(1)) * (chip.rows as usize / height.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rectangle_lies_as_often_as_it_fits() {
        let chip = Chip { cols: 10, rows: 7, ..Chip::preset("wse2").expect("a preset") };
        assert_eq!([(10, 7), (5, 7), (3, 3), (11, 1)].map(|size| copies(&chip, size)), [1, 2, 6, 0]);
    }
}
