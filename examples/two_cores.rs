//! Two cores and a link: a short burst waits in the fabric, a long one waits for its taker.
//!
//! A color is routed from core (0, 0) to core (1, 0). A burst of at most `queue_wavelets` words is buffered, and its
//! sender goes on; a longer one is a rendezvous: its words stay in the sender's tile until the taker has begun, so its
//! sender waits. Here the taker computes for 1,000 cycles first.
//!
//! Run: `cargo run --release --example two_cores`

use plummer::prelude::*;

const DATA: TileId = TileId(0);
const COLOR: Color = Color(0);
const LATE: u64 = 1000;

struct OneBurst;

impl Kernel for OneBurst {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        if pe.coord().col == 0 {
            pe.send(pe.tx(COLOR), pe.tile(DATA)).await;
        } else {
            pe.compute(Cycles(LATE), |_| {});
            pe.recv(pe.rx(COLOR), pe.tile(DATA)).await;
        }
    }
}

pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let chip = Chip::preset("wse2").ok_or("the preset is there")?;
    let queue = u64::from(chip.queue_wavelets);
    println!("{:>6} {:>12} {:>12}", "words", "sender ends", "taker ends");
    for words in [queue, queue + 1, 200] {
        let mut layout = Layout::default();
        let cores = layout.rectangle(2, 1);
        layout.words(&cores, DATA, "data", Owner::Activations, words as usize);
        layout.line(COLOR, cores[0], cores[1], false)?;
        let fill = |at: Coord, _: TileId, tile: &mut [u32]| tile.fill(7 * u32::from(at.col == 0));
        let trial = Trial::run(OneBurst, layout, &chip, &RunOptions::new(1), fill)?;

        let clocks: Vec<u64> = trial.wafer.records()?.iter().map(|(_, record)| record.now).collect();
        println!("{words:>6} {:>12} {:>12}", clocks[0], clocks[1]);
        assert_eq!(trial.wafer.read(cores[1], DATA)?, vec![7; words as usize], "the words arrive");
        // The first word is at the router after T_R = 2 cycles and one hop later at the next, a word a cycle follows;
        // the taker needs a cycle more. A rendezvous ends as much later as its taker is late: it could begin at 5.
        let sender = if words <= queue { words } else { words + LATE - 5 };
        assert_eq!(clocks, [sender, LATE + words + 1]);
    }
    println!("PASS");
    Ok(())
}
