//! The operations that do not block, and the one that waits for their end.
//!
//! Invariant: at most `Record::OPEN_MAX` tickets of a PE are open, and each keeps its tile closed until it is joined.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::arena::{Memory, Tile};
use crate::link::{BY_PORT, Ctrl, End, Joined, NONE, Net, Passed, Status, TicketState};
use crate::units::Cycles;

use super::asked::Asked;
use super::fault::FaultKind;
use super::handle::{Pe, Rx, Tx};
use super::trace::Did;

/// An open posted operation; must be joined.
#[must_use = "a ticket that is not joined keeps its tile closed"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u32);

impl Ticket {
    /// Where there was nothing to post.
    pub(crate) const NOTHING: Self = Self(NONE);
}

/// The end of a posted operation; gives the control words of a receive.
#[must_use = "futures do nothing unless awaited"]
pub struct Join<'a> {
    pe: Pe<'a>,
    ticket: Ticket,
    place: &'static Location<'static>,
}

/// The ends of several posted operations, given in the order in which they were posted. To the program they end one
/// after the other; the host resumes it once.
#[must_use = "futures do nothing unless awaited"]
pub struct JoinAll<'a, const N: usize> {
    pe: Pe<'a>,
    /// `NONE`: nothing to wait for, or not any more.
    tickets: [u32; N],
    place: &'static Location<'static>,
}

/// The same for tiles that may have been traded: gives where they lie, `NONE` where there was nothing to wait for.
#[must_use = "futures do nothing unless awaited"]
pub struct Moved<'a, const N: usize>(pub(crate) JoinAll<'a, N>);

/// One or two moves of traded tiles that are joined and, where nothing stands against it, posted again with what came.
#[must_use = "futures do nothing unless awaited"]
pub(crate) struct PassOn<'a, const N: usize> {
    /// Send and receive of each.
    pub(crate) joins: JoinAll<'a, N>,
    /// Words of the blocks that come next.
    pub(crate) coming: [u32; 2],
    /// What the PE computes between the two.
    pub(crate) software: Cycles,
    /// To be done one after the other: this waits for the ends alone.
    pub(crate) is_apart: bool,
}

/// Where the tiles of what was joined lie.
pub(crate) enum Passing<const N: usize> {
    /// All were posted again.
    On([u32; N]),
    /// All have ended.
    Ended([u32; N]),
}

impl<'a> Pe<'a> {
    /// Starts a send; costs the issue alone.
    #[track_caller]
    pub fn post_send(self, tx: Tx, tile: Tile) -> Ticket {
        self.start_posted_send(&mut self.part.net.borrow_mut(), tx, tile, Location::caller())
    }

    /// Starts a receive; free.
    #[track_caller]
    pub fn post_recv(self, rx: Rx, tile: Tile) -> Ticket {
        self.start_posted_recv(&mut self.part.net.borrow_mut(), rx, tile, Location::caller())
    }

    /// As `post_send` and `post_recv` of the first words of two tiles, nothing where there are none. But where sender
    /// and receiver both trade (`trades`), and their tiles are of one size, the tiles change owners and nothing is
    /// copied: `lie` says where they are then.
    ///
    /// What is given may be read until it is joined, so nobody may write there as long: see `collectives::moving`,
    /// which sees to that.
    #[inline(never)]
    #[track_caller]
    pub(crate) fn post_both(
        self,
        (tx, out, n_out): (Tx, Tile, usize),
        (rx, into, n_in): (Rx, Tile, usize),
        trades: bool,
    ) -> [Ticket; 2] {
        let mut net = self.part.net.borrow_mut();
        // 0, as of a tile that is too large for the count: it is copied.
        let size = |tile: Tile| if trades { u16::try_from(tile.words).unwrap_or(0) } else { 0 };
        let (given, taken) = (out.slice(0, n_out), into.slice(0, n_in));
        let give = End { at: tx.port, tile: given.span(), hands_over: size(out) };
        let take = End { at: rx.0, tile: taken.span(), hands_over: size(into) };
        match net.exchange(self.id, &give, &take) {
            Some(ids) => ids.map(Ticket),
            None => self.post_each(&mut net, (tx, given, give.hands_over), (rx, taken, take.hands_over)),
        }
    }

    /// `post_both`, one after the other.
    #[inline(never)]
    #[track_caller]
    fn post_each(self, net: &mut Net<Memory>, give: (Tx, Tile, u16), take: (Rx, Tile, u16)) -> [Ticket; 2] {
        let (place, none) = (Location::caller(), Ticket::NOTHING);
        let has_one_sink = net.ports[give.0.port as usize].answers == 1;
        net.hands_over = if has_one_sink { give.2 } else { 0 };
        let sent = if give.1.words > 0 { self.start_posted_send(net, give.0, give.1, place) } else { none };
        net.hands_over = take.2;
        let came = if take.1.words > 0 { self.start_posted_recv(net, take.0, take.1, place) } else { none };
        net.hands_over = 0;
        [sent, came]
    }

    #[inline(always)]
    fn start_posted_send(self, net: &mut Net<Memory>, tx: Tx, tile: Tile, place: &'static Location<'static>) -> Ticket {
        if !self.may_post(net) || !self.may_touch(net, tile) {
            return Ticket(NONE);
        }
        if let Some(ticket) = net.post_tile(self.id, tx.port, tile.span()) {
            return Ticket(ticket);
        }
        let request = self.request(net, tx, tile, None, 0);
        let ticket = net.post_send(request);
        self.part.note(self.id, Asked::PostSend { port: tx.port, ticket }, place);
        Ticket(ticket)
    }

    #[inline(always)]
    fn start_posted_recv(self, net: &mut Net<Memory>, rx: Rx, tile: Tile, place: &'static Location<'static>) -> Ticket {
        if !self.may_post(net) || !self.may_touch(net, tile) {
            return Ticket(NONE);
        }
        let ticket = net.post_receive(self.id, rx.0, tile.place, tile.words as u16);
        self.part.note(self.id, Asked::PostRecv { lane: rx.0, ticket }, place);
        Ticket(ticket)
    }

    /// Waits for a posted operation.
    #[track_caller]
    pub fn join(self, ticket: Ticket) -> Join<'a> {
        Join { pe: self, ticket, place: Location::caller() }
    }

    /// Waits for posted operations, given in the order in which they were posted.
    #[track_caller]
    pub fn join_all<const N: usize>(self, tickets: [Option<Ticket>; N]) -> JoinAll<'a, N> {
        self.join_these(tickets.map(|t| t.unwrap_or(Ticket::NOTHING)))
    }

    /// The same, `Ticket::NOTHING` being nothing to wait for.
    #[track_caller]
    pub(crate) fn join_these<const N: usize>(self, tickets: [Ticket; N]) -> JoinAll<'a, N> {
        JoinAll { pe: self, tickets: tickets.map(|t| t.0), place: Location::caller() }
    }

    fn may_post(self, net: &mut Net<Memory>) -> bool {
        let record = &net.records[self.id as usize];
        if record.status == Status::Failed || record.may_post() {
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

impl<const N: usize> JoinAll<'_, N> {
    /// In the end, where the tiles of the operations lie until the PE posts again; `NONE` where there was none.
    #[inline(always)]
    fn poll_these(&mut self) -> Poll<[u32; N]> {
        let pe = self.pe;
        let mut net = pe.part.net.borrow_mut();
        if pe.is_failed(&net) {
            return Poll::Pending;
        }
        let mut lie = [NONE; N];
        match net.join(pe.id, &self.tickets, &mut lie) {
            Joined::Ended => Poll::Ready(lie),
            Joined::Waits => {
                net.records[pe.id as usize].place = Some(self.place);
                Poll::Pending
            }
            Joined::StepByStep => self.poll_each(&mut net),
        }
    }

    /// The same, one after the other. What has ended keeps its number, with `BY_PORT`.
    #[inline(never)]
    fn poll_each(&mut self, net: &mut Net<Memory>) -> Poll<[u32; N]> {
        let pe = self.pe;
        for at in 0..N {
            let id = self.tickets[at];
            if id & BY_PORT != 0 {
                continue;
            }
            if net.tickets[id].state != TicketState::Done {
                net.await_all(pe.id, &self.tickets[at..]);
                net.records[pe.id as usize].place = Some(self.place);
                return Poll::Pending;
            }
            if pe.poll_end(net, id, Did::WaitPostedSend, self.place).is_pending() {
                return Poll::Pending;
            }
            pe.part.note(pe.id, Asked::Join(id), self.place);
            self.tickets[at] |= BY_PORT;
        }
        let lies = |id| if id == NONE { NONE } else { net.tickets[id & !BY_PORT].lies() };
        Poll::Ready(self.tickets.map(lies))
    }
}

impl<const N: usize> Future for JoinAll<'_, N> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.poll_these().map(|_| ())
    }
}

impl<const N: usize> Future for PassOn<'_, N> {
    type Output = Passing<N>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Passing<N>> {
        if self.is_apart {
            return self.joins.poll_these().map(Passing::Ended);
        }
        let pe = self.joins.pe;
        let mut net = pe.part.net.borrow_mut();
        if pe.is_failed(&net) {
            return Poll::Pending;
        }
        match net.pass_on(pe.id, &self.joins.tickets, self.coming, self.software.0) {
            Passed::On(lie) => Poll::Ready(Passing::On(lie)),
            Passed::Not => {
                drop(net);
                self.is_apart = true;
                self.joins.poll_these().map(Passing::Ended)
            }
            Passed::Waits => {
                net.records[pe.id as usize].place = Some(self.joins.place);
                Poll::Pending
            }
        }
    }
}

impl<const N: usize> Future for Moved<'_, N> {
    type Output = [u32; N];

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<[u32; N]> {
        self.0.poll_these()
    }
}
