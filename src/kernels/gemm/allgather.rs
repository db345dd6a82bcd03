//! Allgather GEMM: each PE gathers its whole row of A and column of B, then multiplies.     (WaferLLM section 5.1)
//!
//! 1. max(C, R) - 1 rounds on the interleaved rings: pass on the block that came last, take the next one into its
//!    place.
//! 2. One product after the other, k ascending.
//!
//! | color | carries    |   | arena | bytes, at most                              | owner       |
//! |-------|------------|---|-------|---------------------------------------------|-------------|
//! | 0 - 2 | A, forward |   | A     | 2 m K (every block rounded up to a word)    | activations |
//! | 3 - 5 | B, forward |   | B     | 2 K n                                       | weights     |
//! |       |            |   | C     | 4 m n (2 m n)                               | activations |
//!
//! The tiles are C and R times those of the others: the arena refuses them where the mesh grows with the matrix.
//! Cost, P x P, equal tiles of w words: gather (P - 1) (Ser(w) + 2 T_R + 1) and about 2 P links, then P products.

use crate::arena::Tile;
use crate::collectives::{Cycle, Exchange, RingEnds, Way};
use crate::fabric::{Layout, LayoutError, TileId};
use crate::math::gemm::Dims;
use crate::pe::Pe;
use crate::units::Coord;

use super::product::{Factor, Storage, multiply};
use super::spec::{Algo, Gemm, tile};
use super::{mesh, point};

const A_BASE: u8 = 0;
const B_BASE: u8 = 3;
const ORDER: Cycle = Cycle::Interleave;

/// Rings.
pub(super) fn lay_out(g: &Gemm, layout: &mut Layout) -> Result<(), LayoutError> {
    let (cols, rows) = (g.spec.cols as u32, g.spec.rows as u32);
    for row in 0..rows {
        let line: Vec<Coord> = (0..cols).map(|col| Coord::new(col, row)).collect();
        ORDER.lay_out(layout, &line, A_BASE, Way::Forward)?;
    }
    for col in 0..cols {
        let line: Vec<Coord> = (0..rows).map(|row| Coord::new(col, row)).collect();
        ORDER.lay_out(layout, &line, B_BASE, Way::Forward)?;
    }
    Ok(())
}

/// A PE's tiles, in bytes.
pub(super) fn tiles(g: &Gemm, at: Coord) -> Vec<(TileId, usize)> {
    let (m, n) = (g.m_of(at.row as usize).len(), g.n_of(at.col as usize).len());
    let a = 4 * place(&g.map.a_len, m, g.spec.a, g.spec.cols);
    let b = 4 * place(&g.map.b_len, n, g.b_format(), g.spec.rows);
    vec![(tile::A, a), (tile::B, b), (tile::C, g.block_bytes(at)[2])]
}

/// Word at which block `block` starts in the gathered tile.
fn place(len: &[usize], width: usize, format: Storage, block: usize) -> usize {
    len[..block].iter().map(|len| format.words(len * width)).sum()
}

impl Gemm {
    /// Element of the A tile at which the block of the load starts.
    pub(super) fn a_offset(&self, at: Coord) -> usize {
        let m = self.m_of(at.row as usize).len();
        self.own_block(&self.map.a_len, m, self.spec.a, at.col as usize)
    }

    /// The same for B.
    pub(super) fn b_offset(&self, at: Coord) -> usize {
        let n = self.n_of(at.col as usize).len();
        self.own_block(&self.map.b_len, n, self.b_format(), at.row as usize)
    }

    fn own_block(&self, len: &[usize], width: usize, format: Storage, block: usize) -> usize {
        match self.spec.algo {
            Algo::Allgather => place(len, width, format, block) * 4 / format.bytes(),
            _ => 0,
        }
    }
}

/// One operand at one PE.
struct Gathered<'a> {
    ring: Option<RingEnds>,
    tile: Tile,
    len: &'a [usize],
    width: usize,
    format: Storage,
    at: usize,
}

impl Gathered<'_> {
    fn block(&self, block: usize) -> Tile {
        let words = self.format.words(self.len[block] * self.width);
        self.tile.slice(place(self.len, self.width, self.format, block), words)
    }

    /// Words that round `round` sends.
    fn next_words(&self, round: usize) -> usize {
        let n = self.len.len();
        let at = ORDER.at(n, (ORDER.pos(n, self.at) + round) % n);
        if self.ring.is_some() && round + 1 < n { self.block(at).words as usize } else { 0 }
    }

    /// Round `round`: gives the block that came last, takes the one after it.
    fn post(&self, pe: Pe<'_>, round: usize) -> Option<Exchange> {
        let n = self.len.len();
        let block = |ahead: usize| self.block(ORDER.at(n, (ORDER.pos(n, self.at) + ahead) % n));
        let ring = self.ring.filter(|_| round + 1 < n)?;
        Some(ring.exchange(pe, block(round), block(round + 1)))
    }
}

/// The program of a PE.
pub(super) async fn program(g: &Gemm, pe: Pe<'_>) {
    let at = pe.coord();
    let (cols, rows) = (g.spec.cols, g.spec.rows);
    let (m, n) = (g.m_of(at.row as usize).len(), g.n_of(at.col as usize).len());
    let sides = Box::new([
        Gathered {
            ring: ORDER.ends(pe, cols, at.col as usize, A_BASE, Way::Forward),
            tile: pe.tile(tile::A),
            len: &g.map.a_len,
            width: m,
            format: g.spec.a,
            at: at.col as usize,
        },
        Gathered {
            ring: ORDER.ends(pe, rows, at.row as usize, B_BASE, Way::Forward),
            tile: pe.tile(tile::B),
            len: &g.map.b_len,
            width: n,
            format: g.b_format(),
            at: at.row as usize,
        },
    ]);
    for round in 0..cols.max(rows) - 1 {
        let words = |side: &Gathered<'_>| side.next_words(round);
        pe.compute(g.exchange(words(&sides[0]) + words(&sides[1])), |_| {});
        let moves = [sides[0].post(pe, round), sides[1].post(pe, round)];
        for exchange in moves.into_iter().flatten() {
            exchange.join(pe).await;
        }
    }
    pe.mark(0, point::ALIGNED);
    let [a, b] = &*sides;
    for piece in &g.map.pieces {
        let left = Factor::k_major(a.block(piece.a), a.format, m, piece.a_at);
        let right = Factor::k_major(b.block(piece.b), b.format, n, piece.b_at);
        let dims = Dims { m, k: piece.k.len(), n };
        pe.compute(g.exchange(0), |_| {}); // the published formula has the same software a step without an exchange
        multiply(pe, g.rates(), dims, left, right, (pe.tile(tile::C), g.c_format()));
    }
}

/// On P x P PEs with equal blocks: P - 1 rounds, in which the longest chain may change between the rings of its row and
/// column, so it meets the most links in j edges of one and P - 1 - j of the other; then P products.
pub(super) fn closed_form(g: &Gemm) -> Option<u64> {
    let (p, round, product) = mesh::equal_blocks(g)?;
    let links = mesh::most_links(ORDER, p);
    let most = (0..p).map(|j| links[j] + links[p - 1 - j]).max().unwrap_or(0);
    Some((p as u64 - 1) * round + u64::from(g.chip.alpha) * most + p as u64 * product)
}
