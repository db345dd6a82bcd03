//! Utilisation of a run's two spans, the prompt and the answer, and over T10's and Ladder's: with weights or dry.
//!
//! Invariant: both kinds of run come through here, so equal counters give equal shares. Called by `generate` and `dry`.

use anyhow::Result;
use serde_json::{Value, json};

use crate::host::{Report, Session, Usage};
use crate::math::checkpoint::ModelShape;
use crate::plan::rivals::{Rivals, Unknown};
use crate::plan::utilise::Utilisation;

/// Names of the spans, in the order of their fields.
const NAMES: [&str; 2] = ["prefill", "decode"];

struct Span {
    usage: Usage,
    shares: Utilisation,
}

/// Prefill, decode; a span in which nothing passed has no shares.
pub struct Spans {
    spans: [Option<Span>; 2],
    rivals: [Result<Rivals, Unknown>; 2],
    /// The host draws ids: its round trips are cycles of the decode.
    trips: bool,
}

impl Spans {
    /// Of a run of `prompt` positions and `made` generated steps. `fed`: usage at the end of a prompt that went token
    /// by token.
    ///
    /// # Errors
    /// When a worker is gone.
    pub fn of(
        session: &Session,
        totals: &Report,
        shape: &ModelShape,
        fed: Option<&Usage>,
        (prompt, made): (usize, usize),
    ) -> Result<Self> {
        let decode = session.decode();
        let chip = &decode.chip;
        let (prefill, after) = match (&totals.prefill, fed) {
            (Some(p), _) => (Some(p.usage.clone()), Some(session.usage()?)),
            (None, Some(fed)) => (Some(fed.clone()), Some(session.usage()?.since(fed))),
            // A prompt that did not end.
            (None, None) => (None, None),
        };
        let span = |usage: Usage| {
            let shares = Utilisation::of(chip, usage.cycles, usage.macs(shape), &usage.regions, &usage.works);
            Span { usage, shares }
        };
        let some = |usage: Option<Usage>| usage.filter(|u| !u.positions.is_empty()).map(span);
        let mesh = (decode.plan.cols, decode.plan.rows);
        let from = totals.prefill.as_ref().and_then(|p| p.moved.from);
        let from = from.map_or(mesh, |(cols, rows)| (cols as usize, rows as usize));
        Ok(Self {
            spans: [some(prefill), some(after)],
            rivals: [
                Rivals::of(shape, chip, from, prompt, true),
                Rivals::of(shape, chip, mesh, prompt + made / 2, false),
            ],
            trips: totals.host_roundtrip_cycles > 0,
        })
    }

    /// Rows of a report.
    pub fn rows(&self, row: &mut impl FnMut(&str, String)) {
        let mut head = "utilisation";
        for (name, span) in NAMES.into_iter().zip(&self.spans) {
            if let Some(span) = span {
                let trips = if self.trips && name == "decode" { "; the host's round trips are bubbles" } else { "" };
                row(std::mem::take(&mut head), format!("{name}: {}{trips}", span.shares.line()));
            }
        }
        for (name, rivals) in NAMES.into_iter().zip(&self.rivals) {
            row(std::mem::take(&mut head), format!("{name}: {}", Rivals::line(rivals)));
        }
    }

    /// For programs: shares of each span, with what they are shares of.
    pub fn utilisation_json(&self) -> Value {
        self.object(|i| {
            let span = self.spans[i].as_ref()?;
            let mut shares = json!(span.shares);
            shares["cycles"] = json!(span.usage.cycles);
            shares["busy_cycles"] = json!(span.usage.busy_cycles());
            Some(shares)
        })
    }

    /// Likewise, of WaferLLM over T10 and Ladder.
    pub fn rivals_json(&self) -> Value {
        self.object(|i| self.rivals[i].as_ref().ok().map(|r| json!(r)))
    }

    fn object(&self, of: impl Fn(usize) -> Option<Value>) -> Value {
        let [prefill, decode] = [of(0), of(1)];
        json!({ NAMES[0]: prefill, NAMES[1]: decode })
    }
}
