//! Tiles as numbers, inside a compute operation.
//!
//! Invariant: a tile under an open ticket cannot be touched: the access is a fault that names both. One thing is no
//! touch: reading what an open send reads as well (design.md section 2 forbids what a program could see or spoil;
//! style.md multiplies by a tile while it is on its way).

use crate::arena::{Memory, Tile};
use crate::link::{Net, Record, Ticket, TicketKind};
use crate::math::Kernels;

use super::fault::{FaultKind, Span};

/// The memory of a worker, seen by one PE during one compute operation.
pub struct View<'a> {
    net: &'a mut Net<Memory>,
    pe: u32,
    kernels: Kernels,
    pub(super) fault: Option<FaultKind>,
}

impl<'a> View<'a> {
    pub(super) fn new(net: &'a mut Net<Memory>, pe: u32, kernels: Kernels) -> Self {
        Self { net, pe, kernels, fault: None }
    }

    /// The arithmetic of this host.
    pub fn kernels(&self) -> Kernels {
        self.kernels
    }

    /// Holds an access against the open tickets.
    #[inline(always)]
    fn check(&mut self, tile: Tile, writes: bool) {
        if is_touched(self.net, self.pe, tile, writes) {
            self.fault = self.fault.take().or(touched(self.net, self.pe, tile, writes));
        }
    }

    /// Words of a tile.
    #[inline]
    pub fn words(&mut self, tile: Tile) -> &[u32] {
        self.check(tile, false);
        self.net.store.tile(tile)
    }

    /// Values of a tile.
    #[inline]
    pub fn f32(&mut self, tile: Tile) -> &[f32] {
        bytemuck::cast_slice(self.words(tile))
    }

    /// Words of several disjoint tiles, to be read or written.
    #[inline]
    pub fn words_mut<const N: usize>(&mut self, tiles: [Tile; N]) -> [&mut [u32]; N] {
        if self.net.records[self.pe as usize].is_open() {
            tiles.into_iter().for_each(|t| self.check(t, true));
        }
        self.net.store.tiles_mut(tiles)
    }

    /// Words of two tiles to be read, and of a third one, disjoint from both, to be written.
    #[inline(always)]
    pub fn read_write(&mut self, read: [Tile; 2], write: Tile) -> ([&[u32]; 2], &mut [u32]) {
        let record = &self.net.records[self.pe as usize];
        // What a step of a ring multiplies is on its way, and its product lies elsewhere.
        let (open, is_open) = (hull(record), record.is_open());
        let may_read = |tile: Tile| self.net.tickets.any_open(record, |t| sends(t, tile)) || !open.overlaps(tile);
        if is_open && (open.overlaps(write) || !may_read(read[0]) || !may_read(read[1])) {
            self.check_each(read, write);
        }
        self.net.store.beside(read, write)
    }

    #[inline(never)]
    fn check_each(&mut self, read: [Tile; 2], write: Tile) {
        read.into_iter().for_each(|tile| self.check(tile, false));
        self.check(write, true);
    }

    /// Values of several disjoint tiles, to be read or written.
    #[inline]
    pub fn f32_mut<const N: usize>(&mut self, tiles: [Tile; N]) -> [&mut [f32]; N] {
        self.words_mut(tiles).map(bytemuck::cast_slice_mut)
    }

    /// Stops the PE after this operation.
    pub fn raise(&mut self, kind: FaultKind) {
        self.fault = self.fault.take().or(Some(kind));
    }
}

/// Does a tile lie beside all that open tickets may lie in?
#[inline(always)]
pub(super) fn is_apart(net: &Net<Memory>, pe: u32, tile: Tile) -> bool {
    let record = &net.records[pe as usize];
    !record.is_open() || !hull(record).overlaps(tile)
}

/// Is a ticket open on some words of `tile`? Reading beside a send is no touch.
#[inline(always)]
pub(super) fn is_touched(net: &Net<Memory>, pe: u32, tile: Tile, writes: bool) -> bool {
    if is_apart(net, pe, tile) {
        return false;
    }
    (writes || !any_open(net, pe, |t| sends(t, tile))) && any_open(net, pe, |t| opens(t, writes).overlaps(tile))
}

/// All tiles of a PE's open tickets lie in here.
#[inline(always)]
fn hull(record: &Record) -> Tile {
    Tile { place: record.hull[0], words: record.hull[1] - record.hull[0] }
}

/// Is it a send that begins with this tile and is no shorter? Tiles of open tickets are disjoint, so the tile lies in
/// no other one then.
#[inline(always)]
fn sends(t: &Ticket, tile: Tile) -> bool {
    t.place == tile.place && t.kind == TicketKind::Send && tile.words <= u32::from(t.words)
}

/// Is a posted operation open on some words of `tile`?
#[inline(never)]
pub(super) fn is_open(net: &Net<Memory>, pe: u32, tile: Tile) -> bool {
    any_open(net, pe, |t| opens(t, true).overlaps(tile))
}

#[inline(always)]
fn any_open(net: &Net<Memory>, pe: u32, is_it: impl Fn(&Ticket) -> bool) -> bool {
    net.tickets.any_open(&net.records[pe as usize], is_it)
}

/// What must not be touched while a ticket is open; nothing if it is a send and `writes` is false.
#[inline(always)]
fn opens(t: &Ticket, writes: bool) -> Tile {
    let words = if writes || t.kind != TicketKind::Send { u32::from(t.words) } else { 0 };
    Tile { place: t.place, words }
}

/// The fault of touching `tile` while a ticket on some of its words is open, if one is.
#[cold]
pub(super) fn touched(net: &Net<Memory>, pe: u32, tile: Tile, writes: bool) -> Option<FaultKind> {
    // The oldest is named.
    net.in_order(&net.records[pe as usize]).find_map(|id| {
        let open = opens(&net.tickets[id], writes);
        let touched = FaultKind::Touched { tile: Span::unresolved(tile), ticket: Span::unresolved(open) };
        open.overlaps(tile).then_some(touched)
    })
}
