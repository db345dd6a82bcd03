//! One decode layer: the graph that the paper measured, and what fusing, better trees and a shorter softmax gain.
//!
//! | graph    | allreduces along y                           | along x        | of them |
//! |----------|----------------------------------------------|----------------|---------|
//! | measured | rms, Q, K, V, max, sum, AV, rms, up, gate    | score, O, down | 13      |
//! | released | rms, QKV, max, sum, AV, rms, up gate         | score, O, down | 10      |
//! | fused    | QKV and squares, max, sum, AV, up gate and squares | score, O, down | 8 |
//! | short    | QKV and squares, max, AV and sum, up gate and squares | score, O, down | 7 |
//!
//! *fused* is the graph of `kernels::decode`: the sum of squares of a norm rides with the products that follow, which
//! are scaled afterwards. *short* leaves probabilities unnormalised until A V is summed: their sum rides with it and
//! divides at the root (one rounding elsewhere than in *fused*; same mathematics).
//! Trees: the authors' group counts, or those that cost least for the widest sum; K = 3 along y alone takes 2 colors
//! more (12 here; 20 of 21 in the whole decode, which has 18 at K = 2).
//! What makes the difference: a sum costs about 530 cycles at P = 420 whatever it carries, nearly all of it hops, so
//! each sum that rides with another saves that; better trees save the few stages that are not hops.
//!
//! Compute, SiLU and the layer constant are those of the skeleton in every graph, so that what differs is the graph;
//! the last one alone replaces the published SiLU (c_e an element, on d of the f elements) by a vectorised one on all
//! f, at a rate that the chip marks as assumed.
//! Invariant: a list depends on shapes alone. Called by `report` and tests.

use crate::collectives::cost::best_groups;
use crate::kernels::Numerics;
use crate::units::Cycles;

use super::line::{Axis, Op, Program};
use super::shape::{Tiles, groups_of};
use super::skeleton::Layer;

/// Which sums are made together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Graph {
    /// Nothing fused.
    Measured,
    /// Products of the same vector fused.
    Released,
    /// Norms ride along.
    Fused,
    /// The softmax's sum too.
    Short,
    /// The same with SiLU on all of the inner dimension as the chip's special function, not the published loop.
    Vector,
}

/// A graph with its trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// For people.
    pub name: &'static str,
    /// Sums.
    pub graph: Graph,
    /// Levels along y with the cheapest group counts; `None`: the authors' two levels.
    pub levels: Option<usize>,
}

/// From what was measured to the best that is known here.
pub const VARIANTS: [Variant; 7] = [
    Variant { name: "measured graph, 13 allreduces", graph: Graph::Measured, levels: None },
    Variant { name: "released graph, 10 allreduces", graph: Graph::Released, levels: None },
    Variant { name: "this decode, 8 allreduces", graph: Graph::Fused, levels: None },
    Variant { name: "8 allreduces, best groups", graph: Graph::Fused, levels: Some(2) },
    Variant { name: "7 allreduces, sum with A V, best groups", graph: Graph::Short, levels: Some(2) },
    Variant { name: "7 allreduces, K = 3 along y", graph: Graph::Short, levels: Some(3) },
    Variant { name: "the same, SiLU at special rate (assumed)", graph: Graph::Vector, levels: Some(3) },
];

impl Variant {
    /// The list of a layer.
    pub fn program(&self, layer: &Layer<'_>) -> Program {
        let authors = || vec![groups_of(layer.p), 1];
        let Tiles { d, f, s } = layer.tiles;
        let best = |levels, elements| {
            let words = Numerics::Paper.travel_words(layer.chip, elements);
            best_groups(layer.p, levels, words, &layer.chip.timing())
        };
        let groups = match self.levels {
            None => [authors(), authors()],
            Some(levels) => [best(2, d.max(s)), best(levels, d.max(f))],
        };
        Program { cols: layer.p, rows: layer.p, groups, ops: operations(self.graph, layer) }
    }
}

fn operations(graph: Graph, l: &Layer<'_>) -> Vec<Op> {
    let Tiles { d, f, s } = l.tiles;
    let (x, y) = (Axis::X, Axis::Y);
    let (overheads, cycles) = (&l.chip.overheads, |cycles: f64| Op::Compute(Cycles(cycles.round() as u64)));
    let softmax = cycles(l.chip.f16.special * s as f64);
    let layer = cycles(overheads.layer);
    let silu = match graph {
        // Special function, product with up, scale.
        Graph::Vector => cycles((l.chip.f16.special + 2.0 * l.chip.f16.element) * f as f64),
        _ => cycles(overheads.silu * d as f64),
    };
    let own_norm = matches!(graph, Graph::Measured | Graph::Released);
    // Products of one vector: apart, or in one call whose sum may carry one number more.
    let products = |ops: &mut Vec<Op>, count: usize, n: usize| {
        if own_norm {
            ops.push(l.sum(y, 1));
        }
        if graph == Graph::Measured {
            (0..count).for_each(|_| ops.extend([l.gemv(d, n), l.sum(y, n)]));
        } else {
            ops.extend([l.gemv(d, count * n), l.sum(y, count * n + usize::from(!own_norm))]);
        }
    };
    let mut ops = Vec::new();
    products(&mut ops, 3, d);
    ops.extend([l.gemv(d, s), l.sum(x, s), softmax, l.sum(y, 1)]);
    let sum_rides = matches!(graph, Graph::Short | Graph::Vector);
    if !sum_rides {
        ops.push(l.sum(y, 1));
    }
    ops.extend([l.gemv(s, d), l.sum(y, d + usize::from(sum_rides)), l.gemv(d, d), l.sum(x, d)]);
    products(&mut ops, 2, f);
    ops.push(silu);
    ops.extend([l.gemv(f, d), l.sum(x, d), layer]);
    ops
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::Chip;

    #[test]
    fn graphs_have_the_allreduces_that_they_say() {
        let chip = Chip::preset("wse2").unwrap();
        let layer = Layer { chip: &chip, p: 12, tiles: Tiles { d: 4, f: 9, s: 3 } };
        let count = |v: Variant| {
            let ops = v.program(&layer).ops;
            let of = |axis| ops.iter().filter(|o| matches!(o, Op::Allreduce { axis: a, .. } if *a == axis)).count();
            (of(Axis::Y), of(Axis::X))
        };
        assert_eq!(VARIANTS.map(count), [(10, 3), (7, 3), (5, 3), (5, 3), (4, 3), (4, 3), (4, 3)]);
    }
}
