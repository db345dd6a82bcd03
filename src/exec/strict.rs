//! The strict dry run: recorded operations, replayed on a fabric that buffers nothing.          (design.md section 3)
//!
//! A burst is *emitted* when its sender has asked for it and the burst before it on the color is complete. A sink has
//! *begun* when it has asked for the burst, too; a combine then asks for its own burst, and counts as begun once all
//! sinks of that one have. A burst is *complete* when all its sinks have begun and, if a combine emitted it, the burst
//! that feeds it is complete. Sends, receives, combines and joins end when their burst is complete, and not before.
//!
//! ```text
//!   asked --previous complete--> emitted --all sinks begun, feed complete--> complete --> the next is emitted
//!              sink: waiting --receive asked--> begun
//!                            --combine asked--> combining --all sinks of its own burst begun--> begun
//! ```
//! So a color holds at most one burst at a time: lanes, their depth, lengths and times play no part, and a verdict
//! covers all of them.
//!
//! Invariant: every wait is for all of a set of events that never unhappen, so the final state does not depend on the
//! order in which events are taken up. Called by `check`; `strict_waits` reads what is left.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::link::{LaneFlags, NONE, Net, Store};
use crate::pe::{Step, Traced};

/// One color below one ramp (or host lane): a port and its sinks.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// Sender; `NONE`: the host.
    pub(super) pe: u32,
    /// Ramp lanes.
    pub(super) sinks: Vec<u32>,
    /// Bursts asked for.
    pub(super) asked: u32,
    pub(super) emitted: u32,
    pub(super) complete: u32,
    /// Sinks of the burst under way that have not begun.
    pub(super) late: u32,
    /// Lane whose burst feeds the one under way; `NONE`: no combine emitted it.
    pub(super) feed: u32,
    /// Which burst there.
    pub(super) feed_at: u32,
    /// Feeds of the bursts that were asked for and not emitted.
    queue: VecDeque<u32>,
    /// Ports whose bursts this one feeds.
    feeds: Vec<u32>,
}

/// The end of a tree at a compute element.
#[derive(Debug, Default)]
pub(super) struct Sink {
    pub(super) tree: u32,
    pub(super) pe: u32,
    /// Receives asked for.
    pub(super) asked: u32,
    /// Bursts that met their receive.
    pub(super) met: u32,
    /// Bursts begun.
    pub(super) begun: u32,
    /// Port of the combine that has met its burst and not begun; `NONE` otherwise.
    pub(super) combining: u32,
    /// Receives that wait for their burst: port of a combine, or `NONE`.
    queue: VecDeque<u32>,
}

/// A program, replayed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Actor {
    /// Next step.
    pub(super) at: usize,
    /// Was it asked for? Then it waits for burst `awaits.1` of tree `awaits.0`.
    pub(super) waits: bool,
    pub(super) awaits: (u32, u32),
}

#[derive(Clone, Copy)]
enum Event {
    /// A program may go on.
    Advance(u32),
    /// A port may emit.
    Emit(u32),
    /// The burst under way on a port may be complete.
    Complete(u32),
    /// A sink has begun.
    Begun(u32),
}

/// See the module.
pub(super) struct Strict {
    pub(super) trees: Vec<Tree>,
    pub(super) sinks: Vec<Sink>,
    pub(super) actors: Vec<Actor>,
    events: Vec<Event>,
}

impl Strict {
    /// The trees of a wafer that is one part.
    pub(super) fn new<S: Store>(net: &Net<S>) -> Self {
        let mut sinks: Vec<Sink> = Vec::new();
        sinks.resize_with(net.lanes.len(), || Sink { tree: NONE, combining: NONE, ..Sink::default() });
        let mut trees = Vec::with_capacity(net.ports.len());
        for (id, port) in net.ports.iter().enumerate() {
            let mut tree = Tree { pe: port.pe, feed: NONE, ..Tree::default() };
            let mut open = port.outs[..usize::from(port.n_outs)].to_vec();
            while let Some(at) = open.pop() {
                let lane = &net.lanes[at as usize];
                if lane.flags.has(LaneFlags::RAMP) {
                    (sinks[at as usize].tree, sinks[at as usize].pe) = (id as u32, lane.reader);
                    tree.sinks.push(at);
                }
                open.extend(&lane.outs[..usize::from(lane.n_outs)]);
            }
            trees.push(tree);
        }
        Self { trees, sinks, actors: vec![Actor::default(); net.records.len()], events: Vec::new() }
    }

    /// Replays `steps` (by PE), after one send of each port in `host`, until nothing moves.
    pub(super) fn run(&mut self, steps: &[Vec<Traced>], host: &[u32]) {
        self.actors.fill(Actor::default());
        host.iter().for_each(|port| self.ask_send(*port, NONE));
        for pe in (0..steps.len() as u32).rev() {
            self.events.push(Event::Advance(pe));
        }
        while let Some(event) = self.events.pop() {
            match event {
                Event::Advance(pe) => self.advance(pe, &steps[pe as usize]),
                Event::Emit(port) => self.emit(port),
                Event::Complete(port) => self.complete(port),
                Event::Begun(lane) => self.begun(lane),
            }
        }
    }

    /// Are there no bursts and no receives under way?
    pub(super) fn is_clean(&self) -> bool {
        self.trees.iter().all(|t| t.complete == t.asked) && self.sinks.iter().all(|s| s.begun == s.asked)
    }

    /// Bursts that were asked for and are not complete.
    pub(super) fn left(&self) -> impl Iterator<Item = &Tree> {
        self.trees.iter().filter(|t| t.complete < t.asked)
    }

    fn advance(&mut self, pe: u32, steps: &[Traced]) {
        loop {
            let actor = self.actors[pe as usize];
            let Some((step, _)) = steps.get(actor.at) else { return };
            if !actor.waits {
                let awaits = self.ask(*step);
                // A combine that met its burst already waits for its own.
                let actor = &mut self.actors[pe as usize];
                actor.waits = true;
                actor.awaits = awaits;
                if let Step::Combine { lane, .. } = step {
                    self.meet(*lane);
                }
            }
            let (tree, at) = self.actors[pe as usize].awaits;
            if tree != NONE && self.trees[tree as usize].complete <= at {
                return;
            }
            let actor = &mut self.actors[pe as usize];
            (actor.at, actor.waits) = (actor.at + 1, false);
        }
    }

    /// Starts an operation; the burst that its end waits for, `NONE` where it ends at once.
    fn ask(&mut self, step: Step) -> (u32, u32) {
        const AT_ONCE: (u32, u32) = (NONE, 0);
        match step {
            Step::PostSend(port) => {
                self.ask_send(port, NONE);
                AT_ONCE
            }
            Step::PostRecv(lane) => {
                self.ask_receive(lane, NONE);
                self.meet(lane);
                AT_ONCE
            }
            Step::Send(port) => {
                self.ask_send(port, NONE);
                (port, self.trees[port as usize].asked - 1)
            }
            Step::Recv(lane) => {
                let at = self.ask_receive(lane, NONE);
                self.meet(lane);
                at
            }
            Step::Combine { lane, port } => self.ask_receive(lane, port),
            Step::JoinSend { port, back } => {
                let asked = self.trees[port as usize].asked;
                asked.checked_sub(back).map_or(AT_ONCE, |at| (port, at))
            }
            Step::JoinRecv { lane, back } => {
                let sink = &self.sinks[lane as usize];
                sink.asked.checked_sub(back).map_or(AT_ONCE, |at| (sink.tree, at))
            }
        }
    }

    fn ask_send(&mut self, port: u32, feed: u32) {
        let tree = &mut self.trees[port as usize];
        tree.asked += 1;
        tree.queue.push_back(feed);
        self.events.push(Event::Emit(port));
    }

    fn ask_receive(&mut self, lane: u32, combine: u32) -> (u32, u32) {
        let sink = &mut self.sinks[lane as usize];
        sink.asked += 1;
        sink.queue.push_back(combine);
        (sink.tree, sink.asked - 1)
    }

    fn emit(&mut self, port: u32) {
        let tree = &mut self.trees[port as usize];
        if tree.emitted > tree.complete {
            return;
        }
        let Some(feed) = tree.queue.pop_front() else { return };
        tree.emitted += 1;
        (tree.feed, tree.late) = (feed, tree.sinks.len() as u32);
        if feed != NONE {
            tree.feed_at = self.sinks[feed as usize].met - 1;
        }
        for i in 0..self.trees[port as usize].sinks.len() {
            self.meet(self.trees[port as usize].sinks[i]);
        }
    }

    /// Brings the burst under way and the next receive together, if both are there.
    fn meet(&mut self, lane: u32) {
        let sink = &mut self.sinks[lane as usize];
        if sink.tree == NONE || self.trees[sink.tree as usize].emitted <= sink.met {
            return;
        }
        let Some(combine) = sink.queue.pop_front() else { return };
        sink.met += 1;
        if combine == NONE {
            return self.events.push(Event::Begun(lane));
        }
        let (pe, tree) = (sink.pe, sink.tree);
        sink.combining = combine;
        self.trees[tree as usize].feeds.push(combine);
        self.ask_send(combine, lane);
        self.actors[pe as usize].awaits = (combine, self.trees[combine as usize].asked - 1);
    }

    fn begun(&mut self, lane: u32) {
        let sink = &mut self.sinks[lane as usize];
        sink.begun += 1;
        sink.combining = NONE;
        let port = sink.tree;
        let tree = &mut self.trees[port as usize];
        tree.late -= 1;
        if tree.late > 0 {
            return;
        }
        if tree.feed != NONE {
            self.events.push(Event::Begun(tree.feed));
        }
        self.events.push(Event::Complete(port));
    }

    fn complete(&mut self, port: u32) {
        let tree = &self.trees[port as usize];
        if tree.emitted == tree.complete || tree.late > 0 {
            return;
        }
        if tree.feed != NONE {
            let from = self.sinks[tree.feed as usize].tree;
            if self.trees[from as usize].complete <= tree.feed_at {
                return;
            }
        }
        let tree = &mut self.trees[port as usize];
        tree.complete += 1;
        self.events.push(Event::Emit(port));
        self.events.extend(tree.feeds.drain(..).map(Event::Complete));
        if tree.pe != NONE {
            self.events.push(Event::Advance(tree.pe));
        }
        let readers = tree.sinks.iter().map(|lane| Event::Advance(self.sinks[*lane as usize].pe));
        self.events.extend(readers);
    }
}

/// What tells two passes apart: two with equal hashes ask the same of every PE, whatever the lengths.
pub(super) fn shape_of(steps: &[Vec<Traced>], host: &[u32]) -> u64 {
    let mut hasher = DefaultHasher::new();
    host.hash(&mut hasher);
    for pe in steps {
        pe.len().hash(&mut hasher);
        pe.iter().for_each(|(step, _)| step.hash(&mut hasher));
    }
    hasher.finish()
}
