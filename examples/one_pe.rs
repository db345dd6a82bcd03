//! One core adds two tiles.
//!
//! A kernel is a layout (which cores, which tiles) and a program (an `async fn` over the core's handle). The launch
//! checks the layout against the chip; the run takes virtual cycles, which the chip's rates define.
//!
//! Run: `cargo run --release --example one_pe`

use plummer::arena::Owner;
use plummer::exec::{RunOptions, Wafer};
use plummer::fabric::{Chip, Layout, TileDecl, TileId};
use plummer::math::vector::add_assign;
use plummer::pe::{Kernel, Pe};
use plummer::units::{Coord, Cycles};

const A: TileId = TileId(0);
const B: TileId = TileId(1);
const WORDS: usize = 100;

/// a = a + b.
struct Add {
    cost: Cycles,
}

impl Kernel for Add {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        let (a, b) = (pe.tile(A), pe.tile(B));
        pe.compute(self.cost, |view| {
            let kernels = view.kernels();
            let [a, b] = view.f32_mut([a, b]);
            add_assign(kernels, a, b);
        });
    }
}

pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let chip = Chip::preset("wse2").ok_or("the preset is there")?;
    let here = Coord::new(0, 0);
    let mut layout = Layout::default();
    for (id, name) in [(A, "a"), (B, "b")] {
        layout.tile(here, TileDecl { id, name, owner: Owner::Activations, bytes: 4 * WORDS as u32, visit: 0 });
    }
    // The host fills tiles before time starts: a[i] = i, b[i] = 2 i.
    let fill = |_: Coord, tile: TileId, words: &mut [u32]| {
        let factor = if tile == A { 1.0 } else { 2.0 };
        words.iter_mut().enumerate().for_each(|(i, w)| *w = (factor * i as f32).to_bits());
    };
    let kernel = Add { cost: chip.elementwise(WORDS) };
    let mut wafer = Wafer::launch(kernel, layout, &chip, &RunOptions::new(1), fill)?;
    wafer.run(&[])?;

    let sum: Vec<f32> = wafer.read(here, A)?.iter().map(|w| f32::from_bits(*w)).collect();
    let cycles = wafer.counters()?.cycles;
    println!("a[99] = {}, {cycles} cycles on {}", sum[99], chip.name);
    assert!(sum.iter().enumerate().all(|(i, v)| *v == 3.0 * i as f32), "a core adds wrongly: {sum:?}");
    // wse2 in f32: 2.19 cycles to set a vector operation up, 1 an element.
    assert_eq!(cycles, 103);
    println!("PASS");
    Ok(())
}
