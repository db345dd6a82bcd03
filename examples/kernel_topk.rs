//! The K best of a whole mesh: rows merge toward the west, then column 0 toward the north.
//!
//! Every core has `VALUES` scores. It sorts out its own K best (pairs of score and index), takes the list of the core
//! before it on the way, merges, and sends the result on: data-oblivious, because a list always has K pairs.
//!
//! | color | from -> to     | carries        |   | tile | words  | owner       |
//! |-------|----------------|----------------|---|------|--------|-------------|
//! | 0, 1  | East -> West   | K pairs of row |   | x    | VALUES | activations |
//! | 2, 3  | South -> North | K pairs        |   | best | 2 K    | activations |
//! |       |                |                |   | more | 2 K    | receive     |
//!
//! Cost: select + (COLS - 1 + ROWS - 1) stages of Ser(2 K) + 2 T_R + 1 + alpha and a merge.
//! Run: `cargo run --release --example kernel_topk`

use plummer::prelude::*;

const COLS: u32 = 7;
const ROWS: u32 = 4;
const VALUES: usize = 50;
const K: usize = 6;
const X: TileId = TileId(0);
const BEST: TileId = TileId(1);
const MORE: TileId = TileId(2);

struct TopK {
    chip: Chip,
}

fn west(sender: Coord) -> Color {
    Color((sender.col % 2) as u8)
}

fn north(sender: Coord) -> Color {
    Color(2 + (sender.row % 2) as u8)
}

impl TopK {
    fn layout(&self) -> Result<Layout, LayoutError> {
        let mut layout = Layout::default();
        let cores = layout.rectangle(COLS, ROWS);
        layout.words(&cores, X, "x", Owner::Activations, VALUES);
        layout.words(&cores, BEST, "best", Owner::Activations, 2 * K);
        layout.words(&cores, MORE, "more", Owner::Receive, 2 * K);
        for &at in &cores {
            if at.col > 0 {
                layout.line(west(at), at, Coord::new(at.col - 1, at.row), false)?;
            } else if at.row > 0 {
                layout.line(north(at), at, Coord::new(0, at.row - 1), false)?;
            }
        }
        Ok(layout)
    }

    fn select_cost(&self) -> Cycles {
        self.chip.elementwise(K * VALUES)
    }

    fn merge_cost(&self) -> Cycles {
        self.chip.elementwise(2 * K)
    }

    fn cycles(&self) -> u64 {
        let t = self.chip.timing();
        let stage = t.ser(2 * K as u32) + u64::from(2 * t.ramp + t.stage + t.alpha) + self.merge_cost().0;
        self.select_cost().0 + u64::from(COLS - 1 + ROWS - 1) * stage
    }
}

impl Kernel for TopK {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        let at = pe.coord();
        let (x, best, more) = (pe.tile(X), pe.tile(BEST), pe.tile(MORE));
        pe.compute(self.select_cost(), |view| select(view, at, x, best));
        let mut sources = [None; 2];
        if at.col + 1 < COLS {
            sources[0] = Some(west(Coord::new(at.col + 1, at.row)));
        }
        if at.col == 0 && at.row + 1 < ROWS {
            sources[1] = Some(north(Coord::new(0, at.row + 1)));
        }
        for color in sources.into_iter().flatten() {
            pe.recv(pe.rx(color), more).await;
            pe.compute(self.merge_cost(), |view| merge(view, best, more));
        }
        if at.col > 0 {
            pe.send(pe.tx(west(at)), best).await;
        } else if at.row > 0 {
            pe.send(pe.tx(north(at)), best).await;
        }
    }
}

/// Score of value `i` at a core, and its index in the whole mesh.
fn score(at: Coord, i: usize) -> (f32, u32) {
    let index = (at.row * COLS + at.col) * VALUES as u32 + i as u32;
    (((index * 7919) % 1009) as f32, index)
}

/// Higher score first, lower index on ties.
fn sort(pairs: &mut [(f32, u32)]) {
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
}

fn select(view: &mut View<'_>, at: Coord, x: Tile, best: Tile) {
    let [x, best] = view.words_mut([x, best]);
    let mut pairs: Vec<(f32, u32)> = x.iter().enumerate().map(|(i, w)| (f32::from_bits(*w), score(at, i).1)).collect();
    sort(&mut pairs);
    put(&pairs, best);
}

fn merge(view: &mut View<'_>, best: Tile, more: Tile) {
    let [best, more] = view.words_mut([best, more]);
    let mut pairs: Vec<(f32, u32)> = [&*best, &*more].into_iter().flat_map(pairs).collect();
    sort(&mut pairs);
    put(&pairs, best);
}

fn pairs(words: &[u32]) -> Vec<(f32, u32)> {
    words.chunks_exact(2).map(|p| (f32::from_bits(p[0]), p[1])).collect()
}

fn put(pairs: &[(f32, u32)], words: &mut [u32]) {
    for (pair, to) in pairs.iter().zip(words.chunks_exact_mut(2)) {
        to.copy_from_slice(&[pair.0.to_bits(), pair.1]);
    }
}

pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let chip = Chip::preset("wse2").ok_or("the preset is there")?;
    let kernel = TopK { chip: chip.clone() };
    let (layout, formula) = (kernel.layout()?, kernel.cycles());
    let fill = |at: Coord, tile: TileId, words: &mut [u32]| {
        if tile == X {
            words.iter_mut().enumerate().for_each(|(i, w)| *w = score(at, i).0.to_bits());
        }
    };
    let trial = Trial::run(kernel, layout, &chip, &RunOptions::new(1), fill)?;
    println!("{}\nformula  {formula} cycles", trial.facts);
    assert_eq!(trial.facts.counters.cycles, formula, "executed cycles are not the formula's");

    let cores = (0..ROWS).flat_map(|row| (0..COLS).map(move |col| Coord::new(col, row)));
    let mut all: Vec<(f32, u32)> = cores.flat_map(|at| (0..VALUES).map(move |i| score(at, i))).collect();
    sort(&mut all);
    let found = pairs(&trial.wafer.read(Coord::new(0, 0), BEST)?);
    println!("best {found:?}");
    assert_eq!(found, all[..K]);
    println!("PASS");
    Ok(())
}
