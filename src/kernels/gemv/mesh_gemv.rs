//! MeshGEMV's column: a K-tree allreduce.                                      (WaferLLM section 6; waferllm.md 2.2)
//!
//! Groups stream toward their middles, group roots do the same among themselves, the last root multicasts.
//!
//! | color            | carries                                                      |
//! |------------------|--------------------------------------------------------------|
//! | 2 k, 2 k + 1     | level k, alternating with the distance from the root         |
//! | 2 K              | broadcast                                                    |
//!
//! Cost at K = 2, G groups of g (r1 = g/2, r2 = (G/2) g + r1, alpha 1, T_R 2): hops r1 + (G/2) g + max(r2, P - 1 - r2),
//! stages r1 + G/2 + 1, cycles = gemv + hops + 5 stages + 3 w + what a root's second take waits for its first.
//! PLMR: L about P + g/2 hops in about sqrt(P) stages; R 2K + 1 colors.

use crate::collectives::{Allreduce, Tree, cost};
use crate::fabric::Chip;
use crate::kernels::Numerics;
use crate::units::Coord;

use super::{GemvAlgo, GemvShape};

pub(super) fn column(line: Vec<Coord>, groups: &[usize]) -> Allreduce {
    Allreduce::Tree(Tree { line, groups: groups.to_vec(), base: 0 })
}

impl GemvAlgo {
    /// A K-tree with the group counts that cost least for the widest column.
    pub fn ktree(levels: usize, shape: GemvShape, numerics: Numerics, chip: &Chip) -> Self {
        let words = numerics.travel_words(chip, shape.n.div_ceil(shape.cols));
        Self::KTree(cost::best_groups(shape.rows, levels, words, &chip.timing()))
    }
}
