//! A kernel whose PEs run scripts, with a layout that grows line by line.
//!
//! Invariant: a line takes the lowest color that no PE on its way uses yet. Called by the golden and error tests.

pub mod families;
pub mod random;
pub mod wavelets;

use std::collections::{BTreeSet, HashMap};

use plummer::arena::Owner;
use plummer::exec::{LaunchError, RunOptions, Wafer};
use plummer::fabric::{Chip, Layout, TileDecl, TileId};
use plummer::link::Schedule;
use plummer::pe::{Fold, Kernel, Pe};
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
        let (mut tickets, mut n_sent) = (Vec::new(), 0);
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
                    if tickets.len() == 8 {
                        pe.join(tickets.remove(0)).await;
                    }
                    tickets.push(pe.post_send(pe.tx(c), pe.tile(TileId(sent_tile(n_sent, w)))));
                    n_sent += 1;
                }
                Op::PostRecv(c, w) => tickets.push(pe.post_recv(pe.rx(c), posted(w))),
                Op::Compute(n) => pe.compute(Cycles(n), |_| {}),
                Op::JoinAll => {
                    let mut open = [None; 8];
                    open.iter_mut().zip(tickets.drain(..)).for_each(|(slot, ticket)| *slot = Some(ticket));
                    pe.join_all(open).await;
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

    /// The layout with tiles and shares of workers.
    pub fn layout(&self) -> Layout {
        let mut layout = self.layout.clone();
        let coords: Vec<Coord> = layout.pes.iter().map(|p| p.coord).collect();
        let cols = coords.iter().map(|c| c.col + 1).max().unwrap_or(1);
        for pe in coords {
            layout.pe(pe).share = (pe.col * 65536 / cols) as u16;
            let mut n_sent = 0;
            let ops = self.script.0.get(&pe).into_iter().flatten();
            let ids: BTreeSet<u16> = ops.filter_map(|op| tile_of(op, &mut n_sent)).collect();
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

fn tile_of(op: &Op, n_sent: &mut usize) -> Option<u16> {
    match *op {
        Op::Send(_, w) | Op::Combine(_, _, w) | Op::Recv(_, w) => Some(w as u16),
        Op::PostSend(_, w) => {
            *n_sent += 1;
            Some(sent_tile(*n_sent - 1, w))
        }
        Op::PostRecv(_, w) => Some(w as u16 | POSTED),
        Op::Compute(_) | Op::JoinAll => None,
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
