//! The step loop of a worker: work until nothing moves, take in messages, be idle, find quiescence.
//!
//! Generic over `Machine`, so that loom runs this very loop with small machines (`tests/loom.rs`).
//!
//! Invariant: a worker is idle only with nothing to run, nothing to flush and nothing seen in its rings.

use crate::sync::{spin, yield_now};

use super::idle::Idle;

/// What the loop drives.
pub trait Machine {
    /// Does up to `budget` units of local work; `true` while there may be more.
    fn work(&mut self, budget: u32) -> bool;
    /// Passes on what other workers' rings had no room for; `true` when nothing is left.
    fn flush(&mut self) -> bool;
    /// Is there a message?
    fn incoming(&self) -> bool;
    /// Takes in all messages; how many.
    fn poll(&mut self) -> u64;
    /// Messages sent and received so far.
    fn traffic(&self) -> (u64, u64);
    /// Called before going idle.
    fn rest(&mut self) {}
    /// Units of work between two looks at the rings.
    fn budget(&self) -> u32 {
        8
    }
}

/// Looks at the rings before the processor is given away (a few microseconds).
const SPINS: u32 = 4096;

/// Runs worker `me` until all workers are quiescent, or one is gone.
pub fn run_pass<M: Machine>(machine: &mut M, me: usize, idle: &Idle) {
    let budget = machine.budget();
    loop {
        let more = machine.work(budget);
        let clean = machine.flush();
        if machine.incoming() {
            machine.poll();
            continue;
        }
        if more || !clean {
            if !more {
                // Full rings: their reader may be gone.
                if idle.is_abandoned() {
                    return;
                }
                spin();
            }
            continue;
        }
        machine.rest();
        let mine = idle.enter(me, machine.traffic());
        let mut spins = 0;
        loop {
            if machine.incoming() {
                idle.leave(me);
                break;
            }
            if idle.is_quiescent(me, mine) {
                return;
            }
            spins += 1;
            if spins < SPINS { spin() } else { yield_now() }
        }
    }
}
