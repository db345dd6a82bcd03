//! Choosing the next token from the logits, in llama.cpp's order: top-k, top-p, temperature.
//!
//! Invariant: pure; the same logits, options and seed give the same ids on every host (exp and log by `libm`).
//! Candidates are ordered by (logit descending, id ascending). Called by `generate`.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Candidates that top-p looks at, at most.
pub const CANDIDATES_MAX: usize = 256;

/// How to choose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleOptions {
    /// 0: greedy.
    pub temperature: f64,
    /// Keep the k best; 0: all (up to `CANDIDATES_MAX`).
    pub top_k: usize,
    /// Keep the fewest best whose probability reaches this; 1: all.
    pub top_p: f64,
    /// Of the generator.
    pub seed: u64,
}

/// A choice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// The token.
    pub id: u32,
    /// Probability that top-k and top-p asked to keep, but that lies beyond `CANDIDATES_MAX` candidates.
    pub cut: f64,
}

/// A sampler with its generator.
#[derive(Clone, Debug)]
pub struct Sampler {
    options: SampleOptions,
    random: ChaCha8Rng,
}

impl Sampler {
    /// Seeds the generator.
    pub fn new(options: SampleOptions) -> Self {
        Self { options, random: ChaCha8Rng::seed_from_u64(options.seed) }
    }

    /// True if the wafer's own argmax is the choice.
    pub fn is_greedy(&self) -> bool {
        self.options.temperature == 0.0
    }

    /// The next token. `None` for an empty vocabulary.
    pub fn choose(&mut self, logits: &[f32]) -> Option<Choice> {
        let wanted = match self.options.top_k {
            0 => logits.len(),
            k => k.min(logits.len()),
        };
        let mut best = candidates(logits, wanted.min(CANDIDATES_MAX));
        let top = *best.first()?;
        if self.is_greedy() {
            return Some(Choice { id: top.0, cut: 0.0 });
        }
        // With top-k the distribution is that of the k kept; `wanted` may exceed the candidates.
        let total = normaliser(logits, top.1, &best, wanted);
        let (kept, mass) = top_p(&best, top.1, total, self.options.top_p);
        let asked = self.options.top_p.min(1.0);
        let all_kept = kept == best.len() && wanted > best.len();
        let cut = if all_kept { (asked - mass).max(0.0) } else { 0.0 };
        best.truncate(kept);
        Some(Choice { id: self.draw(&best), cut })
    }

    fn draw(&mut self, kept: &[(u32, f32)]) -> u32 {
        let top = f64::from(kept[0].1);
        let weight = |logit: f32| libm::exp((f64::from(logit) - top) / self.options.temperature);
        let total: f64 = kept.iter().map(|c| weight(c.1)).sum();
        let unit = (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let mut left = unit * total;
        for &(id, logit) in kept {
            left -= weight(logit);
            if left < 0.0 {
                return id;
            }
        }
        kept[kept.len() - 1].0
    }
}

/// The `n` best, in order.
fn candidates(logits: &[f32], n: usize) -> Vec<(u32, f32)> {
    let mut all: Vec<(u32, f32)> = (0u32..).zip(logits.iter().copied()).collect();
    let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&(a.1)).then(a.0.cmp(&b.0));
    for c in &mut all {
        c.1 += 0.0; // -0.0 ties with +0.0
    }
    if n < all.len() && n > 0 {
        all.select_nth_unstable_by(n - 1, order);
    }
    all.truncate(n);
    all.sort_unstable_by(order);
    all
}

/// Sum of exp(logit - top) over what top-k keeps: exactly the candidates, or the whole vocabulary.
fn normaliser(logits: &[f32], top: f32, best: &[(u32, f32)], wanted: usize) -> f64 {
    let weight = |logit: f32| libm::exp(f64::from(logit) - f64::from(top));
    if wanted <= best.len() && wanted < logits.len() {
        best.iter().map(|c| weight(c.1)).sum()
    } else if wanted < logits.len() {
        candidates(logits, wanted).iter().map(|c| weight(c.1)).sum()
    } else {
        logits.iter().map(|l| weight(*l)).sum()
    }
}

/// How many candidates top-p keeps (at least one), and their probability.
fn top_p(best: &[(u32, f32)], top: f32, total: f64, p: f64) -> (usize, f64) {
    let mut mass = 0.0;
    for (i, c) in best.iter().enumerate() {
        mass += libm::exp(f64::from(c.1) - f64::from(top)) / total;
        if p < 1.0 && mass >= p {
            return (i + 1, mass);
        }
    }
    (best.len(), mass)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(temperature: f64, top_k: usize, top_p: f64) -> SampleOptions {
        SampleOptions { temperature, top_k, top_p, seed: 7 }
    }

    fn ids(logits: &[f32], o: SampleOptions, n: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(o);
        (0..n).filter_map(|_| sampler.choose(logits)).map(|c| c.id).collect()
    }

    #[test]
    fn greedy_takes_the_lowest_id_of_the_best() {
        for (logits, expect) in [(vec![1.0, 3.0, 3.0], 1), (vec![-0.0, 0.0], 0), (vec![f32::NEG_INFINITY, -5.0], 1)] {
            assert_eq!(ids(&logits, options(0.0, 0, 1.0), 1), [expect], "{logits:?}");
        }
    }

    #[test]
    fn top_k_and_top_p_bound_the_support() {
        let logits = [2.0, 1.0, 0.0, -1.0]; // 0.644, 0.237, 0.087, 0.032
        for (k, p, support) in [(1, 1.0, 1), (2, 1.0, 2), (0, 0.6, 1), (0, 0.7, 2), (0, 0.9, 3), (0, 1.0, 4)] {
            let mut seen = ids(&logits, options(1.0, k, p), 2000);
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen, (0..support).collect::<Vec<u32>>(), "top-k {k}, top-p {p}");
        }
    }

    #[test]
    fn frequencies_follow_the_tempered_softmax() {
        let logits = [0.0, 1.0];
        for temperature in [0.5, 1.0, 2.0] {
            let n = 20_000;
            let ones = ids(&logits, options(temperature, 0, 1.0), n).iter().filter(|i| **i == 1).count();
            let expect = 1.0 / (1.0 + libm::exp(-1.0 / temperature));
            let got = ones as f64 / n as f64;
            assert!((got - expect).abs() < 0.015, "temperature {temperature}: {got} for {expect}");
        }
    }

    #[test]
    fn mass_beyond_the_candidates_is_told() {
        let flat = vec![0.0; 1024];
        let mut sampler = Sampler::new(options(1.0, 0, 1.0));
        let cut = sampler.choose(&flat).map(|c| c.cut);
        assert!(cut.is_some_and(|c| (c - 0.75).abs() < 1e-9), "{cut:?}");
        let mut sampler = Sampler::new(options(1.0, 0, 0.2));
        assert_eq!(sampler.choose(&flat).map(|c| c.cut), Some(0.0));
    }

    #[test]
    fn same_seed_same_ids_other_seed_other_ids() {
        let logits: Vec<f32> = (0..50).map(|i| (i % 7) as f32 * 0.1).collect();
        let o = options(1.0, 0, 1.0);
        assert_eq!(ids(&logits, o, 40), ids(&logits, o, 40));
        assert_ne!(ids(&logits, o, 40), ids(&logits, SampleOptions { seed: 8, ..o }, 40));
        assert_eq!(Sampler::new(o).choose(&[]), None);
    }
}
