//! GEMV on a mesh with every allreduce: exact on integers, bit-equal to its serial replay, cycles as its closed form.

use half::f16;
use plummer::collectives::RingOrder;
use plummer::exec::RunOptions;
use plummer::fabric::Chip;
use plummer::host::bench::{gemv, gemv_result};
use plummer::kernels::gemv::{Gemv, GemvAlgo, GemvShape, Operands};
use plummer::kernels::{Numerics, Row};
use plummer::link::Schedule;
use plummer::oracle::{GemvRecipe, Sum, mesh_gemv};

/// A chip with colors for any K, so that every algorithm runs.
fn chip(name: &str) -> Chip {
    Chip { colors: 32, ..Chip::preset(name).unwrap() }
}

fn algos(shape: GemvShape, numerics: Numerics, chip: &Chip) -> Vec<GemvAlgo> {
    let mut all: Vec<_> = (1..=3).map(|k| GemvAlgo::ktree(k, shape, numerics, chip)).collect();
    all.push(GemvAlgo::KTree(vec![3, 2, 1]));
    all.push(GemvAlgo::Pipeline);
    all.extend([RingOrder::WrapAround, RingOrder::Interleaved].map(GemvAlgo::Ring));
    all
}

/// SplitMix64 of an index: the same number wherever it is asked for.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn random(seed: u64) -> f32 {
    (mix(seed) >> 40) as f32 / (1 << 23) as f32 - 1.0
}

fn integer(seed: u64) -> f32 {
    (mix(seed) % 5) as f32 - 2.0
}

fn at(k: usize, n: usize) -> u64 {
    (k * 8191 + n) as u64 + (1 << 40)
}

fn run(kernel: &Gemv, options: &RunOptions, of: fn(u64) -> f32) -> (Row, Vec<Vec<u32>>) {
    let x: Vec<f32> = (0..kernel.shape.m).map(|k| of(k as u64)).collect();
    let w = |k: usize, n: usize| f16::from_f32(of(at(k, n))).to_bits();
    let (mut row, wafer) =
        gemv(kernel, options, &Operands { x: &x, w: &w }).unwrap_or_else(|e| panic!("{kernel:?}: {e}"));
    let wafer = wafer.unwrap_or_else(|| panic!("{kernel:?}: {:?}", row.refused));
    row.host_seconds = None;
    let bits = |r| gemv_result(kernel, &wafer, r).unwrap().iter().map(|v| v.to_bits()).collect();
    (row, (0..kernel.shape.rows).map(bits).collect())
}

fn replay(kernel: &Gemv) -> Vec<u32> {
    let GemvShape { cols, rows, m, n } = kernel.shape;
    let sum = match &kernel.algo {
        GemvAlgo::KTree(groups) => Sum::Tree(groups.clone()),
        GemvAlgo::Pipeline => Sum::Chain,
        GemvAlgo::Ring(RingOrder::WrapAround) => Sum::Ring((0..rows).collect()),
        // Even rows down, odd rows up.
        GemvAlgo::Ring(RingOrder::Interleaved) => {
            Sum::Ring((0..rows).step_by(2).chain((0..rows).filter(|r| r % 2 == 1).rev()).collect())
        }
    };
    let half = kernel.numerics == Numerics::Paper;
    let per_word = if half { kernel.chip.f16.per_wavelet as usize } else { 1 };
    let x: Vec<f32> = (0..m).map(|k| random(k as u64)).collect();
    let recipe = GemvRecipe { cols, rows, n, sum, half, per_word };
    let w = |k, n| f16::from_f32(random(at(k, n))).to_bits();
    mesh_gemv(&recipe, &x, &w).iter().map(|v| v.to_bits()).collect()
}

/// Every mesh up to 4x4 with few and many rows of x and columns of r, and larger ones.
fn worlds() -> Vec<GemvShape> {
    let mut all = Vec::new();
    for cols in 1..=4 {
        for rows in 1..=4 {
            all.extend([(1, 1), (7, 9), (3, 50)].map(|(m, n)| GemvShape { cols, rows, m, n }));
        }
    }
    for (cols, rows, m, n) in
        [(5, 7, 23, 31), (2, 12, 40, 100), (1, 17, 64, 33), (9, 16, 100, 50), (3, 29, 61, 200), (32, 32, 96, 97)]
    {
        all.push(GemvShape { cols, rows, m, n });
    }
    all
}

fn each(mut check: impl FnMut(Gemv)) {
    for shape in worlds() {
        for numerics in [Numerics::Default, Numerics::Paper] {
            let chip = chip("wse2");
            for algo in algos(shape, numerics, &chip) {
                check(Gemv { shape, algo, numerics, chip: chip.clone(), passes: 1 });
            }
        }
    }
}

#[test]
fn integers_give_the_naive_product_exactly_in_every_row() {
    each(|kernel| {
        let (_, rows) = run(&kernel, &RunOptions::new(1), integer);
        let dot = |n| (0..kernel.shape.m).map(|k| integer(k as u64) * integer(at(k, n))).sum::<f32>();
        let naive: Vec<f32> = (0..kernel.shape.n).map(dot).collect();
        for (r, row) in rows.iter().enumerate() {
            let found: Vec<f32> = row.iter().map(|b| f32::from_bits(*b)).collect();
            assert_eq!(found, naive, "{:?} {:?} {:?} row {r}", kernel.shape, kernel.algo, kernel.numerics);
        }
    });
}

#[test]
fn random_inputs_give_the_bits_of_the_serial_replay_and_the_cycles_of_the_closed_form() {
    each(|kernel| {
        let what = format!("{:?} {:?} {:?}", kernel.shape, kernel.algo, kernel.numerics);
        let (row, rows) = run(&kernel, &RunOptions::new(1), random);
        let replayed = replay(&kernel);
        rows.iter().enumerate().for_each(|(r, row)| assert_eq!(*row, replayed, "{what} row {r}"));
        assert_eq!(row.cycles, row.closed_form_cycles, "{what}");
    });
}

#[test]
fn dry_runs_workers_and_schedules_change_no_number() {
    for shape in [(4, 4, 7, 9), (5, 7, 23, 31), (3, 12, 40, 70)] {
        let shape = GemvShape { cols: shape.0, rows: shape.1, m: shape.2, n: shape.3 };
        for numerics in [Numerics::Default, Numerics::Paper] {
            let chip = chip("wse2");
            for algo in algos(shape, numerics, &chip) {
                let kernel = Gemv { shape, algo, numerics, chip: chip.clone(), passes: 1 };
                let what = format!("{shape:?} {:?} {numerics:?}", kernel.algo);
                let expect = run(&kernel, &RunOptions::new(1), random);
                for workers in [1, 2, 3] {
                    for schedule in [Schedule::DepthFirst, Schedule::Random(workers as u64), Schedule::Random(99)] {
                        let options = RunOptions { schedule, ..RunOptions::new(workers) };
                        assert_eq!(run(&kernel, &options, random), expect, "{what} {workers} {schedule:?}");
                        let dry = RunOptions { dry: true, ..options };
                        assert_eq!(run(&kernel, &dry, random).0, expect.0, "{what} {workers} {schedule:?} dry");
                    }
                }
            }
        }
    }
}

#[test]
fn closed_forms_hold_on_other_chips_and_one_f16_a_wavelet() {
    let other = Chip { issue_cycles: 7, turn_cycles: 5, lane_depth: 1, queue_wavelets: 4, ..chip("wse3") };
    let mut narrow = chip("wse2");
    narrow.f16.per_wavelet = 1;
    for chip in [chip("wse3"), other, narrow] {
        for (cols, rows, m, n) in [(2, 9, 30, 41), (3, 16, 7, 20), (4, 5, 64, 1)] {
            let shape = GemvShape { cols, rows, m, n };
            for numerics in [Numerics::Default, Numerics::Paper] {
                for algo in algos(shape, numerics, &chip) {
                    let kernel = Gemv { shape, algo, numerics, chip: chip.clone(), passes: 1 };
                    let (row, rows) = run(&kernel, &RunOptions::new(1), random);
                    let what = format!("{} {shape:?} {:?} {numerics:?}", chip.name, kernel.algo);
                    assert_eq!(rows[0], replay(&kernel), "{what}");
                    assert_eq!(row.cycles, row.closed_form_cycles, "{what}");
                }
            }
        }
    }
}

#[test]
fn a_second_pass_computes_the_same_bits_again() {
    let (shape, chip) = (GemvShape { cols: 3, rows: 5, m: 20, n: 31 }, chip("wse2"));
    for numerics in [Numerics::Default, Numerics::Paper] {
        for algo in algos(shape, numerics, &chip) {
            let once = Gemv { shape, algo, numerics, chip: chip.clone(), passes: 1 };
            let thrice = Gemv { passes: 3, ..once.clone() };
            let ((a, bits), (b, again)) =
                (run(&once, &RunOptions::new(1), random), run(&thrice, &RunOptions::new(2), random));
            assert_eq!(bits, again, "{once:?}");
            assert_eq!(a.wavelets.map(|w| 3 * w), b.wavelets, "{once:?}");
        }
    }
}

#[test]
fn routes_hops_depth_and_arena_are_those_of_the_paper_s_table() {
    let chip = chip("wse2");
    let shape = GemvShape { cols: 2, rows: 16, m: 64, n: 16 };
    // Colors at a core at most, longest hop, dependent messages: groups of 4 reduce in 2 + 2 stages, then one broadcast
    // from row 10; the chain has 15 stages; the ring 30.
    for (algo, colors, hop, depth) in [
        (GemvAlgo::KTree(vec![4, 1]), 5, 10, 5),
        (GemvAlgo::KTree(vec![1]), 3, 8, 9),
        (GemvAlgo::Pipeline, 3, 15, 16),
        (GemvAlgo::Ring(RingOrder::WrapAround), 3, 15, 30),
        (GemvAlgo::Ring(RingOrder::Interleaved), 3, 2, 30),
    ] {
        let kernel = Gemv { shape, algo, numerics: Numerics::Default, chip: chip.clone(), passes: 1 };
        let (row, _) = run(&kernel, &RunOptions::new(1), random);
        let what = format!("{:?}", kernel.algo);
        assert!(row.colors_per_core <= colors, "{what}: {} colors", row.colors_per_core);
        assert_eq!((row.longest_hop, row.depth), (hop, Some(depth)), "{what}");
        // W 4 x 8 f16, x 4 f32, y 8 f32.
        assert_eq!(row.arena_peak, 64 + 16 + 32, "{what}");
    }
}

#[test]
fn a_tile_that_does_not_fit_is_a_refused_row_with_the_ledger() {
    let shape = GemvShape { cols: 1, rows: 2, m: 400, n: 200 };
    let chip = Chip::preset("wse2").unwrap();
    let kernel = Gemv { shape, algo: GemvAlgo::Pipeline, numerics: Numerics::Default, chip, passes: 1 };
    let x = vec![0.0; 400];
    let (row, wafer) = gemv(&kernel, &RunOptions::new(1), &Operands { x: &x, w: &|_, _| 0 }).unwrap();
    assert!(wafer.is_none() && row.cycles.is_none());
    assert!(row.refused.unwrap().contains("over budget"));
    assert_eq!(row.arena_peak, 2 * 200 * 200 + 4 * 200 + 4 * 200);
}

#[test]
fn a_sum_beyond_f16_ends_the_run_with_an_error_that_names_the_pe() {
    // 40,000 + 40,000 over two rows: fits f32, not f16.
    let shape = GemvShape { cols: 1, rows: 2, m: 2, n: 1 };
    for (numerics, fits) in [(Numerics::Default, true), (Numerics::Paper, false)] {
        for algo in [GemvAlgo::Pipeline, GemvAlgo::KTree(vec![1])] {
            let kernel = Gemv { shape, algo, numerics, chip: chip("wse2"), passes: 2 };
            let w = |_: usize, _: usize| f16::from_f32(40_000.0).to_bits();
            let outcome = gemv(&kernel, &RunOptions::new(1), &Operands { x: &[1.0, 1.0], w: &w });
            match outcome {
                Ok(_) => assert!(fits, "{numerics:?}"),
                Err(error) => {
                    let text = error.to_string();
                    // The root of both: the others wait for its next answer.
                    assert!(
                        !fits && text.contains("NumericError") && text.contains("PE (0, 1)"),
                        "{numerics:?}: {text}"
                    );
                }
            }
        }
    }
}
