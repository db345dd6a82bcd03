//! GEMM on the wafer: exact on integers, bit-equal to a serial replay that is written apart (no actors, no links), at
//! every worker count and schedule, wet as dry; and what the chip refuses.

use half::f16;
use plummer::exec::RunOptions;
use plummer::fabric::Chip;
use plummer::host::gemm::{GemmRun, run};
use plummer::kernels::Numerics;
use plummer::kernels::gemm::{Algo, Finish, Gemm, Load, Matrices, Spec, Storage};
use plummer::link::Schedule;
use plummer::math::binary16::fma_f16;
use plummer::math::gemm::Dims;
use plummer::math::{fma, split::split};

fn dims((m, k, n): (usize, usize, usize)) -> Dims {
    Dims { m, k, n }
}

/// Small integers: every partial sum is exact in f16 up to K = 500.
fn integer(seed: usize) -> impl Fn(usize, usize) -> f32 + Sync {
    move |i, j| ((i * 31 + j * 17 + seed + i * j % 7) % 5) as f32 - 2.0
}

/// Uniform in [-1, 1), rounded to f16.
fn random(seed: u64) -> impl Fn(usize, usize) -> f32 + Sync {
    move |i, j| {
        let mut x = seed ^ (i as u64) << 32 ^ j as u64;
        for _ in 0..3 {
            x = (x ^ x >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9).wrapping_add(0x9e37_79b9_7f4a_7c15);
        }
        f16::from_f32((x >> 40) as f32 / (1 << 23) as f32 - 1.0).to_f32()
    }
}

fn go(
    spec: Spec,
    options: &RunOptions,
    a: &(dyn Fn(usize, usize) -> f32 + Sync),
    b: &(dyn Fn(usize, usize) -> f32 + Sync),
) -> GemmRun {
    run(spec, &Chip::preset("wse2").unwrap(), options, Matrices { a, b }).unwrap_or_else(|e| panic!("{spec:?}: {e}"))
}

fn wet(spec: Spec, a: &(dyn Fn(usize, usize) -> f32 + Sync), b: &(dyn Fn(usize, usize) -> f32 + Sync)) -> Vec<f32> {
    let run = go(spec, &RunOptions::new(1), a, b);
    assert_eq!(run.row.refused, None, "{spec:?}");
    run.result().unwrap()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// One multiply-add and one add of the numerics.
fn step(numerics: Numerics, a: f32, b: f32, c: f32) -> f32 {
    match numerics {
        Numerics::Default => fma(a, b, c),
        Numerics::Paper => fma_f16(f16::from_f32(a), f16::from_f32(b), f16::from_f32(c)).to_f32(),
    }
}

fn add(numerics: Numerics, a: f32, b: f32) -> f32 {
    match numerics {
        Numerics::Default => a + b,
        Numerics::Paper => f16::from_f64(f64::from(a) + f64::from(b)).to_f32(),
    }
}

/// PEs of a line in the order of its ring, from PE 0 along who gives to whom.
fn ring(n: usize, wrap: bool) -> Vec<usize> {
    if wrap {
        return (0..n).collect();
    }
    let odd = (0..n).filter(|i| i % 2 == 1);
    let even = (1..n).rev().filter(|i| i % 2 == 0);
    std::iter::once(0).chain(odd).chain(even).collect()
}

/// The order in which the PE at places (i, j) of its rings adds up K: the circle of K, from where its tour begins.
fn tour(spec: &Spec, i: usize, j: usize) -> Vec<usize> {
    let (c, r, k) = (spec.cols, spec.rows, spec.size.k);
    let ring = ring(c, matches!(spec.algo, Algo::Cannon | Algo::CannonLockstep));
    let even = |a: usize| (a + 1) * k / c - a * k / c;
    // Lengths by column; contiguous in K.
    let mut len: Vec<usize> = split(k, c).map(|p| p.len()).collect();
    if c != r {
        ring.iter().enumerate().for_each(|(a, col)| len[*col] = even(a));
    }
    let start = |col: usize| len[..col].iter().sum::<usize>();
    let circle: Vec<usize> = ring.iter().flat_map(|col| start(*col)..start(*col) + len[*col]).collect();
    let fine = c * r / gcd(c, r);
    let mut first = (i * (fine / c) + j * (fine / r)) % fine;
    while !first.is_multiple_of(fine / c) && !first.is_multiple_of(fine / r) {
        first -= 1;
    }
    let skip = if c == r { ring[..first].iter().map(|col| len[*col]).sum() } else { first * k / fine };
    circle.iter().cycle().skip(skip).take(k).copied().collect()
}

fn replay(spec: &Spec, a: &dyn Fn(usize, usize) -> f32, b: &dyn Fn(usize, usize) -> f32) -> Vec<f32> {
    let (Dims { m, k, n }, num) = (spec.size, spec.numerics);
    let mut c = vec![0.0; m * n];
    if spec.algo == Algo::GemmT {
        let columns: Vec<_> = split(k, spec.cols).collect();
        for (root, cols) in split(n, spec.cols).enumerate() {
            for (row, col) in (0..m).flat_map(|row| cols.clone().map(move |col| (row, col))) {
                let own = |at: usize| columns[at].clone().fold(0.0, |sum, k| step(num, a(row, k), b(col, k), sum));
                let chain =
                    |members: Vec<usize>| members.into_iter().map(own).reduce(|inner, own| add(num, own, inner));
                let (high, low) = (chain((root + 1..spec.cols).rev().collect()), chain((0..root).collect()));
                c[row * n + col] = [high, low].into_iter().flatten().fold(own(root), |sum, side| add(num, sum, side));
            }
        }
        return c;
    }
    let wrap = matches!(spec.algo, Algo::Cannon | Algo::CannonLockstep);
    let is_tour = wrap || spec.algo == Algo::Mesh;
    let place = |n: usize, pe: usize| ring(n, wrap).iter().position(|p| *p == pe).unwrap();
    for (px, cols) in split(n, spec.cols).enumerate() {
        for (py, rows) in split(m, spec.rows).enumerate() {
            let order = if is_tour { tour(spec, place(spec.cols, px), place(spec.rows, py)) } else { (0..k).collect() };
            for (row, col) in rows.flat_map(|row| cols.clone().map(move |col| (row, col))) {
                c[row * n + col] = order.iter().fold(0.0, |sum, k| step(num, a(row, *k), b(*k, col), sum));
            }
        }
    }
    c
}

fn naive(spec: &Spec, a: &dyn Fn(usize, usize) -> f32, b: &dyn Fn(usize, usize) -> f32) -> Vec<f32> {
    let Dims { m, k, n } = spec.size;
    let b = |kk, j| if spec.algo == Algo::GemmT { b(j, kk) } else { b(kk, j) };
    let sum = |row: usize, col: usize| (0..k).map(|kk| a(row, kk) * b(kk, col)).sum();
    (0..m * n).map(|at| sum(at / n, at % n)).collect()
}

fn check(spec: Spec) {
    let (a, b) = (integer(1), integer(2));
    assert_eq!(wet(spec, &a, &b), naive(&spec, &a, &b), "{spec:?}");
    let (a, b) = (random(3), random(4));
    let (found, need) = (wet(spec, &a, &b), replay(&spec, &a, &b));
    let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&found), bits(&need), "{spec:?}");
}

const BOTH: [Numerics; 2] = [Numerics::Default, Numerics::Paper];

#[test]
fn every_algorithm_is_exact_and_equals_its_replay_on_every_small_mesh() {
    let sizes = [(1, 1, 1), (2, 1, 3), (3, 2, 5), (4, 4, 4), (7, 9, 6), (5, 13, 10)].map(dims);
    for algo in Algo::ALL {
        for mesh in (1..=4).flat_map(|c| (1..=4).map(move |r| (c, r))) {
            for (size, numerics) in sizes.into_iter().flat_map(|s| BOTH.map(|n| (s, n))) {
                check(Spec::new(algo, mesh, size, numerics));
            }
        }
    }
}

#[test]
fn every_algorithm_is_exact_and_equals_its_replay_on_larger_meshes() {
    for algo in Algo::ALL {
        for mesh in [(8, 8), (7, 7), (5, 7), (12, 8), (16, 3), (1, 20), (20, 1), (32, 32)] {
            check(Spec::new(algo, mesh, dims((37, 50, 41)), Numerics::Default));
        }
        check(Spec::new(algo, (9, 6), dims((20, 31, 7)), Numerics::Paper));
    }
}

#[test]
fn operands_may_be_f32_aligned_at_load_and_brought_home() {
    for (algo, mesh) in
        [Algo::Mesh, Algo::Cannon].into_iter().flat_map(|a| [(4, 4), (5, 5), (6, 4), (3, 5)].map(|m| (a, m)))
    {
        for (load, finish) in
            [(Load::Aligned, Finish::Lean), (Load::Natural, Finish::Home), (Load::Aligned, Finish::Home)]
        {
            check(Spec {
                load,
                finish,
                a: Storage::F32,
                ..Spec::new(algo, mesh, dims((9, 17, 11)), Numerics::Default)
            });
        }
    }
}

/// Row, clocks of every PE, bits of C.
fn trace(spec: Spec, options: &RunOptions) -> (String, Vec<(u64, u64, u32)>, Vec<u32>) {
    let (a, b) = (random(5), random(6));
    let run = go(spec, options, &a, &b);
    let records = run.wafer.as_ref().unwrap().records().unwrap();
    let clocks = records.iter().map(|(_, r)| (r.now, r.busy, r.depth)).collect();
    let bits = if options.dry { Vec::new() } else { run.result().unwrap().iter().map(|x| x.to_bits()).collect() };
    let row = plummer::kernels::Row { host_seconds: None, ..run.row };
    (format!("{row:?} aligned {}", run.aligned_cycles), clocks, bits)
}

#[test]
fn bits_cycles_and_counters_depend_on_neither_workers_nor_schedule_nor_payloads() {
    for algo in Algo::ALL {
        for (mesh, size) in
            [((4, 4), (8, 12, 8)), ((5, 3), (60, 4, 60)), ((5, 3), (11, 14, 23)), ((6, 6), (30, 30, 30))]
        {
            let spec = Spec::new(algo, mesh, dims(size), Numerics::Default);
            let (row, clocks, bits) = trace(spec, &RunOptions::new(1));
            let schedules = [Schedule::DepthFirst, Schedule::Random(7), Schedule::Random(8)];
            for (workers, schedule) in [1, 2, 3].into_iter().flat_map(|w| schedules.map(|s| (w, s))) {
                let options = RunOptions { schedule, ..RunOptions::new(workers) };
                let found = trace(spec, &options);
                assert_eq!(found, (row.clone(), clocks.clone(), bits.clone()), "{spec:?} {workers} {schedule:?}");
            }
            let dry = trace(spec, &RunOptions { dry: true, ..RunOptions::new(2) });
            assert_eq!(dry, (row.clone(), clocks.clone(), Vec::new()), "{spec:?} dry");
            let full = trace(spec, &RunOptions { full_arenas: true, ..RunOptions::new(1) });
            assert_eq!(full, (row, clocks, bits), "{spec:?} on poisoned arenas");
        }
    }
}

#[test]
fn tiles_of_64_just_fit_in_paper_numerics_and_are_refused_with_an_f32_sum() {
    let (a, b) = (integer(1), integer(2));
    for algo in [Algo::Mesh, Algo::Cannon, Algo::CannonLockstep, Algo::Summa] {
        let spec = |n: usize, numerics| Spec::new(algo, (4, 4), dims((4 * n, 4 * n, 4 * n)), numerics);
        let options = RunOptions { dry: true, ..RunOptions::new(1) };
        let fits = go(spec(64, Numerics::Paper), &options, &a, &b);
        assert_eq!((fits.row.arena_peak, &fits.row.refused), (40_960, &None), "{algo:?}");
        let larger = go(spec(65, Numerics::Paper), &options, &a, &b).row;
        assert!(larger.refused.is_some(), "{algo:?}: 40,960 B and the reserve of 8,192 B are all of 48 KiB");
        let refused = go(spec(64, Numerics::Default), &options, &a, &b).row;
        assert_eq!(refused.arena_peak, 49_152, "{algo:?}");
        let reason = refused.refused.unwrap();
        assert!(reason.contains("over budget") && reason.contains("57344 B"), "{algo:?}: {reason}");
    }
}

#[test]
fn gathering_is_refused_by_the_arena_where_the_mesh_grows_with_the_matrix() {
    let options = RunOptions { dry: true, ..RunOptions::new(1) };
    let (a, b) = (integer(1), integer(2));
    // Tiles of 16 x 16: gathered, 2 x 512 B x side, and C; with the reserve of 8,192 B at most 49,152 B up to side 39.
    for (side, fits) in [(8, true), (39, true), (40, false), (64, false)] {
        let size = dims((16 * side, 16 * side, 16 * side));
        let row = go(Spec::new(Algo::Allgather, (side, side), size, Numerics::Paper), &options, &a, &b).row;
        assert_eq!(row.arena_peak as usize, 1024 * side + 512, "side {side}");
        assert_eq!(row.refused.is_none(), fits, "side {side}");
        assert!(fits || row.refused.unwrap().contains("over budget"), "side {side}");
    }
}

#[test]
fn colors_per_core_are_those_of_the_headers_and_the_barrier_takes_all_that_the_chip_has() {
    let (a, b) = (integer(1), integer(2));
    let options = RunOptions { dry: true, ..RunOptions::new(1) };
    for (algo, colors, hops) in [
        (Algo::Mesh, 12, 2),
        (Algo::Cannon, 12, 8),
        (Algo::CannonLockstep, 21, 8),
        (Algo::Summa, 6, 8),
        (Algo::Allgather, 6, 2),
        (Algo::GemmT, 7, 2),
    ] {
        let spec = Spec::new(algo, (9, 9), dims((18, 18, 18)), Numerics::Default);
        let row = go(spec, &options, &a, &b).row;
        assert!(row.colors_per_core <= colors, "{algo:?}: {}", row.colors_per_core);
        assert_eq!(row.longest_hop, hops, "{algo:?}");
        let named = |have: u32| {
            let chip = Chip { colors: have, colors_reserved: 0, ..Chip::preset("wse2").unwrap() };
            run(spec, &chip, &options, Matrices { a: &a, b: &b }).unwrap().row.refused
        };
        assert_eq!(named(colors), None, "{algo:?}");
        assert!(named(colors - 1).unwrap().contains("routing resource exhaustion"), "{algo:?}");
    }
}

/// The clock of a product of t x t x t when an AXPY element costs `mac` and nothing else does; software of a round.
fn chip_with(name: &str, mac: f64, software: u32) -> Chip {
    let mut chip = Chip::preset(name).unwrap();
    (chip.f32.mac, chip.f32.axpy, chip.f32.launch) = (mac, 0.0, 0.0);
    chip.overheads.exchange = software;
    chip
}

fn dry_run(spec: Spec, chip: &Chip) -> GemmRun {
    let zero = |_: usize, _: usize| 0.0;
    run(spec, chip, &RunOptions { dry: true, ..RunOptions::new(1) }, Matrices { a: &zero, b: &zero }).unwrap()
}

#[test]
fn with_equal_blocks_executed_cycles_are_those_of_the_formula_and_of_the_clocks() {
    let mut formulas = [0; 3];
    for ((name, software), p) in
        [("wse2", 0), ("wse3", 75)].into_iter().flat_map(|c| (1..=10).chain([16, 17]).map(move |p| (c, p)))
    {
        // Products shorter than a round, about as long, and longer; blocks by value (2, 8 words) and by rendezvous.
        for (t, product) in [2, 4, 8].into_iter().flat_map(|t| [0, 20, 37, 39, 45, 60, 120, 600].map(|x| (t, x))) {
            let chip = chip_with(name, f64::from(product) / (t * t * t) as f64, software);
            for (at, algo) in [Algo::Mesh, Algo::Cannon, Algo::Allgather].into_iter().enumerate() {
                let spec = Spec::new(algo, (p, p), dims((t * p, t * p, t * p)), Numerics::Default);
                let (cycles, gemm) = (dry_run(spec, &chip).row.cycles, Gemm::new(spec, &chip));
                let what = format!("{algo:?} {name} P {p} t {t} product {product}");
                assert_eq!(cycles, Some(gemm.clocks()), "{what}");
                assert!(gemm.formula().is_none() || gemm.formula() == cycles, "{what}: {:?}", gemm.formula());
                formulas[at] += usize::from(gemm.formula().is_some());
            }
        }
    }
    // Cannon's is for products that outlast a move across the line.
    assert!(formulas[0] == 576 && formulas[1] > 200 && formulas[2] == 576, "{formulas:?}");
}

#[test]
fn behind_a_long_product_the_wrap_costs_cannon_its_alignment_alone_and_a_barrier_makes_it_cost_every_step() {
    for p in [8, 16, 32] {
        let (t, side) = (8, p as u64);
        let chip = chip_with("wse2", 1.0, 0); // products of 512 cycles, blocks of 32 words
        let go =
            |algo, chip: &Chip| dry_run(Spec::new(algo, (p, p), dims((t * p, t * p, t * p)), Numerics::Default), chip);
        let cycles = |run: &GemmRun| run.row.cycles.unwrap();
        let [mesh, cannon, lockstep] = [Algo::Mesh, Algo::Cannon, Algo::CannonLockstep].map(|a| go(a, &chip));
        for run in [&mesh, &cannon] {
            assert_eq!(cycles(run) - run.aligned_cycles, side * 512, "P {p}");
        }
        // floor(P / 2) rounds: 1 + 2 + 2 + .. links against P - 1 + 1 + 1 + ..
        assert_eq!(cannon.aligned_cycles - mesh.aligned_cycles, (side - 1 + side / 2 - 1) - (side - 1), "P {p}");
        // A barrier is there and back over the half mesh, at least.
        let barriers = cycles(&lockstep) - cycles(&cannon);
        assert!(barriers >= (side - 1) * 2 * side, "P {p}: {barriers}");
        // Without products a step in lockstep takes the long edge: S + 5 + P - 1, and the barrier. With local joins
        // P - 1 steps meet a long edge of each axis once.
        let idle = chip_with("wse2", 0.0, 0);
        let [cannon, lockstep] = [Algo::Cannon, Algo::CannonLockstep].map(|a| go(a, &idle));
        let steps = |run: &GemmRun| cycles(run) - run.aligned_cycles;
        assert!(steps(&lockstep) >= (side - 1) * (37 + side - 1 + side), "P {p}: {}", steps(&lockstep));
        assert!(steps(&cannon) <= (side - 1) * 37 + 3 * side, "P {p}: {}", steps(&cannon));
    }
}

#[test]
fn summa_pays_the_distance_once_and_two_blocks_a_step() {
    for p in [4, 8, 16, 32] {
        let (t, product, block) = (8, 512, 32);
        let side = p as u64;
        let row = dry_run(
            Spec::new(Algo::Summa, (p, p), dims((t * p, t * p, t * p)), Numerics::Default),
            &chip_with("wse2", 1.0, 0),
        )
        .row;
        let (cycles, least) = (row.cycles.unwrap(), side * (product + block) + (side - 1) * block);
        // Over that: a few cycles of latency a step, and the way to the far end once or twice.
        assert!((least..least + 10 * side + 4 * side).contains(&cycles), "P {p}: {cycles}, at least {least}");
    }
}
