//! From the placement of a prefill to another one for decode: weights, K and V move over links.  (WaferLLM section 4.1)
//!
//! 1. `plan` finds for every tile of decode the tiles of prefill that overlap it, and shares the pairs of PEs out to
//!    launches and colors: a path of its own for each, along x, then along y.
//! 2. In a launch a sender gathers some rows of a block into its buffer and sends them; the receiver scatters them into
//!    its tile. Every PE serves its pairs in the order of the whole launch.
//!
//! | colors | carries            |   | arena            | bytes                                            |
//! |--------|--------------------|---|------------------|--------------------------------------------------|
//! | 0 ..   | one pair each      |   | what stays       | as in prefill, as in decode, at the same address |
//! |        |                    |   | buffer           | the longest message, at most 256 (or the logits) |
//!
//! Both placements are on the wafer at once, prefill's below decode's: a core holds one of them, so nothing is
//! overwritten before it has been sent.
//! Cost: per message two element-wise passes, and a path's `Ser(w) + alpha hops + 2 T_R + 1`; pairs that share a PE
//! wait for each other; executed, not assumed.
//!
//! Invariant: the first pair of a launch that is not over has both of its PEs at it, so a launch cannot deadlock.
//! Called by the host's session, between prefill and decode.

mod blocks;
mod plan;

use std::collections::HashMap;
use std::sync::Arc;

use crate::arena::{Owner, Tile};
use crate::fabric::{Layout, LayoutError, TileDecl, TileId};
use crate::pe::{Kernel, Pe};
use crate::units::{Color, Coord};

use super::decode::layout::state_key;
use super::decode::routes::lay;
use super::decode::{Decode, Region, tile as kept};
use super::prefill::Prefill;
use plan::{Pair, Piece, pes};

/// The message in the making, or as it came.
const BUFFER: TileId = TileId(40);

/// One launch of the transition.
#[derive(Clone)]
pub struct Transition {
    prefill: Arc<Prefill>,
    decode: Arc<Decode>,
    pairs: Vec<Pair>,
    /// Pairs of a PE, in order.
    of_pe: HashMap<Coord, Vec<u32>>,
}

impl Transition {
    /// The launches that bring everything from where `prefill` leaves it to where `decode` looks for it.
    pub fn launches(prefill: &Prefill, decode: &Decode) -> Vec<Self> {
        let (prefill, decode) = (Arc::new(prefill.clone()), Arc::new(decode.clone()));
        let launch = |pairs: Vec<Pair>| {
            let mut of_pe: HashMap<Coord, Vec<u32>> = HashMap::new();
            for (i, pair) in (0..).zip(&pairs) {
                for pe in [pair.way.from, pair.way.to] {
                    of_pe.entry(pe).or_default().push(i);
                }
            }
            Self { prefill: prefill.clone(), decode: decode.clone(), pairs, of_pe }
        };
        plan::rounds(&prefill.decode, &decode, prefill.prompt).into_iter().map(launch).collect()
    }

    /// Paths of the pairs; what stays on the PEs of both placements, and buffers.
    ///
    /// # Errors
    /// A defect in the coloring (two writers).
    pub fn layout(&self) -> Result<Layout, LayoutError> {
        let mut layout = Layout::default();
        let (old, new) = (&self.prefill.decode, &*self.decode);
        for d in [old, new] {
            d.name_pes(&mut layout);
            d.head_tiles(&mut layout);
        }
        for (d, is_prefill) in [(old, true), (new, false)] {
            for at in pes(d) {
                let Region::Stage(seat) = d.region(at) else { continue };
                if is_prefill {
                    self.prefill.kept_tiles(&mut layout, seat.stage, at, seat.col, seat.row);
                    continue;
                }
                for layer in d.plan.stages[seat.stage].clone() {
                    d.layer_tiles(&mut layout, seat.stage, layer, at, seat.col, seat.row);
                }
                if seat.row == d.root_row() {
                    let (bytes, visit) = (4 * d.local(seat.col).dims as u32, state_key(seat.stage));
                    let name = "rope frequencies";
                    layout.tile(at, TileDecl { id: kept::FREQ, name, owner: Owner::Weights, bytes, visit });
                }
            }
        }
        for at in self.of_pe.keys() {
            if let (BUFFER, words) = self.message(*at) {
                layout.words(&[*at], BUFFER, "message", Owner::Receive, words);
            }
        }
        for pair in &self.pairs {
            lay(&mut layout, Color(pair.way.track as u8), &pair.way)?;
        }
        Ok(layout)
    }
}

impl Transition {
    /// The tile that holds a message at a PE, and its longest one in words. In a head region, whose arenas are full of
    /// weights, it is that of the logits where they are long enough: the host has read them.
    fn message(&self, at: Coord) -> (TileId, usize) {
        let pieces = self.of_pe.get(&at).into_iter().flatten().flat_map(|i| &self.pairs[*i as usize].pieces);
        let words = pieces.map(|p| p.words(p.rows_at_once().min(p.rows.len()))).max().unwrap_or(0);
        let fits = [&self.prefill.decode, &*self.decode].into_iter().any(|d| match d.region(at) {
            Region::Head { col, .. } => d.vocab_of(col).len() + 1 >= words,
            _ => false,
        });
        (if fits { kept::LOGITS } else { BUFFER }, words)
    }
}

impl Kernel for Transition {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        let Some(mine) = self.of_pe.get(&pe.coord()) else { return };
        let buffer = pe.tile(self.message(pe.coord()).0);
        for pair in mine.iter().map(|i| &self.pairs[*i as usize]) {
            let (color, sends) = (Color(pair.way.track as u8), pair.way.from == pe.coord());
            for piece in &pair.pieces {
                let tile = pe.tile(piece.id);
                for rows in piece.rows.chunks(piece.rows_at_once()) {
                    let message = buffer.slice(0, piece.words(rows.len()));
                    if sends {
                        self.carry(pe, piece, rows, (tile, message), true);
                        pe.send(pe.tx(color), message).await;
                    } else {
                        pe.recv(pe.rx(color), message).await;
                        self.carry(pe, piece, rows, (tile, message), false);
                    }
                }
            }
        }
    }
}

impl Transition {
    /// Gathers rows of a piece from the tile into the message, or scatters the message into the tile.
    fn carry(&self, pe: Pe<'_>, piece: &Piece, rows: &[(u32, u32)], (tile, message): (Tile, Tile), gathers: bool) {
        pe.compute(self.decode.chip.elementwise(message.words()), |v| {
            let tiles = v.words_mut([tile, message]);
            if piece.is_half {
                carry(piece, rows, tiles.map(bytemuck::cast_slice_mut::<u32, u16>), gathers);
            } else {
                carry(piece, rows, tiles, gathers);
            }
        });
    }
}

fn carry<T: Copy>(piece: &Piece, rows: &[(u32, u32)], [tile, message]: [&mut [T]; 2], gathers: bool) {
    let [there, here] = piece.orders;
    let cells = rows.iter().flat_map(|row| piece.cols.iter().map(move |col| (row, col)));
    for ((row, col), word) in cells.zip(message) {
        if gathers {
            *word = tile[there.at(row.0 as usize, col.0 as usize)];
        } else {
            tile[here.at(row.1 as usize, col.1 as usize)] = *word;
        }
    }
}
