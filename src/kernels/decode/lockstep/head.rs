//! The head of one column beside a stage: from the host's command until every core has x, and x's way back to the id.
//!
//! Invariant: as `head::run` has it, for a pass that wants logits. Of its cores those of row `root_row` lead.

use crate::collectives::lockstep::{Clock, Clocks, leave};
use crate::kernels::decode::Decode;
use crate::link::Ctrl;

use super::Sweep;

const CONTROL: usize = Ctrl::WAVELETS as usize;

impl Decode {
    /// Cores when each has x, columns as lines, and those of the head that has sent it, by row: a command from the host
    /// down the head, x from there along every row.
    pub(in crate::kernels) fn arrivals(&self) -> (Clocks, Vec<Clock>) {
        let (t, root, cols, rows) = (self.chip.timing(), self.root_row(), self.plan.cols, self.plan.rows);
        let [alpha, ramp, issue, stage] = [t.alpha, t.ramp, t.issue, t.stage].map(u64::from);
        let ser = |words: usize| t.ser((words + CONTROL) as u32);
        let host = 2 * ramp + alpha + ser(1) + stage;
        // All wait for what comes, so a send ends with its last wavelet.
        let sends = |row: usize| {
            let h = self.hidden_of(row).len();
            let (command, issued) = match row.abs_diff(root) as u64 {
                0 if rows == 1 => (0, 0),
                0 => (issue + ser(1), issue),
                links => (issue + 2 * ramp + alpha * links + ser(1) + stage, 0),
            };
            let select = self.chip.elementwise(h).0;
            let (now, busy) = (host + command + select + issue + ser(h), issued + select + issue);
            Clock { now, busy, depth: u32::from(row != root), open: 0 }
        };
        let head: Vec<Clock> = (0..rows).map(sends).collect();
        let takes = |col: usize| {
            let way = 2 * ramp + stage + alpha * (col as u64 + 1);
            head.iter().map(move |sent| Clock { now: sent.now + way, depth: sent.depth + 1, ..Clock::default() })
        };
        let mut clocks = Clocks::new(t, (cols, rows), (0..cols).flat_map(takes).collect());
        if rows > 1 {
            clocks.sent.add(rows as u64 - 1, 1 + CONTROL);
        }
        (0..rows).for_each(|row| clocks.sent.add(cols as u64, self.hidden_of(row).len() + CONTROL));
        (clocks, head)
    }
}

impl Sweep<'_> {
    /// x from the root of every row back to the head, which finds the id.
    pub(super) fn way_out(&mut self, mut head: Vec<Clock>) -> Vec<Clock> {
        self.rows_as_lines(true);
        let (d, root, n) = (self.d, self.x.root, self.d.vocab_of(0).len());
        for ((row, h), to) in self.hidden.iter().enumerate().zip(&mut head) {
            leave(&mut self.clocks, (row, root), to, root + 1, h + CONTROL);
        }
        let mut line = Clocks::new(d.chip.timing(), (1, self.rows), head);
        let chip = &d.chip;
        line.compute_by(0, &self.hidden, |h| chip.elementwise(h) + chip.gemv(h, n) + chip.elementwise(h));
        self.y.reduce(&mut line, (0, 0), n + 1, false);
        line.compute(0, self.y.root, chip.elementwise(n) + chip.elementwise(n) + chip.elementwise(1));
        self.clocks.sent += line.sent;
        line.all
    }
}
