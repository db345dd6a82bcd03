//! A K-tree allreduce on a line: 45 cores, each with a tile of its own, end with the sum of all.
//!
//! Every word moves link by link over bounded lanes; the table shows what that took beside the formula.
//!
//! Run: `cargo run --release --example allreduce`

use plummer::collectives::{Allreduce, Tree};
use plummer::exec::{RunOptions, Wafer};
use plummer::fabric::{Chip, TileId};
use plummer::kernels::line::{DATA, Line, LineOp, row_of};
use plummer::units::Coord;

const CORES: usize = 45;
const WORDS: usize = 8;

pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let chip = Chip::preset("wse2").ok_or("the preset is there")?;
    println!("{:>10} {:>7} {:>6} {:>6} {:>7} {:>8}", "groups", "colors", "depth", "hops", "cycles", "formula");
    for groups in [vec![1], vec![9, 1], vec![15, 5, 1]] {
        let colors = Tree::colors(groups.len());
        let tree = Tree { line: row_of(CORES), groups: groups.clone(), base: 0 };
        let line = Line { collective: Allreduce::Tree(tree), op: LineOp::Allreduce, words: WORDS, passes: 1 };
        let formula = line.closed_form_cycles(&chip);
        // Core c begins with c + i at index i.
        let fill = |at: Coord, _: TileId, words: &mut [u32]| {
            words.iter_mut().enumerate().for_each(|(i, w)| *w = ((at.col as usize + i) as f32).to_bits());
        };
        let mut wafer = Wafer::launch(line.clone(), line.layout()?, &chip, &RunOptions::new(1), fill)?;
        wafer.run(&[])?;

        let c = wafer.counters()?;
        let name = format!("{groups:?}");
        println!("{name:>10} {colors:>7} {:>6} {:>6} {:>7} {formula:>8}", c.depth, c.hops, c.cycles);
        assert_eq!(c.cycles, formula, "executed cycles are not the formula's");
        for at in row_of(CORES) {
            let found: Vec<f32> = wafer.read(at, DATA)?.iter().map(|w| f32::from_bits(*w)).collect();
            let expect: Vec<f32> = (0..WORDS).map(|i| (CORES * (CORES - 1) / 2 + CORES * i) as f32).collect();
            assert_eq!(found, expect, "core {at}");
        }
    }
    println!("PASS");
    Ok(())
}
