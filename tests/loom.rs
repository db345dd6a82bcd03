//! loom runs the product's own links, rings, idle protocol and step loop, compiled a second time under loom's atomics.
//!
//! Two workers own two PEs each of a ring of four (0 -> 1 -> 2 -> 3 -> 0); lanes hold one burst. Where every send is a
//! rendezvous, credits and ends cross the workers; where bursts are short, credits alone. Every interleaving must give
//! the same verdict, words in the same order, and clocks: all interleavings within the preemption bound, their number
//! printed. `PLUMMER_LOOM_BOUND` sets another bound. `.ci/mutants` runs this file over planted defects.

#[path = "../src/link/mod.rs"]
#[allow(dead_code, unused_imports, unreachable_pub)]
mod link;

#[path = "../src/exec"]
#[allow(dead_code)]
mod exec {
    pub mod idle;
    pub mod step;
}

/// What `src/sync.rs` is in the product.
mod sync {
    pub use loom::cell::UnsafeCell;
    pub use loom::sync::Arc;
    pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

    pub fn spin() {
        loom::thread::yield_now();
    }

    pub fn yield_now() {
        loom::thread::yield_now();
    }
}

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use Op::{Receive, Send};
use exec::idle::Idle;
use exec::step::{Machine, run_pass};
use link::{
    BY_PORT, Lane, LaneFlags, Message, NONE, Net, NetBuilder, Port, Schedule, SendRequest, Sent, Span, Status, Store,
    Timing, Upstream, Work, ring,
};

/// Payload words without arenas: buffers are leased from a list.
struct Words(Vec<u32>);

impl Store for Words {
    fn words(&self, place: u32, words: usize) -> &[u32] {
        &self.0[place as usize..place as usize + words]
    }
    fn words_mut(&mut self, place: u32, words: usize) -> &mut [u32] {
        &mut self.0[place as usize..place as usize + words]
    }
    fn copy(&mut self, from: u32, to: u32, words: usize) {
        self.0.copy_within(from as usize..from as usize + words, to as usize);
    }
    fn buffer(&mut self, words: usize, _readers: u32) -> u32 {
        self.0.resize(self.0.len() + words, 0);
        (self.0.len() - words) as u32
    }
    fn release(&mut self, _place: u32) {}
}

#[derive(Clone, Copy)]
enum Op {
    Send,
    Receive,
}

/// Two PEs of the ring. Lane 0: into PE 0 from the other worker; lane 1: into PE 1; lane 2: out of PE 1, remote.
struct Half {
    net: Net<Words>,
    /// Sends are posted and then waited for, each with a ticket; else they block, and their ports keep the accounts.
    posts: bool,
    ops: [&'static [Op]; 2],
    at: [usize; 2],
    open: [Option<u32>; 2],
    /// Bursts sent and taken so far: words tell them apart.
    sent: [u32; 2],
    taken: [u32; 2],
}

/// What the burst number `at` of a half's PE `pe` holds.
fn word(pe: u32, at: u32) -> u32 {
    7 + pe + 16 * at
}

fn half(
    queue_wavelets: u32,
    other: u8,
    ops: [&'static [Op]; 2],
    producer: link::Producer,
    consumer: link::Consumer,
) -> Half {
    let timing = Timing {
        alpha: 1,
        ramp: 2,
        turn: 0,
        ser_num: 1,
        ser_den: 1,
        issue: 0,
        stage: 1,
        lane_depth: 1,
        queue_wavelets,
    };
    let mut lanes = vec![Lane::new(), Lane::new(), Lane::new()];
    for (id, lane) in lanes.iter_mut().enumerate().take(2) {
        lane.flags.0 = LaneFlags::RAMP;
        (lane.reader, lane.path) = (id as u32, 1);
    }
    lanes[0].feed(Upstream::Worker, 2, other);
    lanes[1].feed(Upstream::Port, 0, 0);
    lanes[2].flags.0 = LaneFlags::REMOTE;
    lanes[2].feed(Upstream::Port, 1, other);
    (lanes[2].reader, lanes[2].path) = (0, 1); // the one sink behind the crossing answers
    let ports = (0..2)
        .map(|pe| {
            let mut port = Port::new(pe);
            port.add_out(pe + 1);
            port.answers = 1;
            port
        })
        .collect();
    let (mut producers, mut consumers) = (vec![None, None], vec![None, None]);
    producers[usize::from(other)] = Some(producer);
    consumers[usize::from(other)] = Some(consumer);
    let parts = NetBuilder { lanes, ports, pes: 2, producers, consumers };
    let net = Net::new(timing, Schedule::DepthFirst, false, Words(vec![7, 8]), parts);
    Half { net, posts: other == 0, ops, at: [0; 2], open: [None; 2], sent: [0; 2], taken: [0; 2] }
}

impl Half {
    /// A send, or what is left of it; `false` while it has not ended.
    fn send(&mut self, pe: u32) -> bool {
        let (p, tile) = (pe as usize, Span { place: pe, words: 1 });
        let open = self.open[p].unwrap_or_else(|| {
            self.net.store.0[p] = word(pe, self.sent[p]);
            self.sent[p] += 1;
            let (ready, depth) = (self.net.records[p].now, self.net.records[p].depth + 1);
            let request = SendRequest { pe, port: pe, place: pe, words: 1, ctrl: None, ready, min_tail: 0, depth };
            if self.posts {
                return self.net.post_tile(pe, pe, tile).unwrap_or_else(|| self.net.post_send(request));
            }
            match self.net.send_tile(pe, pe, tile).unwrap_or_else(|| self.net.send(request)) {
                Sent::Open(ticket) => ticket,
                Sent::Left | Sent::Ended(_) => pe | BY_PORT,
            }
        });
        self.open[p] = Some(open);
        let Some(end) = self.net.end_of(open) else {
            if open & BY_PORT != 0 {
                self.net.await_port(pe, pe);
                return false;
            }
            (self.net.tickets[open].awaited, self.net.records[p].awaits) = (true, 1);
            self.net.records[p].block(Status::OnTicket, open);
            return false;
        };
        if open & BY_PORT == 0 {
            self.net.close(pe, open);
        }
        self.open[p] = None;
        self.net.records[p].now = self.net.records[p].now.max(end);
        true
    }

    /// A receive; `false` while there is nothing.
    fn receive(&mut self, pe: u32) -> bool {
        let p = pe as usize;
        let (tile, expect) = (Span { place: pe, words: 1 }, word(1 - pe, self.taken[p]));
        let check = |store: &mut Words, from: u32| {
            assert_eq!(store.words(from, 1)[0], expect, "the neighbour's words, in order");
        };
        let got = self.net.receive(pe, pe, tile, check).is_some();
        if got {
            self.taken[p] += 1;
        } else {
            assert!(self.net.front(pe).is_none());
            self.net.records[p].block(Status::OnLane, pe);
        }
        got
    }

    /// Runs one PE until it blocks or ends.
    fn run(&mut self, pe: u32) {
        let p = pe as usize;
        while let Some(op) = self.ops[p].get(self.at[p]) {
            match op {
                Op::Send if !self.send(pe) => return,
                Op::Receive if !self.receive(pe) => return,
                _ => {}
            }
            self.at[p] += 1;
        }
        self.net.records[p].block(Status::Finished, NONE);
    }
}

impl Machine for Half {
    fn work(&mut self, budget: u32) -> bool {
        for _ in 0..budget {
            match self.net.next_work() {
                None => return false,
                Some(Work::Moved) => {}
                Some(Work::Run(pe)) => self.run(pe),
            }
        }
        true
    }
    fn flush(&mut self) -> bool {
        self.net.flush()
    }
    fn incoming(&self) -> bool {
        self.net.incoming()
    }
    fn poll(&mut self) -> u64 {
        self.net.poll()
    }
    fn traffic(&self) -> (u64, u64) {
        self.net.traffic()
    }
    fn rest(&mut self) {
        self.net.publish_reads();
    }
}

/// What is explored.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    /// Wavelets that are buffered by value; 0: every send is a rendezvous.
    queue: u32,
    /// Preemptions, at most: the largest program is not explored further (half a minute at 2, many at 3).
    most: usize,
    programs: [&'static [Op]; 4],
    expect: [Status; 4],
}

/// Preemptions, at most (design.md section 5).
fn bound() -> usize {
    std::env::var("PLUMMER_LOOM_BOUND").ok().and_then(|s| s.parse().ok()).unwrap_or(3)
}

/// Every interleaving of one program: verdict and clocks of all four PEs.
fn explore(case: Case) {
    let Case { name, queue, programs, expect, most } = case;
    let bound = bound().min(most);
    let clocks: std::sync::Arc<Mutex<Option<[u64; 4]>>> = std::sync::Arc::default();
    let iterations = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&iterations);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.max_branches = 20_000;
    let start = std::time::Instant::now();
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let ((to_b, from_a), (to_a, from_b)) = (ring(8), ring(8));
        let idle = sync::Arc::new(Idle::new(2));
        let shared = sync::Arc::clone(&idle);
        let other = loom::thread::spawn(move || {
            let mut b = half(queue, 0, [programs[2], programs[3]], to_a, from_a);
            run_pass(&mut b, 1, &shared);
            [0, 1].map(|p: usize| (b.net.records[p].status, b.net.records[p].now))
        });
        let mut a = half(queue, 1, [programs[0], programs[1]], to_b, from_b);
        run_pass(&mut a, 0, &idle);
        let ours = [0, 1].map(|p: usize| (a.net.records[p].status, a.net.records[p].now));
        let theirs = other.join().expect("the other worker");
        let all = [ours[0], ours[1], theirs[0], theirs[1]];
        assert_eq!(all.map(|r| r.0), expect);
        let now = all.map(|r| r.1);
        let mut first = clocks.lock().expect("one model at a time");
        assert_eq!(*first.get_or_insert(now), now, "clocks do not depend on the interleaving");
    });
    let (n, took) = (iterations.load(Ordering::Relaxed), start.elapsed().as_secs_f64());
    println!("{name}: all {n} interleavings of preemption bound {bound}, {took:.1} s");
}

const FINISHED: [Status; 4] = [Status::Finished; 4];
const ROUND: [&[Op]; 4] = [&[Send, Receive], &[Receive, Send], &[Receive, Send], &[Receive, Send]];

// One test a program, so that two run at a time, the longest first by name.

#[test]
fn a_routed_ring_hands_two_short_bursts_on_with_one_credit() {
    let programs: [&[Op]; 4] = [&[], &[Send, Send], &[Receive, Receive], &[]];
    explore(Case { name: "two short bursts on one credit", queue: 8, most: 9, programs, expect: FINISHED });
}

#[test]
fn a_routed_ring_passes_a_token_half_way_by_rendezvous() {
    let programs: [&[Op]; 4] = [&[Send], &[Receive, Send], &[Receive], &[]];
    explore(Case { name: "token half way, rendezvous", queue: 0, most: 9, programs, expect: FINISHED });
}

#[test]
fn a_routed_ring_passes_a_token_half_way_with_tickets() {
    let programs: [&[Op]; 4] = [&[Receive], &[], &[Send], &[Receive, Send]];
    explore(Case { name: "token half way, posted", queue: 0, most: 9, programs, expect: FINISHED });
}

#[test]
fn a_routed_ring_passes_a_token_round_by_rendezvous() {
    let name = "token goes round, rendezvous";
    explore(Case { name, queue: 0, most: 2, programs: ROUND, expect: FINISHED });
}

#[test]
fn a_routed_ring_passes_a_token_round_in_short_bursts() {
    explore(Case { name: "token goes round, short", queue: 8, most: 9, programs: ROUND, expect: FINISHED });
}

#[test]
fn a_routed_ring_stalls_alike_where_everybody_receives_first() {
    let (programs, expect) = ([&[Receive, Send][..]; 4], [Status::OnLane; 4]);
    explore(Case { name: "everybody receives first", queue: 0, most: 9, programs, expect });
}

#[test]
fn a_routed_ring_stalls_alike_where_everybody_sends_first() {
    let programs = [&[Send, Receive][..]; 4];
    let expect = [Status::OnSend, Status::OnSend, Status::OnTicket, Status::OnTicket];
    explore(Case { name: "everybody sends first, longer than the queues", queue: 0, most: 9, programs, expect });
}

/// A message of several lines is seen whole or not at all, also when the ring wraps.
#[test]
fn a_ring_hands_messages_over_whole() {
    loom::model(|| {
        let (mut tx, mut rx) = ring(4);
        let message = |lane| Message::Burst {
            lane,
            burst: link::Burst { words: 20, ..link::Burst::default() },
            answers: 1,
            wet: true,
        };
        let writer = loom::thread::spawn(move || {
            for lane in 0..2u32 {
                let payload: Vec<u32> = (0..20).map(|i| i + lane).collect();
                while !tx.push(&message(lane).encode(), &payload) {
                    loom::thread::yield_now();
                }
            }
        });
        let mut words = Vec::new();
        for lane in 0..2u32 {
            let got = loop {
                match rx.pop(&mut words) {
                    Some(got) => break got,
                    None => loom::thread::yield_now(),
                }
            };
            assert_eq!(got, message(lane));
            assert!(words.iter().enumerate().all(|(i, w)| *w == i as u32 + lane));
            rx.publish();
        }
        writer.join().expect("the writer");
    });
}

/// What one look at the desks would get wrong: while worker 0 looks at desk 1 and then at desk 2, worker 2 writes to 1,
/// which answers 2 and then writes to 0. Seen in that order the desks can show one message sent and one received, with
/// the last one to come. (Each worker looks once: with three of them, loom lets two that wait for each other go on for
/// ever.)
#[test]
fn a_message_behind_the_back_of_a_scan_is_no_quiescence() {
    static ITERATIONS: AtomicUsize = AtomicUsize::new(0);
    let start = std::time::Instant::now();
    loom::model(|| {
        ITERATIONS.fetch_add(1, Ordering::Relaxed);
        let idle = sync::Arc::new(Idle::new(3));
        let message = Message::Freed { lane: 0, time: 0 }.encode();
        let ((mut to_one, mut from_two), (mut to_two, mut from_one), (mut to_zero, mut from)) =
            (ring(1), ring(1), ring(1));
        idle.enter(1, (0, 0));
        let desks = sync::Arc::clone(&idle);
        let one = loom::thread::spawn(move || {
            if from_two.ready() {
                desks.leave(1);
                assert!(from_two.pop(&mut Vec::new()).is_some());
                assert!(to_two.push(&message, &[]) && to_zero.push(&message, &[]), "room for one");
                desks.enter(1, (2, 1));
            }
        });
        let desks = sync::Arc::clone(&idle);
        let two = loom::thread::spawn(move || {
            assert!(to_one.push(&message, &[]), "room for one");
            let received = u64::from(from_one.pop(&mut Vec::new()).is_some());
            desks.enter(2, (1, received));
        });
        let mine = idle.enter(0, (0, 0));
        assert!(!idle.is_quiescent(0, mine), "a message for worker 0 is under way or will be");
        one.join().expect("worker 1");
        two.join().expect("worker 2");
        let _ = from.pop(&mut Vec::new());
    });
    let (n, took) = (ITERATIONS.load(Ordering::Relaxed), start.elapsed().as_secs_f64());
    println!("a message behind the back of a scan: all {n} interleavings, {took:.1} s");
}
