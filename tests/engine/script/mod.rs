//! A kernel whose PEs run scripts, with a layout that grows line by line.
//!
//! Invariant: a line takes the lowest color that no PE on its way uses yet. Called by the golden and error tests.

pub mod families;
pub mod random;
pub mod wavelets;

use std::collections::{BTreeSet, HashMap};

use plummer::arena::Owner;
use plummer::collectives::{Exchange, RingEnds};
use plummer::exec::{LaunchError, RunOptions, Wafer};
use plummer::fabric::{Chip, Layout, TileDecl, TileId};
use plummer::link::Schedule;
use plummer::pe::{After, Fold, Kernel, Pe, Role, Ticket};
use plummer::units::{Color, Coord, Cycles};
use serde_json::Value;

/// One operation of a script; lengths in words.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    Send(Color, u32),
    Combine(Color, Color, u32),
    Recv(Color, u32),
    PostSend(Color, u32),
    PostRecv(Color, u32),
    Compute(u64),
    JoinAll,
    /// `PostSend` and `PostRecv` as one move of a ring.
    Exchange((Color, u32), (Color, u32)),
    /// A relay of one leaf: sends, and waits for the end and for an answer at once.
    Call((Color, u32), (Color, u32)),
}

/// What is open at a PE.
enum Open {
    One(Ticket),
    Two(Exchange),
}

impl Open {
    async fn join(self, pe: Pe<'_>) {
        match self {
            Self::One(ticket) => _ = pe.join(ticket).await,
            Self::Two(exchange) => exchange.join(pe).await,
        }
    }
}

/// Scripts by PE.
#[derive(Clone, Debug, Default)]
pub struct Script(HashMap<Coord, Vec<Op>>);

/// Posted receives have tiles of their own, and posted sends eight in turn: a tile under an open ticket is untouchable.
const POSTED: u16 = 0x8000;
const SLOT: u32 = 12;

/// Tile of the `k`-th posted send of a PE; the bits below `SLOT` are its words.
fn sent_tile(k: usize, w: u32) -> u16 {
    assert!(w < 1 << SLOT, "a script moves less than {} words", 1 << SLOT);
    w as u16 | ((k % 8) as u16) << SLOT
}

impl Kernel for Script {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        let ops = self.0.get(&pe.coord()).map_or(&[][..], Vec::as_slice);
        let tile = |w: u32| pe.tile(TileId(w as u16));
        let posted = |w: u32| pe.tile(TileId(w as u16 | POSTED));
        let (mut open, mut n_sent) = (Vec::new(), 0);
        for op in ops {
            match *op {
                Op::Send(c, w) => pe.send(pe.tx(c), tile(w)).await,
                Op::Combine(rx, tx, w) => {
                    pe.combine(pe.rx(rx), pe.tx(tx), tile(w), Fold::Add).await;
                }
                Op::Recv(c, w) => {
                    pe.recv(pe.rx(c), tile(w)).await;
                }
                Op::PostSend(c, w) => {
                    // At most 8 tickets are open: the oldest is joined first. The port's order makes this free: a send
                    // starts after the end of the one before it, joined or not.
                    if n_open(&open) == 8 {
                        open.remove(0).join(pe).await;
                    }
                    open.push(Open::One(pe.post_send(pe.tx(c), pe.tile(TileId(sent_tile(n_sent, w))))));
                    n_sent += 1;
                }
                Op::PostRecv(c, w) => open.push(Open::One(pe.post_recv(pe.rx(c), posted(w)))),
                Op::Exchange((c, w), (from, come)) => {
                    while n_open(&open) > 6 {
                        open.remove(0).join(pe).await;
                    }
                    let ring = RingEnds { tx: pe.tx(c), rx: pe.rx(from) };
                    let exchange = ring.exchange(pe, pe.tile(TileId(sent_tile(n_sent, w))), posted(come));
                    open.push(Open::Two(exchange));
                    n_sent += 1;
                }
                Op::Call((c, w), (from, back)) => {
                    let roles = [Role::Leaf(pe.tx(c))];
                    pe.relay(&roles, tile(w), Fold::Add, After::Back(pe.rx(from), posted(back))).await;
                }
                Op::Compute(n) => pe.compute(Cycles(n), |_| {}),
                Op::JoinAll => join_all(pe, std::mem::take(&mut open)).await,
            }
        }
    }
}

fn n_open(open: &[Open]) -> usize {
    open.iter().map(|open| if matches!(open, Open::Two(_)) { 2 } else { 1 }).sum()
}

/// In the order in which they were posted, as much at once as goes.
async fn join_all(pe: Pe<'_>, open: Vec<Open>) {
    let mut ones = [None; 8];
    let mut rest = open.into_iter().peekable();
    while let Some(first) = rest.next() {
        match (first, rest.next_if(|next| matches!(next, Open::Two(_)))) {
            (Open::Two(first), Some(Open::Two(second))) => _ = Exchange::both_moved(pe, first, second).await,
            (Open::One(ticket), None) => {
                let more = std::iter::from_fn(|| match rest.next_if(|next| matches!(next, Open::One(_))) {
                    Some(Open::One(ticket)) => Some(ticket),
                    _ => None,
                });
                ones.fill(None);
                ones.iter_mut().zip(std::iter::once(ticket).chain(more)).for_each(|(slot, t)| *slot = Some(t));
                pe.join_all(ones).await;
            }
            (first, second) => {
                first.join(pe).await;
                if let Some(second) = second {
                    second.join(pe).await;
                }
            }
        }
    }
}

/// A program in the making.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub layout: Layout,
    pub script: Script,
    used: HashMap<Coord, u128>,
}

/// PE on row 0.
pub fn at(col: usize) -> Coord {
    Coord::new(col as u32, 0)
}

impl Program {
    /// Appends an operation.
    pub fn op(&mut self, pe: Coord, op: Op) {
        self.layout.pe(pe);
        self.script.0.entry(pe).or_default().push(op);
    }

    /// The lowest color that is free at all of `pes`; taken from now on.
    pub fn color(&mut self, pes: impl IntoIterator<Item = Coord>) -> Color {
        let pes: Vec<Coord> = pes.into_iter().collect();
        let used = pes.iter().fold(0, |u, pe| u | self.used.get(pe).copied().unwrap_or(0));
        let color = used.trailing_ones();
        pes.into_iter().for_each(|pe| *self.used.entry(pe).or_default() |= 1 << color);
        Color(color as u8)
    }

    /// A unicast line on a color of its own.
    pub fn line(&mut self, from: Coord, to: Coord) -> Color {
        let (c0, c1) = (from.col.min(to.col), from.col.max(to.col));
        let (r0, r1) = (from.row.min(to.row), from.row.max(to.row));
        let color = self.color((c0..=c1).flat_map(|c| (r0..=r1).map(move |r| Coord::new(c, r))));
        self.layout.line(color, from, to, false).expect("the color is free on the way");
        color
    }

    /// The same with every send that is posted right before a receive as one move with it.
    pub fn in_moves(mut self) -> Self {
        for ops in self.script.0.values_mut() {
            let mut moved = Vec::with_capacity(ops.len());
            let mut rest = ops.drain(..).peekable();
            while let Some(op) = rest.next() {
                let after = rest.next_if(|next| matches!((op, next), (Op::PostSend(_, 1..), Op::PostRecv(_, 1..))));
                moved.push(match (op, after) {
                    (Op::PostSend(c, w), Some(Op::PostRecv(from, come))) => Op::Exchange((c, w), (from, come)),
                    _ => op,
                });
            }
            drop(rest);
            *ops = moved;
        }
        self
    }

    /// The layout with tiles and shares of workers.
    pub fn layout(&self) -> Layout {
        let mut layout = self.layout.clone();
        let coords: Vec<Coord> = layout.pes.iter().map(|p| p.coord).collect();
        let cols = coords.iter().map(|c| c.col + 1).max().unwrap_or(1);
        for pe in coords {
            layout.pe(pe).share = (pe.col * 65536 / cols) as u16;
            let mut n_sent = 0;
            let ops = self.script.0.get(&pe).into_iter().flatten();
            let ids: BTreeSet<u16> = ops.flat_map(|op| tiles_of(op, &mut n_sent)).flatten().collect();
            for id in ids {
                let bytes = u32::from(id & ((1 << SLOT) - 1)) * 4;
                let (id, owner) = (TileId(id), Owner::Activations);
                layout.tile(pe, TileDecl { id, name: "tile", owner, bytes, visit: 0 });
            }
        }
        layout
    }

    /// On a wafer, with all tiles zero.
    pub fn try_launch(&self, chip: &Chip, workers: usize, schedule: Schedule, dry: bool) -> Result<Wafer, LaunchError> {
        let options = RunOptions { schedule, dry, ..RunOptions::new(workers) };
        Wafer::launch(self.script.clone(), self.layout(), chip, &options, |_, _, _| {})
    }

    /// As `try_launch`, of a program that the chip can run.
    pub fn launch(&self, chip: &Chip, workers: usize, schedule: Schedule, dry: bool) -> Wafer {
        self.try_launch(chip, workers, schedule, dry).expect("the layout runs on the chip")
    }
}

fn tiles_of(op: &Op, n_sent: &mut usize) -> [Option<u16>; 2] {
    let mut sent = |w| {
        *n_sent += 1;
        Some(sent_tile(*n_sent - 1, w))
    };
    match *op {
        Op::Send(_, w) | Op::Combine(_, _, w) | Op::Recv(_, w) => [Some(w as u16), None],
        Op::PostSend(_, w) => [sent(w), None],
        Op::PostRecv(_, w) => [Some(w as u16 | POSTED), None],
        Op::Exchange((_, w), (_, come)) => [sent(w), Some(come as u16 | POSTED)],
        Op::Call((_, w), (_, back)) => [Some(w as u16), Some(back as u16 | POSTED)],
        Op::Compute(_) | Op::JoinAll => [None; 2],
    }
}

/// The bench chip with the constants of a golden case.
pub fn chip(fields: &Value) -> Chip {
    let get = |name: &str| fields[name].as_u64().expect("a chip field") as u32;
    Chip {
        cols: 4096,
        rows: 4096,
        arena_bytes: 1 << 20,
        colors: 128,
        colors_reserved: 0,
        lane_depth: get("lane_depth") as u8,
        queue_wavelets: get("queue"),
        alpha: get("alpha"),
        ramp: get("T_R"),
        turn_cycles: get("turn"),
        ser_num: get("num"),
        ser_den: get("den"),
        issue_cycles: get("issue"),
        stage_cycles: 1,
        ..Chip::preset("bench").expect("the preset is there")
    }
}
