//! What the program of a layer region's PE looks up before its first pass: tiles, trees, ports.
//!
//! Invariant: nothing is looked up by color or tile id after `Stage::new`. Called by `run`; `Axis` also by the head.

use crate::arena::Tile;
use crate::collectives::{Ends, Roles, answer, broadcast, give};
use crate::pe::{After, Fold, Pe, Relay, Role, Tx};

use super::super::{Decode, Seat, tile};
use super::{Layer, Stage, Tiles};

/// One axis of a PE: its part in the tree and the broadcast.
pub(in super::super) struct Axis {
    pub(in super::super) roles: Roles,
    pub(in super::super) ends: Ends,
}

impl Axis {
    /// Does the reduction end here? All others send last.
    pub(in super::super) fn is_root(&self) -> bool {
        !matches!(self.roles.last(), Some(Role::Leaf(_) | Role::Inner(..)))
    }

    /// The reduction of `tile`.
    #[track_caller]
    pub(in super::super) fn reduce<'a>(&'a self, pe: Pe<'a>, tile: Tile, fold: Fold) -> Relay<'a> {
        self.relay(pe, tile, fold, After::Ended)
    }

    /// At the root: the reduction of `tile`. Elsewhere: this member's part of it, and what the root then sends, into
    /// `back`.
    #[track_caller]
    pub(super) fn gather<'a>(&'a self, pe: Pe<'a>, tile: Tile, fold: Fold, back: Tile) -> Relay<'a> {
        self.relay(pe, tile, fold, answer(&self.ends, back))
    }

    /// As `reduce`, but the last send of a leaf is only posted: where the result comes back to another tile, the leaf
    /// waits for that alone and joins the ticket before it needs `tile` again.
    #[track_caller]
    pub(super) fn reduce_posted<'a>(&'a self, pe: Pe<'a>, tile: Tile, fold: Fold) -> Relay<'a> {
        self.relay(pe, tile, fold, After::Posted)
    }

    #[track_caller]
    fn relay<'a>(&'a self, pe: Pe<'a>, tile: Tile, fold: Fold, after: After) -> Relay<'a> {
        // What the root sends next.
        self.gives().into_iter().for_each(|tx| pe.ahead(tx));
        pe.relay(&self.roles, tile, fold, after)
    }

    /// The root's part of the broadcast.
    #[track_caller]
    pub(super) fn give<'a>(&'a self, pe: Pe<'a>, tile: Tile) -> Relay<'a> {
        give(pe, &self.ends, tile)
    }

    /// The broadcast.
    #[track_caller]
    pub(in super::super) fn broadcast<'a>(&'a self, pe: Pe<'a>, tile: Tile) -> Relay<'a> {
        broadcast(pe, &self.ends, tile)
    }

    /// The root's port of the broadcast.
    pub(super) fn gives(&self) -> Option<Tx> {
        match self.ends {
            Some(Role::Leaf(tx)) => Some(tx),
            _ => None,
        }
    }

    /// A reduction follows the computation that begins now: a hint to the host.
    pub(super) fn ahead(&self, pe: Pe<'_>) {
        match self.roles.last() {
            Some(Role::Leaf(tx) | Role::Inner(_, tx)) => pe.ahead(*tx),
            _ => self.gives().into_iter().for_each(|tx| pe.ahead(tx)),
        }
    }
}

impl<'a> Stage<'a> {
    pub(super) fn new(d: &'a Decode, pe: Pe<'a>, seat: Seat) -> Self {
        let Seat { stage, col, row } = seat;
        let place = d.stage_place(stage);
        let axis = |tree: &crate::collectives::Tree, member| Axis {
            roles: tree.roles(pe, member),
            ends: tree.broadcast_ends(pe, member),
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
                bias: (d.shape.qkv_bias && y.is_root()).then(|| t(tile::BIAS)),
                kv: [t(tile::KEYS), t(tile::VALUES)],
            }
        };
        Self {
            first_layer: d.plan.stages[stage].start,
            layers: d.plan.stages[stage].clone().map(layer).collect(),
            rope: y.is_root().then(|| [t(tile::FREQ), t(tile::SIN_COS)]),
            shift: shifts.then(|| [t(tile::SHIFT_OUT), t(tile::SHIFT_IN)]),
            band: axis(&d.band_tree(&place, &band, row), col - band.start),
            hand_in: pe.rx(turn.map_or(hand_over, |w| d.track_color(w.track))),
            onward: (turn.is_some() && d.plan.cols > 1).then(|| pe.tx(hand_over)),
            hand_out: x.is_root().then(|| pe.tx(d.leave_color(stage + 1, row))),
            is_last: stage + 1 == d.plan.stages.len(),
            shift_up: (shifts && row > 0).then(|| pe.tx(d.shift_color(row))),
            shift_in: (shifts && row + 1 < d.plan.rows).then(|| pe.rx(d.shift_color(row + 1))),
            markers: d.markers(seat),
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
