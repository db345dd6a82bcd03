//! Published formulas of primitives, and the constants of each chip that go into them.
//!
//! Luczynski et al. ("Near-Optimal Wafer-Scale Reduce", HPDC'24), T = max(C, E / N + L) + stage x D, written for any
//! hop, stage and wavelet; on WSE-2 (1, 5, 1) they are the formulas as printed. Pipeline and two-tree allreduce are
//! WaferLLM's.
//! Invariant: floating point from published constants alone; knows nothing of the emulator's rules or of a preset.
//! Called by the sets.

/// What is published of a chip's messages, in cycles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Published {
    /// The preset that stands for the chip.
    pub preset: &'static str,
    /// A link.
    pub hop: f64,
    /// A dependent stage that adds and passes on while it receives.
    pub stage: f64,
    /// A message of software beside its hops and wavelets.
    pub message: f64,
    /// A wavelet on a link.
    pub wavelet: f64,
    /// A turn at a router.
    pub turn: f64,
    /// What stands behind a formula with these constants.
    pub said: &'static str,
}

/// HPDC'24, which also measured them.
pub(super) const WSE2: Published =
    Published { preset: "wse2", hop: 1.0, stage: 5.0, message: 5.0, wavelet: 1.0, turn: 0.0, said: "" };

/// Third-party studies of CS-3.
pub(super) const WSE3: Published = Published {
    preset: "wse3",
    hop: 2.0,
    stage: 8.0,
    message: 8.0,
    wavelet: 1.125,
    turn: 20.0,
    said: "; no run of it alone on WSE-3 is published, so the formula is held with WSE-3's published 2 a hop, about 8 \
           a stage, 1.125 a wavelet and 20 a turn (the preset's stage is 11: fitted, with 2 a hop, to MeshGEMV)",
};

/// Third-party runs of the vendor's simulator.
pub(super) const WSE3_SIM: Published = Published {
    preset: "wse3-sim",
    hop: 2.0,
    stage: 5.0,
    message: 9.0,
    wavelet: 1.0,
    turn: 33.0,
    said: "; no run of it alone in the simulator is published, so the formula is held with the simulator's 2 a hop, 9 \
           a message (19 for 8 words over one hop), 1 a wavelet and 33 a turn, and WSE-2's 5 a streaming stage",
};

impl Published {
    /// A chain of p cores, b wavelets.
    pub fn chain(&self, p: f64, b: f64) -> f64 {
        b * self.wavelet + (self.hop + self.stage) * (p - 1.0)
    }

    /// A binary tree.
    pub fn tree(&self, p: f64, b: f64) -> f64 {
        let (n, w) = (libm::log2(p), b * self.wavelet);
        (w * n).max(w * p * n / (2.0 * (p - 1.0)) + self.hop * (p - 1.0)) + self.message * n
    }

    /// Chains in groups of the root of p, then a chain of their ends; p a square.
    pub fn two_phase(&self, p: f64, b: f64) -> f64 {
        let (group, w) = (p.sqrt(), b * self.wavelet);
        let wire = 2.0 * w * (p - group) / (p - 1.0) + self.hop * (p - 1.0);
        (2.0 * w).max(wire) + self.stage * (2.0 * group - 2.0)
    }

    /// One message to all, from an end of the line.
    pub fn broadcast(&self, p: f64, b: f64) -> f64 {
        b * self.wavelet + self.hop * (p - 1.0) + self.message
    }

    /// One message over a rectangle, from its corner; its rows are entered by a turn.
    pub fn multicast(&self, m: f64, n: f64, b: f64) -> f64 {
        b * self.wavelet + self.hop * (m + n - 2.0) + self.message + self.turn
    }

    /// Chains along rows, then down the last column.
    pub fn reduce_2d(&self, m: f64, n: f64, b: f64) -> f64 {
        self.chain(m, b) + self.chain(n, b)
    }

    /// Reduce-scatter and allgather.
    pub fn ring(&self, p: f64, b: f64) -> f64 {
        2.0 * (p - 1.0) * b * self.wavelet / p + self.hop * (4.0 * p - 6.0) + 2.0 * self.message * (p - 1.0)
    }

    /// Chain and broadcast, as WaferLLM has it.
    pub fn pipeline(&self, p: f64, b: f64) -> f64 {
        p * (self.hop + self.stage) + self.hop * p + 3.0 * b * self.wavelet
    }

    /// WaferLLM's allreduce of b wavelets over p cores in so many groups, five serialisations of four to six.
    pub fn two_tree(&self, p: usize, groups: usize, b: f64) -> f64 {
        let g = p / groups;
        let (r1, half) = (g / 2, groups / 2);
        let r2 = half * g + r1;
        let (s1, s2) = (r1.max(g - 1 - r1), half.max(groups - 1 - half));
        let hops = s1 + s2 * g + r2.max(p - 1 - r2);
        hops as f64 * self.hop + (s1 + s2) as f64 * self.stage + 5.0 * b * self.wavelet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_wse2_they_are_the_formulas_as_printed() {
        // Values printed in HPDC'24 for P = 512 and 64.
        let check = |found: f64, printed: f64| assert!((found - printed).abs() < 1.0, "{found} is not {printed}");
        check(WSE2.chain(512.0, 256.0), 3322.0);
        check(WSE2.tree(512.0, 16.0), 628.0);
        check(WSE2.tree(512.0, 4096.0), 36909.0);
        check(WSE2.two_phase(64.0, 256.0), 588.0);
        check(WSE2.broadcast(512.0, 4096.0), 4612.0);
        check(WSE2.multicast(16.0, 8.0, 64.0), 64.0 + 16.0 + 8.0 + 3.0);
        check(WSE2.ring(16.0, 64.0), 2.0 * 15.0 * 4.0 + 58.0 + 150.0);
        // One hop and stage a core, a hop back.
        check(WSE2.pipeline(10.0, 2.0), 76.0);
        // P 360, G 18: 10 + 9 stages, 10 + 180 + 190 hops (waferllm.md).
        check(WSE2.two_tree(360, 18, 0.0), 19.0 * 5.0 + 380.0);
    }
}
