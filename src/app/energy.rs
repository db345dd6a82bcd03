//! Energy and cost of a run, with weights or dry, as rows of its report and as JSON.
//!
//! Invariant: power x time is the paper's method; the account of events stands apart and is never added to it.
//! Called by `report` and by `dry`.

use serde_json::{Value, json};

use crate::energy::{Account, CrossCheck, Events, cost};
use crate::fabric::{Chip, Provenance};
use crate::host::Report;
use crate::math::checkpoint::ModelShape;

/// Everything that is said of energy.
pub struct Energy {
    account: Account,
    check: CrossCheck,
    joules: f64,
    watts: f64,
    /// Are the chip's power and its energies of events assumed?
    assumed: [bool; 2],
    tokens: usize,
    cost: Option<f64>,
    per_hour: Option<f64>,
}

impl Energy {
    /// Of a run that took `positions` positions and chose `tokens` ids, at a price of a chip-hour.
    pub fn of(
        chip: &Chip,
        shape: &ModelShape,
        (positions, tokens): (usize, usize),
        price: Option<f64>,
        totals: &Report,
    ) -> Self {
        let traffic = (totals.wavelets, totals.bursts, totals.hops);
        Self {
            account: Account::of(chip, &Events::of_model(shape, positions, tokens, traffic)),
            check: CrossCheck::of(chip),
            joules: totals.energy_joules,
            watts: totals.power_watts,
            assumed: ["power_watts", "energy.flop"].map(|field| chip.provenance(field) == Provenance::Assumed),
            tokens,
            cost: price.map(|price| cost(chip, totals.cycles_total as f64, price)),
            per_hour: price,
        }
    }

    fn per_token(&self, of_run: f64) -> f64 {
        if self.tokens == 0 { 0.0 } else { of_run / self.tokens as f64 }
    }

    /// Rows of a report.
    pub fn rows(&self, row: &mut impl FnMut(&str, String)) {
        let (a, total) = (&self.account, self.account.total());
        let mark = |assumed: bool| if assumed { " (assumed)" } else { "" };
        row("energy", format!("{:.4} J: {} W{} x modelled time", self.joules, self.watts, mark(self.assumed[0])));
        row("", format!("{:.4} J a generated token, the prompt's share included", self.per_token(self.joules)));
        let (s, r, w, f) = (a.sram, a.router, a.wire, a.flop);
        row(
            "",
            format!(
                "by events{} {total:.3e} J: memories {s:.3e}, routers {r:.3e}, wires {w:.3e}, arithmetic {f:.3e}",
                mark(self.assumed[1]),
            ),
        );
        let (by_power, by_events) = (self.check.by_power, self.check.by_events);
        row(
            "",
            format!(
                "the power is {by_power:.1} pJ a core and cycle; a core that multiplies takes {by_events:.1} by \
                 events{}",
                mark(self.assumed[1]),
            ),
        );
        if let (Some(cost), Some(per_hour)) = (self.cost, self.per_hour) {
            row("cost", cost_line(self.per_token(cost), per_hour));
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let (a, c) = (&self.account, &self.check);
        json!({
            "joules": self.joules,
            "joules_per_token": self.per_token(self.joules),
            "power_assumed": self.assumed[0],
            "events": {
                "joules": a.total(), "sram": a.sram, "router": a.router, "wire": a.wire, "flop": a.flop,
                "joules_per_token": self.per_token(a.total()), "assumed": self.assumed[1],
            },
            "core_cycle_pj": { "by_power": c.by_power, "by_events": c.by_events, "busy_share": c.busy_share() },
            "price_per_chip_hour": self.per_hour,
            "cost": self.cost,
            "cost_per_token": self.cost.map(|cost| self.per_token(cost)),
        })
    }
}

/// What a token costs, for people.
pub fn cost_line(a_token: f64, per_hour: f64) -> String {
    format!("{a_token:.3e} a generated token at {per_hour} a chip-hour")
}
