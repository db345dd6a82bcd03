//! What a dry run of one layer says: cycles by phase, what the model would take, what does not fit.
//!
//! Invariant: what is multiplied says so.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::count;
use super::super::energy::{account_line, check_json, check_line, cost_line, events_assumed, events_json};
use super::super::report::by_part;
use super::{DryRun, SCHEMA, per_second, phases_json};
use crate::energy::{Account, CrossCheck, Events, cost, joules};
use crate::host::PhaseCycles;
use crate::host::dry::LayerTime;
use crate::math::work;
use crate::plan::rivals::Rivals;
use crate::plan::utilise::Utilisation;

/// Layers, told.
pub(super) struct Layers<'a> {
    pub(super) run: &'a DryRun<'a>,
    pub(super) decode: Vec<LayerTime>,
    pub(super) prefill: Option<LayerTime>,
    /// Why the wafer does not hold the whole model on this mesh.
    pub(super) fits: Option<String>,
}

/// How a layer was timed that was not executed.
const LOCKSTEP: &str =
    "not executed: all cores timed in lockstep, which gives the same numbers (tests of small meshes)";
/// The same of a prompt's, whose phases are not split into compute, reduce, broadcast and wait.
const LOCKSTEP_UNSPLIT: &str =
    "not executed: all cores timed in lockstep, which gives the same numbers but for by_part (tests of small meshes)";

impl Layers<'_> {
    fn layers(&self) -> f64 {
        self.run.sizes.config.shape.n_layers as f64
    }

    /// Mean of the layers that were timed.
    fn cycles(&self) -> f64 {
        self.decode.iter().map(|d| d.cycles as f64).sum::<f64>() / self.decode.len() as f64
    }

    /// Multiply-adds of a layer.
    fn macs(&self, t: &LayerTime, is_prefill: bool) -> u64 {
        let shape = &self.run.sizes.config.shape;
        match is_prefill {
            true => work::prefill_layer_macs(shape, t.position),
            false => work::decode_layer_macs(shape, t.position),
        }
    }

    fn utilisation(&self, t: &LayerTime, is_prefill: bool) -> Utilisation {
        let macs = self.macs(t, is_prefill);
        Utilisation::of(&self.run.config.chip, t.cycles, macs, &[t.busy_of_layer()], &[t.cycles])
    }

    /// By events, of all layers: traffic as counted in the pass, shared out over its layers, times the model's.
    fn account(&self, t: &LayerTime, is_prefill: bool) -> Account {
        let (c, n) = (&t.counters, t.layers as u64);
        let pass = Events::of(n * self.macs(t, is_prefill), (c.wavelets, c.bursts, c.hops));
        Account::of(&self.run.config.chip, &pass.times(self.layers() / n as f64))
    }

    /// Of a token of decode, as its cycles the mean of the layers that were timed.
    fn token_account(&self) -> Account {
        let all = self.decode.iter().map(|t| self.account(t, false));
        all.reduce(Account::plus).map_or(Account::default(), |sum| sum.times(1.0 / self.decode.len() as f64))
    }

    /// Power x time and events of the prompt's layers.
    fn prefill_json(&self, t: &LayerTime) -> Value {
        let chip = &self.run.config.chip;
        let (all, account) = (joules(chip, t.cycles as f64 * self.layers()), self.account(t, true));
        let n = t.position as f64;
        let events = events_json(&account, all, Some(account.total() / n), events_assumed(chip));
        json!({"joules": all, "joules_per_token": all / n, "events": events})
    }

    fn layer_json(&self, t: &LayerTime, is_prefill: bool) -> Value {
        let c = &t.counters;
        json!({
            "position": t.position, "cycles": t.cycles, "by_phase": phases_json(&t.by_phase),
            "by_part": Some(by_part(&t.by_phase)).filter(|parts| !parts.is_empty()),
            "pass": {
                "layers": t.layers, "cycles": c.cycles, "hops": c.hops, "wavelets": c.wavelets, "bursts": c.bursts,
                "depth": c.depth, "busy": c.busy,
            },
            "colors_max": t.colors_max, "arena_need": t.arena_need, "utilisation": self.utilisation(t, is_prefill),
            "rivals": self.run.rivals(t.mesh, t.position, is_prefill).ok(),
            "executed": t.executed, "host": {"seconds": t.seconds.0, "seconds_pass": t.seconds.1},
        })
    }

    pub(super) fn json(&self) -> Value {
        let (run, chip, clock) = (self.run, &self.run.config.chip, self.run.config.chip.clock_hz);
        let (cols, rows) = self.decode[0].mesh;
        let token = self.cycles() * self.layers();
        let (a_token, account) = (joules(chip, token), self.token_account());
        json!({
            "schema": SCHEMA, "dry": true, "one_layer": true, "model": run.sizes.name, "chip": run.config.chip.name,
            "mesh": {"cols": cols, "rows": rows}, "layers": run.sizes.config.shape.n_layers,
            "decode": self.decode.iter().map(|t| self.layer_json(t, false)).collect::<Vec<_>>(),
            "prefill": self.prefill.as_ref().map(|t| self.layer_json(t, true)),
            "cycles_per_token": token, "tpr": per_second(clock, token),
            "prefill_tpr": self.prefill.as_ref().map(|t| {
                per_second(clock * t.position as f64, t.cycles as f64 * self.layers())
            }),
            "energy": {
                "joules_per_token": a_token, "price_per_chip_hour": run.args.price,
                "events": events_json(&account, a_token, Some(account.total()), events_assumed(chip)),
                "core_cycle_pj": check_json(&CrossCheck::of(chip)),
                "prefill": self.prefill.as_ref().map(|t| self.prefill_json(t)),
                "cost_per_token": run.args.price.map(|price| cost(chip, token, price)),
            },
            "arena": {"need": self.arena_need(), "budget": run.config.chip.arena_bytes}, "whole_model": self.fits,
            "multiplied": "one layer, times the layers; head and hand-over apart; events by the counters of the pass",
        })
    }

    fn arena_need(&self) -> u64 {
        self.decode.iter().chain(&self.prefill).map(|t| t.arena_need).max().unwrap_or(0)
    }

    pub(super) fn table(&self) -> String {
        let (run, chip) = (self.run, &self.run.config.chip);
        let (n, (cols, rows)) = (self.layers(), self.decode[0].mesh);
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<12} {value}");
        };
        row("dry run", format!("{}: one layer timed on {cols}x{rows} cores, times {n} layers", run.sizes.name));
        row("chip", format!("{} at {:.0} MHz", chip.name, chip.clock_hz / 1e6));
        for (t, name, is_prefill) in
            self.decode.iter().map(|t| (t, "decode", false)).chain(self.prefill.iter().map(|t| (t, "prefill", true)))
        {
            let what =
                if is_prefill { format!("of {} positions", t.position) } else { format!("at position {}", t.position) };
            let (all, pass) = t.seconds;
            row(name, format!("{} cycles a layer {what}", t.cycles));
            row("", format!("host: {all:.2} s, of which {pass:.2} s for the pass ({})", count(t.layers, "layer")));
            let how = match (t.executed, is_prefill) {
                (true, _) => "executed, message by message",
                (false, false) => LOCKSTEP,
                (false, true) => LOCKSTEP_UNSPLIT,
            };
            row("", how.to_owned());
            for PhaseCycles { name, total, .. } in &t.by_phase {
                row("", format!("{name:<17} {total:>12} {:>5.1} %", *total as f64 * 100.0 / t.cycles as f64));
            }
            let c = &t.counters;
            row(
                "",
                format!(
                    "{} hops, {} wavelet-hops, {} messages in the pass ({} in the longest chain), {} colors",
                    c.hops, c.wavelets, c.bursts, c.depth, t.colors_max
                ),
            );
            row("", self.utilisation(t, is_prefill).line());
            row("", Rivals::line(&self.run.rivals(t.mesh, t.position, is_prefill)));
        }
        let token = self.cycles() * n;
        row(
            "decode TPR",
            format!(
                "{:.0} tokens/s: {token:.0} cycles a token, head and hand-over not counted",
                per_second(chip.clock_hz, token)
            ),
        );
        if let Some(t) = &self.prefill {
            let rate = per_second(chip.clock_hz * t.position as f64, t.cycles as f64 * n);
            row("prefill TPR", format!("{rate:.0} tokens/s"));
        }
        self.energy_rows(&mut row);
        if let Some(price) = run.args.price {
            row("cost", cost_line(cost(chip, token, price), price));
        }
        let (need, have) = (self.arena_need(), chip.arena_bytes);
        let verdict = if need > have { "one layer does not fit" } else { "one layer fits" };
        row("arena", format!("{need} bytes at the fullest core of {have}: {verdict} (not enforced here)"));
        row("whole model", self.fits.clone().unwrap_or_else(|| "fits the wafer on this mesh".to_owned()));
        text
    }

    fn energy_rows(&self, row: &mut impl FnMut(&str, String)) {
        let chip = &self.run.config.chip;
        let (assumed, n) = (events_assumed(chip), self.layers());
        let token = joules(chip, self.cycles() * n);
        row("energy", format!("{token:.4} J a token of decode: {} W x modelled time", chip.power_watts));
        row("", account_line(&self.token_account(), token, assumed));
        if let Some(t) = &self.prefill {
            let all = joules(chip, t.cycles as f64 * n);
            row("", format!("{:.4} J a token of the prompt, {all:.4} in all", all / t.position as f64));
            row("", account_line(&self.account(t, true), all, assumed));
        }
        row("", format!("events: counters of a layer's pass (what enters and leaves it included), times {n} layers"));
        row("", check_line(&CrossCheck::of(chip), assumed));
    }
}
