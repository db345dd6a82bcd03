//! What a hop and a delivered burst cost the host over a whole wafer: 1000x850 PEs of chip `bench`, one worker, virtual
//! time and counters on, so that no state is in cache when a burst comes.
//!
//! Transit: one PE at an end of every row sends to the one at the other end; the routers between see no program.
//! Delivered: a chain in every row, in which a PE takes 16 words, adds its own and sends on; with queues of 16 wavelets
//! the bursts are buffered, with shorter ones each is a rendezvous. Figures are differences between runs of many and of
//! few rounds: layout, launch and first resumes are left out.

use std::time::Instant;

use plummer::arena::Owner;
use plummer::exec::{RunOptions, Wafer};
use plummer::fabric::{Chip, Layout, TileId};
use plummer::pe::{Fold, Kernel, Pe};
use plummer::units::{Color, Coord};

const TILE: TileId = TileId(0);
const WORDS: usize = 16;
const REPEATS: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Transit,
    Chain,
}

struct Rows {
    what: What,
    cols: u32,
    rows: u32,
    rounds: usize,
}

/// Color of the link between PEs `at` and `at + 1` of a row.
fn color(at: u32) -> Color {
    Color((at % 2) as u8)
}

impl Kernel for Rows {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        let (col, last) = (pe.coord().col, self.cols - 1);
        if self.what == What::Transit && 0 < col && col < last {
            return;
        }
        let tile = pe.tile(TILE);
        let color = |col: u32| if self.what == What::Transit { Color(0) } else { color(col) };
        let rx = (col < last).then(|| pe.rx(color(col)));
        let tx = (col > 0).then(|| pe.tx(color(col - 1)));
        for _ in 0..self.rounds {
            match (rx, tx) {
                (Some(rx), Some(tx)) => _ = pe.combine(rx, tx, tile, Fold::Add).await,
                (Some(rx), None) => _ = pe.recv_fold(rx, tile, Fold::Add).await,
                (None, Some(tx)) => pe.send(tx, tile).await,
                (None, None) => {}
            }
        }
    }
}

impl Rows {
    fn layout(&self) -> Layout {
        let mut layout = Layout::default();
        layout.reserve((self.cols * self.rows) as usize);
        let pes = layout.rectangle(self.cols, self.rows);
        for row in 0..self.rows {
            let at = |col| Coord::new(col, row);
            match self.what {
                What::Transit => layout.line(Color(0), at(self.cols - 1), at(0), false).expect("free"),
                What::Chain => (1..self.cols).for_each(|col| {
                    layout.line(color(col - 1), at(col), at(col - 1), false).expect("free");
                }),
            }
        }
        layout.words(&pes, TILE, "tile", Owner::Activations, WORDS);
        layout
    }
}

/// Seconds of a pass, its hops and its bursts.
fn run(chip: &Chip, what: What, rounds: usize) -> (f64, u64, u64) {
    let kernel = Rows { what, cols: chip.cols, rows: chip.rows, rounds };
    let layout = kernel.layout();
    let mut wafer = Wafer::launch(kernel, layout, chip, &RunOptions::new(1), |_, _, _| {}).expect("the chip runs it");
    let start = Instant::now();
    wafer.run(&[]).expect("it completes");
    let seconds = start.elapsed().as_secs_f64();
    let counters = wafer.counters().expect("the worker is there");
    (seconds, counters.hops, counters.bursts)
}

/// Prints the three figures.
pub fn print() {
    println!("1000x850 PEs of `bench`, one worker, {WORDS} words: ns, median (minimum) of {REPEATS} differences");
    for (name, what, queue, (few, many)) in [
        ("transit hop", What::Transit, WORDS as u32, (4, 84)),
        ("delivered burst, buffered", What::Chain, WORDS as u32, (2, 12)),
        ("delivered burst, rendezvous", What::Chain, WORDS as u32 - 1, (2, 12)),
    ] {
        let chip = Chip { queue_wavelets: queue, ..Chip::preset("bench").expect("a preset") };
        let mut times: Vec<f64> = (0..REPEATS)
            .map(|_| {
                let (few, many) = (run(&chip, what, few), run(&chip, what, many));
                let events = if what == What::Transit { many.1 - few.1 } else { many.2 - few.2 };
                (many.0 - few.0) * 1e9 / events as f64
            })
            .collect();
        times.sort_by(f64::total_cmp);
        println!("  {name:<28} {:>6.1} ({:.1})", times[times.len() / 2], times[0]);
    }
}
