//! The ring between two workers, on one thread: order, wrap-around, refusal (its interleavings: `loom.rs`); and the
//! longest message that a chip admits, between two of a wafer.

use plummer::collectives::{Allreduce, Chain};
use plummer::exec::{RunOptions, Wafer};
use plummer::fabric::{Chip, TILE_WORDS_MAX};
use plummer::kernels::line::{Line, LineOp, row_of};
use plummer::link::{Burst, Message, ring};

#[test]
fn messages_of_every_length_come_out_as_they_went_in() {
    let (mut tx, mut rx) = ring(16);
    let mut got = Vec::new();
    for round in 0..200u32 {
        let words = (round * 7 % 190) as u16;
        let payload: Vec<u32> = (0..u32::from(words)).map(|i| i ^ round).collect();
        let m = Message::Burst { lane: round, burst: Burst { words, ..Burst::default() }, answers: 1, wet: true };
        assert!(tx.push(&m.encode(), &payload), "round {round}");
        assert_eq!(rx.pop(&mut got), Some(m));
        assert_eq!(got, payload);
        rx.publish();
    }
    assert_eq!(rx.pop(&mut got), None);
}

#[test]
fn a_full_ring_refuses_and_writes_nothing() {
    let (mut tx, mut rx) = ring(2);
    let m = |time| Message::Freed { lane: 1, time };
    assert!(tx.push(&m(1).encode(), &[]) && tx.push(&m(2).encode(), &[]));
    assert!(!tx.push(&m(3).encode(), &[]));
    let mut none = Vec::new();
    assert_eq!(rx.pop(&mut none), Some(m(1)));
    assert!(tx.push(&m(3).encode(), &[]));
    assert_eq!((rx.pop(&mut none), rx.pop(&mut none)), (Some(m(2)), Some(m(3))));
}

#[test]
fn the_longest_burst_crosses_between_workers() {
    let chip = Chip { arena_bytes: 1 << 20, ..Chip::preset("wse2").unwrap() };
    let words = TILE_WORDS_MAX as usize;
    let collective = Allreduce::Chain(Chain { line: row_of(2), base: 0 });
    let line = Line { collective, op: LineOp::Allreduce, words, passes: 2 };
    let run = |workers| {
        let fill = |_, _, words: &mut [u32]| words.fill(1f32.to_bits());
        let layout = line.layout().unwrap();
        let mut wafer = Wafer::launch(line.clone(), layout, &chip, &RunOptions::new(workers), fill).unwrap();
        wafer.run(&[]).unwrap();
        wafer.counters().unwrap()
    };
    let one = run(1);
    assert_eq!((one.bursts, run(2)), (4, one));
}
