//! A stencil on a mesh: every core trades its edges with four neighbours, then averages.
//!
//! A kernel of your own in one file: layout, program, cost. The field is `SIDE x SIDE` values a core; a step of
//! Jacobi's method needs one row or column of each neighbour (the halo). `docs/write-a-kernel.md` walks through it.
//!
//! | color    | from -> to   | carries      |   | tile  | words     | owner       |
//! |----------|--------------|--------------|---|-------|-----------|-------------|
//! | 0, 1     | West -> East | east edge    |   | field | SIDE^2    | activations |
//! | 2, 3     | East -> West | west edge    |   | edge  | SIDE, x 4 | activations |
//! | 4, 5     | North -> South | south edge |   | halo  | SIDE, x 4 | receive     |
//! | 6, 7     | South -> North | north edge |   |       |           |             |
//!
//! Cost of a step: one neighbour exchange, Ser(SIDE) + 2 T_R + 1 + alpha, and two passes over the field.
//! Run: `cargo run --release --example kernel_halo`

use plummer::prelude::*;

const COLS: u32 = 6;
const ROWS: u32 = 5;
const SIDE: usize = 8;
const STEPS: u64 = 3;
const FIELD: TileId = TileId(0);
const EDGE: u16 = 1;
const HALO: u16 = 5;

struct Halo {
    chip: Chip,
}

/// A color has one receive port at a router: senders alternate by parity, so that a core sends on one color and takes
/// the other.
fn color(side: usize, sender: Coord) -> Color {
    let along = if side < 2 { sender.col } else { sender.row };
    Color((2 * side) as u8 + (along % 2) as u8)
}

const SIDES: [Direction; 4] = [Direction::East, Direction::West, Direction::South, Direction::North];

impl Halo {
    fn layout(&self) -> Result<Layout, LayoutError> {
        let mut layout = Layout::default();
        let cores = layout.rectangle(COLS, ROWS);
        layout.words(&cores, FIELD, "field", Owner::Activations, SIDE * SIDE);
        for side in 0..4 {
            layout.words(&cores, TileId(EDGE + side), "edge", Owner::Activations, SIDE);
            layout.words(&cores, TileId(HALO + side), "halo", Owner::Receive, SIDE);
        }
        for (side, direction) in SIDES.into_iter().enumerate() {
            for &at in &cores {
                if let Some(to) = direction.neighbour(at, COLS, ROWS) {
                    layout.line(color(side, at), at, to, false)?;
                }
            }
        }
        Ok(layout)
    }

    /// Cycles from the rules: compute, and an exchange in which everybody takes part at once.
    fn cycles(&self) -> u64 {
        let t = self.chip.timing();
        let exchange = t.ser(SIDE as u32) + u64::from(2 * t.ramp + t.stage + t.alpha);
        STEPS * (self.gather_cost().0 + exchange + self.update_cost().0)
    }

    fn gather_cost(&self) -> Cycles {
        self.chip.elementwise(4 * SIDE)
    }

    fn update_cost(&self) -> Cycles {
        self.chip.elementwise(4 * SIDE * SIDE)
    }
}

impl Kernel for Halo {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        let at = pe.coord();
        let field = pe.tile(FIELD);
        let edges: [Tile; 4] = std::array::from_fn(|side| pe.tile(TileId(EDGE + side as u16)));
        let halos: [Tile; 4] = std::array::from_fn(|side| pe.tile(TileId(HALO + side as u16)));
        for _ in 0..STEPS {
            pe.compute(self.gather_cost(), |view| copy_edges(view, field, edges));
            let mut open = [None; 8];
            for (side, direction) in SIDES.into_iter().enumerate() {
                if direction.neighbour(at, COLS, ROWS).is_some() {
                    open[side] = Some(pe.post_send(pe.tx(color(side, at)), edges[side]));
                }
                // What travels east comes from the west, and fills the halo on that side.
                if let Some(from) = direction.opposite().neighbour(at, COLS, ROWS) {
                    open[4 + side] = Some(pe.post_recv(pe.rx(color(side, from)), halos[side]));
                }
            }
            for ticket in open.into_iter().flatten() {
                pe.join(ticket).await;
            }
            pe.compute(self.update_cost(), |view| update(view, field, halos));
        }
    }
}

/// East, west, south and north edge of the field.
fn copy_edges(view: &mut View<'_>, field: Tile, [e, w, s, n]: [Tile; 4]) {
    let [field, e, w, s, n] = view.f32_mut([field, e, w, s, n]);
    for i in 0..SIDE {
        (e[i], w[i]) = (field[i * SIDE + SIDE - 1], field[i * SIDE]);
        (s[i], n[i]) = (field[(SIDE - 1) * SIDE + i], field[i]);
    }
}

/// Every value becomes the mean of its four neighbours; outside the mesh there are zeros.
fn update(view: &mut View<'_>, field: Tile, [from_w, from_e, from_n, from_s]: [Tile; 4]) {
    let [field, west, east, north, south] = view.f32_mut([field, from_w, from_e, from_n, from_s]);
    let old = field.to_vec();
    for (i, j) in (0..SIDE).flat_map(|i| (0..SIDE).map(move |j| (i, j))) {
        let n = if i > 0 { old[(i - 1) * SIDE + j] } else { north[j] };
        let s = if i + 1 < SIDE { old[(i + 1) * SIDE + j] } else { south[j] };
        let w = if j > 0 { old[i * SIDE + j - 1] } else { west[i] };
        let e = if j + 1 < SIDE { old[i * SIDE + j + 1] } else { east[i] };
        field[i * SIDE + j] = 0.25 * ((n + s) + (w + e));
    }
}

/// The value at the start, by its place in the whole field.
fn start(row: usize, col: usize) -> f32 {
    ((row * 31 + col * 17) % 64) as f32
}

/// The same steps on one array, without a mesh.
fn plain() -> Vec<f32> {
    let (rows, cols) = (ROWS as usize * SIDE, COLS as usize * SIDE);
    let mut field: Vec<f32> = (0..rows * cols).map(|i| start(i / cols, i % cols)).collect();
    for _ in 0..STEPS {
        let at = |r: usize, c: usize| if r < rows && c < cols { field[r * cols + c] } else { 0.0 };
        let mean = |r: usize, c: usize| {
            let (n, w) = (at(r.wrapping_sub(1), c), at(r, c.wrapping_sub(1)));
            0.25 * ((n + at(r + 1, c)) + (w + at(r, c + 1)))
        };
        field = (0..rows * cols).map(|i| mean(i / cols, i % cols)).collect();
    }
    field
}

pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let chip = Chip::preset("wse2").ok_or("the preset is there")?;
    let kernel = Halo { chip: chip.clone() };
    let (layout, formula) = (kernel.layout()?, kernel.cycles());
    let fill = |at: Coord, tile: TileId, words: &mut [u32]| {
        if tile == FIELD {
            for (i, w) in words.iter_mut().enumerate() {
                let (row, col) = (at.row as usize * SIDE + i / SIDE, at.col as usize * SIDE + i % SIDE);
                *w = start(row, col).to_bits();
            }
        }
    };
    let trace = TraceOptions { pes: Chosen::Evenly(4), spans_max: 1000 };
    let options = RunOptions { trace: Some(trace), ..RunOptions::new(2) };
    let trial = Trial::run(kernel, layout, &chip, &options, fill)?;
    println!("{}\nformula  {formula} cycles", trial.facts);
    assert_eq!(trial.facts.counters.cycles, formula, "executed cycles are not the formula's");
    assert_eq!(trial.facts.survey.longest_hop, 1);

    let expect = plain();
    for at in (0..ROWS).flat_map(|row| (0..COLS).map(move |col| Coord::new(col, row))) {
        for (i, value) in trial.f32(at, FIELD)?.into_iter().enumerate() {
            let (row, col) = (at.row as usize * SIDE + i / SIDE, at.col as usize * SIDE + i % SIDE);
            assert_eq!(value, expect[row * COLS as usize * SIDE + col], "core {at}, value {i}");
        }
    }
    let json = trial.trace_json()?;
    assert!(json.contains("\"name\":\"compute\"") && json.contains("wait: posted receive"), "{json}");
    println!("PASS");
    Ok(())
}
