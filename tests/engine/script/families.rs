//! The program families of the golden file, as its `families` say them in words.

use plummer::fabric::{Direction, Tx};
use plummer::units::{Color, Coord};
use serde_json::Value;

use super::{Op, Program, at};

fn n(params: &Value, name: &str) -> usize {
    params[name].as_u64().unwrap_or_else(|| panic!("parameter {name}")) as usize
}

fn list(params: &Value, name: &str) -> Vec<usize> {
    let all = params[name].as_array().unwrap_or_else(|| panic!("parameter {name}"));
    all.iter().map(|v| v.as_u64().expect("a number") as usize).collect()
}

/// The program of one case.
pub fn program(family: &str, p: &Value) -> Program {
    let mut out = Program::default();
    match family {
        "chain" => ktree_like(&mut out, n(p, "P"), 0, n(p, "w"), n(p, "reps")),
        "two_sided" => ktree_like(&mut out, n(p, "P"), n(p, "P") / 2, n(p, "w"), n(p, "reps")),
        "ktree" => {
            let row: Vec<Coord> = (0..n(p, "P")).map(at).collect();
            let tree = Tree::new(&mut out, &row, &list(p, "Gs"), p["bcast"].as_bool().expect("bcast"));
            (0..n(p, "reps")).for_each(|_| tree.pass(&mut out, n(p, "w") as u32));
        }
        "bcast" => {
            let all: Vec<usize> = (0..n(p, "P")).filter(|&x| x != n(p, "root")).collect();
            multicast(&mut out, n(p, "root"), &all, &[0], n(p, "w"), n(p, "reps"));
        }
        "multicast" => {
            multicast(&mut out, n(p, "root"), &list(p, "subset"), &list(p, "late"), n(p, "w"), n(p, "reps"));
        }
        "ring" => ring(&mut out, p),
        "allreduce2d" => allreduce(&mut out, p),
        "bcast2d" => bcast2d(&mut out, p),
        "exchange" => exchange(&mut out, p),
        "stream" => stream(&mut out, p),
        other => panic!("unknown family {other}"),
    }
    out
}

/// Members in line order, root at index `root`, with the color from each non-root member toward the root.
struct Group {
    members: Vec<Coord>,
    root: usize,
    colors: Vec<Option<Color>>,
}

impl Group {
    fn new(out: &mut Program, members: &[Coord], root: usize) -> Self {
        for &m in members {
            out.layout.pe(m);
        }
        let color = |(i, &from): (usize, &Coord)| match i.cmp(&root) {
            std::cmp::Ordering::Less => Some(out.line(from, members[i + 1])),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(out.line(from, members[i - 1])),
        };
        let colors = members.iter().enumerate().map(color).collect();
        Self { members: members.to_vec(), root, colors }
    }

    fn pass(&self, out: &mut Program, w: u32) {
        let last = self.members.len() - 1;
        for (i, &pe) in self.members.iter().enumerate() {
            if let Some(tx) = self.colors[i] {
                let outer = if i < self.root { i.checked_sub(1) } else { Some(i + 1).filter(|&j| j <= last) };
                match outer.and_then(|j| self.colors[j]) {
                    Some(rx) => out.op(pe, Op::Combine(rx, tx, w)),
                    None => out.op(pe, Op::Send(tx, w)),
                }
                continue;
            }
            if i < last {
                out.op(pe, Op::Recv(self.colors[i + 1].expect("not the root"), w));
            }
            if i > 0 {
                out.op(pe, Op::Recv(self.colors[i - 1].expect("not the root"), w));
            }
        }
    }
}

fn ktree_like(out: &mut Program, p: usize, root: usize, w: usize, reps: usize) {
    let row: Vec<Coord> = (0..p).map(at).collect();
    let group = Group::new(out, &row, root);
    (0..reps).for_each(|_| group.pass(out, w as u32));
}

struct Tree {
    groups: Vec<Group>,
    bcast: Option<(Coord, Color, Vec<Coord>)>,
}

impl Tree {
    fn new(out: &mut Program, all: &[Coord], levels: &[usize], bcast: bool) -> Self {
        let (mut now, mut groups) = (all.to_vec(), Vec::new());
        for &g in levels {
            let g = g.min(now.len());
            let (size, more) = (now.len() / g, now.len() % g);
            let (mut roots, mut first) = (Vec::new(), 0);
            for k in 0..g {
                let len = size + usize::from(k < more);
                let members = &now[first..first + len];
                groups.push(Group::new(out, members, len / 2));
                roots.push(members[len / 2]);
                first += len;
            }
            now = roots;
        }
        let root = now[0];
        let bcast = (bcast && all.len() > 1).then(|| {
            let color = out.color(all.iter().copied());
            let ends = [all[0], all[all.len() - 1]];
            for end in ends.into_iter().filter(|&e| e != root) {
                out.layout.line(color, root, end, true).expect("the color is free");
            }
            (root, color, all.iter().copied().filter(|&c| c != root).collect())
        });
        Self { groups, bcast }
    }

    fn pass(&self, out: &mut Program, w: u32) {
        self.groups.iter().for_each(|g| g.pass(out, w));
        if let Some((root, color, others)) = &self.bcast {
            out.op(*root, Op::Send(*color, w));
            others.iter().for_each(|&pe| out.op(pe, Op::Recv(*color, w)));
        }
    }
}

fn multicast(out: &mut Program, root: usize, subset: &[usize], late: &[usize], w: usize, reps: usize) {
    let color = Color(0);
    for (j, &x) in subset.iter().enumerate() {
        out.layout.line(color, at(root), at(x), false).expect("the color is free");
        out.op(at(x), Op::Compute(late[j % late.len()] as u64));
        (0..reps).for_each(|_| out.op(at(x), Op::Recv(color, w as u32)));
    }
    (0..reps).for_each(|_| out.op(at(root), Op::Send(color, w as u32)));
}

fn ring(out: &mut Program, p: &Value) {
    let (size, w, comp) = (n(p, "P"), n(p, "w") as u32, n(p, "comp") as u64);
    let mut order: Vec<usize> = std::iter::once(0).chain((1..size).step_by(2)).collect();
    order.extend((2..size).step_by(2).rev());
    order.reverse(); // the order is that of receiving: tiles move against it
    let colors: Vec<Color> = (0..size).map(|k| out.line(at(order[k]), at(order[(k + 1) % size]))).collect();
    for _ in 0..n(p, "rounds") {
        for k in 0..size {
            let pe = at(order[k]);
            out.op(pe, Op::PostSend(colors[k], w));
            out.op(pe, Op::PostRecv(colors[(k + size - 1) % size], w));
            if comp > 0 {
                out.op(pe, Op::Compute(comp));
            }
            out.op(pe, Op::JoinAll);
        }
    }
}

fn allreduce(out: &mut Program, p: &Value) {
    let (cols, rows, w) = (n(p, "W") as u32, n(p, "H") as u32, n(p, "w") as u32);
    let mut trees = Vec::new();
    for x in 0..cols {
        let line: Vec<Coord> = (0..rows).map(|y| Coord::new(x, y)).collect();
        trees.push(Tree::new(out, &line, &list(p, "Gy"), true));
    }
    for y in 0..rows {
        let line: Vec<Coord> = (0..cols).map(|x| Coord::new(x, y)).collect();
        trees.push(Tree::new(out, &line, &list(p, "Gx"), true));
    }
    for _ in 0..n(p, "reps") {
        trees.iter().for_each(|t| t.pass(out, w));
    }
}

fn bcast2d(out: &mut Program, p: &Value) {
    let (cols, rows, w) = (n(p, "M") as u32, n(p, "N") as u32, n(p, "w") as u32);
    let (color, corner) = (Color(0), Coord::new(0, 0));
    if cols > 1 {
        out.layout.line(color, corner, Coord::new(cols - 1, 0), true).expect("the color is free");
    }
    for x in 0..cols {
        for y in 0..rows {
            let rx = if y > 0 {
                Direction::North
            } else if x > 0 {
                Direction::West
            } else {
                Direction::Ramp
            };
            let mut tx = if x + y > 0 { Tx::RAMP } else { Tx::NONE };
            if y + 1 < rows {
                tx = tx.and(Direction::South);
            }
            if tx != Tx::NONE {
                out.layout.route(Coord::new(x, y), color, rx, tx).expect("one receive port");
            }
            for _ in 0..n(p, "reps") {
                if x + y == 0 {
                    out.op(corner, Op::Send(color, w));
                } else {
                    out.op(Coord::new(x, y), Op::Recv(color, w));
                    out.op(Coord::new(x, y), Op::Compute(u64::from(x + y)));
                }
            }
        }
    }
}

fn exchange(out: &mut Program, p: &Value) {
    let w = n(p, "w") as u32;
    for i in (0..n(p, "P")).step_by(2) {
        let (east, west) = (out.line(at(i), at(i + 1)), out.line(at(i + 1), at(i)));
        for _ in 0..n(p, "rounds") {
            for (pe, tx, rx) in [(i, east, west), (i + 1, west, east)] {
                out.op(at(pe), Op::PostSend(tx, w));
                out.op(at(pe), Op::PostRecv(rx, w));
                out.op(at(pe), Op::JoinAll);
            }
        }
    }
}

fn stream(out: &mut Program, p: &Value) {
    let h = n(p, "h");
    let posted = p["posted"].as_bool().expect("posted");
    let color = out.line(at(0), at(h));
    out.op(at(h), Op::Compute(n(p, "delay") as u64));
    for w in list(p, "sizes") {
        let w = w as u32;
        out.op(at(0), if posted { Op::PostSend(color, w) } else { Op::Send(color, w) });
        out.op(at(h), Op::Recv(color, w));
        out.op(at(h), Op::Compute(n(p, "gap") as u64));
    }
    out.op(at(0), Op::JoinAll);
}
