//! `plummer bench gemm`: matrix products side by side on the same emulated mesh.
//!
//! Invariant: a run with payloads checks its whole result against a plain triple loop; the operands are small integers,
//! so every order of sums is exact in every format. Called by `bench`.

use anyhow::{Context as _, Result};
use clap::Args;

use crate::fabric::Chip;
use crate::host::gemm::run as measure;
use crate::kernels::Rows;
use crate::kernels::gemm::{Algo, Load, Matrices, Spec};
use crate::math::gemm::Dims;

use super::{CommonArgs, Running, ternary, write_probes};

/// `plummer bench gemm`.
#[derive(Clone, Debug, Args)]
pub struct GemmArgs {
    /// Algorithms: meshgemm, cannon, cannon-lockstep, summa, allgather, gemm-t.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        value_parser = algo,
        default_value = "meshgemm,cannon,cannon-lockstep,summa,allgather"
    )]
    pub algo: Vec<Algo>,
    /// C is M x N, the sum runs over K.
    #[arg(long, value_name = "MxKxN", value_parser = size, default_value = "256x256x256")]
    pub size: Dims,
    /// Load B where the first product needs it, as the released code's host does, instead of aligning it on the wafer.
    #[arg(long)]
    pub b_aligned: bool,
    /// Flags of every benchmark.
    #[command(flatten)]
    pub common: CommonArgs,
}

fn algo(text: &str) -> Result<Algo, String> {
    let names = || Algo::ALL.map(Algo::name).join(", ");
    Algo::from_name(text).ok_or_else(|| format!("need one of {}", names()))
}

/// Longest side of a matrix: keeps element counts and byte sizes far inside 64 bits.
const SIDE_MAX: usize = 1 << 20;

pub(super) fn size(text: &str) -> Result<Dims, String> {
    let sides: Option<Vec<usize>> = text.split(['x', 'X']).map(|s| s.parse().ok()).collect();
    match sides.as_deref() {
        Some(&[m, k, n]) if [m, k, n].iter().all(|s| (1..=SIDE_MAX).contains(s)) => Ok(Dims { m, k, n }),
        _ => Err(format!("need MxKxN, each from 1 to {SIDE_MAX}, such as 512x512x512")),
    }
}

/// Runs every algorithm on every mesh: the rows, and the first run whose result is not the product.
///
/// # Errors
/// A deadlock or a stopped PE.
pub fn run(args: &GemmArgs, chip: &Chip, running: &mut Running) -> Result<(Rows, Option<String>)> {
    let options = args.common.options();
    let (Dims { m, k, n }, numerics) = (args.size, args.common.numerics());
    let a = |i: usize, kk: usize| ternary(i * k + kk);
    let b = |kk: usize, j: usize| ternary(m * k + kk * n + j);
    let b_transposed = |j: usize, kk: usize| b(kk, j);
    // Made when a run has a result to compare: a size that no arena holds is refused at once.
    let mut naive = None;
    let (mut rows, mut wrong) = (Rows::default(), None);
    let mut probes = args.common.probes(args.common.mesh.len() * args.algo.len())?;
    for &(cols, mesh_rows) in &args.common.mesh {
        for &algo in &args.algo {
            let load = if args.b_aligned { Load::Aligned } else { Load::Natural };
            let mesh = (cols as usize, mesh_rows as usize);
            let spec = Spec { load, ..Spec::new(algo, mesh, args.size, numerics) };
            let matrices = Matrices { a: &a, b: if algo == Algo::GemmT { &b_transposed } else { &b } };
            let what = || format!("{} on {cols}x{mesh_rows}", algo.name());
            running.begins(&what())?;
            let run = measure(spec, chip, &options, matrices).with_context(what)?;
            let is_result = run.row.refused.is_none() && !args.common.dry;
            if is_result && run.result()? != *naive.get_or_insert_with(|| product(args.size, a, b)) {
                wrong = wrong.or_else(|| Some(format!("{}: not A B", what())));
            }
            write_probes(&mut probes, run.wafer.as_ref(), chip, run.phases())?;
            running.done(&run.row)?;
            rows.rows.push(run.row);
        }
    }
    Ok((rows, wrong))
}

/// The algorithms of the paper's Figure 6 on matrices of one side.
///
/// # Errors
/// As `run`.
pub fn square(common: &CommonArgs, side: usize, chip: &Chip, running: &mut Running) -> Result<(Rows, Option<String>)> {
    let algo = vec![Algo::Allgather, Algo::Summa, Algo::Cannon, Algo::Mesh];
    let size = Dims { m: side, k: side, n: side };
    run(&GemmArgs { algo, size, b_aligned: false, common: common.clone() }, chip, running)
}

/// A B: eight rows and 512 columns of C at a time, k ascending.
pub(super) fn product(d: Dims, a: impl Fn(usize, usize) -> f32, b: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    let b: Vec<f32> = (0..d.k * d.n).map(|at| b(at / d.n, at % d.n)).collect();
    let mut c = vec![0.0; d.m * d.n];
    for (first, c) in c.chunks_mut(8 * d.n).enumerate() {
        for from in (0..d.n).step_by(512) {
            let columns = from..d.n.min(from + 512);
            for (kk, b) in b.chunks_exact(d.n).enumerate() {
                for (i, c) in c.chunks_exact_mut(d.n).enumerate() {
                    let a = a(8 * first + i, kk);
                    c[columns.clone()].iter_mut().zip(&b[columns.clone()]).for_each(|(c, b)| *c += a * b);
                }
            }
        }
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_algorithms_parse_or_say_what_they_need() {
        assert_eq!(size("16x9x4"), Ok(Dims { m: 16, k: 9, n: 4 }));
        for bad in ["16x9", "0x4x4", "4x4x4x4", "4xax4", "4x4x", "9999999999x1x1"] {
            assert!(size(bad).unwrap_err().contains("MxKxN"), "{bad}");
        }
        for known in Algo::ALL {
            assert_eq!(algo(known.name()), Ok(known));
        }
        assert!(algo("strassen").unwrap_err().contains("cannon-lockstep"));
    }

    #[test]
    fn the_plain_product_is_the_sum_over_k() {
        let d = Dims { m: 2, k: 3, n: 2 };
        let c = product(d, |i, k| (i + k) as f32, |k, j| (2 * k + j) as f32);
        // Row 0 of A: 0 1 2; columns of B: 0 2 4 and 1 3 5.
        assert_eq!(c, [10.0, 13.0, 16.0, 22.0]);
    }
}
