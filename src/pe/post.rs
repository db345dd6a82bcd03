//! The operations that do not block, and the one that waits for their end.
//!
//! Invariant: at most `Record::OPEN_MAX` tickets of a PE are open, and each keeps its tile closed until it is joined.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::arena::{Memory, Tile};
use crate::link::{Ctrl, NONE, Net, Status};

use super::asked::Asked;
use super::fault::FaultKind;
use super::handle::{Pe, Rx, Tx};
use super::trace::Did;

/// An open posted operation; must be joined.
#[must_use = "a ticket that is not joined keeps its tile closed"]
#[derive(Clone, Copy, Debug)]
pub struct Ticket(u32);

/// The end of a posted operation; gives the control words of a receive.
#[must_use = "futures do nothing unless awaited"]
pub struct Join<'a> {
    pe: Pe<'a>,
    ticket: Ticket,
    place: &'static Location<'static>,
}

impl<'a> Pe<'a> {
    /// Starts a send; costs the issue alone.
    #[track_caller]
    pub fn post_send(self, tx: Tx, tile: Tile) -> Ticket {
        let mut net = self.part.net.borrow_mut();
        if !self.may_post(&mut net) || !self.may_touch(&mut net, tile) {
            return Ticket(NONE);
        }
        let ticket = self.start_send(&mut net, tx, tile, None, 0);
        self.part.note(self.id, Asked::PostSend { port: tx.port, ticket }, Location::caller());
        Ticket(ticket)
    }

    /// Starts a receive; free.
    #[track_caller]
    pub fn post_recv(self, rx: Rx, tile: Tile) -> Ticket {
        let mut net = self.part.net.borrow_mut();
        if !self.may_post(&mut net) || !self.may_touch(&mut net, tile) {
            return Ticket(NONE);
        }
        let ticket = net.post_receive(self.id, rx.0, tile.place, tile.words as u16);
        self.part.note(self.id, Asked::PostRecv { lane: rx.0, ticket }, Location::caller());
        Ticket(ticket)
    }

    /// Waits for a posted operation.
    #[track_caller]
    pub fn join(self, ticket: Ticket) -> Join<'a> {
        Join { pe: self, ticket, place: Location::caller() }
    }

    fn may_post(self, net: &mut Net<Memory>) -> bool {
        let record = &net.records[self.id as usize];
        if record.status == Status::Failed || record.n_open < crate::link::Record::OPEN_MAX {
            return record.status != Status::Failed;
        }
        let now = record.now;
        net.records[self.id as usize].block(Status::Failed, NONE);
        self.report(now, FaultKind::Tickets);
        false
    }
}

impl Future for Join<'_> {
    type Output = Ctrl;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Ctrl> {
        let pe = self.pe;
        let mut net = pe.part.net.borrow_mut();
        if pe.is_failed(&net) || self.ticket.0 == NONE {
            return Poll::Pending;
        }
        let end = pe.poll_end(&mut net, self.ticket.0, Did::WaitPostedSend, self.place);
        if end.is_ready() {
            pe.part.note(pe.id, Asked::Join(self.ticket.0), self.place);
        }
        end
    }
}
