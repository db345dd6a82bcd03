//! MeshGEMM 2048^3 as message-passing programs, against flat GEMM crates on the same threads, in one process; every
//! algorithm's hops and cycles beside its formula; and a prefill of 512 tokens of SmolLM2.
//!
//! Flat: `matrixmultiply` and `gemm` (its f32 part, with AVX-512 where the host has it), f32 in and out, rows of C
//! shared out among the threads; the better median counts. Rounds are interleaved; the ratio is of medians. A higher
//! ratio at 64x64 alone means that small products got slower (`math::gemm`) or tiles are copied more often; at 256x256
//! alone (8 x 8 tiles, 33 M messages) that a message costs more. The prefill's rate falls with either.
//! Hops and cycles are the emulated chip's; they change only if an algorithm does.
//!
//! Run: `cargo bench --bench gemm [-- ROUNDS [SIDE [THREADS]]]`; threads: all that the host has, or those

use std::path::Path;
use std::time::Instant;

#[path = "shared/round_trip.rs"]
mod round_trip;

use plummer::exec::RunOptions;
use plummer::fabric::Chip;
use plummer::host::gemm::run;
use plummer::host::{Kv, KvType, PrefillOptions, Session, SessionConfig};
use plummer::kernels::Numerics;
use plummer::kernels::gemm::{Algo, Matrices, Spec};
use plummer::math::gemm::Dims;
use plummer::model::Model;

const MESHES: [usize; 2] = [64, 256];
/// Mesh side and size of the table of algorithms.
const TABLE: (usize, usize) = (16, 512);
/// Tokens of the prefill.
const PROMPT: usize = 512;

/// -1, 0, 1: sums are exact in every order.
fn value(i: usize) -> f32 {
    ((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) as f32 % 3.0 - 1.0
}

fn time(times: &mut Vec<f64>, f: impl FnOnce()) {
    let start = Instant::now();
    f();
    times.push(start.elapsed().as_secs_f64());
}

/// Median and minimum.
fn of(times: &mut [f64]) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[0])
}

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let (rounds, side) = (numbers.first().copied().unwrap_or(5), numbers.get(1).copied().unwrap_or(2048));
    let all = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = numbers.get(2).copied().unwrap_or_else(all).max(1);
    // SAFETY: no other thread exists yet. (matrixmultiply reads it when it first runs.)
    unsafe { std::env::set_var("MATMUL_NUM_THREADS", threads.to_string()) };
    algorithms();
    against_flat(rounds, side, threads);
    prefill(threads);
}

/// Every algorithm on one mesh, without payloads.
fn algorithms() {
    let ((p, side), chip) = (TABLE, Chip::preset("wse2").expect("a preset"));
    println!("{side}^3 on {p}x{p} cores, f16 tiles, f32 sums, emulated:");
    for algo in Algo::ALL {
        let spec = Spec::new(algo, (p, p), Dims { m: side, k: side, n: side }, Numerics::Default);
        let nothing = |_: usize, _: usize| 0.0;
        let options = RunOptions { dry: true, ..RunOptions::new(1) };
        let done = run(spec, &chip, &options, Matrices { a: &nothing, b: &nothing }).expect("no deadlock");
        let hops = done.wafer.as_ref().map(|w| w.counters().expect("counters").hops);
        let formula = done.row.closed_form_cycles.map_or("none".to_owned(), |cycles| cycles.to_string());
        match (done.row.cycles, hops) {
            (Some(cycles), Some(hops)) => {
                println!("  {:<16} {hops:>7} hops {cycles:>8} cycles, formula {formula}", algo.name());
            }
            _ => println!("  {:<16} refused: {}", algo.name(), done.row.refused.unwrap_or_default()),
        }
    }
}

fn against_flat(rounds: usize, side: usize, threads: usize) {
    let d = Dims { m: side, k: side, n: side };
    let a: Vec<f32> = (0..side * side).map(value).collect();
    let b: Vec<f32> = (0..side * side).map(|i| value(i + side * side)).collect();
    let [mut reference, mut other] = [(); 2].map(|()| vec![0.0f32; side * side]);
    let (mut flat, mut mesh) = ([Vec::new(), Vec::new()], MESHES.map(|_| Vec::new()));
    let (mut rows, mut trips) = (MESHES.map(|_| None), Vec::new());
    for round in 0..rounds {
        trips.push(round_trip::round_trip());
        time(&mut flat[0], || by_matrixmultiply(side, &a, &b, &mut reference));
        time(&mut flat[1], || by_gemm(side, &a, &b, &mut other, threads));
        assert_eq!(reference, other);
        for (i, p) in MESHES.into_iter().enumerate() {
            let spec = Spec::new(Algo::Mesh, (p, p), d, Numerics::Default);
            let (a, b) = (|i: usize, k: usize| a[i * side + k], |k: usize, j: usize| b[k * side + j]);
            let chip = Chip::preset("wse2").expect("a preset");
            let options = RunOptions::new(threads);
            let done = run(spec, &chip, &options, Matrices { a: &a, b: &b }).expect("MeshGEMM runs");
            mesh[i].push(done.row.host_seconds.expect("the arena holds the tiles"));
            if round == 0 {
                assert_eq!(done.result().expect("C"), reference, "{p}x{p}: not A B");
            }
            let hops = done.wafer.as_ref().map(|w| w.counters().expect("counters").hops);
            rows[i] = Some((done.row, hops.unwrap_or(0)));
        }
    }
    let trip = of(&mut trips).0 * 1e9;
    println!("{side}^3 in f32, {threads} thread(s), median (min) of {rounds} interleaved rounds");
    println!("cross-core round trip {trip:.0} ns (median)");
    let [matrixmultiply, gemm] = flat.each_mut().map(|times| of(times));
    println!(
        "flat matrixmultiply {:.3} ({:.3}) s, gemm {:.3} ({:.3}) s",
        matrixmultiply.0, matrixmultiply.1, gemm.0, gemm.1
    );
    let best = if gemm.0 < matrixmultiply.0 { gemm } else { matrixmultiply };
    for (i, row) in rows.into_iter().enumerate() {
        let (Some((row, hops)), (median, min)) = (row, of(&mut mesh[i])) else { continue };
        println!(
            "MeshGEMM {:>7}: {median:.3} ({min:.3}) s, {:.2} ({:.2}) x the better; {hops} hops, {} cycles, formula {}",
            row.mesh,
            median / best.0,
            min / best.1,
            row.cycles.unwrap_or(0),
            row.closed_form_cycles.unwrap_or(0),
        );
    }
}

/// SmolLM2 on the automatic mesh of such a prompt, and on that of decode, each with the chunk that fits.
fn prefill(threads: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/smollm2");
    let Ok(model) = Model::open(&path) else {
        println!("prefill: weights/smollm2 is not there (weights/fetch-smollm2)");
        return;
    };
    let ids: Vec<u32> = (0..PROMPT as u32).map(|i| 100 + i * 7919 % 40_000).collect();
    for positions in [PROMPT, 0] {
        let config = SessionConfig {
            chip: Chip::preset("wse2").expect("a preset"),
            mesh: None,
            kv: Kv::Shift,
            kv_type: KvType::F16,
            k_tree: 2,
            context: PROMPT + 16,
            prompt: PROMPT,
            workers: threads,
            arena_full: false,
            random_schedule: None,
            spread: plummer::placement::Spread::default(),
            in_chunks: plummer::placement::InChunks { positions, at_once: 0, answer: 16 },
            kernels: None,
            trees: None,
        };
        let how = PrefillOptions { chunk: None, mesh: None };
        let mut session = Session::with_prefill(&model, config, how, None, false).expect("the prompt fits");
        let (placed, at_once) = (session.placement(), session.chunk().unwrap_or(0));
        let start = Instant::now();
        session.prefill(&ids, |_| true).expect("a prefill");
        let (seconds, cycles) = (start.elapsed().as_secs_f64(), session.report().cycles_total);
        println!(
            "SmolLM2, {PROMPT} tokens on {}x{} cores a stage, {at_once} at once: {seconds:.2} s, {:.1} tokens/s on the \
             host; {cycles} cycles",
            placed.cols,
            placed.rows,
            PROMPT as f64 / seconds,
        );
    }
}

fn by_matrixmultiply(n: usize, a: &[f32], b: &[f32], c: &mut [f32]) {
    assert!([a.len(), b.len(), c.len()].iter().all(|len| *len == n * n));
    let (row, col) = (n as isize, 1);
    // SAFETY: the three slices have n x n elements, row-major, and C is borrowed mutably.
    unsafe {
        matrixmultiply::sgemm(n, n, n, 1.0, a.as_ptr(), row, col, b.as_ptr(), row, col, 0.0, c.as_mut_ptr(), row, col);
    }
}

/// As C^T = B^T A^T, which is column-major, as the crate prefers C.
fn by_gemm(n: usize, a: &[f32], b: &[f32], c: &mut [f32], threads: usize) {
    assert!([a.len(), b.len(), c.len()].iter().all(|len| *len == n * n));
    let (cs, rs) = (n as isize, 1);
    let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
    let parallelism = gemm_common::Parallelism::Rayon(threads);
    let gemm = gemm_f32::gemm::f32::get_gemm_fn();
    // SAFETY: the three slices have n x n elements, read as column-major transposes, and C is borrowed mutably.
    unsafe { gemm(n, n, n, c, cs, rs, false, b, cs, rs, a, cs, rs, 0.0, 1.0, false, false, false, parallelism) };
}
