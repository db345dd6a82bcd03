//! A fabric without bursts: every wavelet moves on its own through queues of `depth` wavelets, and every burst is
//! longer than all queues of its way together. What hangs here would hang on silicon.
//!
//! Shares nothing with the engine but routes and scripts: no times, no credits, no tickets, no rendezvous.

use std::collections::HashMap;

use plummer::fabric::Direction;
use plummer::units::{Color, Coord};

use super::{Op, Program};

type At = (Coord, Color);

/// One operation under way: wavelets still to take and to give.
struct Transfer {
    from: Option<At>,
    to: Option<At>,
    /// Taken and not given (a combine's register holds one).
    taken: u32,
    given: u32,
    blocking: bool,
}

struct Pe<'a> {
    ops: &'a [Op],
    at: usize,
    /// In program order; operations of one color go one after the other.
    open: Vec<Transfer>,
    /// Waits for all that is open.
    joins: bool,
}

struct Fabric<'a> {
    program: &'a Program,
    depth: usize,
    length: u32,
    /// Wavelets in the queue of a router, and in that of a ramp.
    routers: HashMap<At, usize>,
    ramps: HashMap<At, usize>,
}

impl Fabric<'_> {
    fn route(&self, at: At) -> plummer::fabric::Route {
        let i = self.program.layout.find(at.0).expect("a PE of the layout");
        *self.program.layout.pes[i as usize].routes.iter().find(|r| r.color == at.1).expect("a route")
    }

    /// Puts a wavelet on every output of the route at `at`, if all have room.
    fn forward(&mut self, at: At) -> bool {
        let route = self.route(at);
        let next: Vec<At> =
            route.tx.links().map(|d| (d.neighbour(at.0, u32::MAX, u32::MAX).expect("inside"), at.1)).collect();
        let ramp = route.tx.has(Direction::Ramp);
        let room = |queue: &HashMap<At, usize>, to: &At| queue.get(to).copied().unwrap_or(0) < self.depth;
        if !next.iter().all(|to| room(&self.routers, to)) || (ramp && !room(&self.ramps, &at)) {
            return false;
        }
        next.into_iter().for_each(|to| *self.routers.entry(to).or_default() += 1);
        if ramp {
            *self.ramps.entry(at).or_default() += 1;
        }
        true
    }

    /// One wavelet of a transfer, if it can move.
    fn step(&mut self, t: &mut Transfer) -> bool {
        let mut moved = false;
        let may_take = t.to.is_none() || t.taken == t.given;
        if let Some(from) = t.from.filter(|_| t.taken < self.length && may_take) {
            let queue = self.ramps.entry(from).or_default();
            if *queue > 0 {
                *queue -= 1;
                t.taken += 1;
                moved = true;
            }
        }
        let may_give = t.from.is_none() || t.taken > t.given;
        if let Some(to) = t.to.filter(|_| t.given < self.length && may_give)
            && self.forward(to)
        {
            t.given += 1;
            moved = true;
        }
        moved
    }

    fn is_over(&self, t: &Transfer) -> bool {
        (t.from.is_none() || t.taken == self.length) && (t.to.is_none() || t.given == self.length)
    }

    /// Everything that one PE can do now.
    fn run(&mut self, pe: Coord, p: &mut Pe<'_>) -> bool {
        let mut moved = false;
        loop {
            let mut busy: Vec<(bool, Color)> = Vec::new();
            for t in &mut p.open {
                let ends = [t.from.map(|a| (false, a.1)), t.to.map(|a| (true, a.1))];
                let free = ends.iter().flatten().all(|e| !busy.contains(e));
                busy.extend(ends.into_iter().flatten());
                while free && self.step(t) {
                    moved = true;
                }
            }
            p.open.retain(|t| !self.is_over(t));
            if p.open.iter().any(|t| t.blocking || p.joins) {
                return moved;
            }
            p.joins = false;
            let Some(op) = p.ops.get(p.at) else { return moved };
            p.at += 1;
            moved = true;
            let (from, to, blocking) = match *op {
                Op::Send(c, _) => (None, Some(c), true),
                Op::Recv(c, _) => (Some(c), None, true),
                Op::Combine(rx, tx, _) => (Some(rx), Some(tx), true),
                Op::PostSend(c, _) => (None, Some(c), false),
                Op::PostRecv(c, _) => (Some(c), None, false),
                Op::JoinAll => {
                    p.joins = true;
                    continue;
                }
                Op::Compute(_) => continue,
                Op::Exchange(..) | Op::Call(..) => unreachable!("random programs as they are written have neither"),
            };
            let at = |c: Color| (pe, c);
            p.open.push(Transfer { from: from.map(at), to: to.map(at), taken: 0, given: 0, blocking });
        }
    }
}

/// Does `program` complete with queues of `depth` wavelets?
pub fn completes(program: &Program, depth: usize, length: u32) -> bool {
    let mut fabric = Fabric { program, depth, length, routers: HashMap::new(), ramps: HashMap::new() };
    let mut pes: Vec<(Coord, Pe<'_>)> =
        program.script.0.iter().map(|(c, ops)| (*c, Pe { ops, at: 0, open: Vec::new(), joins: false })).collect();
    pes.sort_by_key(|p| p.0);
    loop {
        let mut moved = false;
        for (coord, pe) in &mut pes {
            moved |= fabric.run(*coord, pe);
        }
        let full: Vec<At> = fabric.routers.iter().filter(|r| *r.1 > 0).map(|r| *r.0).collect();
        for at in full {
            while fabric.routers[&at] > 0 && fabric.forward(at) {
                *fabric.routers.get_mut(&at).expect("it is there") -= 1;
                moved = true;
            }
        }
        if !moved {
            return pes.iter().all(|(_, p)| p.at == p.ops.len() && p.open.is_empty());
        }
    }
}
