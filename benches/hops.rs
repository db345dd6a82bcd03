//! Emulated hops and cycles of collectives beside their formulas, and what a message-hop costs the host.
//!
//! One row a collective, line and payload: bursts x links, wavelets x links, cycles of one pass as executed and from
//! the closed form (they must be equal), then host nanoseconds per message-hop over many passes on one worker, median
//! and minimum of the rounds. A change of cycles or hops means that the machine changed; more nanoseconds at equal hops
//! mean that the engine became slower. Every hop of a chain, a broadcast or a pipeline ends at a program; the way back
//! of a wrap-around ring (half of its hops) and the upper levels of a tree are transit, routers alone. MeshGEMV rows
//! include the local product. Last, a hop and a burst over a whole wafer (`cargo bench --bench hops -- wide`: alone).

use plummer::collectives::cost::best_groups;
use plummer::collectives::{Allreduce, Chain, Ring, RingOrder, Tree};
use plummer::exec::{RunOptions, Wafer};
use plummer::fabric::Chip;
use plummer::host::bench;
use plummer::kernels::Numerics;
use plummer::kernels::gemv::{Gemv, GemvAlgo, GemvShape, Operands};
use plummer::kernels::line::{Line, LineOp, row_of};
use std::time::Instant;

#[path = "shared/wide.rs"]
mod wide;

const ROUNDS: usize = 7;
/// Message-hops that a round is to have, at least.
const HOPS: u64 = 100_000;

fn main() {
    if std::env::args().any(|a| a == "wide") {
        return wide::print();
    }
    let chip = Chip::preset("wse2").expect("a preset");
    println!("chip wse2, one worker; host ns per message-hop: median (minimum) of {ROUNDS} rounds");
    println!(
        "{:<18} {:>8} {:>6} {:>9} {:>10} {:>8} {:>8}  {:>16}",
        "collective", "PEs", "words", "hops", "wavelets", "cycles", "formula", "ns / message-hop"
    );
    for p in [16, 64, 256] {
        for words in [8, 64] {
            lines(&chip, p, words);
        }
    }
    for side in [16, 64] {
        for levels in 1..=3 {
            mesh(&chip, side, levels);
        }
    }
    wide::print();
}

fn lines(chip: &Chip, p: usize, words: usize) {
    let chain = || Allreduce::Chain(Chain { line: row_of(p), base: 0 });
    let tree = |levels| {
        let groups = best_groups(p, levels, words, &chip.timing());
        Allreduce::Tree(Tree { line: row_of(p), groups, base: 0 })
    };
    let ring = |order| Allreduce::Ring(Ring { line: row_of(p), order, base: 0 });
    // S: wavelets, P: PEs; alpha 1, T_R 2. Those of trees and rings are recurrences, in `collectives::cost`.
    for (name, collective, op) in [
        ("chain S+6(P-1)", chain(), LineOp::Reduce),
        ("broadcast S+4+P", chain(), LineOp::Broadcast),
        ("pipeline 2S+7P-2", chain(), LineOp::Allreduce),
        ("K-tree K=1", tree(1), LineOp::Allreduce),
        ("K-tree K=2", tree(2), LineOp::Allreduce),
        ("K-tree K=3", tree(3), LineOp::Allreduce),
        ("ring", ring(RingOrder::WrapAround), LineOp::Allreduce),
        ("ring interleaved", ring(RingOrder::Interleaved), LineOp::Allreduce),
    ] {
        let once = Line { collective, op, words, passes: 1 };
        let run = |passes| {
            let line = Line { passes, ..once.clone() };
            let layout = line.layout().expect("its own colors");
            let mut wafer =
                Wafer::launch(line, layout, chip, &RunOptions::new(1), |_, _, _| {}).expect("the chip runs it");
            let start = Instant::now();
            wafer.run(&[]).expect("it completes");
            (start.elapsed().as_nanos() as f64, wafer.counters().expect("the worker is there"))
        };
        let (_, c) = run(1);
        let passes = (HOPS / c.hops.max(1)).max(1) as usize;
        let mut times: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let (nanoseconds, c) = run(passes);
                nanoseconds / c.hops as f64
            })
            .collect();
        print(name, &p.to_string(), words, [c.hops, c.wavelets, c.cycles, once.closed_form_cycles(chip)], &mut times);
    }
}

fn mesh(chip: &Chip, side: usize, levels: usize) {
    let shape = GemvShape { cols: side, rows: side, m: side, n: 8 * side };
    let algo = GemvAlgo::ktree(levels, shape, Numerics::Default, chip);
    let kernel = Gemv { shape, algo, numerics: Numerics::Default, chip: chip.clone(), passes: 1 };
    let x = vec![1.0; shape.m];
    let run = |passes| {
        let kernel = Gemv { passes, ..kernel.clone() };
        let operands = Operands { x: &x, w: &|_, _| 0x3c00 };
        let (row, wafer) = bench::gemv(&kernel, &RunOptions::new(1), &operands).expect("it completes");
        let counters = wafer.expect("the chip runs it").counters().expect("the worker is there");
        (row.host_seconds.unwrap_or(0.0) * 1e9, counters)
    };
    let (_, c) = run(1);
    // Two runs apart by many passes: programs are created in the first pass, which the difference leaves out.
    let passes = (HOPS / c.hops).max(4) as usize;
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let ((few, a), (many, b)) = (run(1), run(1 + passes));
            (many - few) / (b.hops - a.hops) as f64
        })
        .collect();
    let seen = [c.hops, c.wavelets, c.cycles, kernel.closed_form_cycles()];
    print(&format!("MeshGEMV K={levels}"), &format!("{side}x{side}"), 8, seen, &mut times);
}

fn print(name: &str, pes: &str, words: usize, seen: [u64; 4], times: &mut [f64]) {
    times.sort_by(f64::total_cmp);
    let [hops, wavelets, cycles, formula] = seen;
    assert_eq!(cycles, formula, "{name} on {pes}: executed cycles are not the formula's");
    let host = format!("{:.1} ({:.1})", times[times.len() / 2], times[0]);
    println!("{name:<18} {pes:>8} {words:>6} {hops:>9} {wavelets:>10} {cycles:>8} {formula:>8}  {host:>16}");
}
