//! The program of a PE in a layer region: what it looks up once, and a pass through its layers.
//!
//! | file        | steps                                                                     |
//! |-------------|---------------------------------------------------------------------------|
//! | `ports`     | tiles, trees and ports of a PE, looked up before the first pass           |
//! | `norm_qkv`  | RMSNorm fused into a GEMV; bias, RoPE and scale at the column's root      |
//! | `kv`        | room for a position by shift, rounding and storing K and V                |
//! | `attention` | score in the band, softmax over rows, weighted values                     |
//! | `ffn`       | O and down projections, SiLU x up                                         |
//!
//! Invariant: the rows' share of positions follows from the position alone, so routes and sizes do too.

mod attention;
mod ffn;
mod kv;
mod norm_qkv;
mod ports;

use smallvec::SmallVec;

use crate::arena::Tile;
use crate::link::Ctrl;
use crate::pe::{Pe, Rx, Tx};

use super::point::{self, Marker, Markers, Part};
use super::{Decode, Local, Seat, pass};

use kv::Held;
pub(in crate::kernels) use norm_qkv::{check, inverse_rms, normed};
pub(super) use ports::Axis;

/// Everything that the program of one PE looks up once.
struct Stage<'a> {
    d: &'a Decode,
    pe: Pe<'a>,
    local: Local,
    row: usize,
    hidden: usize,
    ffn: usize,
    y: Axis,
    x: Axis,
    band: Axis,
    hand_in: Rx,
    /// Below a turn: passes x on along the row.
    onward: Option<Tx>,
    hand_out: Option<Tx>,
    is_last: bool,
    shift_up: Option<Tx>,
    shift_in: Option<Rx>,
    /// What it marks of the chain, and the stage that they name.
    markers: Markers,
    stage: u16,
    t: Tiles,
    first_layer: usize,
    layers: SmallVec<[Layer; 1]>,
    rope: Option<[Tile; 2]>,
    shift: Option<[Tile; 2]>,
}

/// Tiles of one layer.
#[derive(Clone, Copy)]
struct Layer {
    qkv: Tile,
    o: Tile,
    up: Tile,
    down: Tile,
    norm_att: Tile,
    norm_ffn: Tile,
    bias: Option<Tile>,
    kv: [Tile; 2],
}

struct Tiles {
    x: Tile,
    xg: Tile,
    y: Tile,
    wide: Tile,
    act: Tile,
    score: Tile,
    att: Tile,
    max: Tile,
    sum: Tile,
}

/// Runs passes until the session ends.
///
/// Here and in the steps of a layer the call does what comes before the first wait, and few words live across waits: a
/// program is fetched into the cache at every resume.
pub(super) fn run<'a>(d: &'a Decode, pe: Pe<'a>, seat: Seat) -> impl Future<Output = ()> + use<'a> {
    let s = Stage::new(d, pe, seat);
    async move {
        let mut held = Held::of_prompt(s.d, s.row, s.d.launch.positions);
        let mut sent = None; // a leaf's y; done once x came back, so joining it then never waits
        loop {
            let ctrl = s.pe.recv_pass(s.hand_in, s.t.x).await;
            if let Some(tx) = s.onward {
                s.pe.send_ctrl(tx, ctrl, s.t.x).await;
            }
            s.mark(Marker::Corner, point::ARRIVED, Part::Broadcast);
            let before = held;
            let mut at = 0;
            while at < s.layers.len() {
                if let Some(ticket) = sent {
                    s.pe.join(ticket).await;
                }
                let q_sent = s.qkv(at, ctrl.position).await;
                s.probe(at, point::QKV);
                s.mark(Marker::Corner, point::QKV, Part::Broadcast);
                held = s.keep(at, ctrl.position, before, q_sent).await;
                s.score(at, held).await;
                s.softmax(held).await;
                s.mark(Marker::Corner, point::SOFTMAX, Part::Broadcast);
                s.values(at, held).await;
                s.probe(at, point::AV);
                s.mark(Marker::Corner, point::AV, Part::Broadcast);
                sent = s.project(s.layers[at].o, s.t.att, point::O).await;
                s.probe(at, point::O);
                s.x.broadcast(s.pe, s.t.x).await;
                s.mark(Marker::Corner, point::O, Part::Broadcast);
                if let Some(ticket) = sent {
                    s.pe.join(ticket).await;
                }
                s.mark(Marker::Corner, point::O, Part::Wait);
                sent = s.feed_forward(at).await;
                s.probe(at, point::FFN);
                at += 1;
                if at < s.layers.len() {
                    s.x.broadcast(s.pe, s.t.x).await;
                    s.mark(Marker::Corner, point::FFN, Part::Broadcast);
                } else {
                    s.hand_over(ctrl).await;
                }
            }
        }
    }
}

impl<'a> Stage<'a> {
    /// What the time up to now went into, if this PE has the place.
    fn mark(&self, marker: Marker, point: u16, part: Part) {
        if self.markers.has(marker) {
            self.pe.mark(self.stage, point::id(point, part));
        }
    }

    /// At the root of what `point` ends with.
    fn probe(&self, at: usize, point: u16) {
        let (is_root, tile) = match point {
            point::QKV => (self.y.is_root(), self.t.wide.slice(0, self.local.qkv())),
            point::AV => (self.y.is_root(), self.t.att),
            _ => (self.x.is_root(), self.t.x),
        };
        if is_root {
            self.pe.probe(self.first_layer + at, point, tile);
        }
    }

    /// The x root sends x on: to the next stage, or home if the head wants it.
    fn hand_over(&self, ctrl: Ctrl) -> impl Future<Output = ()> + use<'_, 'a> {
        let wanted = !self.is_last || ctrl.kind_slot & pass::WANT_LOGITS != 0;
        let tx = self.hand_out.filter(|_| wanted);
        async move {
            if let Some(tx) = tx {
                self.pe.send_ctrl(tx, ctrl, self.t.x).await;
            }
        }
    }
}
