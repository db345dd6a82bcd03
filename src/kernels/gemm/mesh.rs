//! MeshGEMM: C = A B by interleaved cyclic shift.                               (WaferLLM section 5; waferllm.md 1)
//!
//! 1. Align: row at ring place j moves its blocks of A on by floor(j C / R) places, column at place i its blocks of B
//!    by floor(i R / C), the short way round, both at once.
//! 2. C + R - gcd(C, R) times (P on a P x P mesh): multiply the piece that is here; meanwhile A's next block comes
//!    along the row and B's along the column; go on when the four moves of this PE have ended.
//!
//! | colors   | carries                | route            |   | arena       | bytes, at most | owner       |
//! |----------|------------------------|------------------|---|-------------|----------------|-------------|
//! | 0 .. 2   | A, forward             | 2 links at most  |   | A, A next   | 2 m k each     | activations |
//! | 3 .. 5   | A, reverse (alignment) | 2 links at most  |   | B, B next   | 2 k n each     | weights     |
//! | 6 .. 8   | B, forward             | 2 links at most  |   | C           | 4 m n (2 m n)  | activations |
//! | 9 .. 11  | B, reverse (alignment) | 2 links at most  |   |             |                |             |
//!
//! Any rectangle: see `pieces`. A line of one PE has no ring; its operand stays where it is.
//! The product's order: K as the tour visits it from the PE's first piece on (see `product`).
//! Cost, P x P with equal tiles of w words (longer than the queues), product of p cycles: see `closed_form`.

use crate::arena::Tile;
use crate::collectives::{Cycle, Moving, Way, shortest};
use crate::fabric::{Layout, LayoutError};
use crate::math::gemm::Dims;
use crate::pe::Pe;
use crate::units::{Coord, Cycles};

use super::cannon::Barrier;
use super::pieces::Piece;
use super::point;
use super::product::{Factor, multiply_for, product_cycles};
use super::shift::{Side, Turn, align, cyclic};
use super::spec::{Finish, Gemm, Load, tile};

/// First color of every ring.
const A_FORWARD: u8 = 0;
const A_REVERSE: u8 = 3;
const B_FORWARD: u8 = 6;
const B_REVERSE: u8 = 9;
/// Colors of the four rings.
pub(super) const COLORS: u8 = 12;

/// Rings.
pub(super) fn lay_out(g: &Gemm, layout: &mut Layout) -> Result<(), LayoutError> {
    let (cols, rows, order) = (g.spec.cols as u32, g.spec.rows as u32, g.spec.order());
    for row in 0..rows {
        let line: Vec<Coord> = (0..cols).map(|col| Coord::new(col, row)).collect();
        order.lay_out(layout, &line, A_FORWARD, Way::Forward)?;
        order.lay_out(layout, &line, A_REVERSE, Way::Reverse)?;
    }
    for col in 0..cols {
        let line: Vec<Coord> = (0..rows).map(|row| Coord::new(col, row)).collect();
        order.lay_out(layout, &line, B_FORWARD, Way::Forward)?;
        order.lay_out(layout, &line, B_REVERSE, Way::Reverse)?;
    }
    Ok(())
}

/// What the program of a PE begins with.
struct Start<'a> {
    a: Side<'a>,
    b: Side<'a>,
    turns: [Turn; 2],
    moves: [u32; 2],
    first: (usize, u64),
}

impl<'a> Start<'a> {
    fn new(g: &'a Gemm, pe: Pe<'_>, order: Cycle) -> Self {
        let at = pe.coord();
        let (cols, rows) = (g.spec.cols, g.spec.rows);
        let (i, j) = (order.pos(cols, at.col as usize), order.pos(rows, at.row as usize));
        let (m, n) = (g.m_of(at.row as usize).len(), g.n_of(at.col as usize).len());
        let ((a_turn, a_edge), (b_turn, b_edge)) = (g.map.a_turn(j), g.map.b_turn(i));
        let aligned = g.spec.load == Load::Aligned;
        let b_start = if aligned { (j + b_turn) % rows } else { j };
        let pair = |id, next, there| [pe.tile(id), if there { pe.tile(next) } else { Tile::EMPTY }];
        let a_ends = |base, way| order.ends(pe, cols, at.col as usize, base, way);
        let b_ends = |base, way| order.ends(pe, rows, at.row as usize, base, way);
        // At the edge of a block the last move is not needed: it would bring the first block again.
        let moves = |n: usize, edge: bool| n as u32 - u32::from(edge && g.spec.finish == Finish::Lean);
        let turn = |(way, rounds): (Way, usize), forward, reverse| Turn {
            way,
            rounds: rounds as u32,
            ends: if way == Way::Forward { forward } else { reverse },
        };
        let (a_forward, b_forward) = (a_ends(A_FORWARD, Way::Forward), b_ends(B_FORWARD, Way::Forward));
        let (a_reverse, b_reverse) = (a_ends(A_REVERSE, Way::Reverse), b_ends(B_REVERSE, Way::Reverse));
        let b_turn = if aligned { 0 } else { b_turn };
        Self {
            a: Side::new(
                Moving::trading(pair(tile::A, tile::A_NEXT, cols > 1), i, cols),
                a_forward,
                (&g.map.a_len, m),
                g.spec.a,
            ),
            b: Side::new(
                Moving::trading(pair(tile::B, tile::B_NEXT, rows > 1), b_start, rows),
                b_forward,
                (&g.map.b_len, n),
                g.b_format(),
            ),
            turns: [
                turn(shortest(cols, a_turn), a_forward, a_reverse),
                turn(shortest(rows, b_turn), b_forward, b_reverse),
            ],
            moves: [moves(cols, a_edge), moves(rows, b_edge)],
            first: g.map.first(i, j),
        }
    }
}

/// The program of a PE, for every ring order.
pub(super) fn program<'a>(
    g: &'a Gemm,
    pe: Pe<'a>,
    order: Cycle,
    barrier: Option<&'a Barrier>,
) -> impl Future<Output = ()> {
    let Start { mut a, mut b, turns, moves, first } = Start::new(g, pe, order);
    let c = pe.tile(tile::C);
    async move {
        align(pe, &mut a, &mut b, turns, &g.chip.overheads).await;
        pe.mark(0, point::ALIGNED);
        let (m, n) = (a.width, b.width);
        let mut cost = (usize::MAX, Cycles::ZERO);
        let product = move |piece: &Piece, a: Tile, b: Tile| {
            let d = Dims { m: m as usize, k: piece.k.len(), n: n as usize };
            if d.k != cost.0 {
                cost = (d.k, product_cycles(g.rates(), d));
            }
            let a = Factor::k_major(a, g.spec.a, d.m, piece.a_at);
            let b = Factor::k_major(b, g.b_format(), d.n, piece.b_at);
            multiply_for(pe, cost.1, d, a, b, (c, g.c_format()));
        };
        let how = (barrier, &g.chip.overheads);
        cyclic(pe, (&g.map, first), (&mut a, &mut b), moves, how, product).await;
    }
}

/// Cycles on P x P PEs with equal blocks, in the contract's terms. With S = Ser(w), a round of neighbours takes
/// `S + 2 T_R + 1` and its links, `H(j)` is the most links in j consecutive edges of the ring, n = floor(P / 2), p the
/// cycles of a product, c those of a round's software (0 unless the chip says so):
///
/// ```text
///   align(n) + (c + p) + max over j of ((P - 1 - j) (c + p) + j (c + S + 2 T_R + 1) + alpha H(j))
///   align(n) = n (c + S + 2 T_R + 1) + alpha H(n)
/// ```
/// A step waits for the own product or for a neighbour's block, so the longest chain of P - 1 steps follows j edges.
/// Where a product outlasts a round (p >= S + 2 T_R + 1 + 2 alpha) that is align(n) + P (c + p): moves are hidden.
/// Cannon: the same, said only where a product outlasts a move across the line; otherwise chains that meet long edges
/// of both axes are longer, by how much depends on where alignment ends last.
pub(super) fn closed_form(g: &Gemm) -> Option<u64> {
    let (p, round, product) = equal_blocks(g).filter(|_| g.spec.finish == Finish::Lean)?;
    let alpha = u64::from(g.chip.alpha);
    let links = most_links(g.spec.order(), p);
    if g.spec.order() == Cycle::Wrap && p > 2 && product < round + alpha * (p as u64 - 1) {
        return None;
    }
    let rounds = |n: usize| n as u64 * round + alpha * links[n];
    let steps = (0..p).map(|j| (p - 1 - j) as u64 * product + rounds(j)).max().unwrap_or(0);
    Some(rounds(p / 2) + product + steps)
}

/// On a square mesh with equal blocks of one length: P, cycles of a round without its links, cycles of a product;
/// both with the software of a round.
pub(super) fn equal_blocks(g: &Gemm) -> Option<(usize, u64, u64)> {
    let (p, Dims { m, k, n }, timing) = (g.spec.cols, g.spec.size, g.chip.timing());
    let even = [m, k, n].iter().all(|x| x.is_multiple_of(p));
    let words = g.spec.a.words(m / p * (k / p));
    let same = words == g.b_format().words(k / p * (n / p));
    let by_word = g.chip.overheads.exchange_word > 0.0;
    if g.spec.rows != p || !even || !same || timing.issue > 0 || by_word {
        return None;
    }
    let round = timing.ser(words as u32) + u64::from(2 * timing.ramp + timing.stage) + g.exchange(0).0;
    Some((p, round, product_cycles(g.rates(), Dims { m: m / p, k: k / p, n: n / p }).0 + g.exchange(0).0))
}

/// H(0) .. H(n): the most links in that many consecutive edges of a ring of `n`.
pub(super) fn most_links(order: Cycle, n: usize) -> Vec<u64> {
    let edge = |at: usize| order.at(n, at % n).abs_diff(order.at(n, (at + 1) % n)) as u64;
    let mut window = vec![0; n];
    let mut most = vec![0];
    for j in 0..n {
        window.iter_mut().enumerate().for_each(|(from, links)| *links += edge(from + j));
        most.push(window.iter().copied().max().unwrap_or(0));
    }
    most
}
