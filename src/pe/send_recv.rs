//! A member's part of an allreduce in one piece: what leaves, and the receive of what comes back.
//!
//! ```text
//!   two operations:  send .. blocked on its end .. recv .. blocked on the lane ..
//!   one piece:       send .................................. blocked on the lane .. (the end, then the take)
//! ```
//! Invariant: clocks, checks, traces and stall reports are those of the two operations; `Record::behind` names the send
//! that has not been seen to end (`Net::waits` tells the two waits apart). A program is resumed once instead of twice.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::arena::Tile;
use crate::link::{Ctrl, NONE, Status, TicketState};

use super::fold::Fold;
use super::handle::{Pe, Rx, Tx};
use super::trace::Did;

/// A blocking send or combine and the receive of what comes back: the same operations, in one piece. While both are
/// open the program waits for the second alone, because what comes back has seen what left.
#[must_use = "futures do nothing unless awaited"]
pub struct SendRecv<'a> {
    pe: Pe<'a>,
    via: Option<Rx>,
    tx: Tx,
    tile: Tile,
    fold: Fold,
    back: (Rx, Tile),
    started: bool,
    ticket: u32,
    place: &'static Location<'static>,
}

impl<'a> Pe<'a> {
    /// `send` of `tile`, or `combine` of what comes from `via` into it, then `recv` into `back`; clocks, checks and
    /// reports are those of the two operations. What a member of an allreduce does: on the host it is resumed once.
    #[track_caller]
    pub fn send_recv(self, (via, tx): (Option<Rx>, Tx), tile: Tile, fold: Fold, back: (Rx, Tile)) -> SendRecv<'a> {
        SendRecv { pe: self, via, tx, tile, fold, back, started: false, ticket: NONE, place: Location::caller() }
    }
}

impl Future for SendRecv<'_> {
    type Output = Ctrl;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Ctrl> {
        let pe = self.pe;
        let mut net = pe.part.net.borrow_mut();
        if pe.is_failed(&net) {
            return Poll::Pending;
        }
        if !self.started {
            let started = match self.via {
                Some(rx) => pe.start_combine(&mut net, (rx, self.tx), self.tile, self.fold, self.place),
                None => pe.begin_send(&mut net, self.tx, self.tile, None, self.place),
            };
            let Some(ticket) = started else { return Poll::Pending };
            (self.started, self.ticket) = (true, ticket);
        }
        let (back, into) = self.back;
        if self.ticket != NONE {
            let ended = net.tickets[self.ticket].state == TicketState::Done;
            net.records[pe.id as usize].behind = NONE;
            let record = &net.records[pe.id as usize];
            if !ended && (record.takeable == 0 || net.front(back.0).is_none()) {
                let record = &mut net.records[pe.id as usize];
                record.block(Status::OnLane, back.0);
                (record.behind, record.place) = (self.ticket, Some(self.place));
                return Poll::Pending;
            }
            let did = if self.via.is_some() { Did::Combine } else { Did::Send };
            if pe.poll_end(&mut net, self.ticket, did, self.place).is_pending() {
                return Poll::Pending;
            }
            self.ticket = NONE;
        }
        pe.poll_recv(&mut net, back, into, Fold::Set, (Status::OnLane, self.place))
    }
}
