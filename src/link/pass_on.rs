//! Exchanges that stand on tracks are joined, and posted again with the blocks that came: a step of a PE on a ring, or
//! between two rings, in one piece.
//!
//! Invariant: the caller joins an exchange before it posts the next one on the same port, so these tickets are the last
//! ones on their tracks. One that has ended there has as many words as it asked for: a misfit leaves the track.
//! Invariant: what is left behind is what `join` and as many `exchange` would leave behind. `Passed::Not` changes
//! nothing.
//! Called by `pe::post` for moves of traded tiles.

use super::net::{Net, Store};
use super::record::Status;
use super::ticket::{NONE, TicketKind, TicketState};

/// What has become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed<const N: usize> {
    /// Done: where the tiles of the joined operations lie, in their order.
    On([u32; N]),
    /// The PE waits for the ends of all.
    Waits,
    /// It is not as it mostly is: to be done one after the other.
    Not,
}

impl<S: Store> Net<S> {
    /// `ids`: send and receive of one exchange, and of another one or none. What came on each is sent on, and where the
    /// block was that was sent, one of `coming` words is received. `software`: cycles that the PE computes in between.
    #[inline(always)]
    pub fn pass_on<const N: usize>(&mut self, pe: u32, ids: &[u32; N], coming: [u32; 2], software: u64) -> Passed<N> {
        let all = (1u8 << N) - 1;
        let record = &self.records[pe as usize];
        let first = record.tickets;
        let are_all = record.open == all && record.standing & all == all && first != NONE;
        if !self.is_swift || !are_all || *ids != std::array::from_fn(|at| first + at as u32) {
            return Passed::Not;
        }
        let tickets = self.tickets.some::<N>(first);
        if tickets.iter().any(|t| t.state != TicketState::Done) {
            self.await_these::<N>(pe, first);
            return Passed::Waits;
        }
        let (mut now, mut depth) = (record.now, record.depth);
        let shortest = self.timing.queue_wavelets;
        for (at, ([sent, taken], coming)) in tickets.as_chunks::<2>().0.iter().zip(coming).enumerate() {
            // The caller gives what `exchange` gave: a send and a receive.
            debug_assert!(sent.kind == TicketKind::Send && taken.kind == TicketKind::Receive);
            debug_assert!(self.are_last([sent.track(), taken.track()], first + 2 * at as u32));
            debug_assert_eq!(taken.next, u32::from(taken.words));
            let may_trade = sent.hands_over & taken.hands_over;
            let is_long = u32::from(taken.words) > shortest;
            let fits = coming.wrapping_sub(1) < sent.ctrl.position;
            if !(may_trade & is_long & fits) {
                return Passed::Not;
            }
            depth = depth.max(taken.tally);
            now = now.max(sent.end).max(taken.end);
        }
        now += software;
        let issue = u64::from(self.timing.issue);
        let (mut order, mut hull) = (self.tickets.posted, [u32::MAX, 0]);
        let (mut lie, mut tracks) = ([0; N], [0; N]);
        self.tickets.posted = order.wrapping_add(N as u32);
        let tickets = self.tickets.some_mut::<N>(first);
        for (at, ([sent, taken], coming)) in tickets.as_chunks_mut::<2>().0.iter_mut().zip(coming).enumerate() {
            now += issue;
            (lie[2 * at], lie[2 * at + 1]) = (sent.lies(), taken.lies());
            (tracks[2 * at], tracks[2 * at + 1]) = (sent.track(), taken.track());
            let (here, sizes) = (taken.words, (sent.ctrl.position, taken.ctrl.position));
            sent.renew((lie[2 * at + 1], here), sizes.1, now, order);
            sent.tally = depth + 1;
            taken.renew((lie[2 * at], coming as u16), sizes.0, now, order.wrapping_add(1));
            order = order.wrapping_add(2);
            for t in [sent, taken] {
                hull = [hull[0].min(t.place), hull[1].max(t.place + u32::from(t.words))];
            }
        }
        let record = &mut self.records[pe as usize];
        (record.now, record.depth, record.hull) = (now, depth, hull);
        record.busy += software + (N as u64 / 2) * issue;
        for (at, [on, ends_on]) in tracks.as_chunks::<2>().0.iter().enumerate() {
            let ticket = first + 2 * at as u32;
            self.give_on(*on, ticket);
            self.ask_on(*ends_on, ticket + 1, pe);
        }
        self.settle();
        Passed::On(lie)
    }

    /// A PE waits for the `N` tickets from `first` on, which stand on tracks: none of them ends in a fault.
    #[inline(always)]
    fn await_these<const N: usize>(&mut self, pe: u32, first: u32) {
        let (mut awaits, mut on) = (0, NONE);
        for (at, t) in self.tickets.some_mut::<N>(first).iter_mut().enumerate().rev() {
            t.awaited = true;
            if t.state != TicketState::Done {
                (awaits, on) = (awaits + 1, first + at as u32);
            }
        }
        debug_assert_ne!(on, NONE);
        let record = &mut self.records[pe as usize];
        record.block(Status::OnTicket, on);
        record.awaits = awaits;
    }
}
