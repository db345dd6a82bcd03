//! The workloads of the paper: one row and one column stand for the mesh, and the formulas say what is executed.

use plummer::fabric::Chip;
use plummer::units::Coord;
use plummer::workloads::decode::VARIANTS;
use plummer::workloads::shape::{Tiles, groups_of};
use plummer::workloads::skeleton::Layer;

fn layers(chip: &Chip, mut check: impl FnMut(Layer<'_>)) {
    for p in [2, 3, 5, 8, 12, 15, 16, 36] {
        for tiles in [Tiles { d: 9, f: 30, s: 9 }, Tiles { d: 2, f: 3, s: 1 }, Tiles { d: 14, f: 50, s: 7 }] {
            check(Layer { chip, p, tiles });
        }
    }
}

#[test]
fn a_row_and_a_column_of_the_skeleton_take_the_cycles_of_the_whole_mesh() {
    let chip = Chip::preset("wse2").unwrap();
    layers(&chip, |layer| {
        let decode = VARIANTS.map(|variant| variant.program(&layer));
        for program in decode.into_iter().chain([layer.prefill(), layer.mesh_gemv(layer.tiles.d)]) {
            let trial = program.trial(&chip).unwrap();
            let mesh = trial.facts;
            let lines = program.timed(&chip).unwrap();
            let place = format!("P {} groups {} {:?}", layer.p, groups_of(layer.p), layer.tiles);
            assert_eq!(lines.cycles, mesh.counters.cycles, "{place}");
            assert_eq!(lines.compute, mesh.compute_cycles, "{place}");
            assert_eq!(lines.colors, mesh.survey.colors_per_core, "{place}");
            assert_eq!(lines.busy, mesh.counters.busy, "{place}");
            let last = layer.p as u32 - 1;
            let is_edge = |at: Coord| at.col == 0 || at.row == 0 || at.col == last || at.row == last;
            let records = trial.wafer.records().unwrap();
            let edge: u64 = records.iter().filter(|r| is_edge(r.0)).map(|r| r.1.busy).sum();
            assert_eq!(lines.edge_busy, edge, "{place}");
        }
    });
}

#[test]
fn a_mesh_that_the_chip_cannot_route_is_refused_though_its_lines_fit() {
    let mut chip = Chip::preset("wse2").unwrap();
    chip.colors = chip.colors_reserved + 8;
    let layer = Layer { chip: &chip, p: 12, tiles: Tiles { d: 4, f: 9, s: 3 } };
    let program = VARIANTS[0].program(&layer);
    assert!(program.executed(&chip).is_err());
    let error = program.timed(&chip).unwrap_err().to_string();
    assert!(error.contains("10 colors") && error.contains("8 usable"), "{error}");
    let slow = Chip { alpha: 1000, ..Chip::preset("wse2").unwrap() };
    let layer = Layer { chip: &slow, ..layer };
    let error = layer.prefill().timed(&slow).unwrap_err().to_string();
    assert!(error.contains("does not stand for"), "{error}");
}
