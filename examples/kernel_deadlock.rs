//! A kernel that deadlocks, its report, and the two ways out.
//!
//! Cores in a row trade a tile in pairs: everybody sends first and receives then. Up to the chip's `queue_wavelets`
//! words the network holds a tile, so the send ends and the exchange works; a longer tile stays with its sender until
//! the receiver begins to take it, and both wait for ever.
//!
//! | color | from -> to   | carries |   | tile | words | owner       |
//! |-------|--------------|---------|---|------|-------|-------------|
//! | 0     | West -> East | mine    |   | mine | w     | activations |
//! | 1     | East -> West | mine    |   | your | w     | receive     |
//!
//! Run: `cargo run --release --example kernel_deadlock`

use plummer::prelude::*;

const COLS: u32 = 6;
const EAST: Color = Color(0);
const WEST: Color = Color(1);
const MINE: TileId = TileId(0);
const YOURS: TileId = TileId(1);

/// Who does what first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    SendFirst,
    EvenSendsFirst,
    Posted,
}

struct Trade(Order);

fn layout(words: usize) -> Result<Layout, LayoutError> {
    let mut layout = Layout::default();
    let cores = layout.rectangle(COLS, 1);
    layout.words(&cores, MINE, "mine", Owner::Activations, words);
    layout.words(&cores, YOURS, "yours", Owner::Receive, words);
    for pair in cores.chunks_exact(2) {
        layout.line(EAST, pair[0], pair[1], false)?;
        layout.line(WEST, pair[1], pair[0], false)?;
    }
    Ok(layout)
}

impl Kernel for Trade {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        let even = pe.coord().col.is_multiple_of(2);
        let (out, back) = if even { (EAST, WEST) } else { (WEST, EAST) };
        let (tx, rx) = (pe.tx(out), pe.rx(back));
        let (mine, yours) = (pe.tile(MINE), pe.tile(YOURS));
        match self.0 {
            Order::Posted => {
                let tickets = [pe.post_send(tx, mine), pe.post_recv(rx, yours)];
                for ticket in tickets {
                    pe.join(ticket).await;
                }
            }
            Order::EvenSendsFirst if !even => {
                pe.recv(rx, yours).await;
                pe.send(tx, mine).await;
            }
            _ => {
                pe.send(tx, mine).await;
                pe.recv(rx, yours).await;
            }
        }
    }
}

fn run(order: Order, words: usize, chip: &Chip) -> Result<Trial, TrialError> {
    let fill = |at: Coord, _: TileId, words: &mut [u32]| words.fill(at.col);
    Trial::run(Trade(order), layout(words).map_err(LaunchError::from)?, chip, &RunOptions::new(1), fill)
}

/// One word more than the queues hold: a deadlock, found exactly, reported at once.
pub fn stall() -> Result<StallReport, Box<dyn std::error::Error>> {
    let chip = Chip::preset("wse2").ok_or("the preset is there")?;
    match run(Order::SendFirst, chip.queue_wavelets as usize + 1, &chip) {
        Err(TrialError::Pass(PassError::Stall(report))) => Ok(*report),
        Err(other) => Err(other.into()),
        Ok(_) => Err("the send-first exchange should stall".into()),
    }
}

pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let chip = Chip::preset("wse2").ok_or("the preset is there")?;
    let fits = chip.queue_wavelets as usize;

    let stall = stall()?;
    println!("{stall}");
    assert_eq!(stall.blocked.len(), COLS as usize);
    assert_eq!(stall.cycle, [Coord::new(0, 0), Coord::new(1, 0)]);
    assert!(stall.blocked.iter().all(|b| b.sends && b.since == 0 && b.place.contains("kernel_deadlock.rs")));

    // A tile that the queues hold hides the mistake; the ways out work at every length.
    let (first, even, posted) = ("all send first, buffered", "even columns send first", "both at once, posted");
    for (what, order, words) in [
        (first, Order::SendFirst, fits),
        (even, Order::EvenSendsFirst, fits),
        (even, Order::EvenSendsFirst, 500),
        (posted, Order::Posted, fits + 1),
        (posted, Order::Posted, 500),
    ] {
        let trial = run(order, words, &chip)?;
        println!("{what}: {words} words in {} cycles", trial.facts.counters.cycles);
        for col in 0..COLS {
            assert_eq!(trial.wafer.read(Coord::new(col, 0), YOURS)?, vec![col ^ 1; words]);
        }
    }
    println!("PASS");
    Ok(())
}
