//! `plummer bench gemv`: r = x W with each allreduce, on integers whose product is exact in every format and order.
//!
//! Invariant: the result is compared with the naive product at the first and the last row of the mesh.
//! Called by `bench`.

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use half::f16;

use crate::collectives::RingOrder;
use crate::fabric::Chip;
use crate::host::bench;
use crate::kernels::gemv::{Gemv, GemvAlgo, GemvShape, Operands};
use crate::kernels::{Numerics, Row, Rows};

use super::{CommonArgs, Running, ternary, write_probes};

/// `plummer bench gemv`.
#[derive(Clone, Debug, Args)]
pub struct GemvArgs {
    /// Algorithms: meshgemv (= ktree2), ktreeK with group counts chosen by cost, ktree:G1:G2.. with given ones,
    /// pipeline, ring, ring-interleaved.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        value_parser = gemv_algo,
        default_value = "ktree1,ktree2,ktree3,pipeline,ring,ring-interleaved"
    )]
    pub algo: Vec<GemvChoice>,
    /// Length of x and of r.
    #[arg(long, value_name = "MxN", value_parser = size_2, default_value = "512x512")]
    pub size: (usize, usize),
    /// Flags of every benchmark.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// `--algo` of GEMV, before group counts are chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GemvChoice {
    /// K levels.
    KTree(usize),
    /// Group counts of the levels but the last.
    Groups(Vec<usize>),
    /// Pipeline.
    Pipeline,
    /// Ring.
    Ring(RingOrder),
}

fn gemv_algo(text: &str) -> Result<GemvChoice, String> {
    match text {
        "meshgemv" => return Ok(GemvChoice::KTree(2)),
        "pipeline" => return Ok(GemvChoice::Pipeline),
        "ring" => return Ok(GemvChoice::Ring(RingOrder::WrapAround)),
        "ring-interleaved" => return Ok(GemvChoice::Ring(RingOrder::Interleaved)),
        _ => {}
    }
    let rest = text.strip_prefix("ktree").unwrap_or_default();
    let given: Option<Vec<usize>> = rest.strip_prefix(':').and_then(|g| g.split(':').map(|g| g.parse().ok()).collect());
    match (rest.parse(), given) {
        (Ok(levels @ 1..=8), _) => Ok(GemvChoice::KTree(levels)),
        (_, Some(groups)) if groups.len() < 8 && !groups.contains(&0) => Ok(GemvChoice::Groups(groups)),
        _ => Err("need meshgemv, ktree1 to ktree8, ktree:G1:G2.., pipeline, ring or ring-interleaved".to_owned()),
    }
}

fn groups_name(groups: &[usize]) -> String {
    groups.iter().fold("ktree".to_owned(), |name, g| format!("{name}:{g}"))
}

impl GemvChoice {
    /// Has every level of given groups so many members on lines of `rows`? Its groups are the next one's members.
    fn fits(&self, rows: usize) -> Result<()> {
        let Self::Groups(groups) = self else { return Ok(()) };
        let mut members = rows;
        for (level, found) in groups.iter().enumerate() {
            ensure!(
                *found <= members,
                "--algo {}: level {} of a column of {rows} has {members} members, found {found} groups of them",
                groups_name(groups),
                level + 1
            );
            members = *found;
        }
        Ok(())
    }

    fn algo(&self, shape: GemvShape, numerics: Numerics, chip: &Chip) -> GemvAlgo {
        match self {
            Self::KTree(levels) => GemvAlgo::ktree(*levels, shape, numerics, chip),
            Self::Groups(groups) => GemvAlgo::KTree([&groups[..], &[1]].concat()),
            Self::Pipeline => GemvAlgo::Pipeline,
            Self::Ring(order) => GemvAlgo::Ring(*order),
        }
    }
}

/// Longest side of a matrix: keeps element counts and byte sizes far inside 64 bits.
const SIDE_MAX: usize = 1 << 20;

fn size_2(text: &str) -> Result<(usize, usize), String> {
    let sides: Vec<usize> = text.split(['x', 'X']).map_while(|s| s.parse().ok()).collect();
    match sides[..] {
        [m, n] if text.matches(['x', 'X']).count() == 1 && [m, n].iter().all(|s| (1..=SIDE_MAX).contains(s)) => {
            Ok((m, n))
        }
        _ => Err(format!("need MxN, both from 1 to {SIDE_MAX}, such as 512x512")),
    }
}

/// The allreduces of the paper's Figure 8 on a matrix of one side.
///
/// # Errors
/// As `run`.
pub fn square(common: &CommonArgs, side: usize, chip: &Chip, running: &mut Running) -> Result<(Rows, Option<String>)> {
    let algo = vec![GemvChoice::Pipeline, GemvChoice::Ring(RingOrder::WrapAround), GemvChoice::KTree(2)];
    run(&GemvArgs { algo, size: (side, side), common: common.clone() }, chip, running)
}

/// Rows of every mesh and algorithm, and what was wrong with the first wrong result.
pub fn run(args: &GemvArgs, chip: &Chip, running: &mut Running) -> Result<(Rows, Option<String>)> {
    let (options, numerics) = (args.common.options(), args.common.numerics());
    let (m, n) = args.size;
    let x: Vec<f32> = (0..m).map(ternary).collect();
    let value = |k: usize, i: usize| ternary(m + k * n + i);
    let w = |k: usize, i: usize| f16::from_f32(value(k, i)).to_bits();
    // Made when a run has a result to compare: a size that no arena holds is refused at once.
    let product = || -> Vec<f32> { (0..n).map(|i| (0..m).map(|k| x[k] * value(k, i)).sum()).collect() };
    let (mut rows, mut wrong, mut naive) = (Rows::default(), None, None);
    let tallest = args.common.mesh.iter().map(|mesh| mesh.1 as usize).max().unwrap_or(1);
    args.algo.iter().try_for_each(|choice| choice.fits(tallest))?;
    let mut probes = args.common.probes(args.common.mesh.len() * args.algo.len())?;
    for &(cols, mesh_rows) in &args.common.mesh {
        let shape = GemvShape { cols: cols as usize, rows: mesh_rows as usize, m, n };
        for choice in &args.algo {
            let algo = choice.algo(shape, numerics, chip);
            let kernel = Gemv { shape, algo, numerics, chip: chip.clone(), passes: 1 };
            let name = match choice {
                GemvChoice::Groups(groups) => groups_name(groups),
                _ => bench::gemv_name(&kernel.algo),
            };
            let what = || format!("{name} on {cols}x{mesh_rows}");
            running.begins(&what())?;
            if let Err(why) = choice.fits(shape.rows) {
                let row = Row { algo: name, ..bench::gemv_refused(&kernel, why.to_string()) };
                running.done(&row)?;
                rows.rows.push(row);
                continue;
            }
            let (mut row, wafer) = bench::gemv(&kernel, &options, &Operands { x: &x, w: &w }).with_context(what)?;
            write_probes(&mut probes, wafer.as_ref(), chip, Vec::new())?;
            if let (Some(wafer), false) = (wafer, args.common.dry) {
                let naive = naive.get_or_insert_with(product);
                for at in [0, shape.rows - 1] {
                    if bench::gemv_result(&kernel, &wafer, at)? != *naive {
                        wrong = wrong.or_else(|| Some(format!("{}, row {at} of the mesh: not x W", what())));
                    }
                }
            }
            row.algo = name;
            running.done(&row)?;
            rows.rows.push(row);
        }
    }
    Ok((rows, wrong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_algorithms_parse_or_say_what_they_need() {
        assert_eq!(size_2("16x9"), Ok((16, 9)));
        for bad in ["16", "x", "0x4", "4x4x4", "4xa", "4x4x", "99999999x1"] {
            assert!(size_2(bad).unwrap_err().contains("MxN"), "{bad}");
        }
        assert_eq!(gemv_algo("meshgemv"), Ok(GemvChoice::KTree(2)));
        assert_eq!(gemv_algo("ktree5"), Ok(GemvChoice::KTree(5)));
        assert_eq!(gemv_algo("ktree:16:4"), Ok(GemvChoice::Groups(vec![16, 4])));
        for bad in ["ktree:", "ktree:0", "ktree:4:x", "ktree0", "ktree9", "ktree", "cannon"] {
            assert!(gemv_algo(bad).unwrap_err().contains("meshgemv"), "{bad}");
        }
    }
}
