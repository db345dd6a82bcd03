//! What a member of a collective does with one tile, as one operation of the host: its roles level by level, and what
//! comes back in the end.
//!
//! Invariant: in virtual time, in checks and in reports it is `send`, `combine` and `recv` one after the other; only
//! the host saves work. A member that sends and then waits for the answer is resumed once: neither the end of its send
//! nor the answer depends on the program, so both are looked at when the answer has come. Its record says which of the
//! two it would wait for (`Net::waits`).

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::arena::{Memory, Tile};
use crate::link::{BY_PORT, NONE, Net, Record, Sent, Status};

use super::fold::Fold;
use super::handle::{Pe, Rx, Tx};
use super::ops::Take;
use super::post::Ticket;
use super::trace::Did;
use super::view::is_open;

/// What a member does at one level of a reduction.
#[derive(Clone, Copy, Debug)]
pub enum Role {
    /// Sends its tile inward.
    Leaf(Tx),
    /// Folds its tile into what comes in, passes on.
    Inner(Rx, Tx),
    /// Takes one side in.
    Root(Rx),
}

/// What follows the last role.
#[derive(Clone, Copy, Debug)]
pub enum After {
    /// Nothing: the last send has ended.
    Ended,
    /// The result, into a tile. A root has none to wait for.
    Back(Rx, Tile),
    /// Nothing, and a leaf's last send is only posted: the ticket is what the relay gives.
    Posted,
}

/// See the module.
#[must_use = "futures do nothing unless awaited"]
pub struct Relay<'a> {
    pe: Pe<'a>,
    roles: &'a [Role],
    at: u8,
    fold: Fold,
    tile: Tile,
    after: After,
    /// The open send of role `at`: a ticket, or its port and `BY_PORT`.
    open: u32,
    place: &'static Location<'static>,
}

impl<'a> Pe<'a> {
    /// Plays `roles` on `tile` in order, then does what comes `after`.
    #[track_caller]
    pub fn relay(self, roles: &'a [Role], tile: Tile, fold: Fold, after: After) -> Relay<'a> {
        let sends = matches!(roles.last(), Some(Role::Leaf(_) | Role::Inner(..)));
        let after = if matches!(after, After::Back(..)) && !sends { After::Ended } else { after };
        Relay { pe: self, roles, at: 0, fold, tile, after, open: NONE, place: Location::caller() }
    }
}

impl Relay<'_> {
    /// Plays the role it is at, or waits for its end; `None` while it waits (or for ever, if the PE was stopped).
    #[inline]
    fn play(&mut self, net: &mut Net<Memory>, role: &Role) -> Option<()> {
        if self.open != NONE {
            return self.end(net, role);
        }
        match *role {
            Role::Inner(rx, _) | Role::Root(rx) if self.waits(net, role, rx) => None,
            _ => self.begin(net, role),
        }
    }

    /// Nothing is here to be taken: waits, as the take would find out with more work.
    #[inline]
    fn waits(&self, net: &mut Net<Memory>, role: &Role, rx: Rx) -> bool {
        let record = &mut net.records[self.pe.id as usize];
        if record.takeable > 0 || record.is_open() {
            return false;
        }
        record.block(Status::OnLane, rx.0);
        record.place = Some(self.place);
        if let Role::Inner(_, tx) = *role {
            record.way = tx.way;
        }
        true
    }

    /// Begins the role; waits for its end where that is not known yet.
    fn begin(&mut self, net: &mut Net<Memory>, role: &Role) -> Option<()> {
        let (pe, tile, fold, place) = (self.pe, self.tile, self.fold, self.place);
        let (sent, tx) = match *role {
            Role::Root(rx) => {
                let got = pe.poll_recv(net, Take { rx, tile, fold, status: Status::OnLane, place });
                self.at += u8::from(got.is_ready());
                return got.is_ready().then_some(());
            }
            Role::Inner(rx, tx) => {
                net.records[pe.id as usize].way = tx.way;
                (pe.start_combine(net, (rx, tx), tile, fold, place)?.0, tx)
            }
            Role::Leaf(tx) => (pe.begin_send(net, tx, tile, None, place)?, tx),
        };
        match sent {
            Sent::Open(ticket) => self.open = ticket,
            Sent::Left => self.open = tx.port | BY_PORT,
            Sent::Ended(end) => {
                pe.ends(net, end);
                net.records[pe.id as usize].way = NONE;
                self.at += 1;
                return Some(());
            }
        }
        self.await_end(net, role)
    }

    /// The end of the open send.
    #[inline]
    fn end(&mut self, net: &mut Net<Memory>, role: &Role) -> Option<()> {
        if self.open & BY_PORT != 0
            && let Some(end) = net.end_of(self.open)
        {
            let record = &mut net.records[self.pe.id as usize];
            record.now = record.now.max(end);
            return self.ended(record);
        }
        self.await_end(net, role)
    }

    /// The end of the open send, likely not known yet. Where the answer follows, the PE waits for both at once.
    #[inline]
    fn await_end(&mut self, net: &mut Net<Memory>, role: &Role) -> Option<()> {
        let (pe, place) = (self.pe, self.place);
        if let After::Back(rx, into) = self.after
            && usize::from(self.at) + 1 == self.roles.len()
            && !self.ends_first(net, rx, into)
        {
            return None;
        }
        let did = if matches!(role, Role::Inner(..)) { Did::Combine } else { Did::Send };
        if pe.poll_end(net, self.open, did, place).is_pending() {
            return None;
        }
        self.ended(&mut net.records[pe.id as usize])
    }

    #[inline(always)]
    fn ended(&mut self, record: &mut Record) -> Option<()> {
        (record.way, record.behind) = (NONE, NONE);
        (self.open, self.at) = (NONE, self.at + 1);
        Some(())
    }

    /// Is the last send to be waited for alone: has it ended, has the answer come, or is the answer's tile open, which
    /// is a fault at that end? Otherwise the PE waits for both at once.
    #[inline]
    fn ends_first(&self, net: &mut Net<Memory>, back: Rx, into: Tile) -> bool {
        let record = &mut net.records[self.pe.id as usize];
        record.behind = NONE;
        let (takeable, others) = (record.takeable > 0, record.is_open());
        if takeable {
            net.off_lane(back.0);
        }
        if net.end_of(self.open).is_some()
            || takeable && net.front(back.0).is_some()
            || others && is_open(net, self.pe.id, into)
        {
            return true;
        }
        let record = &mut net.records[self.pe.id as usize];
        record.block(Status::OnLane, back.0);
        (record.behind, record.place) = (self.open, Some(self.place));
        false
    }
}

impl Future for Relay<'_> {
    type Output = Option<Ticket>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Ticket>> {
        let pe = self.pe;
        let mut net = pe.part.net.borrow_mut();
        if pe.is_failed(&net) {
            return Poll::Pending;
        }
        let roles = self.roles;
        while let Some(role) = roles.get(usize::from(self.at)) {
            if let (Role::Leaf(tx), After::Posted) = (role, self.after) {
                drop(net);
                return Poll::Ready(Some(pe.post_send(*tx, self.tile)));
            }
            if self.play(&mut net, role).is_none() {
                return Poll::Pending;
            }
        }
        match self.after {
            After::Back(rx, into) => {
                let (fold, status, place) = (Fold::Set, Status::OnLane, self.place);
                pe.poll_recv(&mut net, Take { rx, tile: into, fold, status, place }).map(|_| None)
            }
            _ => Poll::Ready(None),
        }
    }
}
