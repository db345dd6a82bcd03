//! WaferLLM's utilisation over T10's and Ladder's, on as many cores as a mesh has.
//!
//! The three do the same work, one layer of `waferllm-skeleton` (padded tiles, one head, paper numerics), on a square
//! of isqrt(columns x rows) cores a side. WaferLLM's programs are executed on the row and the column that stand for the
//! mesh; T10 and Ladder are the closed forms of `workloads::relay`, which `tests/kernels/relays.rs` holds equal to
//! execution at small P. Equal work on equal cores: the ratio of utilisations is that of cycles.
//!
//! Invariant: nothing is said of a chip whose software costs of T10 and Ladder nobody has published. Called by `app`.

use serde::{Deserialize, Serialize};

use crate::fabric::Chip;
use crate::math::checkpoint::ModelShape;
use crate::workloads::decode::VARIANTS;
use crate::workloads::relay::Policy;
use crate::workloads::relay::layer::RelayLayer;
use crate::workloads::shape::PaperModel;
use crate::workloads::skeleton::Layer;

/// Smallest side on which all three are programs of their own.
const SIDE_MIN: usize = 4;

/// One phase.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rivals {
    /// Side of the square of cores.
    pub side: usize,
    /// Multiply-adds that WaferLLM's layer needs, of what those cores could do meanwhile at the chip's f16 rate.
    pub waferllm_mac: f64,
    /// WaferLLM's utilisation over T10's.
    pub over_t10: f64,
    /// Over Ladder's.
    pub over_ladder: f64,
}

impl Rivals {
    /// Of a layer of decode with `positions` positions, or of a prefill of so many, on as many cores as `mesh` has.
    ///
    /// # Errors
    /// Why there is nothing to say, for people.
    pub fn of(
        shape: &ModelShape,
        chip: &Chip,
        mesh: (usize, usize),
        positions: usize,
        is_prefill: bool,
    ) -> Result<Self, Unknown> {
        let o = &chip.overheads;
        let stated = [o.t10_shift, o.t10_word, o.t10_stage, o.ladder_get, o.ladder_word].iter().all(|c| *c > 0.0);
        if !stated || chip.issue_cycles > 0 {
            return Err(Unknown::Chip);
        }
        let p = (mesh.0 * mesh.1).isqrt().min(chip.cols as usize).min(chip.rows as usize);
        if p < SIDE_MIN {
            return Err(Unknown::Small);
        }
        let model = PaperModel { name: "", hidden: shape.hidden, ffn: shape.ffn, layers: shape.n_layers };
        let tiles = model.tiles(p, positions.max(1));
        let layer = Layer { chip, p, tiles };
        let program = if is_prefill { layer.prefill() } else { VARIANTS[0].program(&layer) };
        let own = program.timed(chip).map_err(|error| Unknown::Skeleton(error.to_string()))?.cycles;
        let of = |policy| {
            let rival = RelayLayer { chip, policy, p, tiles };
            if is_prefill { rival.prefill_cycles() } else { rival.decode_cycles() }
        };
        let over = |cycles: u64| cycles as f64 / own.max(1) as f64;
        Ok(Self {
            side: p,
            waferllm_mac: model.layer_macs(positions, is_prefill) * chip.f16.mac / (own.max(1) as f64 * (p * p) as f64),
            over_t10: over(of(Policy::T10)),
            over_ladder: over(of(Policy::Ladder)),
        })
    }

    /// One line for people.
    pub fn line(outcome: &Result<Self, Unknown>) -> String {
        match outcome {
            Ok(r) => format!(
                "WaferLLM's is {:.1}x T10's and {:.0}x Ladder's (skeleton layer on {side}x{side} cores, {:.3} % of f16 \
                 MACs; T10 and Ladder: closed forms, equal to execution at small P)",
                r.over_t10,
                r.over_ladder,
                r.waferllm_mac * 100.0,
                side = r.side
            ),
            Err(why) => format!("WaferLLM's over T10's and Ladder's: {why}"),
        }
    }
}

/// Why there is nothing to compare.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// The chip does not say what software of relays costs.
    #[error("not known, this chip has no published software costs of theirs")]
    Chip,
    /// Too few cores.
    #[error("not compared on fewer than 4x4 cores")]
    Small,
    /// The skeleton does not run on this chip and mesh.
    #[error("not compared, the skeleton does not run here: {0}")]
    Skeleton(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sizes::Sizes;

    fn shape() -> ModelShape {
        Sizes::preset("llama3-8b").expect("a preset").config.shape
    }

    #[test]
    fn the_ratios_are_those_of_the_paper_s_tables() {
        let chip = Chip::preset("wse2").expect("a preset");
        // Table 3 at 480, Table 4 at 420: tokens/s of WaferLLM over those of T10 and Ladder.
        let prefill = Rivals::of(&shape(), &chip, (480, 480), 4096, true).expect("known");
        let decode = Rivals::of(&shape(), &chip, (420, 420), 4096, false).expect("known");
        for (found, published) in [
            (prefill.over_t10, 20_320.6 / 175.0),
            (prefill.over_ladder, 20_320.6 / 61.8),
            (decode.over_t10, 2_699.9 / 418.3),
            (decode.over_ladder, 2_699.9 / 14.6),
        ] {
            assert!((found / published - 1.0).abs() < 0.06, "{found} {published}");
        }
        assert!(decode.waferllm_mac < prefill.waferllm_mac && prefill.waferllm_mac < 1.0);
    }

    #[test]
    fn small_meshes_and_other_chips_are_told_why() {
        let chip = Chip::preset("wse2").expect("a preset");
        assert_eq!(Rivals::of(&shape(), &chip, (3, 4), 10, false), Err(Unknown::Small));
        let sim = Chip::preset("wse3-sim").expect("a preset");
        assert_eq!(Rivals::of(&shape(), &sim, (40, 40), 10, false), Err(Unknown::Chip));
        let small = ModelShape { hidden: 16, ffn: 40, ..shape() };
        for side in 4..13 {
            for is_prefill in [false, true] {
                let line = Rivals::line(&Rivals::of(&small, &chip, (side, side), 9, is_prefill));
                assert!(line.starts_with("WaferLLM's"), "{line}");
            }
        }
    }
}
