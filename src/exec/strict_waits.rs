//! Who waits for whom when the strict dry run is stuck.
//!
//! ```text
//!   burst not asked for -> its sender               sink without a receive -> that PE
//!   burst under way     -> its late sinks           sink that combines     -> the late sinks of the combine's burst
//!   burst behind it     -> as for the one under way all begun, feed open   -> the late sinks of the feeding burst
//! ```
//! Invariant: reads final states alone. Called by `check`.

use std::collections::HashSet;

use crate::fabric::{Ends, Layout, Route};
use crate::link::NONE;
use crate::pe::{Part, Step, Traced};
use crate::units::{Color, Coord};

use super::stall::{Blocked, StallReport};
use super::strict::Strict;

/// Most PEs that one PE is said to wait for: the first ones in (row, col) order.
const LATE_MAX: usize = 16;

/// The PEs that have steps left, and what each waits for.
pub(super) fn report(strict: &Strict, part: &Part, layout: &Layout, steps: &[Vec<Traced>]) -> StallReport {
    let mut blocked = Vec::new();
    for (pe, (actor, steps)) in strict.actors.iter().zip(steps).enumerate() {
        let Some((step, place)) = steps.get(actor.at) else { continue };
        let ends = part.endpoints(pe as u32);
        let (sends, color) = side(ends, *step);
        let coord = part.coord(pe as u32);
        let mut waits_for: Vec<Coord> = blockers(strict, actor.awaits).into_iter().map(|p| part.coord(p)).collect();
        waits_for.sort_unstable();
        waits_for.dedup();
        waits_for.truncate(LATE_MAX);
        let place = format!("{}:{}", place.file(), place.line());
        let port = port_of(layout, coord, color, sends);
        blocked.push(Blocked { pe: coord, since: 0, sends, color, port, place, waits_for, holds: (0, 0) });
    }
    StallReport::new(blocked)
}

/// Does the step send, and on which color? (A combine shows as the send that it is.)
fn side(ends: Ends<'_>, step: Step) -> (bool, Color) {
    let of = |list: &[(Color, u32)], id: u32| list.iter().find(|e| e.1 == id).map_or(Color(u8::MAX), |e| e.0);
    match step {
        Step::Send(port) | Step::PostSend(port) | Step::JoinSend { port, .. } | Step::Combine { port, .. } => {
            (true, of(ends.tx, port))
        }
        Step::Recv(lane) | Step::PostRecv(lane) | Step::JoinRecv { lane, .. } => (false, of(ends.rx, lane)),
    }
}

fn port_of(layout: &Layout, pe: Coord, color: Color, sends: bool) -> String {
    let route: Option<&Route> = layout.find(pe).and_then(|at| layout.pes[at as usize].route(color));
    match route {
        Some(r) if sends => {
            let sides: Vec<String> = r.tx.links().map(|d| format!("{d:?}")).collect();
            format!("to {}", sides.join(" and "))
        }
        Some(r) => format!("from {:?}", r.rx),
        None => String::new(),
    }
}

/// PEs that have to act before burst `at` of `tree` can be complete.
fn blockers(strict: &Strict, awaits: (u32, u32)) -> Vec<u32> {
    let (mut seen, mut found, mut open) = (HashSet::new(), Vec::new(), vec![awaits]);
    while let Some((id, at)) = open.pop() {
        if id == NONE || !seen.insert(id) {
            continue;
        }
        let tree = &strict.trees[id as usize];
        if at >= tree.asked {
            if tree.pe != NONE {
                found.push(tree.pe);
            }
            continue;
        }
        // Burst `at`, or the one before it that is under way.
        for lane in &tree.sinks {
            let sink = &strict.sinks[*lane as usize];
            if sink.begun >= tree.emitted {
                continue;
            }
            if sink.combining == NONE {
                found.push(sink.pe);
            } else {
                open.push((sink.combining, strict.trees[sink.combining as usize].asked - 1));
            }
        }
        if tree.late == 0 && tree.feed != NONE {
            open.push((strict.sinks[tree.feed as usize].tree, tree.feed_at));
        }
    }
    found
}
