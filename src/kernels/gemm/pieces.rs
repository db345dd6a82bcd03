//! How K is cut: blocks of A over the columns, blocks of B over the rows, and the pieces in which they meet.
//!
//! ```text
//!   3 columns, 2 rows:   A  |   block 0   |   block 1   |   block 2   |       a piece lies in one block of A
//!                        B  |      block 0      |      block 1        |       and in one of B: C + R - gcd pieces
//!                           |   piece 0   | 1   |  2    |   piece 3   |
//! ```
//! *Natural*: the element-wise refinement of `split(K, C)` and `split(K, R)`, in the order of K.
//! *Tour*: as a ring kernel visits K. Imagine L = lcm(C, R) fine blocks on a circle; block a of A is L / C of them,
//! block b of B is L / R. The PE at places (i, j) of its rings starts in the piece that holds fine block
//! i L/C + j L/R and goes once round. Then a row changes its block of A, and a column its block of B, at the same
//! points of the circle, so whole blocks move one place along the rings: C + R - gcd(C, R) products a PE instead of L,
//! and no PE holds two blocks. On a square mesh this is Cannon's algorithm: L = C = R, piece a is block a of both.
//!
//! Column c holds block pos(c) of A: a contiguous part of K (`balanced`, or what the caller gives). On a square mesh
//! row r holds the same part of B; otherwise B's block is up to ceil(C / R) + 1 runs of K, one after the other.
//!
//! Invariant: every k is in exactly one piece. Called by the GEMM kernels and their contents.

use std::ops::Range;

use crate::collectives::Cycle;
use crate::math::split::split;

/// A run of K inside one block of A and one of B.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Block of A.
    pub a: usize,
    /// Block of B.
    pub b: usize,
    /// Where the run starts in A's block, in k.
    pub a_at: usize,
    /// Where it starts in B's block.
    pub b_at: usize,
    /// The run.
    pub k: Range<usize>,
    /// Is it the last piece of its block of A, and of B?
    pub ends: (bool, bool),
    /// Its fine blocks (tours only).
    pub fine: Range<u64>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct KMap {
    /// Lengths in k of A's blocks; of a tour by place on the ring, else by column.
    pub a_len: Vec<usize>,
    /// Lengths of B's blocks (of `gemm-t`: in N, by place on the ring).
    pub b_len: Vec<usize>,
    /// In order of K, or of the tour.
    pub pieces: Vec<Piece>,
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl KMap {
    /// Blocks in their natural order on both sides.
    pub fn natural(k: usize, cols: usize, rows: usize) -> Self {
        let a: Vec<_> = split(k, cols).collect();
        let b: Vec<_> = split(k, rows).collect();
        let (mut i, mut j, mut at, mut pieces) = (0, 0, 0, Vec::with_capacity(cols + rows));
        loop {
            let end = a[i].end.min(b[j].end);
            let (a_at, b_at) = (at - a[i].start, at - b[j].start);
            pieces.push(Piece { a: i, b: j, a_at, b_at, k: at..end, ends: (false, false), fine: 0..0 });
            at = end;
            let (more_a, more_b) = (i + 1 < cols, j + 1 < rows);
            // Blocks that end together are left together; with K used up, empty blocks follow one by one.
            let (a_done, b_done) = (a[i].end == at && more_a, b[j].end == at && more_b);
            if !more_a && !more_b {
                break;
            }
            i += usize::from(a_done);
            j += usize::from(b_done);
        }
        Self::finish(a.iter().map(Range::len).collect(), b.iter().map(Range::len).collect(), pieces)
    }

    /// The tour of a ring kernel; `a_parts` gives the elements of K of every column.
    pub fn tour(a_parts: &[Range<usize>], rows: usize, order: Cycle) -> Self {
        let cols = a_parts.len();
        // Fine blocks in one block of A and of B; cuts are the multiples of both.
        let (per_a, per_b) = ((rows / gcd(cols, rows)) as u64, (cols / gcd(cols, rows)) as u64);
        let mut cuts: Vec<u64> =
            (0..cols as u64).map(|a| a * per_a).chain((0..rows as u64).map(|b| b * per_b)).collect();
        cuts.sort_unstable();
        cuts.dedup();
        cuts.push(cols as u64 * per_a);
        // An inner cut falls where an even distribution of K round the circle would have it.
        let (k, fine_blocks) = (a_parts.iter().map(Range::len).sum::<usize>() as u64, cols as u64 * per_a);
        let even = |x: u64| (x * k / fine_blocks) as usize;
        let (mut before, mut len) = (0, 0);
        let mut b_len = vec![0; rows];
        let mut pieces = Vec::with_capacity(cuts.len());
        for cut in cuts.windows(2) {
            let (a, b) = ((cut[0] / per_a) as usize, (cut[0] / per_b) as usize);
            let part = &a_parts[order.at(cols, a)];
            if cut[0] == a as u64 * per_a {
                (before, len) = (before + len, part.len());
            }
            let edge = cut[1] == (a as u64 + 1) * per_a;
            let inside = |x: u64| (even(x).clamp(before, before + len)) - before;
            let a_at = if cut[0] == a as u64 * per_a { 0 } else { inside(cut[0]) };
            let end = if edge { len } else { inside(cut[1]) };
            let k = part.start + a_at..part.start + end;
            let b_at = b_len[b];
            b_len[b] += k.len();
            pieces.push(Piece { a, b, a_at, b_at, k, ends: (false, false), fine: cut[0]..cut[1] });
        }
        let a_len = (0..cols).map(|a| a_parts[order.at(cols, a)].len()).collect();
        Self::finish(a_len, b_len, pieces)
    }

    fn finish(a_len: Vec<usize>, b_len: Vec<usize>, mut pieces: Vec<Piece>) -> Self {
        for i in 0..pieces.len() {
            let next = pieces.get(i + 1).map(|p| (p.a, p.b));
            let ends = next.is_none_or(|n| n.0 != pieces[i].a);
            pieces[i].ends = (ends, next.is_none_or(|n| n.1 != pieces[i].b));
        }
        Self { a_len, b_len, pieces }
    }

    /// Places that A's block has to move forward to be aligned in the row at place `j`, and whether the tour starts at
    /// the edge of a block there (then the last move home is not needed for the product).
    pub fn a_turn(&self, j: usize) -> (usize, bool) {
        let (cols, rows) = (self.a_len.len(), self.b_len.len());
        (j * cols / rows, (j * cols).is_multiple_of(rows))
    }

    /// The same for B in the column at place `i`.
    pub fn b_turn(&self, i: usize) -> (usize, bool) {
        let (cols, rows) = (self.a_len.len(), self.b_len.len());
        (i * rows / cols, (i * rows).is_multiple_of(cols))
    }

    /// Fine blocks of a tour.
    pub fn fine_blocks(&self) -> u64 {
        self.pieces.last().map_or(0, |p| p.fine.end)
    }

    /// Where the PE at places `(i, j)` starts its tour: index of a piece, and how many of its fine blocks are over then
    /// by the clock of the mesh.
    pub fn first(&self, i: usize, j: usize) -> (usize, u64) {
        let (cols, rows) = (self.a_len.len(), self.b_len.len());
        let g = gcd(cols, rows);
        let start = ((i * (rows / g) + j * (cols / g)) % (cols / g * rows)) as u64;
        let first = self.pieces.partition_point(|p| p.fine.start <= start) - 1;
        (first, start - self.pieces[first].fine.start)
    }
}

/// Parts of K over the columns when nobody asks for others: those of `split` on a square mesh; otherwise even round the
/// ring, which makes B's blocks even as well.
pub fn balanced(k: usize, cols: usize, rows: usize, order: Cycle) -> Vec<Range<usize>> {
    if cols == rows {
        return split(k, cols).collect();
    }
    let mut start = 0;
    let part = |c| {
        let a = order.pos(cols, c);
        let len = (a + 1) * k / cols - a * k / cols;
        start += len;
        start - len..start
    };
    (0..cols).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meshes() -> impl Iterator<Item = (usize, usize)> {
        (1..=9).flat_map(|c| (1..=9).map(move |r| (c, r))).chain([(12, 8), (31, 32), (20, 3)])
    }

    fn tour(k: usize, c: usize, r: usize) -> KMap {
        KMap::tour(&balanced(k, c, r, Cycle::Interleave), r, Cycle::Interleave)
    }

    #[test]
    fn every_k_is_in_one_piece_and_blocks_are_within_one_of_each_other() {
        for ((c, r), k) in meshes().flat_map(|m| [0, 1, 5, 24, 100].map(|k| (m, k))) {
            for (map, n) in [(KMap::natural(k, c, r), 0), (tour(k, c, r), c + r - gcd(c, r))] {
                let mut seen = vec![0; k];
                map.pieces.iter().for_each(|p| p.k.clone().for_each(|k| seen[k] += 1));
                assert!(seen.iter().all(|n| *n == 1), "{c} {r} {k}");
                assert!(n == 0 || map.pieces.len() == n, "{c} {r} {k}");
                for lens in [&map.a_len, &map.b_len] {
                    assert_eq!(lens.iter().sum::<usize>(), k);
                    assert!(lens.iter().max().unwrap() - lens.iter().min().unwrap() <= 1, "{c} {r} {k} {lens:?}");
                }
                let ends = |f: fn(&Piece) -> bool| map.pieces.iter().filter(|p| f(p)).count();
                assert_eq!((ends(|p| p.ends.0), ends(|p| p.ends.1)), (c, r), "every block ends once");
            }
        }
    }

    #[test]
    fn a_tour_starts_in_the_blocks_that_alignment_brings() {
        for (c, r) in meshes() {
            let map = tour(7 * c * r, c, r);
            for (i, j) in (0..c).flat_map(|i| (0..r).map(move |j| (i, j))) {
                let p = &map.pieces[map.first(i, j).0];
                assert_eq!(p.a, (i + map.a_turn(j).0) % c, "{c}x{r} ({i}, {j})");
                assert_eq!(p.b, (j + map.b_turn(i).0) % r, "{c}x{r} ({i}, {j})");
            }
        }
    }

    #[test]
    fn on_a_square_mesh_pieces_are_the_split_of_both_sides() {
        let map = tour(10, 4, 4);
        let parts: Vec<_> = split(10, 4).collect();
        for (at, p) in map.pieces.iter().enumerate() {
            assert_eq!((p.a, p.b, p.a_at, p.b_at, p.ends), (at, at, 0, 0, (true, true)));
            assert_eq!(p.k, parts[Cycle::Interleave.at(4, at)]);
        }
        assert_eq!(map.pieces.len(), 4);
    }
}
