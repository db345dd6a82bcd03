//! The workloads of the paper: one row and one column stand for the mesh, and the formulas say what is executed.

use plummer::fabric::Chip;
use plummer::workloads::constants::COSTS;
use plummer::workloads::shape::{Tiles, groups_of};
use plummer::workloads::skeleton::Layer;

fn layers(chip: &Chip, mut check: impl FnMut(Layer<'_>)) {
    for p in [2, 3, 5, 8, 12, 15, 16] {
        for tiles in [Tiles { d: 9, f: 30, s: 9 }, Tiles { d: 2, f: 3, s: 1 }, Tiles { d: 14, f: 50, s: 7 }] {
            check(Layer { chip, costs: &COSTS, p, tiles });
        }
    }
}

#[test]
fn a_row_and_a_column_of_the_skeleton_take_the_cycles_of_the_whole_mesh() {
    let chip = Chip::preset("wse2").unwrap();
    layers(&chip, |layer| {
        for program in [layer.decode(), layer.prefill(), layer.mesh_gemv(layer.tiles.d)] {
            let mesh = program.executed(&chip).unwrap();
            let lines = program.timed(&chip).unwrap();
            let place = format!("P {} groups {} {:?}", layer.p, groups_of(layer.p), layer.tiles);
            assert_eq!(lines.cycles, mesh.counters.cycles, "{place}");
            assert_eq!(lines.compute, mesh.compute_cycles, "{place}");
            assert_eq!(lines.colors, mesh.survey.colors_per_core, "{place}");
        }
    });
}

#[test]
#[ignore]
fn zz() {
    let chip = Chip::preset("wse2").unwrap();
    for (m, p) in [(0, 420), (0, 540), (0, 660)] {
        let model = &plummer::workloads::MODELS[m];
        let t = std::time::Instant::now();
        let c = Layer { chip: &chip, costs: &COSTS, p, tiles: model.tiles(p, 4096) }.decode().timed(&chip).unwrap();
        println!("{p} {c:?} {} {:?}", 1.1e9 / (32 * c.cycles) as f64, t.elapsed());
    }
    for (m, p) in [(0, 480), (0, 600), (0, 720)] {
        let model = &plummer::workloads::MODELS[m];
        let t = std::time::Instant::now();
        let c = Layer { chip: &chip, costs: &COSTS, p, tiles: model.tiles(p, 4096) }.prefill().timed(&chip).unwrap();
        println!("{p} {c:?} {} {:?}", 4096. * 1.1e9 / (32 * c.cycles) as f64, t.elapsed());
    }
    let c = Layer { chip: &chip, costs: &COSTS, p: 720, tiles: Tiles { d: 0, f: 0, s: 0 } }.mesh_gemv(23).timed(&chip).unwrap();
    println!("{c:?}");
}
