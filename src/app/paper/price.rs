//! `--price`: what a token costs beside each energy of one, at the user's price of a chip-hour.
//!
//! Invariant: joules a token say how long the chip is taken; nothing else is assumed. Called by `paper`.

use crate::energy::cost;
use crate::fabric::Chip;
use crate::report::paper::{Cell, What};

/// The cell behind one of joules a token; none behind others.
pub fn cell(joules: &Cell, chip: &Chip, price: f64) -> Option<Cell> {
    let Some(What::Energy(..)) = joules.what else { return None };
    let cycles = |joules: f64| joules / chip.power_watts * chip.clock_hz;
    let a_token = joules.emulated.map(|joules| cost(chip, cycles(joules), price));
    let unit = format!("cost/token, {price} a chip-hour");
    let bare = Cell { unit, published: None, calibration: false, what: None, ..joules.clone() };
    Some(bare.with(a_token))
}
