//! What the program of a layer region's PE looks up before its first pass: tiles, trees, ports.
//!
//! Invariant: nothing is looked up by color or tile id after `Stage::new`. Called by `run`; `Axis` also by the head.

use smallvec::SmallVec;

use crate::arena::Tile;
use crate::collectives::{Step, broadcast, contribute, reduce, reduce_posted};
use crate::pe::{Fold, Pe, Rx, Ticket, Tx};

use super::super::{Decode, Seat, tile};
use super::{Layer, Stage, Tiles};

/// One axis of a PE: its part in the tree and the broadcast.
pub(in super::super) struct Axis {
    /// Inline: it is read at every hop of the axis, and only a root of several levels has more.
    pub(in super::super) steps: SmallVec<[Step; 2]>,
    pub(in super::super) ends: (Option<Tx>, Option<Rx>),
    pub(in super::super) is_root: bool,
}

impl Axis {
    pub(in super::super) async fn reduce(&self, pe: Pe<'_>, tile: Tile, fold: Fold) {
        reduce(pe, &self.steps, tile, fold).await;
    }

    /// At the root: the reduction of `tile`. Elsewhere: this member's part of it, and what the root then sends, into
    /// `back`.
    pub(super) async fn gather(&self, pe: Pe<'_>, tile: Tile, fold: Fold, back: Tile) {
        contribute(pe, &self.steps, tile, fold, (self.ends.1, back)).await;
    }

    /// A reduction follows the computation that begins now: a hint to the host.
    pub(super) fn ahead(&self, pe: Pe<'_>) {
        match self.steps.last() {
            Some(Step::Leaf(tx) | Step::Inner(_, tx)) => pe.ahead(*tx),
            _ => self.ends.0.into_iter().for_each(|tx| pe.ahead(tx)),
        }
    }

    /// The root's part of the broadcast.
    pub(super) async fn give(&self, pe: Pe<'_>, tile: Tile) {
        broadcast(pe, (self.ends.0, None), tile).await;
    }

    pub(super) async fn reduce_posted(&self, pe: Pe<'_>, tile: Tile, fold: Fold) -> Option<Ticket> {
        reduce_posted(pe, &self.steps, tile, fold).await
    }

    pub(in super::super) async fn broadcast(&self, pe: Pe<'_>, tile: Tile) {
        broadcast(pe, self.ends, tile).await;
    }
}

impl<'a> Stage<'a> {
    pub(super) fn new(d: &'a Decode, pe: Pe<'a>, seat: Seat) -> Self {
        let Seat { stage, col, row } = seat;
        let place = d.stage_place(stage);
        let axis = |tree: &crate::collectives::Tree, member| Axis {
            steps: SmallVec::from_slice(&tree.steps(pe, member)),
            ends: tree.broadcast_ends(pe, member),
            is_root: tree.root() == member,
        };
        let local = d.local(col);
        let band = d.columns().slice(col).band;
        let x = axis(&d.x_tree(&place, row, &d.plan.groups_x), col);
        let y = axis(&d.y_tree(&place, col), row);
        let hand_over = d.hand_over_color(stage);
        let turn = d.plan.floor.turns[stage + 1].get(row).filter(|w| w.to == pe.coord());
        let shifts = d.concat_prompt.is_none();
        let t = |id| pe.tile(id);
        let layer = |l| {
            let t = |which| pe.tile(tile::of_layer(l, which));
            Layer {
                qkv: t(tile::W_QKV),
                o: t(tile::W_O),
                up: t(tile::W_UP),
                down: t(tile::W_DOWN),
                norm_att: t(tile::NORM_ATT),
                norm_ffn: t(tile::NORM_FFN),
                bias: (d.shape.qkv_bias && y.is_root).then(|| t(tile::BIAS)),
                kv: [t(tile::KEYS), t(tile::VALUES)],
            }
        };
        Self {
            first_layer: d.plan.stages[stage].start,
            layers: d.plan.stages[stage].clone().map(layer).collect(),
            rope: y.is_root.then(|| [t(tile::FREQ), t(tile::SIN_COS)]),
            shift: shifts.then(|| [t(tile::SHIFT_OUT), t(tile::SHIFT_IN)]),
            band: axis(&d.band_tree(&place, &band, row), col - band.start),
            hand_in: pe.rx(turn.map_or(hand_over, |w| d.track_color(w.track))),
            relay: (turn.is_some() && d.plan.cols > 1).then(|| pe.tx(hand_over)),
            hand_out: x.is_root.then(|| pe.tx(d.leave_color(stage + 1, row))),
            is_last: stage + 1 == d.plan.stages.len(),
            shift_up: (shifts && row > 0).then(|| pe.tx(d.shift_color(row))),
            shift_in: (shifts && row + 1 < d.plan.rows).then(|| pe.rx(d.shift_color(row + 1))),
            roles: d.roles(seat),
            stage: stage as u16,
            hidden: d.hidden_of(row).len(),
            ffn: d.ffn_of(col).len(),
            t: Tiles {
                x: t(tile::X),
                xg: t(tile::XG),
                y: t(tile::Y),
                wide: t(tile::WIDE),
                act: t(tile::ACT),
                score: t(tile::SCORE),
                att: t(tile::ATT),
                max: t(tile::MAX),
                sum: t(tile::SUM),
            },
            d,
            pe,
            local,
            row,
            x,
            y,
        }
    }
}
