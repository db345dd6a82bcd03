//! The program of a PE in the head region: embedding by one-hot select, lm_head, argmax.
//!
//! Invariant: the id of a generated token never leaves this region; the host only observes.

use crate::arena::Tile;
use crate::link::Ctrl;
use crate::math::checkpoint::widen;
use crate::math::vector;
use crate::pe::{FaultKind, Fold, Pe, Rx, Tx, View};

use super::point::{self, Marker, Markers, Part};
use super::stage::{Axis, inverse_rms, normed};
use super::{Decode, packed, pass, tile};

/// Runs passes until the session ends.
pub(in crate::kernels) async fn run<'a>(d: &'a Decode, pe: Pe<'a>, col: usize, row: usize) {
    let h = Box::new(Head::new(d, pe, col, row));
    let Tiles { x, xg, logits, best, own, output, final_norm, .. } = h.t;
    let n = d.vocab_of(col).len();
    loop {
        let ctrl = h.command().await;
        h.mark(Marker::Corner, point::EMBEDDING, Part::Broadcast);
        pe.compute(d.chip.elementwise(x.words()), |v| h.select(v));
        h.mark(Marker::Corner, point::EMBEDDING, Part::Compute);
        h.x.reduce(pe, x, Fold::Add).await;
        h.mark(Marker::XRoot, point::EMBEDDING, Part::Reduce);
        if let Some(tx) = h.hand_out {
            pe.send_ctrl(tx, ctrl, x).await;
        }
        if h.x.is_root() {
            pe.probe(0, point::EMBEDDING, x);
        }
        if ctrl.kind_slot & pass::WANT_LOGITS == 0 {
            continue;
        }
        let ctrl = pe.recv(h.back, x).await;
        if let Some(tx) = h.back_onward {
            pe.send_ctrl(tx, ctrl, x).await;
        }
        h.mark(Marker::Corner, point::ARRIVED, Part::Broadcast);
        let chip = &d.chip;
        let cost = chip.elementwise(x.words()) + chip.gemv(x.words(), n) + chip.elementwise(x.words());
        pe.visit(output);
        pe.compute(cost, |v| {
            let (kernels, format) = (v.kernels(), d.format);
            normed(v, kernels, format, [x, final_norm, xg, output, logits]);
        });
        h.mark(Marker::Corner, point::HEAD, Part::Compute);
        h.y.reduce(pe, logits, Fold::Add).await;
        h.mark(Marker::YRoot, point::HEAD, Part::Reduce);
        if h.y.is_root() {
            let first = d.vocab_of(col).start;
            pe.compute(chip.elementwise(n) + chip.elementwise(n), |v| h.finish(v, first, n));
            h.mark(Marker::YRoot, point::HEAD, Part::Compute);
            h.x.reduce(pe, best, Fold::MaxId).await;
        }
        if h.is_root {
            h.mark(Marker::HeadRoot, point::HEAD, Part::Reduce);
            pe.compute(chip.elementwise(1), |v| {
                let [best, own] = v.words_mut([best, own]);
                own[0] = best[1];
            });
        }
        h.mark(Marker::HeadRoot, point::HEAD, Part::Compute);
    }
}

/// Tiles of a PE of the head.
#[derive(Clone, Copy)]
struct Tiles {
    x: Tile,
    xg: Tile,
    logits: Tile,
    best: Tile,
    own: Tile,
    output: Tile,
    final_norm: Tile,
    command: Tile,
    table: Tile,
}

struct Head<'a> {
    d: &'a Decode,
    pe: Pe<'a>,
    col: usize,
    x: Axis,
    y: Axis,
    is_root: bool,
    markers: Markers,
    commands: Rx,
    onward: Option<Tx>,
    hand_out: Option<Tx>,
    back: Rx,
    back_onward: Option<Tx>,
    t: Tiles,
}

impl<'a> Head<'a> {
    fn new(d: &'a Decode, pe: Pe<'a>, col: usize, row: usize) -> Self {
        let place = d.plan.floor.regions[0];
        let (x_tree, y_tree) = (d.x_tree(&place, row, &d.plan.groups_head), d.y_tree(&place, col));
        // No broadcast in this region: what all need comes as a command or as the return.
        let axis = |tree: &crate::collectives::Tree, member| Axis { roles: tree.roles(pe, member), ends: None };
        let (x, y) = (axis(&x_tree, col), axis(&y_tree, row));
        let is_root = pe.coord() == d.head_root();
        let way_home = d.plan.floor.home.get(row).filter(|w| w.to == pe.coord());
        let many = d.plan.head_cols * d.plan.rows > 1;
        let t = Tiles {
            x: pe.tile(tile::X),
            xg: pe.tile(tile::XG),
            logits: pe.tile(tile::LOGITS),
            best: pe.tile(tile::BEST),
            own: pe.tile(tile::OWN),
            output: pe.tile(tile::OUTPUT),
            final_norm: pe.tile(tile::FINAL_NORM),
            command: pe.tile(tile::COMMAND),
            table: pe.tile(if d.shape.tied { tile::OUTPUT } else { tile::EMBEDDING }),
        };
        Self {
            commands: pe.rx(if is_root { d.host_color() } else { d.command_color() }),
            onward: (is_root && many).then(|| pe.tx(d.command_color())),
            hand_out: x.is_root().then(|| pe.tx(d.leave_color(0, row))),
            back: pe.rx(way_home.map_or(d.return_color(), |w| d.track_color(w.track))),
            back_onward: (way_home.is_some() && d.plan.head_cols > 1).then(|| pe.tx(d.return_color())),
            is_root,
            markers: d.head_markers(col, row),
            x,
            y,
            d,
            pe,
            col,
            t,
        }
    }

    fn mark(&self, marker: Marker, point: u16, part: Part) {
        if self.markers.has(marker) {
            self.pe.mark(u16::MAX, point::id(point, part));
        }
    }

    /// The pass's control words; the id is in the command tile afterwards.
    async fn command(&self) -> Ctrl {
        let command = self.t.command;
        let ctrl = self.pe.recv_pass(self.commands, command).await;
        self.mark(Marker::HeadRoot, point::HEAD, Part::Wait);
        if self.is_root && ctrl.kind_slot & pass::OWN_ID != 0 {
            self.pe.compute(self.d.chip.elementwise(1), |v| {
                let [command, own] = v.words_mut([command, self.t.own]);
                command[0] = own[0];
            });
        }
        self.mark(Marker::HeadRoot, point::HEAD, Part::Compute);
        if let Some(tx) = self.onward {
            self.pe.send_ctrl(tx, ctrl, command).await;
        }
        ctrl
    }

    /// x = the row slice of the token's embedding if it is in this column, else zeros.
    fn select(&self, v: &mut View<'_>) {
        let vocab = self.d.vocab_of(self.col);
        let [x, table, command] = v.words_mut([self.t.x, self.t.table, self.t.command]);
        let x: &mut [f32] = bytemuck::cast_slice_mut(x);
        let table: &[u16] = bytemuck::cast_slice(table);
        let id = command[0] as usize;
        let shape = packed(x.len(), vocab.len());
        for (k, x) in x.iter_mut().enumerate() {
            let here = vocab.contains(&id);
            *x = if here { widen(self.d.format, table[shape.offset(k, id - vocab.start)]) } else { 0.0 };
        }
    }

    /// Norm and local argmax, at the y root.
    fn finish(&self, v: &mut View<'_>, first: usize, n: usize) {
        let kernels = v.kernels();
        let (hidden, eps) = (self.d.shape.hidden, self.d.shape.norm_eps);
        let [logits, best] = v.f32_mut([self.t.logits, self.t.best]);
        let inv = inverse_rms(logits[n], hidden, eps);
        vector::scale(kernels, inv, &mut logits[..n]);
        let (logit, id) = crate::math::reduce::argmax(&logits[..n]).unwrap_or((f32::NEG_INFINITY, 0));
        best[0] = logit;
        best[1] = f32::from_bits(first as u32 + id);
        if vector::has_nan(kernels, &logits[..n]) {
            v.raise(FaultKind::Numeric { phase: "logits" });
        }
    }
}
