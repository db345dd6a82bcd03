//! Exact quiescence: when no worker can move and no message is under way.
//!
//! ```text
//!   active --nothing to do: publish counts--> idle --a message came: leave--> active
//!                                             idle --two equal scans--------> quiescent (all workers see it)
//! ```
//! A worker publishes how many messages it has sent and received, then that it is idle. Whoever is idle scans: all
//! idle and sums equal, twice with the same values in between; then no message was under way between the scans
//! (Mattern's four-counter argument), and nothing can start one.
//!
//! Invariant: `epoch` is odd while idle, and counts every transition, so equal epochs mean "idle all the time".

use crate::sync::{AtomicU64, Ordering};

#[repr(align(256))]
struct Desk {
    epoch: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

/// The idle desks of all workers, and the last pass that was found quiescent.
pub struct Idle {
    desks: Box<[Desk]>,
    quiescent: AtomicU64,
}

impl Idle {
    /// Desks for `workers` active workers.
    pub fn new(workers: usize) -> Self {
        let desk = |_| Desk { epoch: AtomicU64::new(0), sent: AtomicU64::new(0), received: AtomicU64::new(0) };
        Self { desks: (0..workers).map(desk).collect(), quiescent: AtomicU64::new(0) }
    }

    /// Worker `me` has nothing to do; it has sent and received so many messages.
    pub fn enter(&self, me: usize, (sent, received): (u64, u64)) {
        let desk = &self.desks[me];
        // Release: pair with the Acquires in `scan`. A scan that sees a new count sees the `leave` before it too: its
        // second round finds another epoch (loom found the stale epoch beside a new count that Relaxed allows).
        desk.sent.store(sent, Ordering::Release);
        desk.received.store(received, Ordering::Release);
        let epoch = desk.epoch.load(Ordering::Relaxed);
        // Release: pairs with the Acquire in `scan`; the counts are those of this epoch.
        desk.epoch.store(epoch | 1, Ordering::Release);
    }

    /// Worker `me` is about to take a message and is active again; or the host, while all workers wait for commands,
    /// calls this for every one of them before it sends the first.
    pub fn leave(&self, me: usize) {
        let desk = &self.desks[me];
        let epoch = desk.epoch.load(Ordering::Relaxed);
        if epoch & 1 == 1 {
            // Release: pairs with the Acquire in `scan`. A scan that sees a message of ours counted as received sees
            // this too: the receiver's Acquire on the ring follows our Release there, which follows this store.
            desk.epoch.store(epoch + 1, Ordering::Release);
        }
    }

    /// A worker is gone (it panicked): nothing is quiescent any more, but whoever is idle shall not wait for it.
    pub fn abandon(&self) {
        // Release: pairs with the Acquire in `is_quiescent`. Nobody stores a pass after this: a scan needs all desks
        // idle and this worker was active.
        self.quiescent.store(u64::MAX, Ordering::Release);
    }

    fn scan(&self) -> Option<(u64, u64, u64)> {
        let (mut epochs, mut sent, mut received) = (0u64, 0, 0);
        for desk in &self.desks {
            // Acquire: pairs with the Release in `enter` and `leave`.
            let epoch = desk.epoch.load(Ordering::Acquire);
            if epoch & 1 == 0 {
                return None;
            }
            epochs += epoch;
            sent += desk.sent.load(Ordering::Acquire);
            received += desk.received.load(Ordering::Acquire);
        }
        Some((epochs, sent, received))
    }

    /// Is everything quiescent in pass `pass`? To be asked by an idle worker.
    pub fn is_quiescent(&self, pass: u64) -> bool {
        // Acquire: pairs with the Release below, by whoever scanned first.
        if self.quiescent.load(Ordering::Acquire) >= pass {
            return true;
        }
        let Some(first) = self.scan() else { return false };
        if first.1 != first.2 || self.scan() != Some(first) {
            return false;
        }
        self.quiescent.store(pass, Ordering::Release);
        true
    }
}
