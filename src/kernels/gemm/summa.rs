//! SUMMA: C = A B, one piece of K at a time by multicast.                        (WaferLLM section 5.1, figure 6)
//!
//! 1. The PE at the west end of a row multicasts the row's current block of A, the PE at the north end of a column the
//!    column's block of B.  2. Everybody multiplies.  3. The blocks that are left move one PE toward the end.
//!
//! A color has one source in a launch. Multicast from every column in turn would take C + R colors, which `wse2` has
//! not from 11 x 11 on; so the source stays and the blocks come to it, one link a step. The move goes into the buffer
//! that the multicast will fill, before it does: two buffers an operand, as with the moving source.
//!
//! | color   | carries                                        |   | arena      | bytes, at most |
//! |---------|------------------------------------------------|---|------------|----------------|
//! | 0, 1    | A one PE west, by parity of the sender         |   | A, A next  | 2 m k each     |
//! | 2       | A from column 0 to its row                     |   | B, B next  | 2 k n each     |
//! | 3, 4, 5 | the same for B, north, from row 0              |   | C          | 4 m n (2 m n)  |
//!
//! Any rectangle: a step is a piece of the refinement of `split(K, C)` and `split(K, R)`; only what changed is sent.
//! The product's order: k ascending. Hops C - 1 and R - 1; multicast and products do not overlap, as in the formula
//! P (comp + P alpha + lat); but P alpha is paid once, since nobody waits for the far end before the next step.

use crate::arena::Tile;
use crate::fabric::{Layout, LayoutError};
use crate::math::gemm::Dims;
use crate::pe::{Pe, Rx, Ticket, Tx};
use crate::units::{Color, Coord};

use super::point;
use super::product::{Factor, Storage, multiply};
use super::spec::{Gemm, tile};

const A_BASE: u8 = 0;
const B_BASE: u8 = 3;

fn feed_color(base: u8, sender: usize) -> Color {
    Color(base + (sender % 2) as u8)
}

fn line_out(layout: &mut Layout, line: &[Coord], base: u8) -> Result<(), LayoutError> {
    for (i, pair) in line.windows(2).enumerate() {
        layout.line(feed_color(base, i + 1), pair[1], pair[0], false)?;
    }
    match line {
        [first, .., last] => layout.line(Color(base + 2), *first, *last, true),
        _ => Ok(()),
    }
}

/// Routes.
pub(super) fn lay_out(g: &Gemm, layout: &mut Layout) -> Result<(), LayoutError> {
    let (cols, rows) = (g.spec.cols as u32, g.spec.rows as u32);
    for row in 0..rows {
        line_out(layout, &(0..cols).map(|col| Coord::new(col, row)).collect::<Vec<_>>(), A_BASE)?;
    }
    for col in 0..cols {
        line_out(layout, &(0..rows).map(|row| Coord::new(col, row)).collect::<Vec<_>>(), B_BASE)?;
    }
    Ok(())
}

/// One operand at one PE.
struct Feed<'a> {
    /// Distance from the source.
    place: usize,
    len: &'a [usize],
    width: usize,
    format: Storage,
    /// Own block (of the source: the current one), and where the next one or the multicast goes.
    buffers: [Tile; 2],
    to_source: Option<Tx>,
    from_outside: Option<Rx>,
    multicast: Option<Tx>,
    current: Option<Rx>,
    /// At the source: the multicast and the next block, under way while it multiplies.
    under_way: [Option<Ticket>; 2],
}

impl<'a> Feed<'a> {
    fn new(pe: Pe<'_>, place: usize, len: &'a [usize], base: u8, [own, next]: [crate::fabric::TileId; 2]) -> Self {
        let (first, many, more) = (place == 0, len.len() > 1, place + 1 < len.len());
        Self {
            place,
            len,
            width: 0,
            format: Storage::F16,
            buffers: [pe.tile(own), if many { pe.tile(next) } else { Tile::EMPTY }],
            to_source: (!first).then(|| pe.tx(feed_color(base, place))),
            from_outside: more.then(|| pe.rx(feed_color(base, place + 1))),
            multicast: (first && many).then(|| pe.tx(Color(base + 2))),
            current: (!first).then(|| pe.rx(Color(base + 2))),
            under_way: [None; 2],
        }
    }

    fn block(&self, buffer: usize, block: usize) -> Tile {
        self.buffers[buffer].slice(0, self.format.words(self.len[block] * self.width))
    }

    /// Where the current block is while it is multiplied: at the source it is its own.
    fn held(&self, block: usize) -> Tile {
        self.block(usize::from(self.place > 0), block)
    }

    /// Starts step `block`: blocks move, and the source sends its own out.
    fn post(&mut self, pe: Pe<'_>, block: usize) -> [Option<Ticket>; 2] {
        let moved = block + self.place;
        let own = (moved < self.len.len()).then(|| self.block(0, moved));
        let next = (moved + 1 < self.len.len()).then(|| self.block(1, moved + 1));
        let received = |rx: Option<Rx>| rx.zip(next).map(|(rx, next)| pe.post_recv(rx, next));
        if self.place == 0 {
            let sent = self.multicast.zip(own).map(|(tx, own)| pe.post_send(tx, own));
            self.under_way = [sent, received(self.from_outside)];
            return [None; 2];
        }
        // At step 0 blocks are where the load has put them; the source has block 0.
        let sent = self.to_source.zip(own).map(|(tx, own)| pe.post_send(tx, own));
        [sent, received(self.from_outside)]
    }

    /// After the moves: the buffers change roles, and the multicast block comes into the one that is free now.
    fn receive(&mut self, pe: Pe<'_>, block: usize) -> Option<Ticket> {
        if self.place > 0 {
            self.buffers.swap(0, 1);
        }
        self.current.map(|rx| pe.post_recv(rx, self.block(1, block)))
    }

    /// Ends a step at the source.
    async fn leave(&mut self, pe: Pe<'_>) {
        for ticket in std::mem::take(&mut self.under_way).into_iter().flatten() {
            pe.join(ticket).await;
        }
        if self.place == 0 {
            self.buffers.swap(0, 1);
        }
    }
}

async fn join_all(pe: Pe<'_>, tickets: [Option<Ticket>; 2]) {
    for ticket in tickets.into_iter().flatten() {
        pe.join(ticket).await;
    }
}

/// The program of a PE.
pub(super) async fn program(g: &Gemm, pe: Pe<'_>) {
    let at = pe.coord();
    let (m, n) = (g.m_of(at.row as usize).len(), g.n_of(at.col as usize).len());
    let mut a = Feed::new(pe, at.col as usize, &g.map.a_len, A_BASE, [tile::A, tile::A_NEXT]);
    let mut b = Feed::new(pe, at.row as usize, &g.map.b_len, B_BASE, [tile::B, tile::B_NEXT]);
    (a.width, a.format, b.width, b.format) = (m, g.spec.a, n, g.b_format());
    let mut feeds = Box::new([a, b]);
    let c = pe.tile(tile::C);
    pe.mark(0, point::ALIGNED);
    let mut last = [None; 2];
    for piece in &g.map.pieces {
        let now = [piece.a, piece.b];
        let new = [0, 1].map(|side| last[side] != Some(now[side]));
        let mut moves = [[None; 2]; 2];
        let words = [0, 1].map(|side| if new[side] { feeds[side].block(0, now[side]).words as usize } else { 0 });
        pe.compute(g.exchange(words[0] + words[1]), |_| {});
        for side in [0, 1].into_iter().filter(|s| new[*s]) {
            moves[side] = feeds[side].post(pe, now[side]);
        }
        join_all(pe, moves[0]).await;
        join_all(pe, moves[1]).await;
        let mut taken = [None; 2];
        for side in [0, 1].into_iter().filter(|s| new[*s]) {
            taken[side] = feeds[side].receive(pe, now[side]);
        }
        join_all(pe, taken).await;
        let [a, b] = &*feeds;
        let left = Factor::k_major(a.held(piece.a), a.format, m, piece.a_at);
        let right = Factor::k_major(b.held(piece.b), b.format, n, piece.b_at);
        multiply(pe, g.rates(), Dims { m, k: piece.k.len(), n }, left, right, (c, g.c_format()));
        last = now.map(Some);
        for (side, ends) in [piece.ends.0, piece.ends.1].into_iter().enumerate() {
            if ends {
                feeds[side].leave(pe).await;
            }
        }
    }
}
