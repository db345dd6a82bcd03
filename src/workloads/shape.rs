//! The four models of the WaferLLM evaluation as its skeleton sees them, and the tiles that a mesh cuts them into.
//!
//! Invariant: every tile of a matrix has the same sides: dimensions are padded up to multiples of the mesh side.
//! Sources: timing.md (dimensions, layers, group counts), waferllm.md 3.5. Called by `skeleton` and by `report`.

/// Dimensions of a model in the skeleton: one head, K and V of full width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaperModel {
    /// As in the paper.
    pub name: &'static str,
    /// Embedding dimension.
    pub hidden: usize,
    /// Inner dimension of the feed-forward part.
    pub ffn: usize,
    /// Layers.
    pub layers: usize,
}

/// In the order of the paper's tables.
pub const MODELS: [PaperModel; 4] = [
    PaperModel { name: "LLaMA3-8B", hidden: 4096, ffn: 14336, layers: 32 },
    PaperModel { name: "LLaMA2-13B", hidden: 5120, ffn: 13824, layers: 40 },
    PaperModel { name: "CodeLLaMA-34B", hidden: 8192, ffn: 22016, layers: 48 },
    PaperModel { name: "QWen2-72B", hidden: 8192, ffn: 29568, layers: 80 },
];

/// Sides of the padded tiles of a PE, in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tiles {
    /// Of the embedding.
    pub d: usize,
    /// Of the inner dimension.
    pub f: usize,
    /// Of the sequence.
    pub s: usize,
}

impl PaperModel {
    /// Tiles on a mesh of side `p` with `positions` positions.
    pub fn tiles(&self, p: usize, positions: usize) -> Tiles {
        Tiles { d: self.hidden.div_ceil(p), f: self.ffn.div_ceil(p), s: positions.div_ceil(p) }
    }

    /// Bytes of all weights of the layers in f16, unpadded: 4 d d + 3 d f a layer.
    pub fn weight_bytes(&self) -> u64 {
        2 * (self.layers * (4 * self.hidden * self.hidden + 3 * self.hidden * self.ffn)) as u64
    }

    /// Multiply-adds of a layer, unpadded: of a prompt of `positions`, or of one token that looks at them.
    pub fn layer_macs(&self, positions: usize, prompt: bool) -> f64 {
        let weights = 4 * self.hidden * self.hidden + 3 * self.hidden * self.ffn;
        let a_token = weights + 2 * positions * self.hidden;
        a_token as f64 * if prompt { positions as f64 } else { 1.0 }
    }

    /// Bytes of K and V of one position in f16, all layers.
    pub fn kv_bytes(&self) -> u64 {
        4 * (self.layers * self.hidden) as u64
    }
}

/// Group counts that the authors use for a mesh side (their configuration files).
const GROUPS: [(usize, usize); 11] = [
    (240, 15),
    (256, 16),
    (300, 15),
    (360, 18),
    (420, 20),
    (480, 20),
    (512, 32),
    (540, 20),
    (600, 24),
    (660, 22),
    (720, 24),
];

/// The authors' group count of a mesh side; elsewhere the divisor nearest to the root.
pub fn groups_of(p: usize) -> usize {
    let listed = GROUPS.iter().find(|g| g.0 == p).map(|g| g.1);
    let distance = |g: &usize| (g * g).abs_diff(p);
    listed.unwrap_or_else(|| (1..=p).filter(|g| p.is_multiple_of(*g)).min_by_key(distance).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_those_of_the_released_configurations() {
        for (p, d, s, f) in [(240, 18, 18, 60), (360, 12, 12, 40), (480, 9, 9, 30), (720, 6, 6, 20)] {
            assert_eq!(MODELS[0].tiles(p, 4096), Tiles { d, f, s }, "{p}");
        }
        assert_eq!(MODELS[1].tiles(720, 4096).d, 8, "5120 / 720 pads to 8");
    }

    #[test]
    fn group_counts_divide_the_side() {
        for (p, g) in GROUPS {
            assert!(p.is_multiple_of(g));
            assert_eq!(groups_of(p), g);
        }
        assert_eq!((groups_of(12), groups_of(16), groups_of(7)), (3, 4, 1));
    }
}
