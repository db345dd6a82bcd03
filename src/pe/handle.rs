//! The handle of one PE, the part of the wafer behind it, and what a kernel is.

use std::cell::RefCell;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;

use crate::arena::{Memory, Tile};
use crate::fabric::{Endpoints, Ends, TileId};
use crate::link::{NONE, Net, Order, Status};
use crate::math::Kernels;
use crate::units::{Color, Coord, Cycles};

use super::asked::{Asked, Trace};
use super::fault::{Fault, FaultKind};
use super::probe::Probes;
use super::trace::{Did, Log, Recorder, Span};
use super::view::View;

/// A program for every PE of a layout.
pub trait Kernel: Send + Sync + 'static {
    /// The program of one PE. Look up ports and tiles before the first `.await`.
    fn program<'a>(&'a self, pe: Pe<'a>) -> impl Future<Output = ()> + 'a;

    /// In which order the host best takes up PEs that can run: a hint, on which nothing but its speed depends.
    fn order(&self) -> Order {
        Order::DepthFirst
    }
}

/// A phase mark: which PE's program passed which point, when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Kernel-defined id of the point.
    pub id: u16,
    /// Kernel-defined id of who marks.
    pub who: u16,
    /// Clock of the PE.
    pub now: u64,
}

/// The part of a wafer that one worker runs.
pub struct Part {
    pub(crate) net: RefCell<Net<Memory>>,
    endpoints: Arc<Endpoints>,
    kernels: Kernels,
    faults: RefCell<Vec<Fault>>,
    marks: RefCell<Vec<Mark>>,
    visits: RefCell<Option<Vec<u32>>>,
    pub(super) recorder: Option<Box<Recorder>>,
    asked: Option<RefCell<Trace>>,
    pub(super) probes: Option<Probes>,
}

impl Part {
    /// A part at time zero.
    pub fn new(net: Net<Memory>, endpoints: Arc<Endpoints>, kernels: Kernels) -> Self {
        Self {
            net: RefCell::new(net),
            endpoints,
            kernels,
            faults: RefCell::default(),
            marks: RefCell::default(),
            visits: RefCell::new(None),
            recorder: None,
            asked: None,
            probes: None,
        }
    }

    /// Records what the chosen PEs do, at most `spans_max` spans each.
    pub fn record(&mut self, chosen: impl Fn(Coord) -> bool, spans_max: usize) {
        let coords = (0..self.pes()).map(|pe| self.coord(pe)).map(|at| (at, chosen(at)));
        self.recorder = Some(Box::new(Recorder::new(coords, spans_max)));
        self.net.get_mut().step_by_step();
    }

    /// What was recorded so far.
    pub fn logs(&self) -> Vec<Log> {
        self.recorder.as_ref().map_or_else(Vec::new, |r| r.logs())
    }

    /// PEs of the part.
    pub fn pes(&self) -> u32 {
        self.endpoints.len() as u32
    }

    /// Position of a PE.
    pub fn coord(&self, pe: u32) -> Coord {
        self.endpoints.coord(pe)
    }

    /// Ramp lanes and ports of a PE by color, for reports.
    pub fn endpoints(&self, pe: u32) -> Ends<'_> {
        self.endpoints.of(pe)
    }

    /// A tile of a PE.
    pub fn tile(&self, pe: u32, id: TileId) -> Option<Tile> {
        let found = self.endpoints.of(pe).tiles.iter().find(|t| t.0 == id);
        found.map(|&(_, place, words)| Tile { place, words })
    }

    /// The arithmetic of this host.
    pub fn kernels(&self) -> Kernels {
        self.kernels
    }

    pub(super) fn report(&self, pe: u32, mut fault: Fault) {
        fault.resolve(self.endpoints.of(pe).tiles);
        self.faults.borrow_mut().push(fault);
    }

    /// Faults so far.
    pub fn faults(&self) -> Vec<Fault> {
        self.faults.borrow().clone()
    }

    /// From now on, notes the places of the tiles that programs say they visit.
    pub fn log_visits(&self) {
        *self.visits.borrow_mut() = Some(Vec::new());
    }

    /// Takes the places noted so far, in the order of the visits.
    pub fn take_visits(&self) -> Vec<u32> {
        self.visits.borrow_mut().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Takes the phase marks.
    pub fn take_marks(&self) -> Vec<Mark> {
        std::mem::take(&mut self.marks.borrow_mut())
    }

    /// Records from now on what programs ask; before the first of them runs.
    pub fn record_steps(&mut self) {
        let net = self.net.get_mut();
        net.step_by_step();
        let trace = Trace::new(net.records.len(), net.ports.len(), net.lanes.len());
        self.asked = Some(RefCell::new(trace));
    }

    /// Copies probed tiles to `probes`, from now on.
    pub fn with_probes(self, probes: Option<Probes>) -> Self {
        Self { probes, ..self }
    }

    /// What was recorded, if anything is.
    pub fn trace(&self) -> Option<&RefCell<Trace>> {
        self.asked.as_ref()
    }

    #[inline(always)]
    pub(super) fn note(&self, pe: u32, asked: Asked, place: &'static Location<'static>) {
        if let Some(trace) = &self.asked {
            trace.borrow_mut().note(pe, asked, place);
        }
    }

    /// What the arenas hold when the programs are gone.
    pub fn into_memory(self) -> Memory {
        self.net.into_inner().store
    }

    /// The handle that a program of PE `id` gets.
    pub fn handle(&self, id: u32) -> Pe<'_> {
        Pe { part: self, id }
    }
}

/// A color that this PE can send on.
#[derive(Clone, Copy, Debug)]
pub struct Tx {
    pub(super) port: u32,
    /// The first lane that a send enters; for hints.
    pub(super) way: u32,
}

/// A color that this PE receives.
#[derive(Clone, Copy, Debug)]
pub struct Rx(pub(super) u32);

/// A program's handle of its PE.
#[derive(Clone, Copy)]
pub struct Pe<'a> {
    pub(super) part: &'a Part,
    pub(super) id: u32,
}

impl<'a> Pe<'a> {
    /// Where this PE is.
    pub fn coord(self) -> Coord {
        self.part.coord(self.id)
    }

    /// The send port of a color.
    ///
    /// # Panics
    /// When the layout gives this PE none: program and layout of a kernel disagree, a defect.
    pub fn tx(self, color: Color) -> Tx {
        match self.part.endpoints(self.id).tx.iter().find(|t| t.0 == color) {
            Some(&(_, port)) => Tx { port, way: self.part.net.borrow().ports[port as usize].outs[0] },
            None => panic!("PE {}: the layout has no send route for {color}", self.coord()),
        }
    }

    /// The receive lane of a color.
    ///
    /// # Panics
    /// As `tx`.
    pub fn rx(self, color: Color) -> Rx {
        match self.part.endpoints(self.id).rx.iter().find(|r| r.0 == color) {
            Some(&(_, lane)) => Rx(lane),
            None => panic!("PE {}: the layout has no receive route for {color}", self.coord()),
        }
    }

    /// A declared tile; its bytes in 32-bit words, rounded up.
    ///
    /// # Panics
    /// As `tx`.
    pub fn tile(self, id: TileId) -> Tile {
        match self.part.tile(self.id, id) {
            Some(tile) => tile,
            None => panic!("PE {}: the layout has no tile {id:?}", self.coord()),
        }
    }

    /// Computes: charges `cost`, and runs `f` on the tiles unless this is a dry run.
    #[inline]
    #[track_caller]
    pub fn compute(self, cost: Cycles, f: impl FnOnce(&mut View<'_>)) {
        let mut net = self.part.net.borrow_mut();
        let record = &mut net.records[self.id as usize];
        if record.status == Status::Failed {
            return;
        }
        let start = record.now;
        record.now += cost.0;
        record.busy += cost.0;
        if let Some(recorder) = &self.part.recorder {
            let (end, place) = (start + cost.0, Some(Location::caller()));
            recorder.note(self.id, Span { start, end, did: Did::Compute, color: None, words: 0, place });
        }
        if net.dry {
            return;
        }
        let mut view = View::new(&mut net, self.id, self.part.kernels);
        f(&mut view);
        if let Some(kind) = view.fault {
            drop(net);
            self.fail(kind);
        }
    }

    /// Stops this PE: its program never runs on after the next `.await`.
    pub fn fail(self, kind: FaultKind) {
        let mut net = self.part.net.borrow_mut();
        let record = &mut net.records[self.id as usize];
        if record.status == Status::Failed {
            return;
        }
        let now = record.now;
        record.block(Status::Failed, NONE);
        drop(net);
        self.part.report(self.id, Fault { now, pe: self.coord(), kind });
    }

    /// Says that the program will soon send on `tx`: a hint to the host.
    #[inline]
    pub fn ahead(self, tx: Tx) {
        self.part.net.borrow().warm_way(tx.port, tx.way);
    }

    /// Says what the program will work on whenever it goes on, beside what it receives: a hint to the host.
    pub fn works_on(self, tile: Tile) {
        let record = &mut self.part.net.borrow_mut().records[self.id as usize];
        (record.works_on, record.works_on_lines) = (tile.place, (tile.words / 16).min(255) as u8);
    }

    /// Says that the program comes to a large tile that it reads from end to end: a launch may ask for the order of
    /// these visits, so that the host can lay such tiles out in it.
    #[inline]
    pub fn visit(self, tile: Tile) {
        if let Some(visits) = self.part.visits.borrow_mut().as_mut() {
            visits.push(tile.place);
        }
    }

    /// Notes that the program passed point `id`.
    pub fn mark(self, who: u16, id: u16) {
        let now = self.part.net.borrow().records[self.id as usize].now;
        self.part.marks.borrow_mut().push(Mark { id, who, now });
    }
}
