//! Sampling on the host, in llama.cpp's order: top-k, top-p, temperature.
//!
//! Invariant: ids depend on logits and seed alone; ties go to the lower id. Top-p uses the normaliser of the whole
//! vocabulary and at most `CANDIDATES_MAX` candidates; whether mass was cut by that limit is told.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// Most candidates that top-p looks at.
pub const CANDIDATES_MAX: usize = 256;

/// What to keep and how to draw.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// 0: greedy.
    pub temperature: f32,
    /// 0: all.
    pub top_k: usize,
    /// Mass to keep.
    pub top_p: f32,
    /// Seed.
    pub seed: u64,
}

/// A seeded sampler.
pub struct Sampler {
    settings: Settings,
    random: ChaCha8Rng,
    /// Did the limit of candidates ever cut mass that top-p would have kept?
    pub cut: bool,
}

impl Sampler {
    /// A sampler at its first draw.
    pub fn new(settings: Settings) -> Self {
        Self { settings, random: ChaCha8Rng::seed_from_u64(settings.seed), cut: false }
    }

    /// Is the choice always the largest logit?
    pub fn is_greedy(&self) -> bool {
        self.settings.temperature <= 0.0 || self.settings.top_k == 1
    }

    /// Draws an id.
    pub fn draw(&mut self, logits: &[f32]) -> u32 {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let limit = if self.settings.top_k == 0 { logits.len() } else { self.settings.top_k };
        let keep = limit.min(CANDIDATES_MAX).min(logits.len()).max(1);
        let by_logit = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        if keep < order.len() {
            order.select_nth_unstable_by(keep, by_logit);
            order.truncate(keep);
        }
        order.sort_unstable_by(by_logit);
        let best = f64::from(logits[order[0] as usize]);
        let weight = |id: u32, t: f64| libm::exp((f64::from(logits[id as usize]) - best) / t);
        let kept: f64 = order.iter().map(|id| weight(*id, 1.0)).sum();
        // With top-k the mass is that of the k; without it, that of the whole vocabulary.
        let whole = if self.settings.top_k == 0 || limit > keep {
            (0..logits.len() as u32).map(|id| weight(id, 1.0)).sum()
        } else {
            kept
        };
        let target = f64::from(self.settings.top_p) * whole;
        let mut mass = 0.0;
        let mut n = 0;
        while n < order.len() && (n == 0 || mass < target) {
            mass += weight(order[n], 1.0);
            n += 1;
        }
        self.cut |= mass < target && limit > keep;
        order.truncate(n);
        let t = f64::from(self.settings.temperature);
        let total: f64 = order.iter().map(|id| weight(*id, t)).sum();
        let mut at = (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * total;
        for &id in &order {
            at -= weight(id, t);
            if at < 0.0 {
                return id;
            }
        }
        order[order.len() - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(temperature: f32, top_k: usize, top_p: f32, seed: u64) -> Sampler {
        Sampler::new(Settings { temperature, top_k, top_p, seed })
    }

    #[test]
    fn the_same_seed_draws_the_same_ids_and_another_seed_others() {
        let logits: Vec<f32> = (0..50).map(|i| (i as f32 * 0.7).sin()).collect();
        let run = |seed| -> Vec<u32> {
            let mut s = sampler(1.0, 0, 1.0, seed);
            (0..40).map(|_| s.draw(&logits)).collect()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn top_k_and_top_p_keep_only_the_most_likely() {
        let logits = [0.0, 3.0, 3.0, 1.0];
        let mut k = sampler(1.0, 2, 1.0, 3);
        let mut p = sampler(1.0, 0, 0.4, 3);
        for _ in 0..200 {
            assert!([1, 2].contains(&k.draw(&logits)));
            assert_eq!(p.draw(&logits), 1, "ties go to the lower id");
        }
    }

    #[test]
    fn more_mass_than_the_candidates_hold_is_told() {
        let mut flat = sampler(1.0, 0, 0.9, 1);
        flat.draw(&vec![0.0; 2000]);
        assert!(flat.cut);
        let mut sharp = sampler(1.0, 0, 0.9, 1);
        sharp.draw(&[10.0, 0.0, 0.0]);
        assert!(!sharp.cut);
    }
}
