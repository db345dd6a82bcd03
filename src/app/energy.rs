//! Energy and cost of a run, as rows of its report and as JSON.
//!
//! Invariant: power x time is the paper's method; the account of events stands apart and is never added to it.
//! Called by `report`.

use serde_json::{Value, json};

use super::generate::Outcome;
use super::resolve::HiArgs;
use crate::energy::{Account, CrossCheck, Events, cost};
use crate::host::Report;

/// Everything that is said of energy.
pub struct Energy {
    account: Account,
    check: CrossCheck,
    joules: f64,
    tokens: usize,
    cost: Option<f64>,
    per_hour: Option<f64>,
}

impl Energy {
    /// Of a run.
    pub fn of(job: &HiArgs, outcome: &Outcome, totals: &Report) -> Self {
        let chip = &job.session.chip;
        let positions = job.prompt_ids.len() + outcome.steps.saturating_sub(1);
        let traffic = (totals.wavelets, totals.bursts, totals.hops);
        let events = Events::of_model(&job.model.config.shape, positions, outcome.steps, traffic);
        Self {
            account: Account::of(chip, &events),
            check: CrossCheck::of(chip),
            joules: totals.energy_joules,
            tokens: outcome.steps,
            cost: job.price.map(|price| cost(chip, totals.cycles_total as f64, price)),
            per_hour: job.price,
        }
    }

    fn per_token(&self, of_run: f64) -> f64 {
        if self.tokens == 0 { 0.0 } else { of_run / self.tokens as f64 }
    }

    /// Rows after the one of power x time.
    pub fn rows(&self, row: &mut impl FnMut(&str, String)) {
        let (a, total) = (&self.account, self.account.total());
        row("", format!("{:.4} J a generated token, the prompt's share included", self.per_token(self.joules)));
        row(
            "",
            format!(
                "by events {:.3e} J: memories {:.3e}, routers {:.3e}, wires {:.3e}, arithmetic {:.3e}",
                total, a.sram, a.router, a.wire, a.flop
            ),
        );
        if let (Some(cost), Some(per_hour)) = (self.cost, self.per_hour) {
            row("cost", format!("{:.3e} a generated token at {per_hour} a chip-hour", self.per_token(cost)));
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let (a, c) = (&self.account, &self.check);
        json!({
            "joules": self.joules,
            "joules_per_token": self.per_token(self.joules),
            "events": {
                "joules": a.total(), "sram": a.sram, "router": a.router, "wire": a.wire, "flop": a.flop,
                "joules_per_token": self.per_token(a.total()),
            },
            "core_cycle_pj": { "by_power": c.by_power, "by_events": c.by_events, "busy_share": c.busy_share() },
            "price_per_chip_hour": self.per_hour,
            "cost": self.cost,
            "cost_per_token": self.cost.map(|cost| self.per_token(cost)),
        })
    }
}
