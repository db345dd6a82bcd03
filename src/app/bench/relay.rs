//! `plummer bench relay`: products as T10 and as Ladder would do them on this mesh, every hop between cores software.
//!
//! Invariant: a run with payloads compares its whole result with the plain product; operands are small integers, so
//! every order of sums is exact. Called by `bench`.

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::fabric::Chip;
use crate::host::bench::{Labels, measure};
use crate::kernels::gemm::Matrices;
use crate::kernels::{Numerics, Rows};
use crate::math::gemm::Dims;
use crate::workloads::relay::Policy;
use crate::workloads::relay::gemm::RelayGemm;
use crate::workloads::relay::gemv::RelayGemv;
use crate::workloads::relay::layer::RelayCosts;

use super::gemm::{product, size};
use super::{CommonArgs, NumericsArg, Running, ternary};

/// `plummer bench relay`.
#[derive(Clone, Debug, Args)]
pub struct RelayArgs {
    /// Tiles of a core, A m x k and B k x n; of a product with a vector, W k x n.
    #[arg(long, value_name = "MxKxN", value_parser = size, default_value = "4x4x4")]
    pub tile: Dims,
    /// Flags of every benchmark; meshes are square, numerics those of the paper.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Longest side of a tile: far above any arena, far below what sizes are counted in.
const TILE_MAX: usize = 1024;

/// Rows of both products by both systems on every mesh, and the first run whose result is not the product.
///
/// # Errors
/// A mesh that is not square, other numerics than the paper's; a deadlock or a stopped PE.
pub fn run(args: &RelayArgs, chip: &Chip, running: &mut Running) -> Result<(Rows, Option<String>)> {
    let Dims { m, k, n } = args.tile;
    if [m, k, n].iter().any(|side| *side > TILE_MAX) {
        bail!("--tile {m}x{k}x{n}: need sides of at most {TILE_MAX}");
    }
    if let Some((cols, rows)) = args.common.mesh.iter().find(|mesh| mesh.0 != mesh.1) {
        bail!("--mesh {cols}x{rows}: need as many rows as columns (both systems are timed on square meshes)");
    }
    if args.common.numerics == Some(NumericsArg::Default) {
        bail!("--numerics default: both systems are timed in the paper's numerics: need --numerics paper, or none");
    }
    let (mut rows, mut wrong) = (Rows::default(), None);
    for p in args.common.mesh.iter().map(|mesh| mesh.0 as usize) {
        for policy in [Policy::T10, Policy::Ladder] {
            running.begins(&format!("{policy:?} on {p}x{p}"))?;
            for (row, right) in [gemm(args, chip, policy, p)?, gemv(args, chip, policy, p)?] {
                if !right {
                    wrong = wrong.or_else(|| Some(format!("{} on {p}x{p}", row.algo)));
                }
                running.done(&row)?;
                rows.rows.push(row);
            }
        }
    }
    Ok((rows, wrong))
}

fn labels(algo: &str, p: usize, size: String, closed_form: Option<u64>) -> Labels {
    Labels { algo: algo.to_owned(), mesh: (p, p), size, numerics: Numerics::Paper, closed_form_cycles: closed_form }
}

/// The row of C = A B, and whether its result is right (or was not looked at).
fn gemm(args: &RelayArgs, chip: &Chip, policy: Policy, p: usize) -> Result<(crate::kernels::Row, bool)> {
    let (options, block, costs) = (args.common.options(), args.tile, RelayCosts::of(chip));
    let (name, relay) = match policy {
        Policy::T10 => ("t10-gemm", costs.t10_block),
        Policy::Ladder => ("ladder-gemm", costs.ladder_block),
    };
    let kernel = RelayGemm { policy, p, block, relay, chip: chip.clone() };
    let whole = Dims { m: p * block.m, k: p * block.k, n: p * block.n };
    let a = |i: usize, kk: usize| ternary(i * whole.k + kk);
    let b = |kk: usize, j: usize| ternary(whole.m * whole.k + kk * whole.n + j);
    let formula = (chip.issue_cycles == 0).then(|| kernel.closed_form_cycles());
    let labels = labels(name, p, format!("{}x{}x{}", whole.m, whole.k, whole.n), formula);
    let fill = |at, id, words: &mut [u32]| kernel.fill(Matrices { a: &a, b: &b }, at, id, words);
    let what = || format!("{name} on {p}x{p}");
    let (row, wafer) = measure(labels, kernel.clone(), kernel.layout(), chip, &options, fill).with_context(what)?;
    let right = match wafer {
        Some(wafer) if !options.dry => kernel.result(&wafer)? == product(whole, a, b),
        _ => true,
    };
    Ok((row, right))
}

/// The row of y = x W, likewise.
fn gemv(args: &RelayArgs, chip: &Chip, policy: Policy, p: usize) -> Result<(crate::kernels::Row, bool)> {
    let (options, Dims { k, n, .. }, costs) = (args.common.options(), args.tile, RelayCosts::of(chip));
    let (name, relay) = match policy {
        Policy::T10 => ("t10-gemv", costs.t10_sum),
        Policy::Ladder => ("ladder-gemv", costs.ladder_gemv),
    };
    let kernel = RelayGemv { policy, p, k, n, relay, chip: chip.clone() };
    let x: Vec<f32> = (0..p * k).map(ternary).collect();
    let w = |kk: usize, j: usize| ternary(p * k + kk * p * n + j);
    let formula = (chip.issue_cycles == 0).then(|| kernel.closed_form_cycles());
    let labels = labels(name, p, format!("{}x{}", p * k, p * n), formula);
    let fill = |at, id, words: &mut [u32]| kernel.fill(&x, &w, at, id, words);
    let what = || format!("{name} on {p}x{p}");
    let (row, wafer) = measure(labels, kernel.clone(), kernel.layout(), chip, &options, fill).with_context(what)?;
    let right = match wafer {
        Some(wafer) if !options.dry => {
            let whole = product(Dims { m: 1, k: p * k, n: p * n }, |_, kk| x[kk], w);
            kernel.result(&wafer, 0)? == whole && kernel.result(&wafer, p - 1)? == whole
        }
        _ => true,
    };
    Ok((row, right))
}
