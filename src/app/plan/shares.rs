//! Utilisation of a choice, decode and prefill, and over rivals.
//!
//! Decode: busy cycles of the timed layer, the head's by its products; regions work as `plan::confirm` says. Prefill:
//! multiply-adds over predicted cycles; busy shares as in the executed layer, less the time in which stages wait for
//! the pipeline; token by token those of decode in a full pipeline.
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
    let head = RegionBusy { pes, busy: pes * chip.gemv(h, v).0, ..RegionBusy::default() };
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
    let works = 1.0 - p.bubbles;
    // Of a stage while it works.
    let layer = p.check.as_ref().map_or(&c.layer.run, |check| &check.layer);
    let (b, all) = (layer.busy_of_layer(), layer.cycles.max(1) as f64);
    let busy = b.busy as f64 / (b.pes as f64 * all);
    let edge = b.edge_busy as f64 / (b.edge_pes.max(1) as f64 * all);
    let border = plan.cols * plan.rows - plan.cols.saturating_sub(2) * plan.rows.saturating_sub(2);
    Utilisation {
        mac: possible / (cycles * pes),
        mac_of_chip: possible / (cycles * chip.cores() as f64),
        busy: busy * works,
        edge_busy: edge * works,
        edge_cores: border as f64 / (plan.cols * plan.rows) as f64,
        bubbles: p.bubbles,
        busy_by_region: vec![busy * works; plan.stages.len()],
    }
}
