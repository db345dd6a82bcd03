//! r = x W on 16 x 16 cores with each allreduce that the paper compares.
//!
//! A core holds a tile of W and a slice of x; columns sum along y. The rows below are what `plummer bench gemv` prints.
//!
//! Run: `cargo run --release --example mesh_gemv`

use half::f16;
use plummer::collectives::RingOrder;
use plummer::exec::RunOptions;
use plummer::fabric::Chip;
use plummer::host::bench::{gemv, gemv_result};
use plummer::kernels::Numerics;
use plummer::kernels::gemv::{Gemv, GemvAlgo, GemvShape, Operands};

pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let chip = Chip::preset("wse2").ok_or("the preset is there")?;
    // 100 and 70 do not divide by 16: tiles are ragged.
    let shape = GemvShape { cols: 16, rows: 16, m: 100, n: 70 };
    let x: Vec<f32> = (0..shape.m).map(|k| (k % 7) as f32 - 3.0).collect();
    let weight = |k: usize, n: usize| ((3 * k + 5 * n) % 11) as f32 - 5.0;
    let w = |k: usize, n: usize| f16::from_f32(weight(k, n)).to_bits();
    let product: Vec<f32> = (0..shape.n).map(|n| (0..shape.m).map(|k| x[k] * weight(k, n)).sum()).collect();

    println!("{:<18} {:>6} {:>8} {:>6} {:>8} {:>8}", "algorithm", "colors", "hop max", "depth", "cycles", "formula");
    for algo in [
        GemvAlgo::ktree(1, shape, Numerics::Default, &chip),
        GemvAlgo::ktree(2, shape, Numerics::Default, &chip),
        GemvAlgo::ktree(3, shape, Numerics::Default, &chip),
        GemvAlgo::Pipeline,
        GemvAlgo::Ring(RingOrder::WrapAround),
        GemvAlgo::Ring(RingOrder::Interleaved),
    ] {
        let kernel = Gemv { shape, algo, numerics: Numerics::Default, chip: chip.clone(), passes: 1 };
        let (row, wafer) = gemv(&kernel, &RunOptions::new(2), &Operands { x: &x, w: &w })?;
        let (Some(wafer), Some(depth), Some(cycles)) = (wafer, row.depth, row.cycles) else {
            return Err(row.refused.unwrap_or_default().into());
        };
        let (name, colors, hop) = (&row.algo, row.colors_per_core, row.longest_hop);
        let formula = kernel.closed_form_cycles();
        println!("{name:<18} {colors:>6} {hop:>8} {depth:>6} {cycles:>8} {formula:>8}");
        assert_eq!(cycles, formula, "{name}: executed cycles are not the formula's");
        for at in 0..shape.rows {
            // Integers: every order of additions gives the product itself.
            assert_eq!(gemv_result(&kernel, &wafer, at)?, product, "{name}: row {at} of the mesh");
        }
    }
    println!("PASS");
    Ok(())
}
