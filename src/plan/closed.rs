//! Cycles without execution: sums of the costs that the programs charge and of the closed forms of their collectives.
//!
//! ```text
//!   layer = products + element-wise work + 5 allreduces on y (QKV, max, sum, AV, gate|up) + 2 on x (O, down) + band
//!   token = layers x layer + stages x hand-over + head + way home
//! ```
//! Nothing overlaps here and every PE is the fullest one, so a sum is an upper estimate, good for ranking meshes; what
//! is reported of a plan is executed (`host::dry`) wherever that takes seconds. Of a prefill `kernels::prefill` says
//! what it takes itself.
//!
//! Group counts: of every line those with the least cycles for all sums that a token makes over it.
//!
//! Invariant: pure arithmetic; what is remembered is what would be computed again. Called by `search`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::collectives::cost::{best_groups_for, ktree};
use crate::fabric::Chip;
use crate::math::checkpoint::ModelShape;
use crate::placement::{Columns, Trees, groups};

/// Columns and rows.
pub type Mesh = (usize, usize);

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
    fn new(shape: &ModelShape, (cols, rows): Mesh) -> Self {
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

/// Group counts of a line.
type Groups = Rc<[usize]>;

/// The trees of a mesh.
#[derive(Clone, Debug)]
pub struct Lines {
    y: Groups,
    x: Groups,
    head: Groups,
}

impl From<&Trees> for Lines {
    fn from(trees: &Trees) -> Self {
        let of = |list: &Vec<usize>| Groups::from(list.as_slice());
        Self { y: of(&trees.y), x: of(&trees.x), head: of(&trees.head) }
    }
}

/// Cycles of a token outside the layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// In the head region: embedding, output head, choice.
    pub head: u64,
    /// From a region to the next: the sender's part, and until the last column of the next one has it.
    pub send: u64,
    pub hand_over: u64,
    /// From the last stage to the head.
    pub home: u64,
}

impl Rest {
    /// Of a token through so many stages.
    pub fn cycles(&self, stages: usize) -> u64 {
        self.head + stages as u64 * self.hand_over + self.home
    }
}

/// The forms for a model on a chip.
pub struct Forms<'a> {
    shape: &'a ModelShape,
    chip: &'a Chip,
    sums: RefCell<HashMap<(usize, Groups, usize), u64>>,
    groups: RefCell<HashMap<(usize, usize), Groups>>,
    best: RefCell<HashMap<Line, Vec<usize>>>,
}

/// A line's members, levels, and the sums over it: how often, wavelets.
type Line = (usize, usize, Vec<(u64, usize)>);

impl<'a> Forms<'a> {
    /// Nothing computed yet.
    pub fn new(shape: &'a ModelShape, chip: &'a Chip) -> Self {
        Self { shape, chip, sums: RefCell::default(), groups: RefCell::default(), best: RefCell::default() }
    }

    /// Trees with the fewest stages: quick to find, for ranking.
    pub fn lines(&self, (cols, rows): Mesh, head_cols: usize, levels: usize) -> Lines {
        let of = |n: usize| {
            let mut known = self.groups.borrow_mut();
            known.entry((n, levels)).or_insert_with(|| groups(n, levels).into()).clone()
        };
        Lines { y: of(rows), x: of(cols), head: of(head_cols) }
    }

    /// Trees with the least cycles of a token; what goes over them does not depend on its position.
    pub fn trees(&self, mesh: Mesh, head_cols: usize, levels: usize) -> Trees {
        let (s, t) = (Sizes::new(self.shape, mesh), self.chip.timing());
        let (layers, v) = (self.shape.n_layers as u64, self.shape.vocab.div_ceil(head_cols));
        let y = [(layers, s.qkv() + 1), (2 * layers, s.q), (layers, s.q * s.dims), (layers, 2 * s.f + 1), (1, v + 1)];
        let best = |n, sums: &[(u64, usize)]| {
            let (mut known, line) = (self.best.borrow_mut(), (n, levels, sums.to_vec()));
            known.entry(line).or_insert_with(|| best_groups_for(n, levels, sums, &t)).clone()
        };
        Trees { y: best(mesh.1, &y), x: best(mesh.0, &[(2 * layers, s.h)]), head: best(head_cols, &[(1, s.h), (1, 2)]) }
    }

    /// An allreduce of `words` over a line of `n`.
    fn sum(&self, n: usize, groups: &Groups, words: usize) -> u64 {
        let mut known = self.sums.borrow_mut();
        let cost = || ktree(vec![0; n], groups, words, &self.chip.timing());
        *known.entry((n, groups.clone(), words)).or_insert_with(cost)
    }

    /// Cycles of a layer of decode at `position`.
    pub fn decode_layer(&self, mesh: Mesh, lines: &Lines, position: usize) -> u64 {
        let (s, chip) = (Sizes::new(self.shape, mesh), self.chip);
        let (cols, rows) = mesh;
        let y = |words: usize| self.sum(rows, &lines.y, words);
        let x = |words: usize| self.sum(cols, &lines.x, words);
        let (el, sp, gemv) = (|n| chip.elementwise(n).0, |n| chip.special(n).0, |k, n| chip.gemv(k, n).0);
        let (q, n) = (s.q, (position + 1).div_ceil(rows));
        let band = if s.band > 1 { self.sum(s.band, &Groups::from([1]), q * n) } else { 0 };
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

    /// Cycles of a token outside the layers. `size` are the columns and rows that the floorplan takes.
    pub fn rest(&self, mesh: Mesh, lines: &Lines, head_cols: usize, size: Mesh) -> Rest {
        let ((cols, rows), (width, height), chip) = (mesh, size, self.chip);
        let t = chip.timing();
        let (h, v) = (self.shape.hidden.div_ceil(rows), self.shape.vocab.div_ceil(head_cols));
        let alpha = u64::from(t.alpha);
        let send = u64::from(t.issue) + t.ser(h as u32 + 2);
        let message = 2 * u64::from(t.ramp) + t.ser(h as u32 + 2) + u64::from(t.stage);
        let x = |words: usize| self.sum(head_cols, &lines.head, words);
        let y = |words: usize| self.sum(rows, &lines.y, words);
        let head = chip.gemv(h, v).0 + 2 * chip.elementwise(h).0 + y(v + 1) + 2 * chip.elementwise(v).0 + x(2);
        Rest {
            head: chip.elementwise(h).0 + x(h) + head,
            send,
            hand_over: message + alpha * (cols + cols / 2) as u64,
            home: message + alpha * (width + if height > rows { height } else { 0 }) as u64,
        }
    }
}
