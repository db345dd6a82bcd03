//! `--gpu`: how fast a model is on GPUs, as the user quotes it, for ratios of energy.
//!
//! Invariant: no speed of a GPU is known here. Called by `paper`.

use crate::energy::ratio_to_gpus;
use crate::fabric::Chip;
use crate::report::paper::{Cell, Phase};
use crate::workloads::{MODELS, PaperModel};

/// One model on so many GPUs.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    model: &'static str,
    /// Tokens a second of one request.
    prefill: f64,
    decode: f64,
    gpus: f64,
}

/// MODEL=PREFILL/DECODE/GPUS.
pub fn parse(text: &str) -> Result<Gpu, String> {
    let names = || MODELS.map(|m| m.name).join(", ");
    let need = || format!("need MODEL=PREFILL/DECODE/GPUS with a model of {}, and numbers above 0", names());
    let (name, numbers) = text.split_once('=').ok_or_else(need)?;
    let model = MODELS.iter().find(|m| m.name.eq_ignore_ascii_case(name)).ok_or_else(need)?.name;
    let positive = |part: &str| part.parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0);
    match numbers.split('/').map(positive).collect::<Option<Vec<f64>>>().as_deref() {
        Some(&[prefill, decode, gpus]) => Ok(Gpu { model, prefill, decode, gpus }),
        _ => Err(need()),
    }
}

/// Energy of the quoted GPUs over that of the chip, which the cell before has in joules a token.
pub fn ratio(quoted: &[Gpu], chip: &Chip, model: &PaperModel, phase: Phase, before: Option<&Cell>) -> Option<f64> {
    let gpu = quoted.iter().rev().find(|g| g.model == model.name)?;
    let rate = if phase == Phase::Prefill { gpu.prefill } else { gpu.decode };
    let seconds = before?.emulated? / chip.power_watts;
    Some(ratio_to_gpus(chip, 1.0 / rate, gpu.gpus, seconds)).filter(|ratio| ratio.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_three_positive_numbers_of_a_known_model() {
        let gpu = Gpu { model: "LLaMA3-8B", prefill: 4000.0, decode: 80.5, gpus: 2.0 };
        assert_eq!(parse("llama3-8b=4000/80.5/2"), Ok(gpu));
        for text in
            ["", "LLaMA3-8B", "LLaMA3-8B=1/2", "LLaMA3-8B=1/2/3/4", "LLaMA3-8B=1/0/1", "GPT=1/2/3", "QWen2-72B=1/x/1"]
        {
            assert!(parse(text).is_err_and(|e| e.contains("QWen2-72B")), "{text}");
        }
    }
}
