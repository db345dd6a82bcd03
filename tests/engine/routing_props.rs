//! Routing over random trees: a burst reaches exactly its declared sinks, hop by hop, in the modelled time.
//!
//! Trees are grown on a small mesh, one color each; sinks are random PEs on them and all ends. A cut tree is refused.

use std::collections::{BTreeMap, BTreeSet};

use plummer::arena::Owner;
use plummer::exec::{RunOptions, Wafer};
use plummer::fabric::{Backing, Chip, Direction, Layout, LayoutError, TileDecl, TileId, Tx, build};
use plummer::link::Schedule;
use plummer::pe::{Kernel, Pe};
use plummer::units::{Color, Coord};
use proptest::prelude::*;

const COLS: u32 = 7;
const ROWS: u32 = 6;

/// One color's tree: parents of all routers on it but the source, and who takes.
#[derive(Clone, Debug)]
struct Tree {
    source: Coord,
    /// Child -> (parent, direction from the parent).
    up: BTreeMap<Coord, (Coord, Direction)>,
    sinks: BTreeSet<Coord>,
    words: u32,
    bursts: u32,
}

impl Tree {
    /// Grows a tree from choices: each adds a router beside one that is there, or nothing.
    fn grow(source: (u32, u32), choices: &[(u16, u8, bool)], words: u32, bursts: u32) -> Option<Self> {
        let source = Coord::new(source.0, source.1);
        let (mut on, mut up, mut sinks) = (vec![source], BTreeMap::new(), BTreeSet::new());
        for &(which, direction, takes) in choices {
            let parent = on[usize::from(which) % on.len()];
            let d = Direction::LINKS[usize::from(direction % 4)];
            let Some(child) = d.neighbour(parent, COLS, ROWS).filter(|c| !on.contains(c)) else { continue };
            on.push(child);
            up.insert(child, (parent, d));
            if takes {
                sinks.insert(child);
            }
        }
        // An end that nobody takes from would be a route to nowhere.
        let inner: BTreeSet<Coord> = up.values().map(|u| u.0).collect();
        sinks.extend(up.keys().filter(|c| !inner.contains(c)));
        (!up.is_empty()).then_some(Self { source, up, sinks, words, bursts })
    }

    /// A line from `from` to `to`: along the row, then along the column.
    fn elbow(from: Coord, to: Coord, words: u32) -> Self {
        let (mut at, mut up) = (from, BTreeMap::new());
        while at != to {
            let d = match (at.col.cmp(&to.col), at.row.cmp(&to.row)) {
                (std::cmp::Ordering::Less, _) => Direction::East,
                (std::cmp::Ordering::Greater, _) => Direction::West,
                (_, std::cmp::Ordering::Less) => Direction::South,
                _ => Direction::North,
            };
            let next = d.neighbour(at, COLS, ROWS).expect("on the mesh");
            up.insert(next, (at, d));
            at = next;
        }
        Self { source: from, up, sinks: BTreeSet::from([to]), words, bursts: 1 }
    }

    fn depth(&self, mut at: Coord) -> u64 {
        let mut hops = 0;
        while at != self.source {
            (at, hops) = (self.up[&at].0, hops + 1);
        }
        hops
    }

    fn lay_out(&self, layout: &mut Layout, color: Color) {
        let mut routes: BTreeMap<Coord, (Direction, Tx)> = BTreeMap::new();
        routes.insert(self.source, (Direction::Ramp, Tx::NONE));
        for (child, (_, d)) in &self.up {
            let tx = if self.sinks.contains(child) { Tx::RAMP } else { Tx::NONE };
            routes.insert(*child, (d.opposite(), tx));
        }
        for (parent, d) in self.up.values() {
            let route = routes.get_mut(parent).expect("on the tree");
            route.1 = route.1.and(*d);
        }
        for (pe, (rx, tx)) in routes {
            layout.route(pe, color, rx, tx).expect("one receive port");
        }
    }
}

/// Every PE sends on its trees, then receives from the others; sends are posted, so nothing waits in a circle.
#[derive(Clone, Debug)]
struct Forest(Vec<Tree>);

const OUT: u16 = 0;
const IN: u16 = 100;

/// The word `i` of burst `burst` of tree `color`.
fn word(color: usize, burst: u32, i: u32) -> u32 {
    (color as u32 + 1) << 20 | burst << 12 | i
}

impl Kernel for Forest {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        let me = pe.coord();
        for (color, tree) in self.0.iter().enumerate() {
            let id = color as u16;
            if tree.source == me {
                let (tx, tile) = (pe.tx(Color(color as u8)), pe.tile(TileId(OUT + id)));
                let w = tree.words as usize;
                let mut tickets = Vec::new();
                for burst in 0..tree.bursts as usize {
                    tickets.push(pe.post_send(tx, tile.slice(burst * w, w)));
                }
                for ticket in tickets {
                    pe.join(ticket).await;
                }
            }
            if tree.sinks.contains(&me) {
                let (rx, tile) = (pe.rx(Color(color as u8)), pe.tile(TileId(IN + id)));
                let w = tree.words as usize;
                for burst in 0..tree.bursts as usize {
                    pe.recv(rx, tile.slice(burst * w, w)).await;
                }
            }
        }
    }
}

impl Forest {
    fn layout(&self) -> Layout {
        let mut layout = Layout::default();
        for (color, tree) in self.0.iter().enumerate() {
            tree.lay_out(&mut layout, Color(color as u8));
            let bytes = tree.words * tree.bursts * 4;
            let mut tile = |pe, id| {
                layout.tile(pe, TileDecl { id: TileId(id), name: "t", owner: Owner::Activations, bytes, visit: 0 });
            };
            tile(tree.source, OUT + color as u16);
            tree.sinks.iter().for_each(|pe| tile(*pe, IN + color as u16));
        }
        for row in 0..ROWS {
            (0..COLS).for_each(|col| layout.pe(Coord::new(col, row)).share = (col * 65536 / COLS) as u16);
        }
        layout
    }

    fn run(&self, workers: usize, schedule: Schedule) -> Wafer {
        let fill = |_, id: TileId, words: &mut [u32]| {
            words.fill(u32::MAX);
            if id.0 < IN {
                let tree = &self.0[usize::from(id.0)];
                for (n, w) in words.iter_mut().enumerate() {
                    *w = word(id.0.into(), n as u32 / tree.words, n as u32 % tree.words);
                }
            }
        };
        let chip = Chip { cols: COLS, rows: ROWS, ..Chip::preset("wse2").expect("a preset") };
        let options = RunOptions { schedule, ..RunOptions::new(workers) };
        let mut wafer = Wafer::launch(self.clone(), self.layout(), &chip, &options, fill).expect("a legal layout");
        wafer.run(&[]).unwrap_or_else(|e| panic!("{self:?}: {e}"));
        wafer
    }
}

fn trees() -> impl Strategy<Value = Option<Tree>> {
    let choice = (any::<u16>(), any::<u8>(), any::<bool>());
    let choices = prop::collection::vec(choice, 1..30);
    let sizes = prop_oneof![Just((1u32, 1u32)), (1u32..9, 1u32..6), (9u32..40, 1u32..4)];
    ((0..COLS, 0..ROWS), choices, sizes).prop_map(|(source, c, (words, bursts))| Tree::grow(source, &c, words, bursts))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_burst_reaches_exactly_its_sinks_in_the_modelled_time(
        tree in trees(),
        workers in 1usize..5,
        seed in any::<u64>(),
    ) {
        let Some(tree) = tree else { return Ok(()) };
        let forest = Forest(vec![tree]);
        let tree = &forest.0[0];
        for schedule in [Schedule::DepthFirst, Schedule::Random(seed)] {
            let wafer = forest.run(workers, schedule);
            let sent: Vec<u32> =
                (0..tree.bursts).flat_map(|b| (0..tree.words).map(move |i| word(0, b, i))).collect();
            for sink in &tree.sinks {
                prop_assert_eq!(&wafer.read(*sink, TileId(IN)).expect("a tile"), &sent, "{}", sink);
            }
            let c = wafer.counters().expect("counters");
            let (links, bursts) = (tree.up.len() as u64, u64::from(tree.bursts));
            prop_assert_eq!((c.hops, c.bursts), (links * bursts, bursts));
            prop_assert_eq!(c.wavelets, links * bursts * u64::from(tree.words));
            prop_assert_eq!(c.depth, 1);
            // Nobody but the routers on the tree sees traffic.
            for (pe, n, _) in wafer.link_traffic().expect("traffic") {
                prop_assert_eq!(n, if tree.up.contains_key(&pe) { bursts } else { 0 }, "{}", pe);
            }
            if tree.bursts == 1 {
                // S + 2 T_R + 1 and a cycle a hop (wse2: turns are free).
                for (pe, record) in wafer.records().expect("records") {
                    if tree.sinks.contains(&pe) {
                        prop_assert_eq!(record.now, u64::from(tree.words) + 5 + tree.depth(pe), "{}", pe);
                    }
                }
            }
        }
    }

    #[test]
    fn hops_of_unicasts_are_their_manhattan_distances(
        ends in prop::collection::vec(((0..COLS, 0..ROWS), (0..COLS, 0..ROWS), 1u32..20), 1..20),
        workers in 1usize..5,
    ) {
        let at = |c: (u32, u32)| Coord::new(c.0, c.1);
        let lines: Vec<_> = ends.into_iter().filter(|e| e.0 != e.1).collect();
        // No circle of waits: every PE posts and takes in the order of colors, which all agree on.
        let forest = Forest(lines.iter().map(|(from, to, w)| Tree::elbow(at(*from), at(*to), *w)).collect());
        let wafer = forest.run(workers, Schedule::DepthFirst);
        let distance = |a: (u32, u32), b: (u32, u32)| u64::from(a.0.abs_diff(b.0) + a.1.abs_diff(b.1));
        let c = wafer.counters().expect("counters");
        prop_assert_eq!(c.hops, lines.iter().map(|l| distance(l.0, l.1)).sum::<u64>());
        prop_assert_eq!(c.wavelets, lines.iter().map(|l| distance(l.0, l.1) * u64::from(l.2)).sum::<u64>());
        for (color, (_, to, w)) in lines.iter().enumerate() {
            let expect: Vec<u32> = (0..*w).map(|i| word(color, 0, i)).collect();
            prop_assert_eq!(wafer.read(at(*to), TileId(IN + color as u16)).expect("a tile"), expect);
        }
    }

    #[test]
    fn a_tree_with_one_route_missing_is_refused(tree in trees(), which in any::<prop::sample::Index>()) {
        let Some(tree) = tree else { return Ok(()) };
        let chip = Chip { cols: COLS, rows: ROWS, ..Chip::preset("wse2").expect("a preset") };
        let mut layout = Forest(vec![tree.clone()]).layout();
        prop_assert!(build(&layout, &chip, 2, Backing::Packed).is_ok());
        // Without its source nothing feeds the rest; without another router somebody sends into nothing.
        let on: Vec<Coord> = std::iter::once(tree.source).chain(tree.up.keys().copied()).collect();
        let gone = on[which.index(on.len())];
        layout.pe(gone).routes.clear();
        let error = build(&layout, &chip, 2, Backing::Packed).err();
        if gone == tree.source {
            let unfed = matches!(error, Some(LayoutError::Unfed { .. }));
            prop_assert!(unfed, "{:?}", error);
        } else {
            let (pe, to) = tree.up[&gone];
            let found = "the router there has no route for the color";
            prop_assert_eq!(error, Some(LayoutError::Undeliverable { pe, color: Color(0), to, found }));
        }
    }
}
