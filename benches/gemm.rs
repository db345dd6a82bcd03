//! MeshGEMM 2048^3 as message-passing programs, against a flat GEMM crate on the same threads, in one process.
//!
//! Flat: `matrixmultiply` with threads, f32 in and out. Rounds are interleaved; the ratio is of medians. A higher
//! ratio at 64x64 alone means that small products got slower (`math::gemm`) or tiles are copied more often; at 256x256
//! alone (8 x 8 tiles, 33 M messages) that a message costs more.
//! Hops and cycles are the emulated chip's, beside the closed form; they change only if the algorithm does.
//!
//! Run: `cargo bench --bench gemm [-- ROUNDS [SIDE]]`

use std::time::Instant;

use plummer::exec::RunOptions;
use plummer::fabric::Chip;
use plummer::host::gemm::run;
use plummer::kernels::Numerics;
use plummer::kernels::gemm::{Algo, Matrices, Spec};
use plummer::math::gemm::Dims;

const MESHES: [usize; 2] = [64, 256];

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
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // SAFETY: no other thread exists yet. (matrixmultiply reads it when it first runs.)
    unsafe { std::env::set_var("MATMUL_NUM_THREADS", threads.to_string()) };
    let d = Dims { m: side, k: side, n: side };
    let a: Vec<f32> = (0..side * side).map(value).collect();
    let b: Vec<f32> = (0..side * side).map(|i| value(i + side * side)).collect();
    let mut reference = vec![0.0f32; side * side];
    let (mut flat, mut mesh) = (Vec::new(), MESHES.map(|_| Vec::new()));
    let mut rows = MESHES.map(|_| None);
    for round in 0..rounds {
        time(&mut flat, || multiply_matrixmultiply(side, &a, &b, &mut reference));
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
    let best = of(&mut flat);
    println!("{side}^3 in f32, {threads} threads, median (min) of {rounds} interleaved rounds");
    println!("flat matrixmultiply {:.3} ({:.3}) s", best.0, best.1);
    for (i, row) in rows.into_iter().enumerate() {
        let (Some((row, hops)), (median, min)) = (row, of(&mut mesh[i])) else { continue };
        println!(
            "MeshGEMM {:>7}: {median:.3} ({min:.3}) s, {:.2} ({:.2}) x flat; {hops} hops, {} cycles, formula {}",
            row.mesh,
            median / best.0,
            min / best.1,
            row.cycles.unwrap_or(0),
            row.closed_form_cycles.unwrap_or(0),
        );
    }
}

fn multiply_matrixmultiply(n: usize, a: &[f32], b: &[f32], c: &mut [f32]) {
    assert!([a.len(), b.len(), c.len()].iter().all(|len| *len == n * n));
    let (row, col) = (n as isize, 1);
    // SAFETY: the three slices have n x n elements, row-major, and C is borrowed mutably.
    unsafe {
        matrixmultiply::sgemm(n, n, n, 1.0, a.as_ptr(), row, col, b.as_ptr(), row, col, 0.0, c.as_mut_ptr(), row, col);
    }
}
