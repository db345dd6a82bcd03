//! A kernel whose cores run short lists of operations on one tile: enough to say a primitive in a few lines.
//!
//! Invariant: every core has one tile of the same length; what a program does is in its list alone. Called by
//! `primitives`.

use std::collections::BTreeMap;

use crate::arena::Owner;
use crate::exec::{RunOptions, Wafer};
use crate::fabric::{Chip, Layout, LayoutError, TileDecl, TileId};
use crate::pe::{Fold, Kernel, Pe};
use crate::units::{Color, Coord, Cycles};

use super::AccuracyError;

const DATA: TileId = TileId(0);

/// One operation on the core's tile.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    /// Sends it.
    Send(Color),
    /// Receives into it.
    Recv(Color),
    /// Receives, adds, passes on.
    Combine(Color, Color),
    /// Computes for so many cycles.
    Compute(u64),
}

/// Lists by core, and their layout.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub layout: Layout,
    ops: BTreeMap<Coord, Vec<Op>>,
    words: usize,
}

impl Script {
    /// Nothing yet, on tiles of `words` f32.
    pub fn new(words: usize) -> Self {
        Self { layout: Layout::default(), ops: BTreeMap::new(), words }
    }

    /// Appends an operation.
    pub fn op(&mut self, pe: Coord, op: Op) {
        self.layout.pe(pe);
        self.ops.entry(pe).or_default().push(op);
    }

    /// A chain over `members` to the last of them, on two colors from `base` on, alternating.
    pub fn chain(&mut self, members: &[Coord], base: u8) -> Result<(), LayoutError> {
        let color = |from: usize| Color(base + (from % 2) as u8);
        for (i, pair) in members.windows(2).enumerate() {
            self.layout.line(color(i), pair[0], pair[1], false)?;
            match i {
                0 => self.op(pair[0], Op::Send(color(0))),
                _ => self.op(pair[0], Op::Combine(color(i - 1), color(i))),
            }
        }
        match members {
            [.., last] if members.len() > 1 => self.op(*last, Op::Recv(color(members.len() - 2))),
            _ => {}
        }
        Ok(())
    }

    /// Runs all lists once, without payloads: the last clock.
    ///
    /// # Errors
    /// A layout that the chip refuses; a stall.
    pub fn cycles(mut self, chip: &Chip) -> Result<u64, AccuracyError> {
        let (words, ids) = (self.words as u32, self.ops.keys().copied().collect::<Vec<_>>());
        let tile = TileDecl { id: DATA, name: "data", owner: Owner::Activations, bytes: 4 * words, visit: 0 };
        ids.into_iter().for_each(|pe| self.layout.tile(pe, tile));
        let layout = std::mem::take(&mut self.layout);
        run(self, layout, chip)
    }
}

/// Runs a kernel once, without payloads: the last clock.
pub(super) fn run<K: Kernel>(kernel: K, layout: Layout, chip: &Chip) -> Result<u64, AccuracyError> {
    let options = RunOptions { dry: true, ..RunOptions::new(1) };
    let mut wafer = Wafer::launch(kernel, layout, chip, &options, |_, _, _| {})?;
    wafer.run(&[])?;
    Ok(wafer.counters()?.cycles)
}

impl From<LayoutError> for AccuracyError {
    fn from(error: LayoutError) -> Self {
        Self::Launch(error.into())
    }
}

impl Kernel for Script {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        let Some(ops) = self.ops.get(&pe.coord()) else { return };
        let tile = pe.tile(DATA);
        for op in ops {
            match *op {
                Op::Send(tx) => pe.send(pe.tx(tx), tile).await,
                Op::Recv(rx) => {
                    pe.recv(pe.rx(rx), tile).await;
                }
                Op::Combine(rx, tx) => {
                    pe.combine(pe.rx(rx), pe.tx(tx), tile, Fold::Add).await;
                }
                Op::Compute(n) => pe.compute(Cycles(n), |_| {}),
            }
        }
    }
}
