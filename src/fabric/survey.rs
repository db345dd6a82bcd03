//! What a layout asks of a chip, whether or not the chip has it: the R, L and M of PLMR.
//!
//! Invariant: reads the layout alone, so a refused launch has its numbers too. Called by benchmarks and reports.

use crate::units::{Bytes, Color, Coord};

use super::layout::Layout;
use super::route::Direction;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Most colors routed at one PE.
    pub colors_per_core: u32,
    /// Most links between the ramp that sends and a ramp that takes.
    pub longest_hop: u32,
    /// Bytes of tiles at the fullest PE, without the chip's reserve.
    pub arena_peak: Bytes,
}

impl Survey {
    /// Looks at every PE and follows every route from its ramp.
    pub fn of(layout: &Layout) -> Self {
        let mut survey = Self::default();
        for pe in &layout.pes {
            let colors = pe.routes.iter().filter(|r| r.rx != Direction::Host).count() as u32;
            survey.colors_per_core = survey.colors_per_core.max(colors);
            survey.arena_peak = survey.arena_peak.max(pe.used());
            for route in pe.routes.iter().filter(|r| r.rx == Direction::Ramp) {
                survey.longest_hop = survey.longest_hop.max(reach(layout, pe.coord, route.color));
            }
        }
        survey
    }
}

/// Links to the farthest sink of a color that `from` sends, over routers that listen to the one before: each has one
/// receive port, so the ways are a tree, whatever else a refused layout says.
fn reach(layout: &Layout, from: Coord, color: Color) -> u32 {
    let mut farthest = 0;
    let mut open = vec![(from, 0u32)];
    while let Some((at, links)) = open.pop() {
        let Some(pe) = layout.find(at).map(|i| &layout.pes[i as usize]) else { continue };
        let Some(route) = pe.route(color) else { continue };
        if route.tx.has(Direction::Ramp) {
            farthest = farthest.max(links);
        }
        let listens = |d: Direction| {
            let to = d.neighbour(at, u32::MAX, u32::MAX)?;
            let pe = &layout.pes[layout.find(to)? as usize];
            pe.routes.iter().any(|r| r.color == color && r.rx == d.opposite()).then_some((to, links + 1))
        };
        open.extend(route.tx.links().filter_map(listens));
    }
    farthest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Owner;
    use crate::fabric::{TileDecl, TileId};

    #[test]
    fn the_longest_hop_is_that_of_the_farthest_sink_and_colors_are_those_of_one_pe() {
        let at = |col| Coord::new(col, 0);
        let mut layout = Layout::default();
        layout.line(Color(0), at(0), at(2), false).unwrap();
        layout.line(Color(1), at(5), at(1), true).unwrap();
        layout.tile(at(3), TileDecl { id: TileId(0), name: "a", owner: Owner::Weights, bytes: 40, visit: 0 });
        let survey = Survey::of(&layout);
        assert_eq!(survey, Survey { colors_per_core: 2, longest_hop: 4, arena_peak: Bytes(48) });
    }
}
