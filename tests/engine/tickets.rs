//! Tickets: a tile under an open one is untouchable (only computing may read what an open send reads: `open_send.rs`),
//! at most eight are open, and what is legal runs.
//!
//! Two PEs; PE (0, 0) misuses its tiles in every way that there is. A fault names both tiles, and is the same text at
//! every worker count and schedule.

use plummer::arena::{Owner, Tile};
use plummer::exec::{PassError, RunOptions, Wafer};
use plummer::fabric::{Chip, Layout, TileDecl, TileId};
use plummer::link::Schedule;
use plummer::pe::{After, Fault, FaultKind, Fold, Kernel, Pe, Role, Rx, Ticket, Tx};
use plummer::units::{Color, Coord, Cycles};

const A: Coord = Coord::new(0, 0);
const B: Coord = Coord::new(1, 0);
const THERE: Color = Color(0);
const BACK: Color = Color(1);
/// Words of a burst: longer than the queues, so that a posted send stays in flight.
const W: usize = 12;

/// What PE A does, in order.
#[derive(Clone, Copy, Debug)]
enum Step {
    PostSend(Words),
    PostRecv(Words),
    Send(Words),
    Recv(Words),
    Combine(Words),
    /// Sends the first, takes what comes back into the second, as one operation of the host.
    Ask(Words, Words),
    Read(Words),
    Write(Words),
    Join,
}
use Step::{Ask, Combine, Join, PostRecv, PostSend, Read, Recv, Send, Write};

/// Words of tile `x` (12 words from 0) or `y` (12 words from 0 of another tile).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Words(char, usize, usize);

const X: Words = Words('x', 0, W);
const Y: Words = Words('y', 0, W);

#[derive(Clone)]
struct Misuse {
    steps: Vec<Step>,
    /// Bursts that PE B sends and takes, in turn.
    gives: usize,
    takes: usize,
}

impl Kernel for Misuse {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        if pe.coord() == B {
            let (out, back, tile) = (pe.rx(THERE), pe.tx(BACK), pe.tile(TileId(0)));
            for i in 0..self.gives.max(self.takes) {
                if i < self.gives {
                    pe.send(back, tile).await;
                }
                if i < self.takes {
                    pe.recv(out, tile).await;
                }
            }
            return;
        }
        let (tx, rx): (Tx, Rx) = (pe.tx(THERE), pe.rx(BACK));
        let tile = |w: Words| -> Tile { pe.tile(TileId(u16::from(w.0 == 'y'))).slice(w.1, w.2) };
        let mut tickets: Vec<Ticket> = Vec::new();
        for step in &self.steps {
            match *step {
                PostSend(w) => tickets.push(pe.post_send(tx, tile(w))),
                PostRecv(w) => tickets.push(pe.post_recv(rx, tile(w))),
                Send(w) => pe.send(tx, tile(w)).await,
                Recv(w) => {
                    pe.recv(rx, tile(w)).await;
                }
                Combine(w) => {
                    pe.combine(rx, tx, tile(w), Fold::Add).await;
                }
                Ask(w, back) => {
                    pe.relay(&[Role::Leaf(tx)], tile(w), Fold::Set, After::Back(rx, tile(back))).await;
                }
                Read(w) => pe.compute(Cycles(1), |v| {
                    std::hint::black_box(v.words(tile(w)));
                }),
                Write(w) => pe.compute(Cycles(1), |v| v.words_mut([tile(w)])[0][0] += 1),
                Join => {
                    for ticket in tickets.drain(..) {
                        pe.join(ticket).await;
                    }
                }
            }
        }
    }
}

fn run(kernel: &Misuse, workers: usize, schedule: Schedule) -> Result<(), PassError> {
    let mut layout = Layout::default();
    layout.line(THERE, A, B, false).unwrap();
    layout.line(BACK, B, A, false).unwrap();
    layout.pe(B).share = 32768;
    for (pe, names) in [(A, &["x tile", "y tile"][..]), (B, &["b tile"])] {
        for (i, name) in names.iter().enumerate() {
            let (id, owner) = (TileId(i as u16), Owner::Activations);
            layout.tile(pe, TileDecl { id, name, owner, bytes: 4 * W as u32, visit: 0 });
        }
    }
    let chip = Chip::preset("wse2").unwrap();
    let options = RunOptions { schedule, ..RunOptions::new(workers) };
    Wafer::launch(kernel.clone(), layout, &chip, &options, |_, _, _| {}).unwrap().run(&[])
}

/// The one outcome of all worker counts and schedules.
fn outcome(steps: &[Step], gives: usize, takes: usize) -> Result<(), Fault> {
    let kernel = Misuse { steps: steps.to_vec(), gives, takes };
    let mut all = Vec::new();
    for workers in [1, 2, 3] {
        for schedule in [Schedule::DepthFirst, Schedule::Random(1), Schedule::Random(2)] {
            all.push(match run(&kernel, workers, schedule) {
                Ok(()) => Ok(()),
                Err(PassError::Fault(fault)) => Err(fault),
                Err(other) => panic!("{steps:?}: {other}"),
            });
        }
    }
    let first = all.swap_remove(0);
    all.iter().for_each(|other| assert_eq!(*other, first, "{steps:?}"));
    first
}

fn text(w: Words) -> String {
    format!("`{} tile` words {}..{}", w.0, w.1, w.1 + w.2)
}

#[test]
fn every_way_to_touch_a_tile_under_an_open_ticket_is_a_fault_that_names_both() {
    for open in [PostSend(X), PostRecv(X)] {
        for touch in [PostSend(X), PostRecv(X), Send(X), Recv(X), Combine(X), Read(X), Write(X)] {
            let steps = [open, touch, Join];
            if matches!((open, touch), (PostSend(_), Read(_))) {
                continue; // legal: see open_send.rs
            }
            let fault = outcome(&steps, 0, 0).expect_err(&format!("{steps:?} runs"));
            assert_eq!(fault.pe, A, "{steps:?}");
            assert!(matches!(fault.kind, FaultKind::Touched { .. }), "{steps:?}: {fault}");
            let said = format!("{} was touched while a ticket on {} is open", text(X), text(X));
            assert!(fault.to_string().contains("PE (0, 0) at cycle"), "{steps:?}: {fault}");
            assert!(fault.to_string().contains(&said), "{steps:?}: {fault}");
        }
    }
}

#[test]
fn one_shared_word_is_enough_and_none_is_not() {
    let (low, high) = (Words('y', 0, 9), Words('y', 9, 3));
    let across = Words('y', 8, 2);
    let fault = outcome(&[PostSend(low), Write(across), Join], 0, 0).expect_err("word 8 is shared");
    let said = format!("{} was touched while a ticket on {} is open", text(across), text(low));
    assert!(fault.to_string().contains(&said), "{fault}");
    for touch in [Write(high), Read(high), Write(Y)] {
        let open = if matches!(touch, Write(Y)) { X } else { low };
        let kernel = Misuse { steps: vec![PostSend(open), touch, Join], gives: 0, takes: 0 };
        // B takes nothing: the send stalls, but touching another tile is no fault.
        match run(&kernel, 1, Schedule::DepthFirst) {
            Err(PassError::Stall(_)) => {}
            other => panic!("{touch:?}: {other:?}"),
        }
    }
}

#[test]
fn a_read_may_not_reach_from_what_is_sent_into_what_is_received() {
    let (sent, received) = (Words('x', 0, 6), Words('x', 6, 6));
    for (touch, named) in
        [(Read(Words('x', 0, 7)), received), (Read(Words('x', 5, 2)), received), (Write(Words('x', 5, 1)), sent)]
    {
        let fault = outcome(&[PostSend(sent), PostRecv(received), touch, Join], 0, 0).expect_err("open tiles");
        assert!(fault.to_string().contains(&format!("a ticket on {} is open", text(named))), "{touch:?}: {fault}");
    }
    let kernel = Misuse { steps: vec![PostSend(sent), PostRecv(received), Read(sent), Join], gives: 0, takes: 0 };
    assert!(matches!(run(&kernel, 1, Schedule::DepthFirst), Err(PassError::Stall(_))), "beside a send it may");
}

#[test]
fn a_joined_ticket_gives_the_tile_back() {
    let steps = [PostSend(X), PostRecv(Y), Join, Write(X), Read(Y), Combine(Y), PostSend(X), Join, Write(X)];
    assert_eq!(outcome(&steps, 2, 3), Ok(()));
}

#[test]
fn a_send_and_its_answer_as_one_operation_fault_where_the_two_would() {
    // B takes the send and never answers: the answer's tile is open, or a part of it.
    for open in [Y, Words('y', 7, 5)] {
        let fault = outcome(&[PostRecv(open), Ask(X, Y), Join], 0, 1).expect_err("the answer's tile is open");
        let two = outcome(&[PostRecv(open), Send(X), Recv(Y), Join], 0, 1).expect_err("and in two operations");
        assert_eq!(fault, two);
    }
    let kernel = Misuse { steps: vec![PostRecv(Words('x', 0, 3)), Ask(Words('x', 3, 9), Y)], gives: 0, takes: 0 };
    assert!(matches!(run(&kernel, 2, Schedule::DepthFirst), Err(PassError::Stall(_))), "no tile is touched");
}

#[test]
fn a_posted_receive_of_another_length_is_a_fault_when_it_is_joined() {
    for need in [0, 5, 11] {
        let fault = outcome(&[PostRecv(Words('y', 0, need)), Join], 1, 0).expect_err("the burst has 12 words");
        assert_eq!((fault.pe, fault.kind), (A, FaultKind::Length { need: need as u32, found: W as u32 }));
    }
}

#[test]
fn the_oldest_open_ticket_is_the_one_named() {
    let (first, second) = (Words('x', 0, 5), Words('x', 5, 7));
    let fault = outcome(&[PostSend(first), PostSend(second), Write(X), Join], 0, 0).expect_err("both are open");
    assert!(fault.to_string().contains(&format!("a ticket on {}", text(first))), "{fault}");
}

#[test]
fn eight_tickets_may_be_open_and_a_blocking_operation_beside_them_but_not_nine() {
    let piece = |i| Words('x', i, 1);
    let posted: Vec<Step> = (0..8).map(|i| PostRecv(piece(i))).collect();
    // Beside eight posted receives: a blocking send, in the program and done.
    let mut eight = posted.clone();
    eight.push(Send(Y));
    let kernel = Misuse { steps: eight, gives: 0, takes: 1 };
    assert!(run(&kernel, 1, Schedule::DepthFirst).is_ok());

    for ninth in [PostRecv(piece(8)), PostSend(Y)] {
        let steps: Vec<Step> = posted.iter().copied().chain([ninth, Join]).collect();
        let fault = outcome(&steps, 0, 0).expect_err("nine are open");
        assert_eq!((fault.pe, &fault.kind, fault.now), (A, &FaultKind::Tickets, 0));
        assert!(fault.to_string().contains("more than 8 tickets are open"), "{fault}");
    }
}
