//! Executed cycles of chain, broadcast, ring and trees are the published formulas, on wse2, for lines up to 512.
//!
//! The formulas are those of Luczynski et al. (HPDC'24) with alpha 1 and T_R 2; a serialisation of w wavelets takes w.

use plummer::collectives::{Allreduce, Chain, Ring, RingOrder, Tree};
use plummer::exec::{Counters, RunOptions, Wafer};
use plummer::fabric::Chip;
use plummer::kernels::line::{DATA, Line, LineOp, row_of};

fn run(collective: Allreduce, op: LineOp, words: usize, dry: bool) -> (Counters, Line, Wafer) {
    let chip = Chip { colors: 32, ..Chip::preset("wse2").unwrap() };
    let line = Line { collective, op, words, passes: 1 };
    let options = RunOptions { dry, ..RunOptions::new(1) };
    let fill = |at: plummer::units::Coord, _, tile: &mut [u32]| tile.fill((at.col as f32 + 1.0).to_bits());
    let mut wafer = Wafer::launch(line.clone(), line.layout().unwrap(), &chip, &options, fill).unwrap();
    wafer.run(&[]).unwrap_or_else(|e| panic!("{line:?}: {e}"));
    let counters = wafer.counters().unwrap();
    assert_eq!(counters.cycles, line.closed_form_cycles(&chip), "{line:?}");
    (counters, line, wafer)
}

fn payloads(p: usize) -> Vec<usize> {
    if p <= 16 { (1..=256).collect() } else { vec![1, 2, 7, 8, 9, 16, 33, 64, 128, 255, 256] }
}

fn lines() -> Vec<usize> {
    (2..=12).chain([16, 31, 64, 100, 257, 511, 512]).collect()
}

#[test]
fn a_chain_takes_b_plus_6_for_each_further_pe() {
    for p in lines() {
        for w in payloads(p) {
            let chain = Allreduce::Chain(Chain { line: row_of(p), base: 0 });
            let (c, ..) = run(chain, LineOp::Reduce, w, w % 2 == 0);
            let (p, w) = (p as u64, w as u64);
            assert_eq!((c.cycles, c.hops, c.wavelets), (w + 6 * (p - 1), p - 1, w * (p - 1)), "{p} {w}");
            assert_eq!(u64::from(c.depth), p - 1, "{p} {w}");
        }
    }
}

#[test]
fn a_broadcast_from_the_end_takes_b_plus_p_plus_4() {
    for p in lines() {
        for w in payloads(p) {
            let chain = Allreduce::Chain(Chain { line: row_of(p), base: 0 });
            let (c, ..) = run(chain, LineOp::Broadcast, w, w % 2 == 1);
            let (p, w) = (p as u64, w as u64);
            assert_eq!((c.cycles, c.hops, c.depth), (w + p + 4, p - 1, 1), "{p} {w}");
        }
    }
}

#[test]
fn a_broadcast_from_the_middle_takes_the_longer_side() {
    for p in lines() {
        for w in [1, 8, 9, 256] {
            let tree = Allreduce::Tree(Tree { line: row_of(p), groups: vec![1], base: 0 });
            let (c, ..) = run(tree, LineOp::Broadcast, w, false);
            assert_eq!(c.cycles, (w + 5 + p / 2) as u64, "{p} {w}");
        }
    }
}

#[test]
fn a_wrap_around_ring_takes_the_published_cycles_when_segments_are_equal() {
    for p in (2..=12).chain([16, 31, 64, 128]) {
        for segment in [1, 3, 8, 9, 20] {
            let ring = Allreduce::Ring(Ring { line: row_of(p), order: RingOrder::WrapAround, base: 0 });
            let words = segment * p;
            let (c, ..) = run(ring, LineOp::Allreduce, words, true);
            let (p, b) = (p as u64, words as u64);
            assert_eq!(c.cycles, 2 * (p - 1) * b / p + 4 * p - 6 + 10 * (p - 1), "{p} {segment}");
            assert_eq!(u64::from(c.depth), 2 * (p - 1), "{p} {segment}");
        }
    }
}

#[test]
fn every_allreduce_ends_with_the_sum_at_every_pe_and_in_its_closed_form() {
    for p in (1..=20).chain([33, 60]) {
        for words in [1, 5, 8, 9, 64] {
            let mut all: Vec<Allreduce> = [vec![1], vec![3, 1], vec![7, 1], vec![8, 3, 1], vec![p, 1]]
                .map(|groups| Allreduce::Tree(Tree { line: row_of(p), groups, base: 0 }))
                .into();
            all.push(Allreduce::Chain(Chain { line: row_of(p), base: 0 }));
            for order in [RingOrder::WrapAround, RingOrder::Interleaved] {
                all.push(Allreduce::Ring(Ring { line: row_of(p), order, base: 0 }));
            }
            for collective in all {
                let (_, line, wafer) = run(collective, LineOp::Allreduce, words, false);
                let expect = vec![((p * (p + 1) / 2) as f32).to_bits(); words];
                for at in row_of(p) {
                    assert_eq!(wafer.read(at, DATA).unwrap(), expect, "{line:?} {at}");
                }
            }
        }
    }
}
