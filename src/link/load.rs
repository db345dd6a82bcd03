//! How busy links are in short windows: colors share a link, and nothing arbitrates between them.
//!
//! A burst occupies its link for [departure, departure + Ser). In a window of `WINDOW` cycles the bursts of all colors
//! together can occupy it for longer than that: the excess is what a real link would have to delay.
//!
//! Invariant: uncharged and off unless asked for; a sum over bursts, so the order of the host shows in no result.
//! Filled by `pump`, read by `exec` between passes.

use super::burst::Burst;
use super::lane::{LaneFlags, Upstream};
use super::net::{Net, Store};
use super::ticket::NONE;

/// Cycles of a window.
pub const WINDOW: u64 = 256;

/// What the windows of one link came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkLoad {
    /// Cycles that the busiest window is occupied for.
    pub busiest: u64,
    /// First cycle of that window, the earliest one on ties.
    pub at: u64,
    /// Windows occupied for longer than they are.
    pub over: u64,
    /// Cycles beyond, all of those windows together.
    pub excess: u64,
}

impl LinkLoad {
    /// One window more.
    fn add(&mut self, start: u64, cycles: u64) {
        if cycles > self.busiest || cycles == self.busiest && start < self.at {
            (self.busiest, self.at) = (cycles, start);
        }
        self.over += u64::from(cycles > WINDOW);
        self.excess += cycles.saturating_sub(WINDOW);
    }

    /// Both together, the second one of a launch that began at cycle `from`.
    #[must_use]
    pub fn then(self, later: Self, from: u64) -> Self {
        let (busiest, at) = match later.busiest > self.busiest {
            true => (later.busiest, from + later.at),
            false => (self.busiest, self.at),
        };
        Self { busiest, at, over: self.over + later.over, excess: self.excess + later.excess }
    }
}

/// One link: its sums, and the windows that bursts may still come to, ascending, each with its occupied cycles.
#[derive(Debug, Default)]
struct Link {
    closed: LinkLoad,
    open: Vec<(u64, u64)>,
}

/// The links into the PEs of one worker, four a PE by the side that they enter.
#[derive(Debug, Default)]
pub struct Loads {
    links: Vec<Link>,
}

impl Loads {
    /// A burst departs at `start` for `cycles`, to PE `pe`, which it enters at `side`.
    pub fn note(&mut self, (pe, side): (u32, u8), start: u64, cycles: u64) {
        let link = 4 * pe as usize + usize::from(side);
        if link >= self.links.len() {
            self.links.resize_with(link + 1, Link::default);
        }
        let open = &mut self.links[link].open;
        let (mut from, end) = (start, start + cycles);
        while from < end {
            let window = from / WINDOW;
            let next = end.min((window + 1) * WINDOW);
            // Bursts come nearly in order: the place is at the back.
            let at = open.iter().rposition(|w| w.0 <= window);
            match at {
                Some(at) if open[at].0 == window => open[at].1 += next - from,
                _ => open.insert(at.map_or(0, |at| at + 1), (window, next - from)),
            }
            from = next;
        }
    }

    /// Sums up the windows that end by cycle `by`: no burst to come departs before it.
    pub fn close(&mut self, by: u64) {
        for link in &mut self.links {
            let ended = link.open.partition_point(|w| (w.0 + 1) * WINDOW <= by);
            link.open.drain(..ended).for_each(|(window, cycles)| link.closed.add(window * WINDOW, cycles));
        }
    }

    /// (PE, side, sums) of every link with traffic.
    pub fn links(&self) -> impl Iterator<Item = (u32, u8, LinkLoad)> {
        let sums = self.links.iter().map(|link| {
            let mut sums = link.closed;
            link.open.iter().for_each(|&(window, cycles)| sums.add(window * WINDOW, cycles));
            sums
        });
        let named = sums.enumerate().map(|(i, sums)| (i as u32 / 4, (i % 4) as u8, sums));
        named.filter(|link| link.2.busiest > 0)
    }
}

impl<S: Store> Net<S> {
    /// Counts from now on how busy links are in windows.
    pub fn count_loads(&mut self) {
        self.loads = Some(Box::default());
        (self.runs_on, self.is_swift) = (false, false);
    }

    /// How busy links are, if that is counted.
    pub fn loads(&mut self) -> Option<&mut Loads> {
        self.loads.as_deref_mut()
    }

    /// Counts a burst on the link that leads into a lane. A lane from the host has none; a crossing counts where it
    /// arrives.
    #[inline]
    pub(super) fn note_load(&mut self, id: u32, burst: &Burst) {
        let Some(loads) = &mut self.loads else { return };
        let lane = &self.lanes[id as usize];
        let is_host = matches!(lane.writer(), (Upstream::Port, port) if self.ports[port as usize].pe == NONE);
        if !is_host && !lane.flags.has(LaneFlags::REMOTE) {
            let departure = burst.head - u64::from(self.timing.alpha);
            loads.note((lane.reader, lane.side()), departure, self.timing.ser(burst.wavelets()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_are_spread_over_windows_and_what_is_over_is_counted() {
        let mut loads = Loads::default();
        loads.note((3, 1), 200, 100); // 56 in the first window, 44 in the second
        loads.note((3, 1), 0, 250); // of another color: 306 of 256
        loads.note((3, 2), 512, 256);
        let first = LinkLoad { busiest: 306, at: 0, over: 1, excess: 50 };
        let second = LinkLoad { busiest: 256, at: 512, over: 0, excess: 0 };
        assert_eq!(loads.links().collect::<Vec<_>>(), [(3, 1, first), (3, 2, second)]);
        loads.note((3, 1), 1024, 600);
        let all: Vec<_> = loads.links().collect();
        for by in [0, 255, 256, 300, 1024, 5000] {
            loads.close(by);
            assert_eq!(loads.links().collect::<Vec<_>>(), all, "closed by {by}");
        }
        assert!(loads.links.iter().all(|link| link.open.is_empty()));
    }

    #[test]
    fn ties_go_to_the_earliest_window() {
        for order in [[0, 512], [512, 0]] {
            let mut loads = Loads::default();
            order.iter().for_each(|start| loads.note((0, 0), *start, 10));
            assert_eq!(loads.links().next().map(|link| link.2.at), Some(0));
        }
    }
}
