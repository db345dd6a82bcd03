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
            assumed: [chip.provenance("power_watts") == Provenance::Assumed, events_assumed(chip)],
            tokens,
            cost: price.map(|price| cost(chip, totals.cycles_total as f64, price)),
            per_hour: price,
        }
    }

    /// Nothing where no token was generated.
    fn per_token(&self, of_run: f64) -> Option<f64> {
        (self.tokens > 0).then(|| of_run / self.tokens as f64)
    }

    /// Rows of a report.
    pub fn rows(&self, row: &mut impl FnMut(&str, String)) {
        row("energy", format!("{:.4} J: {} W{} x modelled time", self.joules, self.watts, mark(self.assumed[0])));
        if let Some(joules) = self.per_token(self.joules) {
            row("", format!("{joules:.4} J a generated token, the prompt's share included"));
        }
        row("", account_line(&self.account, self.joules, self.assumed[1]));
        row("", check_line(&self.check, self.assumed[1]));
        if let (Some(cost), Some(per_hour)) = (self.cost.and_then(|cost| self.per_token(cost)), self.per_hour) {
            row("cost", cost_line(cost, per_hour));
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let (a, c) = (&self.account, &self.check);
        json!({
            "joules": self.joules,
            "joules_per_token": self.per_token(self.joules),
            "power_assumed": self.assumed[0],
            "events": events_json(a, self.joules, self.per_token(a.total()), self.assumed[1]),
            "core_cycle_pj": check_json(c),
            "price_per_chip_hour": self.per_hour,
            "cost": self.cost,
            "cost_per_token": self.cost.and_then(|cost| self.per_token(cost)),
        })
    }
}

fn mark(assumed: bool) -> &'static str {
    if assumed { " (assumed)" } else { "" }
}

/// Are a chip's energies of events assumed?
pub fn events_assumed(chip: &Chip) -> bool {
    chip.provenance("energy.flop") == Provenance::Assumed
}

/// Nothing of nothing, where a run ended before it began.
fn share_of(a: &Account, joules: f64) -> f64 {
    if joules > 0.0 { a.total() / joules } else { 0.0 }
}

/// An account of events beside what the chip's power takes in the same time, for people.
pub fn account_line(a: &Account, joules: f64, assumed: bool) -> String {
    let (total, s, r, w, f) = (a.total(), a.sram, a.router, a.wire, a.flop);
    let (mark, share) = (mark(assumed), 100.0 * share_of(a, joules));
    format!(
        "by events{mark} {total:.3e} J, {share:.4} % of it: memories {s:.3e}, routers {r:.3e}, wires {w:.3e}, \
         arithmetic {f:.3e}"
    )
}

/// Both for a core and cycle, for people.
pub fn check_line(check: &CrossCheck, assumed: bool) -> String {
    let (by_power, by_events, mark) = (check.by_power, check.by_events, mark(assumed));
    format!(
        "the power is {by_power:.1} pJ a core and cycle; a core that multiplies takes {by_events:.1} by events{mark}"
    )
}

/// The same, for programs.
pub fn events_json(a: &Account, joules: f64, a_token: Option<f64>, assumed: bool) -> Value {
    json!({
        "joules": a.total(), "share_of_power": share_of(a, joules), "sram": a.sram, "router": a.router, "wire": a.wire,
        "flop": a.flop, "joules_per_token": a_token, "assumed": assumed,
    })
}

/// The same, for programs.
pub fn check_json(check: &CrossCheck) -> Value {
    json!({ "by_power": check.by_power, "by_events": check.by_events, "busy_share": check.busy_share() })
}

/// What a token costs, for people.
pub fn cost_line(a_token: f64, per_hour: f64) -> String {
    format!("{a_token:.3e} a generated token at {per_hour} a chip-hour")
}
