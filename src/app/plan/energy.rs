//! Energy and cost of a planned request: power x time, its share of the cores in use, and an account of events.
//!
//! ```text
//!   events    multiply-adds    of the model, prompt and answer                         counted
//!             traffic          of the timed layer of decode x layers x tokens, and
//!                              of the executed layer of the prompt x layers; what that
//!                              one was smaller is made up for by the cube of it: so
//!                              many times fewer rows, columns and rounds
//! ```
//! Traffic between regions and in the head is not in it: a few messages beside the thousands of a layer.
//!
//! Invariant: the account of events stands apart and is never added to power x time. Called by `told` and `object`.

use serde_json::{Value, json};

use super::super::energy::cost_line;
use crate::energy::{Account, CrossCheck, Events, cost, joules};
use crate::exec::Counters;
use crate::fabric::{Chip, Provenance};
use crate::plan::ask::Ask;
use crate::plan::confirm::Choice;

/// See the module.
pub struct Spent {
    /// Chip's power x time, all wafers.
    by_power: f64,
    /// The same of the cores in use.
    in_use: f64,
    account: Account,
    check: CrossCheck,
    /// Are the chip's power and its energies of events assumed?
    assumed: [bool; 2],
    watts: f64,
    chip: String,
    tokens: f64,
    /// What the traffic of the prompt was counted on.
    prompt_by: &'static str,
    per_hour: Option<f64>,
    cost: Option<f64>,
}

/// Wavelets x links, bursts, bursts x links.
type Traffic = [f64; 3];

fn traffic(c: &Counters, times: f64) -> Traffic {
    [c.wavelets, c.bursts, c.hops].map(|n| n as f64 * times)
}

/// Of all layers: decode by token, the prompt, and what the latter was counted on.
fn counted(ask: &Ask, c: &Choice) -> ([Traffic; 2], &'static str) {
    let (layers, run) = (ask.shape.n_layers as f64, &c.layer.run);
    let token = traffic(&run.counters, layers / run.layers as f64);
    match &c.prompt.check {
        None => (
            [token, token.map(|n| n * ask.prompt as f64)],
            if c.prompt.chunk == 0 { "the layer of decode for each of its tokens" } else { "the layer of decode" },
        ),
        Some(check) => {
            let side = check.smaller as f64;
            let more = side * side * side;
            let how = if check.smaller == 1 { "its layer, executed" } else { "its layer on a smaller mesh, scaled" };
            ([token, traffic(&check.layer.counters, layers * more / check.layer.layers as f64)], how)
        }
    }
}

impl Spent {
    /// Of a choice, at a price of a chip-hour.
    pub fn of(ask: &Ask, c: &Choice, per_hour: Option<f64>) -> Self {
        let (chip, steps) = (&ask.config.chip, ask.steps());
        let cycles = c.total_cycles(ask) as f64 * ask.wafers as f64;
        let ([token, prompt], prompt_by) = counted(ask, c);
        let [wavelets, bursts, hops] = [0, 1, 2].map(|i| (token[i] * steps as f64 + prompt[i]) as u64);
        // Behind the prompt's last token and behind every one of the answer there are logits.
        let events = Events::of_model(&ask.shape, ask.prompt + steps, steps + 1, (wavelets, bursts, hops));
        Self {
            by_power: joules(chip, cycles),
            in_use: c.terms(ask).joules(ask),
            account: Account::of(chip, &events),
            check: CrossCheck::of(chip),
            assumed: ["power_watts", "energy.flop"].map(|field| is_assumed(chip, field)),
            watts: chip.power_watts,
            chip: chip.name.clone(),
            tokens: ask.output as f64,
            prompt_by,
            per_hour,
            cost: per_hour.map(|price| cost(chip, cycles, price)),
        }
    }

    /// Rows of the table.
    pub fn rows(&self, row: &mut impl FnMut(&str, String)) {
        let mark = |assumed: bool| if assumed { " (assumed)" } else { "" };
        let (all, used, n) = (self.by_power, self.in_use, self.tokens);
        row(
            "energy",
            format!(
                "{all:.1} J at {} W{} a wafer, {:.3} J an output token",
                self.watts,
                mark(self.assumed[0]),
                all / n
            ),
        );
        row("", format!("{used:.1} J of it on the cores in use, {:.3} J an output token", used / n));
        let (a, total) = (&self.account, self.account.total());
        row(
            "",
            format!(
                "by events{} {total:.3} J: memories {:.3}, routers {:.4}, wires {:.4}, arithmetic {:.3}; {:.1} % of \
                 power x time, {:.1} % of its share of the cores in use",
                mark(self.assumed[1]),
                a.sram,
                a.router,
                a.wire,
                a.flop,
                total * 100.0 / all,
                total * 100.0 / used
            ),
        );
        row(
            "",
            format!(
                "traffic: the timed layer of decode x layers x tokens; prompt: {}; sources: plummer chips {}",
                self.prompt_by, self.chip
            ),
        );
        let (by_power, by_events) = (self.check.by_power, self.check.by_events);
        row(
            "",
            format!(
                "the power is {by_power:.1} pJ a core and cycle; a core that multiplies takes {by_events:.1} by \
                 events{}",
                mark(self.assumed[1])
            ),
        );
        if let (Some(cost), Some(price)) = (self.cost, self.per_hour) {
            row("cost", cost_line(cost / n, price));
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let (a, c) = (&self.account, &self.check);
        json!({
            "joules": self.by_power, "joules_per_token": self.by_power / self.tokens,
            "power_assumed": self.assumed[0],
            "joules_of_cores_in_use": self.in_use,
            "events": {
                "joules": a.total(), "sram": a.sram, "router": a.router, "wire": a.wire, "flop": a.flop,
                "joules_per_token": a.total() / self.tokens, "assumed": self.assumed[1],
                "of_power": a.total() / self.by_power,
                "of_power_of_cores_in_use": a.total() / self.in_use,
                "traffic_of_decode": "the timed layer x layers x tokens", "traffic_of_prompt": self.prompt_by,
            },
            "core_cycle_pj": { "by_power": c.by_power, "by_events": c.by_events, "busy_share": c.busy_share() },
            "price_per_chip_hour": self.per_hour, "cost": self.cost,
            "cost_per_token": self.cost.map(|cost| cost / self.tokens),
        })
    }
}

fn is_assumed(chip: &Chip, field: &str) -> bool {
    chip.provenance(field) == Provenance::Assumed
}
