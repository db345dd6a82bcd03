//! Utilisation of a choice, decode and prefill, and over rivals.
//!
//! Decode: busy cycles of the timed layer, the head's by its products; regions work as `plan::confirm` says. Prefill,
//! of the stages alone: multiply-adds and busy cycles over predicted cycles. Busy cycles are those of the executed
//! layer, so many times more as its mesh was smaller (the same tiles, so many times fewer rounds), or by token those of
//! decode.
//!
//! Invariant: nothing here is executed but the skeleton of `plan::rivals`. Called by `told` and `sweep`.

use crate::host::dry::RegionBusy;
use crate::math::work;
use crate::plan::ask::Ask;
use crate::plan::confirm::Choice;
use crate::plan::rivals::{Rivals, Unknown};
use crate::plan::utilise::Utilisation;

/// See the module.
pub struct Shares {
    /// Of a token in the middle of the answer.
    pub decode: Utilisation,
    /// Of the prompt.
    pub prefill: Utilisation,
    /// Decode, prefill.
    pub rivals: [Result<Rivals, Unknown>; 2],
}

impl Shares {
    /// Of a choice.
    pub fn of(ask: &Ask, c: &Choice) -> Self {
        let [decode, prefill] = Self::utilisation(ask, c);
        Self { decode, prefill, rivals: Self::rivals(ask, c) }
    }

    /// Of decode and of the prompt.
    pub fn utilisation(ask: &Ask, c: &Choice) -> [Utilisation; 2] {
        [decode(ask, c), prefill(ask, c)]
    }

    /// Of decode and of the prompt; executes the skeleton.
    pub fn rivals(ask: &Ask, c: &Choice) -> [Result<Rivals, Unknown>; 2] {
        let own = c.prompt.apart.as_ref().unwrap_or(&c.plan);
        [(&c.plan, ask.middle(), false), (own, ask.prompt, true)].map(|(plan, positions, is_prefill)| {
            Rivals::of(&ask.shape, &ask.config.chip, (plan.cols, plan.rows), positions, is_prefill)
        })
    }
}

fn decode(ask: &Ask, c: &Choice) -> Utilisation {
    let (chip, rows) = (&ask.config.chip, c.plan.rows as u64);
    let (h, v) = (ask.shape.hidden.div_ceil(c.plan.rows), ask.shape.vocab.div_ceil(c.plan.head_cols));
    let pes = c.plan.head_cols as u64 * rows;
    let (each, edge_pes) = (chip.gemv(h, v).0, border(c.plan.head_cols, c.plan.rows) as u64);
    let head = RegionBusy { pes, busy: pes * each, edge_pes, edge_busy: edge_pes * each };
    let layer = c.layer.run.busy_of_layer();
    let stage = |layers: usize| {
        let n = layers as u64;
        RegionBusy { busy: layer.busy * n, edge_busy: layer.edge_busy * n, ..layer }
    };
    let regions: Vec<_> = std::iter::once(head).chain(c.plan.stages.iter().map(|s| stage(s.len()))).collect();
    let position = ask.middle();
    let macs = ask.layers() as u64 * work::decode_layer_macs(&ask.shape, position) + work::head_macs(&ask.shape);
    Utilisation::of(chip, c.token_cycles(ask), macs, &regions, &c.works())
}

fn prefill(ask: &Ask, c: &Choice) -> Utilisation {
    let (chip, p) = (&ask.config.chip, &c.prompt);
    let plan = p.apart.as_ref().unwrap_or(&c.plan);
    let macs = ask.layers() as u64 * work::prefill_layer_macs(&ask.shape, ask.prompt) + work::head_macs(&ask.shape);
    let pes = (plan.cols * plan.rows * plan.stages.len()) as f64;
    let (cycles, possible) = (p.cycles.max(1) as f64, macs as f64 * chip.f32.mac);
    let (layer, times) = match &p.check {
        Some(check) => (&check.layer, check.smaller),
        None => (&c.layer.run, ask.prompt),
    };
    let b = layer.busy_of_layer();
    // Of a core that has so many layers.
    let share = |busy: u64, pes: u64, layers: f64| (busy * times as u64) as f64 / pes.max(1) as f64 * layers / cycles;
    let mean = ask.layers() as f64 / plan.stages.len() as f64;
    Utilisation {
        mac: possible / (cycles * pes),
        mac_of_chip: possible / (cycles * chip.cores() as f64),
        busy: share(b.busy, b.pes, mean),
        edge_busy: share(b.edge_busy, b.edge_pes, mean),
        edge_cores: border(plan.cols, plan.rows) as f64 / (plan.cols * plan.rows) as f64,
        bubbles: p.bubbles,
        busy_by_region: plan.stages.iter().map(|s| share(b.busy, b.pes, s.len() as f64)).collect(),
    }
}

/// Cores on the edges of a region.
fn border(cols: usize, rows: usize) -> usize {
    cols * rows - cols.saturating_sub(2) * rows.saturating_sub(2)
}
