//! The operations that block: send, receive, combine. Plain struct futures, so that a program stays small; how each is
//! polled is in `polls`.
//!
//! Invariant: each is a sequence of fabric calls whose times depend on virtual time alone.

use std::panic::Location;
use std::task::Poll;

use crate::arena::{Memory, Tile};
use crate::link::{BY_PORT, Ctrl, NONE, Net, SendRequest, Sent, Status, Taken, TicketState};

use super::asked::Asked;
use super::fault::FaultKind;
use super::fold::Fold;
use super::handle::{Pe, Rx, Tx};
use super::trace::{Did, Span};
use super::view::{is_apart, is_touched, touched};

/// A blocking send.
#[must_use = "futures do nothing unless awaited"]
pub struct Send<'a> {
    pub(super) pe: Pe<'a>,
    pub(super) tx: Tx,
    pub(super) tile: Tile,
    pub(super) ctrl: Option<Ctrl>,
    /// What names it once it is open: a ticket, or the port and `BY_PORT`.
    pub(super) open: u32,
    pub(super) place: &'static Location<'static>,
}

/// A blocking receive; gives the control words.
#[must_use = "futures do nothing unless awaited"]
pub struct Recv<'a> {
    pub(super) pe: Pe<'a>,
    pub(super) rx: Rx,
    pub(super) tile: Tile,
    pub(super) fold: Fold,
    pub(super) pass: bool,
    pub(super) place: &'static Location<'static>,
}

/// A streaming combine: receive, fold into the tile, forward.
#[must_use = "futures do nothing unless awaited"]
pub struct Combine<'a> {
    pub(super) pe: Pe<'a>,
    pub(super) rx: Rx,
    pub(super) tx: Tx,
    pub(super) tile: Tile,
    pub(super) fold: Fold,
    /// As of a send.
    pub(super) open: u32,
    pub(super) place: &'static Location<'static>,
}

/// What is to be taken, into what, and what its PE is doing until it comes.
#[derive(Clone, Copy)]
pub(super) struct Take {
    pub(super) rx: Rx,
    pub(super) tile: Tile,
    pub(super) fold: Fold,
    pub(super) status: Status,
    pub(super) place: &'static Location<'static>,
}

impl<'a> Pe<'a> {
    /// Sends a tile.
    #[track_caller]
    pub fn send(self, tx: Tx, tile: Tile) -> Send<'a> {
        Send { pe: self, tx, tile, ctrl: None, open: NONE, place: Location::caller() }
    }

    /// Sends a tile behind control words.
    #[track_caller]
    pub fn send_ctrl(self, tx: Tx, ctrl: Ctrl, tile: Tile) -> Send<'a> {
        Send { ctrl: Some(ctrl), ..self.send(tx, tile) }
    }

    /// Receives into a tile of exactly the burst's words.
    #[track_caller]
    pub fn recv(self, rx: Rx, tile: Tile) -> Recv<'a> {
        self.recv_fold(rx, tile, Fold::Set)
    }

    /// Receives and folds into a tile, in stream.
    #[track_caller]
    pub fn recv_fold(self, rx: Rx, tile: Tile, fold: Fold) -> Recv<'a> {
        Recv { pe: self, rx, tile, fold, pass: false, place: Location::caller() }
    }

    /// The first receive of a pass: a program that waits here counts as finished.
    #[track_caller]
    pub fn recv_pass(self, rx: Rx, tile: Tile) -> Recv<'a> {
        Recv { pass: true, ..self.recv(rx, tile) }
    }

    /// Receives, folds its own tile in, and forwards the result.
    #[track_caller]
    pub fn combine(self, rx: Rx, tx: Tx, tile: Tile, fold: Fold) -> Combine<'a> {
        Combine { pe: self, rx, tx, tile, fold, open: NONE, place: Location::caller() }
    }

    /// Is no ticket open on words of the tile? Otherwise stops the PE.
    #[inline]
    pub(super) fn may_touch(self, net: &mut Net<Memory>, tile: Tile) -> bool {
        if !is_touched(net, self.id, tile, true) {
            return true;
        }
        self.refuse(net, tile)
    }

    /// Stops the PE: a ticket is open on words of the tile.
    #[cold]
    fn refuse(self, net: &mut Net<Memory>, tile: Tile) -> bool {
        let now = net.records[self.id as usize].now;
        let Some(kind) = touched(net, self.id, tile, true) else { return true };
        net.records[self.id as usize].block(Status::Failed, NONE);
        self.report(now, kind);
        false
    }

    /// Charges a send (a combine has paid) and says what the fabric is asked for.
    #[inline(always)]
    pub(super) fn request(
        self,
        net: &mut Net<Memory>,
        tx: Tx,
        tile: Tile,
        ctrl: Option<Ctrl>,
        min_tail: u64,
    ) -> SendRequest {
        let issue = u64::from(net.timing.issue);
        let record = &mut net.records[self.id as usize];
        let combining = min_tail > 0;
        if !combining {
            record.now += issue;
            record.busy += issue;
        }
        if let (Some(recorder), false) = (&self.part.recorder, combining) {
            let (start, end) = (record.now - issue, record.now);
            recorder.note(self.id, Span { start, end, did: Did::Issue, color: None, words: 0, place: None });
        }
        let (ready, depth) = (record.now, record.depth + 1);
        let (pe, port, place, words) = (self.id, tx.port, tile.place, tile.words as u16);
        SendRequest { pe, port, place, words, ctrl, ready, min_tail, depth }
    }

    /// A send that the program waits for.
    #[inline(always)]
    fn start_send(self, net: &mut Net<Memory>, tx: Tx, tile: Tile, ctrl: Option<Ctrl>, min_tail: u64) -> Sent {
        let request = self.request(net, tx, tile, ctrl, min_tail);
        // What is recorded is read off the ticket.
        if self.part.recorder.is_some() { Sent::Open(net.open_send(request)) } else { net.send(request) }
    }

    /// Ends a blocking send that has ended at once.
    #[inline(always)]
    pub(super) fn ends(self, net: &mut Net<Memory>, end: u64) {
        let record = &mut net.records[self.id as usize];
        record.now = record.now.max(end);
    }

    /// Starts a blocking send; nothing where the PE was stopped.
    #[inline(always)]
    pub(super) fn begin_send(
        self,
        net: &mut Net<Memory>,
        tx: Tx,
        tile: Tile,
        ctrl: Option<Ctrl>,
        place: &'static Location<'static>,
    ) -> Option<Sent> {
        if !self.may_touch(net, tile) {
            return None;
        }
        if ctrl.is_none()
            && let Some(sent) = net.send_tile(self.id, tx.port, tile.span())
        {
            return Some(sent);
        }
        let sent = self.start_send(net, tx, tile, ctrl, 0);
        self.part.note(self.id, Asked::Send(tx.port), place);
        Some(sent)
    }

    /// Takes, folds and sends on, with the control words that came; nothing where the program waits or was stopped.
    #[inline(always)]
    pub(super) fn start_combine(
        self,
        net: &mut Net<Memory>,
        (rx, tx): (Rx, Tx),
        tile: Tile,
        fold: Fold,
        place: &'static Location<'static>,
    ) -> Option<(Sent, Ctrl)> {
        net.warm_way(tx.port, tx.way);
        if !self.may_touch(net, tile) {
            return None;
        }
        let swift =
            net.combine(self.id, (rx.0, tx.port), tile.span(), |store, from| self.fold(store, from, tile, fold));
        if let Some(sent) = swift {
            return Some((sent, Ctrl::default()));
        }
        let take = Take { rx, tile, fold, status: Status::OnLane, place };
        let Poll::Ready(Some(taken)) = self.poll_take(net, &take) else {
            return None;
        };
        let (ramp, stage) = (u64::from(net.timing.ramp), u64::from(net.timing.stage));
        let asked = std::mem::replace(&mut net.records[self.id as usize].now, taken.start + stage);
        if self.part.recorder.is_some() {
            // The combine itself is noted when its send ends.
            let times = [asked, taken.start, taken.start];
            self.part.note_take(self.id, rx.0, tile.words, times, Did::WaitBurst, place);
        }
        let min_tail = taken.tail + 2 * ramp + stage;
        let ctrl = taken.has_ctrl.then_some(taken.ctrl);
        let sent = self.start_send(net, tx, tile, ctrl, min_tail);
        self.part.note(self.id, Asked::Combine { lane: rx.0, port: tx.port }, place);
        Some((sent, taken.ctrl))
    }

    /// Takes a burst and ends there: its control words, unless the program waits or was stopped. A tile that lies
    /// between those of open tickets goes step by step.
    #[inline(always)]
    pub(super) fn poll_recv(self, net: &mut Net<Memory>, take: Take) -> Poll<Ctrl> {
        let Take { rx, tile, fold, .. } = take;
        if is_apart(net, self.id, tile)
            && net.receive(self.id, rx.0, tile.span(), |store, from| self.fold(store, from, tile, fold)).is_some()
        {
            return Poll::Ready(Ctrl::default());
        }
        self.poll_recv_step_by_step(net, &take)
    }

    #[inline(never)]
    fn poll_recv_step_by_step(self, net: &mut Net<Memory>, take: &Take) -> Poll<Ctrl> {
        let Take { rx, tile, status, place, .. } = *take;
        if !self.may_touch(net, tile) {
            return Poll::Pending;
        }
        let Poll::Ready(Some(taken)) = self.poll_take(net, take) else {
            return Poll::Pending;
        };
        let record = &mut net.records[self.id as usize];
        let asked = std::mem::replace(&mut record.now, taken.end);
        if self.part.recorder.is_some() {
            let wait = if status == Status::OnPass { Did::WaitPass } else { Did::WaitBurst };
            let times = [asked, taken.start, taken.end];
            self.part.note_take(self.id, rx.0, tile.words, times, wait, place);
        }
        net.settle();
        self.part.note(self.id, Asked::Recv(rx.0), place);
        Poll::Ready(taken.ctrl)
    }

    /// Polls the end of an open operation: a ticket, or a port and `BY_PORT`. The clock moves on the end.
    #[inline(always)]
    pub(super) fn poll_end(
        self,
        net: &mut Net<Memory>,
        open: u32,
        did: Did,
        place: &'static Location<'static>,
    ) -> Poll<Ctrl> {
        if open & BY_PORT == 0 {
            return self.poll_ticket(net, open, did, place);
        }
        match net.end_of(open) {
            Some(end) => {
                self.ends(net, end);
                Poll::Ready(Ctrl::default())
            }
            None => {
                net.await_port(self.id, open & !BY_PORT);
                net.records[self.id as usize].place = Some(place);
                Poll::Pending
            }
        }
    }

    /// Polls the end of a ticket: on the end the clock moves and the ticket closes.
    fn poll_ticket(
        self,
        net: &mut Net<Memory>,
        ticket: u32,
        did: Did,
        place: &'static Location<'static>,
    ) -> Poll<Ctrl> {
        let t = &mut net.tickets[ticket];
        if t.state != TicketState::Done {
            t.awaited = true;
            let record = &mut net.records[self.id as usize];
            record.block(Status::OnTicket, ticket);
            (record.place, record.awaits) = (Some(place), 1);
            return Poll::Pending;
        }
        let (ctrl, depth, received) = (t.ctrl, t.tally, t.kind == crate::link::TicketKind::Receive);
        let (need, found) = (u32::from(t.words), if received { t.next } else { 0 });
        if received && found != need {
            self.refuse_length(net, need, found);
            return Poll::Pending;
        }
        if self.part.recorder.is_some() {
            let (t, asked) = (*t, net.records[self.id as usize].now);
            self.part.note_end(net, self.id, &t, did, asked, place);
        }
        let end = net.close(self.id, ticket);
        let record = &mut net.records[self.id as usize];
        record.now = record.now.max(end);
        if received {
            record.depth = record.depth.max(depth);
        }
        Poll::Ready(ctrl)
    }

    /// Takes the burst at the front of a lane into a tile that it may touch, or notes that the program waits for it.
    #[inline(always)]
    fn poll_take(self, net: &mut Net<Memory>, take: &Take) -> Poll<Option<Taken>> {
        let Take { rx, tile, fold, status, place } = *take;
        net.off_lane(rx.0);
        let record = &mut net.records[self.id as usize];
        let (now, takeable) = (record.now, record.takeable > 0);
        let front = if takeable && !net.is_posted(rx.0) { net.front(rx.0) } else { None };
        let Some(found) = front.map(|b| u32::from(b.words)) else {
            let record = &mut net.records[self.id as usize];
            record.block(status, rx.0);
            record.place = Some(place);
            return Poll::Pending;
        };
        if found != tile.words {
            self.refuse_length(net, tile.words, found);
            return Poll::Ready(None);
        }
        let taken = net.take(rx.0, now);
        if !net.dry && tile.words > 0 {
            let from = net.place_of(&taken);
            self.fold(&mut net.store, from, tile, fold);
        }
        net.finish_take(&taken);
        let record = &mut net.records[self.id as usize];
        record.depth = record.depth.max(taken.depth);
        Poll::Ready(Some(taken))
    }

    /// Stops the PE: a burst has another length than the tile that is to take it.
    #[cold]
    fn refuse_length(self, net: &mut Net<Memory>, need: u32, found: u32) {
        let record = &mut net.records[self.id as usize];
        record.block(Status::Failed, NONE);
        let now = record.now;
        self.report(now, FaultKind::Length { need, found });
    }

    pub(super) fn report(self, now: u64, kind: FaultKind) {
        self.part.report(self.id, super::Fault { now, pe: self.coord(), kind });
    }

    pub(super) fn is_failed(self, net: &Net<Memory>) -> bool {
        net.records[self.id as usize].status == Status::Failed
    }
}
