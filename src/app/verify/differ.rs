//! The first number in which wafer and oracle differ: token, phase, layer, PE, value.
//!
//! The way of running that differed runs once more with probes, the oracle shows its activations, and the two are laid
//! side by side in the order of a pass: embedding, then QKV, AV, O and FFN of every layer, then logits.
//!
//! Invariant: when the second run does not differ on the way, the logit that did is named. Called by `verify`.

use std::fmt;

use anyhow::Result;

use super::{Outcome, feed};
use crate::host::{Probe, Probes, Session, SessionConfig};
use crate::kernels::decode::{Decode, point};
use crate::math::checkpoint::Checkpoint;
use crate::oracle::{Observed, Oracle, Recipe};
use crate::units::Coord;

/// Two numbers that should have been one.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// From 0.
    pub token: usize,
    /// embedding, QKV, AV, O, FFN or logits.
    pub phase: &'static str,
    /// Layer, where the phase has one.
    pub layer: Option<usize>,
    /// Who held it.
    pub pe: Option<Coord>,
    /// Index in the whole activation (of QKV: q, then k, then v).
    pub index: usize,
    /// Found.
    pub wafer: f32,
    /// Expected.
    pub oracle: f32,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "token {}, {}", self.token, self.phase)?;
        if let Some(layer) = self.layer {
            write!(f, " of layer {layer}")?;
        }
        if let Some(pe) = self.pe {
            write!(f, ", PE {pe}")?;
        }
        let (a, b) = (self.wafer, self.oracle);
        write!(f, ", element {}: wafer {a:e} ({:#010x}), oracle {b:e} ({:#010x})", self.index, a.to_bits(), b.to_bits())
    }
}

/// Looks for it.
///
/// # Errors
/// What keeps the wafer from running.
pub(super) fn first(
    model: &dyn Checkpoint,
    twin: &dyn Checkpoint,
    config: &SessionConfig,
    recipe: Recipe,
    (found, expect): (&Outcome, &Outcome),
) -> Result<Difference> {
    let token = (0..expect.logits.len()).find(|t| found.logits.get(*t) != expect.logits.get(*t)).unwrap_or(0);
    let probes = Probes::default();
    let mut session = Session::probed(model, config.clone(), Some(Probes::clone(&probes)))?;
    let mut oracle = Oracle::new(twin, recipe)?;
    for at in 0..=token {
        take(&probes);
        feed(&mut session, expect.ids[at])?;
        let mut seen = take(&probes);
        let mut first = None;
        oracle.step_observed(expect.ids[at], false, &mut |what, values| {
            first = first.take().or_else(|| compare(session.decode(), &mut seen, at, what, values));
        });
        if let Some(difference) = first {
            return Ok(difference);
        }
    }
    Ok(logit(session.decode(), token, &found.logits[token], &expect.logits[token]))
}

fn take(probes: &Probes) -> Vec<Probe> {
    std::mem::take(&mut *probes.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// The first difference in one activation, by (row, col) of the PE.
fn compare(decode: &Decode, seen: &mut [Probe], token: usize, what: Observed, values: &[f32]) -> Option<Difference> {
    let (at, phase, layer) = match what {
        Observed::Embedding => (point::EMBEDDING, "embedding", None),
        Observed::Qkv(layer) => (point::QKV, "QKV", Some(layer)),
        Observed::Av(layer) => (point::AV, "AV", Some(layer)),
        Observed::O(layer) => (point::O, "O", Some(layer)),
        Observed::Ffn(layer) => (point::FFN, "FFN", Some(layer)),
    };
    seen.sort_by_key(|p| p.pe);
    for p in seen.iter().filter(|p| p.point == at && p.layer == layer.unwrap_or(0)) {
        for (index, word) in decode.probed(p.pe, at).into_iter().zip(&p.words) {
            let oracle = *values.get(index)?;
            if *word != oracle.to_bits() {
                let (pe, wafer) = (Some(p.pe), f32::from_bits(*word));
                return Some(Difference { token, phase, layer, pe, index, wafer, oracle });
            }
        }
    }
    None
}

/// A logit that differs, or the id that follows from it.
fn logit(decode: &Decode, token: usize, found: &[u32], expect: &[u32]) -> Difference {
    let index = found.iter().zip(expect).position(|(a, b)| a != b).unwrap_or(0);
    let of = |bits: &[u32]| f32::from_bits(bits.get(index).copied().unwrap_or(0));
    let row = decode.head_root().row;
    let cols = decode.plan.head_cols;
    let held = |col: &usize| crate::math::split::part(decode.shape.vocab, cols, *col).contains(&index);
    let pe = (0..cols).find(held).map(|col| Coord::new(col as u32, row));
    Difference { token, phase: "logits", layer: None, pe, index, wafer: of(found), oracle: of(expect) }
}
