//! The question of a plan.
//!
//! Invariant: what was asked, and what follows from it by counting. Called by `app`; `search` answers it, `advice` says
//! what else to ask where there is no answer.

use serde::Serialize;

use crate::fabric::Chip;
use crate::host::SessionConfig;
use crate::kernels::decode::Decode;
use crate::math::checkpoint::{ModelShape, WeightFormat};
use crate::math::split::part;

/// What the best is the best at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// Seconds of one request: the prompt, the way to decode, the answer.
    Latency,
    /// Joules of one request on the cores that the plan uses, each at its share of the chip's power.
    Energy,
    /// Tokens a second of the wafers, with as many requests under way as K and V have room for, on as many copies of
    /// the placement as the wafer has room for.
    Tokens,
}

/// The question.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Sizes of the model.
    pub shape: ModelShape,
    /// Format of its matrices.
    pub format: WeightFormat,
    /// Chip, K and V, context; a mesh here is the only one that is looked at.
    pub config: SessionConfig,
    /// The only prefill mesh that is looked at.
    pub prefill_mesh: Option<(u32, u32)>,
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens of the answer.
    pub output: usize,
    /// Wafers, each with a run of consecutive layers.
    pub wafers: usize,
    /// Cycles from one wafer to the next.
    pub wafer_cycles: u64,
    /// What counts.
    pub objective: Objective,
    /// Choices that are executed before one is taken.
    pub finalists: usize,
}

impl Ask {
    /// Layers of the fullest wafer.
    pub fn layers(&self) -> usize {
        part(self.shape.n_layers, self.wafers, 0).len()
    }

    /// The model's part on the first wafer.
    pub fn part(&self) -> ModelShape {
        ModelShape { n_layers: self.layers(), ..self.shape.clone() }
    }

    /// Passes of decode: the first token of the answer comes out of the prompt's.
    pub fn steps(&self) -> usize {
        self.output.saturating_sub(1)
    }

    /// Position in the middle of the answer.
    pub fn middle(&self) -> usize {
        self.prompt + self.output / 2
    }

    /// Tree levels that the chip has colors for.
    pub fn levels(&self) -> impl Iterator<Item = usize> + '_ {
        let have = self.config.chip.usable_colors();
        (1..=3).filter(move |k| Decode::straight_colors(*k) <= have)
    }
}

/// A chip with another reserve for code and stack.
pub fn with_reserve(chip: &Chip, reserved_bytes: u64) -> Chip {
    Chip { reserved_bytes, ..chip.clone() }
}
