//! Probes: copies of tiles at named points of programs, for `plummer verify` to lay beside the oracle's numbers.
//!
//! Invariant: uncharged and off unless asked for; a probed run has the bits and cycles of any other.
//! Filled through `Pe::probe`, read by the host after a run.

use std::sync::{Arc, Mutex};

use crate::arena::Tile;
use crate::link::Store;
use crate::units::Coord;

use super::handle::Pe;

/// One copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Whose tile.
    pub pe: Coord,
    /// Kernel-defined: a layer.
    pub layer: usize,
    /// Kernel-defined id of the point.
    pub point: u16,
    /// Bits.
    pub words: Vec<u32>,
}

/// Where all workers put their copies.
pub type Probes = Arc<Mutex<Vec<Probe>>>;

impl Pe<'_> {
    /// Copies a tile if the run is probed.
    pub fn probe(self, layer: usize, point: u16, tile: Tile) {
        let Some(probes) = &self.part.probes else { return };
        let net = self.part.net.borrow();
        if net.dry {
            return;
        }
        let words = net.store.words(tile.place, tile.words()).to_vec();
        let probe = Probe { pe: self.coord(), layer, point, words };
        // A worker that panicked holds no half-made copy.
        probes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(probe);
    }
}
