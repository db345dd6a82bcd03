//! Cycles without execution: sums of the costs that the programs charge and of the closed forms of their collectives.
//!
//! ```text
//!   layer   = products + element-wise work + 6 allreduces on y (QKV, max, sum, AV, gate|up) + 2 on x (O, down) + band
//!   token   = layers x layer + stages x hand-over + head + way home
//!   prefill = per tour of n blocks: n x max(product + chains, ring) + the line
//! ```
//! Nothing overlaps here and every PE is the fullest one, so a sum is an upper estimate, good for ranking meshes; what
//! is reported of a plan is executed (`host::dry`) wherever that takes seconds.
//!
//! Invariant: pure arithmetic. Called by `search`.

use crate::collectives::cost::{chain, ktree};
use crate::fabric::Chip;
use crate::math::checkpoint::ModelShape;
use crate::placement::{Columns, groups};

/// A region and what a PE of it holds at most.
struct Sizes {
    q: usize,
    kv: usize,
    dims: usize,
    band: usize,
    h: usize,
    f: usize,
}

impl Sizes {
    fn new(shape: &ModelShape, cols: usize, rows: usize) -> Self {
        let columns = Columns::new(shape, cols);
        let (first, last) = (columns.slice(0), columns.slice(cols - 1));
        let fullest = columns.slice(last.band.start);
        let kv = first.kv_heads.len();
        Self {
            q: kv * columns.group,
            kv,
            dims: 2 * first.pairs.len().max(fullest.pairs.len()),
            band: first.band.len(),
            h: shape.hidden.div_ceil(rows),
            f: shape.ffn.div_ceil(cols),
        }
    }

    fn qkv(&self) -> usize {
        (self.q + 2 * self.kv) * self.dims
    }
}

/// Cycles of a layer of decode at `position` on `cols x rows` with trees of `levels`.
pub fn decode_layer(
    shape: &ModelShape,
    chip: &Chip,
    (cols, rows): (usize, usize),
    levels: usize,
    position: usize,
) -> u64 {
    let (s, t) = (Sizes::new(shape, cols, rows), chip.timing());
    let (on_y, on_x) = (groups(rows, levels), groups(cols, levels));
    let y = |words: usize| ktree(vec![0; rows], &on_y, words, &t);
    let x = |words: usize| ktree(vec![0; cols], &on_x, words, &t);
    let (el, sp, gemv) = (|n| chip.elementwise(n).0, |n| chip.special(n).0, |k, n| chip.gemv(k, n).0);
    let (q, n) = (s.q, (position + 1).div_ceil(rows));
    let band = if s.band > 1 { ktree(vec![0; s.band], &[1], q * n, &t) } else { 0 };
    let qkv = 2 * el(s.h) + gemv(s.h, s.qkv()) + y(s.qkv() + 1) + sp(s.dims + 2) + el(s.qkv()) + el(3 * s.qkv());
    let keep = el(2 * s.kv * s.dims);
    let score = q as u64 * gemv(s.dims, n) + band;
    let softmax = 2 * el(q * n) + sp(q * n) + 2 * y(q);
    let values = q as u64 * gemv(n, s.dims) + y(q * s.dims);
    let o = gemv(q * s.dims, s.h) + x(s.h) + el(s.h);
    let up = 2 * el(s.h) + gemv(s.h, 2 * s.f) + y(2 * s.f + 1) + sp(s.f + 2) + 2 * el(2 * s.f);
    let down = gemv(s.f, s.h) + x(s.h) + el(s.h);
    qkv + keep + score + softmax + values + o + up + down
}

/// Cycles of a token outside the layers: embedding, hand-overs, the way home, output head. `width` and `height` are the
/// columns and rows that the floorplan takes.
pub fn token_rest(
    shape: &ModelShape,
    chip: &Chip,
    (cols, rows): (usize, usize),
    (stages, head_cols): (usize, usize),
    (width, height): (usize, usize),
    levels: usize,
) -> u64 {
    let t = chip.timing();
    let (h, v) = (shape.hidden.div_ceil(rows), shape.vocab.div_ceil(head_cols));
    let alpha = u64::from(t.alpha);
    let message = 2 * u64::from(t.ramp) + t.ser(h as u32 + 2) + u64::from(t.stage);
    let x = |words: usize| ktree(vec![0; head_cols], &groups(head_cols, levels), words, &t);
    let y = |words: usize| ktree(vec![0; rows], &groups(rows, levels), words, &t);
    let hand_over = message + alpha * (cols + cols / 2) as u64;
    let home = message + alpha * (width + if height > rows { height } else { 0 }) as u64;
    let head = chip.gemv(h, v).0 + 2 * chip.elementwise(h).0 + y(v + 1) + 2 * chip.elementwise(v).0 + x(2);
    chip.elementwise(h).0 + x(h) + stages as u64 * hand_over + home + head
}

/// Cycles of a layer of a prefill of `n` positions in one chunk.
pub fn prefill_layer(shape: &ModelShape, chip: &Chip, (cols, rows): (usize, usize), n: usize) -> u64 {
    let (s, t) = (Sizes::new(shape, cols, rows), chip.timing());
    let (c, r) = (n.div_ceil(cols), n.div_ceil(rows));
    let product = |m: usize, k: usize, n: usize| chip.gemv(m * k, n).0.min(chip.gemv(k * n, m).0);
    let stage = 2 * u64::from(t.ramp) + u64::from(t.stage) + u64::from(t.alpha);
    // A tour: every block is multiplied, summed along a line to where it belongs, and passed on.
    let tour = |blocks: usize, work: u64, sums: (usize, usize), passed: usize, line: usize| {
        let (count, words) = sums;
        let summed = count as u64 * (t.ser(words as u32) + stage);
        blocks as u64 * (work + summed).max(t.ser(passed as u32) + stage) + line as u64 * stage
    };
    let run = c.min(r);
    let (to_rows, to_cols) = (c.div_ceil(run), r.div_ceil(run));
    let qkv = tour(cols, product(c, s.h, s.qkv()), (to_rows, run * (s.qkv() + 1)), c * (s.h + 1), rows);
    let score = s.q as u64 * product(r, s.dims, r);
    let values = s.q as u64 * product(r, r, s.dims) + chip.elementwise(2 * s.q * r * (s.dims + r)).0;
    let soft = chip.special(s.q * r * (r + 1)).0 + chip.elementwise(s.q * r * r).0;
    let band = match s.band {
        1 => 0,
        n => chain(vec![0; n.div_ceil(2)], s.q * r * r, &t) + t.ser((s.q * r * (r + 1)) as u32),
    };
    // Blocks in the future of a row are passed on and not looked at: half of them.
    let attention =
        rows as u64 * (score + soft + values + band) / 2 + tour(rows, 0, (0, 0), 2 * r * s.kv * s.dims, 0) / 2;
    let att = s.q * s.dims;
    let o = tour(rows, product(r, att, s.h), (to_cols, run * s.h), r * att, cols);
    let up = tour(cols, product(c, s.h, 2 * s.f), (to_rows, run * (2 * s.f + 1)), c * (s.h + 1), rows);
    let down = tour(rows, product(r, s.f, s.h), (to_cols, run * s.h), r * s.f, cols);
    qkv + attention + o + up + down
}
