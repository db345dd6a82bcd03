//! What programs can reach, PE by PE: send ports, ramp lanes and tiles, in flat lists.
//!
//! Invariant: the lists of a part lie one behind the other, so a million PEs cost what they hold and no allocation
//! each. Filled by `build`; read by programs when they look their ports up, and by reports.

use crate::units::{Color, Coord};

use super::layout::TileId;

/// A list for every PE.
#[derive(Clone, Debug)]
struct Lists<T> {
    /// Where each begins, and the end of the last.
    starts: Vec<u32>,
    items: Vec<T>,
}

impl<T> Default for Lists<T> {
    fn default() -> Self {
        Self { starts: vec![0], items: Vec::new() }
    }
}

impl<T: Clone> Lists<T> {
    fn of(&self, pe: u32) -> &[T] {
        &self.items[self.starts[pe as usize] as usize..self.starts[pe as usize + 1] as usize]
    }

    fn of_mut(&mut self, pe: u32) -> &mut [T] {
        &mut self.items[self.starts[pe as usize] as usize..self.starts[pe as usize + 1] as usize]
    }

    fn reserve(&mut self, lists: usize, items: usize) {
        self.starts.reserve(lists);
        self.items.reserve(items);
    }

    fn add(&mut self, items: impl IntoIterator<Item = T>) {
        self.items.extend(items);
        self.starts.push(self.items.len() as u32);
    }
}

/// See the module. The PEs of one part by local id.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    coords: Vec<Coord>,
    tx: Lists<(Color, u32)>,
    rx: Lists<(Color, u32)>,
    tiles: Lists<(TileId, u32, u32)>,
}

/// The lists of one PE.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    /// Where.
    pub coord: Coord,
    /// Send ports by color.
    pub tx: &'a [(Color, u32)],
    /// Ramp lanes by color.
    pub rx: &'a [(Color, u32)],
    /// Tiles: id, place and words.
    pub tiles: &'a [(TileId, u32, u32)],
}

impl Endpoints {
    /// PEs.
    pub fn len(&self) -> usize {
        self.coords.len()
    }

    /// No PE?
    pub fn is_empty(&self) -> bool {
        self.coords.is_empty()
    }

    /// Where a PE is.
    pub fn coord(&self, pe: u32) -> Coord {
        self.coords[pe as usize]
    }

    /// The lists of a PE.
    pub fn of(&self, pe: u32) -> Ends<'_> {
        Ends { coord: self.coord(pe), tx: self.tx.of(pe), rx: self.rx.of(pe), tiles: self.tiles.of(pe) }
    }

    /// The lists of all PEs, by local id.
    pub fn iter(&self) -> impl Iterator<Item = Ends<'_>> {
        (0..self.coords.len() as u32).map(|pe| self.of(pe))
    }

    /// Room for PEs with so many ports, lanes and tiles in all.
    pub(super) fn reserve(&mut self, pes: usize, [tx, rx, tiles]: [usize; 3]) {
        self.coords.reserve(pes);
        self.tx.reserve(pes, tx);
        self.rx.reserve(pes, rx);
        self.tiles.reserve(pes, tiles);
    }

    /// The next PE: room for its ports and lanes, which get their ids later, and its tiles, placed later.
    pub(super) fn add(
        &mut self,
        coord: Coord,
        (tx, rx): (usize, usize),
        tiles: impl Iterator<Item = (TileId, u32, u32)>,
    ) {
        self.coords.push(coord);
        self.tx.add(std::iter::repeat_n((Color(u8::MAX), u32::MAX), tx));
        self.rx.add(std::iter::repeat_n((Color(u8::MAX), u32::MAX), rx));
        self.tiles.add(tiles);
    }

    /// Names a send port.
    pub(super) fn name_tx(&mut self, pe: u32, color: Color, port: u32) {
        name(self.tx.of_mut(pe), color, port);
    }

    /// Names a ramp lane.
    pub(super) fn name_rx(&mut self, pe: u32, color: Color, lane: u32) {
        name(self.rx.of_mut(pe), color, lane);
    }

    /// Id, place and words of the tiles of a PE, to be placed.
    pub(super) fn tiles_mut(&mut self, pe: u32) -> &mut [(TileId, u32, u32)] {
        self.tiles.of_mut(pe)
    }
}

fn name(list: &mut [(Color, u32)], color: Color, id: u32) {
    if let Some(free) = list.iter_mut().find(|e| e.1 == u32::MAX) {
        *free = (color, id);
    }
}
