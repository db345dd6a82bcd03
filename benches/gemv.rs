//! GEMV on packed tiles against a plain loop that only reads the same bytes.
//!
//! For each tile shape of decode and each place that weights can be in (L1, L2, DRAM): GB/s of weights, the ratio of
//! the GEMV's time to that of the read loop, interleaved in the same process. Near 1 means that the host's memory is
//! the limit; a higher ratio in DRAM at an unchanged ratio in L1 means that streams restart badly between tiles; a
//! higher ratio in L1 means that the inner loop lost its registers or its vector width. Then a large product on the
//! wafer against a flat one (`cargo bench --bench gemv -- large`: alone).

use plummer::math::Kernels;
use plummer::math::checkpoint::WeightFormat;
use plummer::math::gemv::{PackedShape, Stream, gemv};
use std::hint::black_box;
use std::time::Instant;

#[path = "shared/large_gemv.rs"]
mod large_gemv;
#[path = "shared/round_trip.rs"]
mod round_trip;

/// k x n: QKV, O, gate|up and down of SmolLM2-135M on 12 x 16 PEs; its head on a 49-column region; a full panel.
const SHAPES: [(usize, usize); 6] = [(36, 80), (48, 36), (36, 256), (128, 36), (36, 1003), (128, 64)];
const PLACES: [(&str, usize); 3] = [("L1", 24 << 10), ("L2", 384 << 10), ("DRAM", 128 << 20)];
const ROUNDS: usize = 15;

fn main() {
    let kernels = Kernels::detect();
    if std::env::args().any(|a| a == "large") {
        return large_gemv::print(kernels);
    }
    println!("{kernels:?}; median (best) of {ROUNDS} interleaved rounds");
    println!("{:>10} {:>5} {:>5}  {:>16}  {:>16}  {:>6}", "k x n", "type", "in", "gemv GB/s", "read GB/s", "ratio");
    for (k, n) in SHAPES {
        for (place, bytes) in PLACES {
            for format in [WeightFormat::F16, WeightFormat::Bf16] {
                measure(kernels, format, PackedShape { k, n }, place, bytes);
            }
        }
    }
    large_gemv::print(kernels);
}

fn measure(kernels: Kernels, format: WeightFormat, shape: PackedShape, place: &str, bytes: usize) {
    let tiles = (bytes / (2 * shape.len())).max(1);
    // 0x3c00 + small: finite and normal in both formats.
    let w: Vec<u16> = (0..tiles * shape.len()).map(|i| 0x3c00 + (i % 251) as u16).collect();
    let x: Vec<f32> = (0..shape.k).map(|i| i as f32 / 64.0).collect();
    let mut y = vec![0.0; shape.n];
    let passes = ((32 << 20) / (2 * w.len())).max(1);
    let (mut gemv_times, mut read_times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..passes {
            for tile in w.chunks_exact(shape.len()) {
                gemv(kernels, (format, Stream::Steady), shape, tile, &x, &mut y);
                black_box(&mut y);
            }
        }
        gemv_times.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        for _ in 0..passes {
            black_box(read(black_box(&w)));
        }
        read_times.push(start.elapsed().as_secs_f64());
    }
    let gigabytes = (passes * 2 * w.len()) as f64 / 1e9;
    let (gemv_median, gemv_best) = median_and_best(&mut gemv_times);
    let (read_median, read_best) = median_and_best(&mut read_times);
    println!(
        "{:>10} {:>5} {place:>5}  {:>7.1} ({:>6.1})  {:>7.1} ({:>6.1})  {:>6.2}",
        format!("{}x{}", shape.k, shape.n),
        format!("{format:?}"),
        gigabytes / gemv_median,
        gigabytes / gemv_best,
        gigabytes / read_median,
        gigabytes / read_best,
        gemv_median / read_median,
    );
}

/// Reads everything once, with 256-bit loads where the host has them.
fn read(w: &[u16]) -> u16 {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn read_avx2(w: &[u16]) -> u16 {
            read_body(w)
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: AVX2 was just detected.
            return unsafe { read_avx2(w) };
        }
    }
    read_body(w)
}

/// A bitwise or in eight 256-bit chains.
#[inline(always)]
fn read_body(w: &[u16]) -> u16 {
    let (chunks, rest) = w.as_chunks::<128>();
    let mut acc = [0u16; 128];
    for chunk in chunks {
        acc = std::array::from_fn(|i| acc[i] | chunk[i]);
    }
    acc.iter().chain(rest).fold(0, |acc, w| acc | w)
}

fn median_and_best(times: &mut [f64]) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[0])
}
