//! The clocks of decode's layers on all cores of a stage, operation by operation: `stage`'s program as arrays.
//!
//! A dry run of one layer on a large mesh spends its time on layouts, lanes and futures that are used twice. Every core
//! does the same operations in the same order, so `collectives::lockstep` gives the same clocks in a part of it.
//!
//! | phase                                      | line   | member |
//! |--------------------------------------------|--------|--------|
//! | QKV, shift, softmax, AV's sum, gate and up | column | row    |
//! | score, probabilities, O, down              | row    | column |
//!
//! Invariant: cycles and marks are those that the programs take (`host::lockstep` holds it to that): each operation
//! has its counterpart in a file of `stage`, in the same order. Called by `host`.

mod head;

use std::ops::Range;

use crate::collectives::lockstep::{Clocks, Done, Group, Kinds, shift};
use crate::math::split::part;
use crate::pe::Mark;
use crate::units::Cycles;

use super::point::{self, Marker, Part};
use super::{Decode, Local};

/// Counts of a column, as far as costs depend on them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::kernels) struct Heads {
    pub(in crate::kernels) kv: usize,
    pub(in crate::kernels) q: usize,
    pub(in crate::kernels) qkv: usize,
    pub(in crate::kernels) att: usize,
    pub(in crate::kernels) dims: usize,
}

impl Heads {
    pub(in crate::kernels) fn of(local: &Local) -> Self {
        Self { kv: local.kv(), q: local.q_heads(), qkv: local.qkv(), att: local.att(), dims: local.dims }
    }
}

/// One stage. Lines are columns between phases.
struct Sweep<'a> {
    d: &'a Decode,
    cols: usize,
    rows: usize,
    position: usize,
    clocks: Clocks,
    lines_are_rows: bool,
    hidden: Kinds<usize>,
    heads: Kinds<Heads>,
    ffn: Kinds<usize>,
    /// Positions of a row while scores are computed.
    held: Vec<usize>,
    x: Group,
    y: Group,
    bands: Vec<(Range<usize>, Group)>,
    places: [(Marker, (usize, usize)); 5],
    marks: Vec<Mark>,
}

impl Decode {
    /// A pass at `position` through the layers of the one stage beside a head of one column, from the host's command to
    /// the id.
    pub fn in_lockstep(&self, position: usize) -> Done {
        let (cols, rows) = (self.plan.cols, self.plan.rows);
        let mut bands: Vec<_> = (0..cols).map(|col| self.columns().slice(col).band).collect();
        bands.dedup();
        let (clocks, head) = self.arrivals();
        let mut sweep = Sweep {
            d: self,
            cols,
            rows,
            position,
            clocks,
            lines_are_rows: false,
            hidden: Kinds::new((0..rows).map(|row| self.hidden_of(row).len())),
            heads: Kinds::new((0..cols).map(|col| Heads::of(&self.local(col)))),
            ffn: Kinds::new((0..cols).map(|col| self.ffn_of(col).len())),
            held: (0..rows).map(|row| self.home(row, position).len()).collect(),
            x: Group::new(cols, &self.plan.groups_x),
            y: Group::new(rows, &self.plan.groups_y),
            bands: bands.into_iter().map(|band| (band.clone(), Group::new(band.len(), &[1]))).collect(),
            places: self.places(),
            marks: Vec::new(),
        };
        let held = sweep.keeps();
        sweep.mark(Marker::Corner, point::ARRIVED, Part::Broadcast);
        let layers = self.plan.stages[0].len();
        for layer in 0..layers {
            sweep.layer(layer == 0, layer + 1 == layers, &held);
        }
        let head = sweep.way_out(head);
        Done { clocks: sweep.clocks.all, head, sent: sweep.clocks.sent, marks: sweep.marks }
    }
}

impl Sweep<'_> {
    fn rows_as_lines(&mut self, wanted: bool) {
        if self.lines_are_rows != wanted {
            self.clocks.turn();
            self.lines_are_rows = wanted;
        }
    }

    /// What the core at a place of the chain of marks passes now.
    fn mark(&mut self, marker: Marker, point: u16, part: Part) {
        if let Some((_, at)) = self.places.into_iter().find(|place| place.0 == marker) {
            self.mark_at(at, point, part);
        }
    }

    fn mark_at(&mut self, (col, row): (usize, usize), point: u16, part: Part) {
        let at = if self.lines_are_rows { row * self.cols + col } else { col * self.rows + row };
        self.marks.push(Mark { id: point::id(point, part), who: 0, now: self.clocks.all[at].now });
    }

    fn layer(&mut self, is_first: bool, is_last: bool, held: &[usize]) {
        self.rows_as_lines(false);
        self.clocks.join();
        self.qkv(is_first);
        self.keep();
        self.attention(held);
        let att = Kinds::new(self.heads.iter().map(|heads| heads.att));
        self.project(&att, point::O);
        self.hand_round(point::O);
        self.clocks.join();
        self.mark(Marker::Corner, point::O, Part::Wait);
        self.gate_up();
        let ffn = self.ffn.clone();
        self.project(&ffn, point::FFN);
        if !is_last {
            self.hand_round(point::FFN);
        }
    }

    /// x times its norm's weights, by a tile of `n(column)` outputs.
    fn normed(&mut self, n: impl Fn(&Self, usize) -> usize, point: u16) {
        let chip = &self.d.chip;
        for col in 0..self.cols {
            let n = n(self, col);
            let cost = |h: usize| chip.elementwise(h) + chip.gemv(h, n) + chip.elementwise(h);
            self.clocks.compute_by(col, &self.hidden, cost);
        }
        self.mark(Marker::Corner, point, Part::Compute);
    }

    fn qkv(&mut self, is_first: bool) {
        let chip = &self.d.chip;
        self.normed(|s, col| s.heads.at(col).qkv, point::QKV);
        for (col, heads) in self.heads.iter().enumerate() {
            self.y.reduce(&mut self.clocks, (col, 0), heads.qkv + 1, false);
        }
        self.mark(Marker::YRoot, point::QKV, Part::Reduce);
        for (col, heads) in self.heads.iter().enumerate() {
            let (n, angles) = (heads.qkv, if is_first { heads.dims } else { 0 });
            let cost = chip.special(angles + 2) + chip.elementwise(n) + chip.elementwise(3 * n);
            self.clocks.compute(col, self.y.root, cost);
        }
        self.mark(Marker::YRoot, point::QKV, Part::Compute);
        for (col, heads) in self.heads.iter().enumerate() {
            self.y.broadcast(&mut self.clocks, (col, 0), heads.qkv, true);
        }
        self.mark(Marker::Corner, point::QKV, Part::Broadcast);
    }

    /// Rows that pass their oldest position up, and rows that store the new one.
    fn moves(&self) -> (Range<usize>, Range<usize>) {
        let bottom = self.rows - 1..self.rows;
        match self.d.concat_prompt {
            None => (self.rows - self.position % self.rows..self.rows, bottom),
            Some(prompt) if self.position < prompt => {
                let row = (0..self.rows).position(|row| part(prompt, self.rows, row).contains(&self.position));
                (0..0, row.map_or(0..0, |row| row..row + 1))
            }
            Some(_) => (0..0, bottom),
        }
    }

    /// Positions of every row when the new one is stored.
    fn keeps(&self) -> Vec<usize> {
        let (sends, stores) = self.moves();
        let count = |(row, before): (usize, &usize)| {
            before + usize::from(sends.contains(&(row + 1))) + usize::from(stores.contains(&row))
                - usize::from(sends.contains(&row))
        };
        self.held.iter().enumerate().map(count).collect()
    }

    fn keep(&mut self) {
        let (chip, [(_, corner), ..]) = (&self.d.chip, self.places);
        let (sends, stores) = self.moves();
        let takes = sends.start.saturating_sub(1)..sends.end.saturating_sub(1);
        let cost = |heads: Heads| chip.elementwise(2 * heads.kv);
        let each = |s: &mut Self, rows: &Range<usize>| {
            for (col, heads) in s.heads.iter().enumerate() {
                rows.clone().for_each(|row| s.clocks.compute(col, row, cost(heads)));
            }
            if rows.contains(&corner.1) {
                s.mark_at(corner, point::SHIFT, Part::Compute);
            }
        };
        if !sends.is_empty() {
            each(self, &sends);
            for (col, heads) in self.heads.iter().enumerate() {
                let words = (2 * heads.kv * self.d.kv.bytes()).div_ceil(4);
                shift(&mut self.clocks, col, sends.clone(), words);
            }
            if takes.contains(&corner.1) {
                self.mark_at(corner, point::SHIFT, Part::Wait);
            }
            each(self, &takes);
        }
        self.clocks.join();
        self.mark_at(corner, point::SHIFT, Part::Wait);
        each(self, &stores);
    }

    fn attention(&mut self, held: &[usize]) {
        let chip = &self.d.chip;
        let times = |heads: Heads, k, n| Cycles(chip.gemv(k, n).0 * heads.q as u64);
        self.rows_as_lines(true);
        for (row, &n) in held.iter().enumerate() {
            self.clocks.compute_by(row, &self.heads, |heads| times(heads, heads.dims, n));
        }
        self.mark(Marker::Corner, point::SCORE, Part::Compute);
        for (row, &n) in held.iter().enumerate() {
            for (band, tree) in &self.bands {
                let words = self.heads.at(band.start).q * n;
                tree.reduce(&mut self.clocks, (row, band.start), words, false);
            }
        }
        self.mark(Marker::BandRoot, point::SCORE, Part::Reduce);
        self.softmax(held);
        self.rows_as_lines(true);
        for (row, &n) in held.iter().enumerate() {
            for (band, tree) in &self.bands {
                let words = self.heads.at(band.start).q * n;
                tree.broadcast(&mut self.clocks, (row, band.start), words, false);
            }
        }
        self.mark(Marker::Corner, point::SOFTMAX, Part::Broadcast);
        for (row, &n) in held.iter().enumerate() {
            self.clocks.compute_by(row, &self.heads, |heads| times(heads, n, heads.dims));
        }
        self.mark(Marker::Corner, point::AV, Part::Compute);
        self.rows_as_lines(false);
        for (col, heads) in self.heads.iter().enumerate() {
            self.y.reduce(&mut self.clocks, (col, 0), heads.att, false);
        }
        self.mark(Marker::YRoot, point::AV, Part::Reduce);
        for (col, heads) in self.heads.iter().enumerate() {
            self.y.broadcast(&mut self.clocks, (col, 0), heads.att, false);
        }
        self.mark(Marker::Corner, point::AV, Part::Broadcast);
    }

    /// In the columns of the bands' roots.
    fn softmax(&mut self, held: &[usize]) {
        self.rows_as_lines(false);
        let chip = &self.d.chip;
        let roots: Vec<(usize, usize)> = self
            .bands
            .iter()
            .map(|(band, tree)| band.start + tree.root)
            .map(|col| (col, self.heads.at(col).q))
            .collect();
        let steps: [&dyn Fn(usize) -> Cycles; 3] =
            [&|n| chip.elementwise(n), &|n| chip.special(n), &|n| chip.elementwise(n)];
        for (i, cost) in steps.into_iter().enumerate() {
            for &(col, q) in &roots {
                for (row, n) in held.iter().enumerate() {
                    self.clocks.compute(col, row, cost(q * n));
                }
            }
            self.mark(Marker::BandRoot, point::SOFTMAX, Part::Compute);
            if i == 2 {
                break;
            }
            for &(col, q) in &roots {
                self.y.reduce(&mut self.clocks, (col, 0), q, false);
            }
            self.mark(Marker::BandYRoot, point::SOFTMAX, Part::Reduce);
            for &(col, q) in &roots {
                self.y.broadcast(&mut self.clocks, (col, 0), q, false);
            }
            self.mark(Marker::BandRoot, point::SOFTMAX, Part::Broadcast);
        }
    }

    /// Inputs of `k` values by a weight tile, summed along rows, added to x at the root.
    fn project(&mut self, k: &Kinds<usize>, point: u16) {
        self.rows_as_lines(true);
        let chip = &self.d.chip;
        for (row, h) in self.hidden.iter().enumerate() {
            self.clocks.compute_by(row, k, |k| chip.gemv(k, h));
        }
        self.mark(Marker::Corner, point, Part::Compute);
        for (row, h) in self.hidden.iter().enumerate() {
            self.x.reduce(&mut self.clocks, (row, 0), h, true);
        }
        self.mark(Marker::XRoot, point, Part::Reduce);
        for (row, h) in self.hidden.iter().enumerate() {
            self.clocks.compute(row, self.x.root, chip.elementwise(h));
        }
        self.mark(Marker::XRoot, point, Part::Compute);
    }

    /// The new x to the whole row.
    fn hand_round(&mut self, point: u16) {
        for (row, h) in self.hidden.iter().enumerate() {
            self.x.broadcast(&mut self.clocks, (row, 0), h, false);
        }
        self.mark(Marker::Corner, point, Part::Broadcast);
    }

    fn gate_up(&mut self) {
        self.rows_as_lines(false);
        let chip = &self.d.chip;
        self.normed(|s, col| 2 * s.ffn.at(col), point::FFN);
        for (col, f) in self.ffn.iter().enumerate() {
            self.y.reduce(&mut self.clocks, (col, 0), 2 * f + 1, true);
        }
        self.mark(Marker::YRoot, point::FFN, Part::Reduce);
        for (col, f) in self.ffn.iter().enumerate() {
            let cost = chip.special(f + 2) + chip.elementwise(2 * f) + chip.elementwise(2 * f);
            self.clocks.compute(col, self.y.root, cost);
        }
        self.mark(Marker::YRoot, point::FFN, Part::Compute);
        for (col, f) in self.ffn.iter().enumerate() {
            self.y.broadcast(&mut self.clocks, (col, 0), f, false);
        }
        self.mark(Marker::Corner, point::FFN, Part::Broadcast);
        self.clocks.join();
    }
}
