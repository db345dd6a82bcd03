//! Cycles of a product without execution are those of its execution: every algorithm, any mesh, any blocks, any chip.

use plummer::exec::RunOptions;
use plummer::fabric::Chip;
use plummer::host::gemm::run;
use plummer::kernels::Numerics;
use plummer::kernels::gemm::{Algo, Finish, Gemm, Load, Matrices, Spec, Storage};
use plummer::math::gemm::Dims;
use plummer::workloads::scaling::{GemmKind, gemm_cycles};
use plummer::workloads::shape::Tiles;
use plummer::workloads::skeleton::Layer;

const NUMERICS: [Numerics; 2] = [Numerics::Default, Numerics::Paper];

fn dims((m, k, n): (usize, usize, usize)) -> Dims {
    Dims { m, k, n }
}

fn wse2() -> Chip {
    Chip::preset("wse2").unwrap()
}

/// Executed cycles, and those of the row's closed form.
fn executed(spec: Spec, chip: &Chip) -> (u64, u64) {
    let zero = |_: usize, _: usize| 0.0;
    let options = RunOptions { dry: true, ..RunOptions::new(1) };
    let row = run(spec, chip, &options, Matrices { a: &zero, b: &zero }).unwrap().row;
    let cycles = row.cycles.unwrap_or_else(|| panic!("{spec:?}: {:?}", row.refused));
    (cycles, row.closed_form_cycles.unwrap_or_else(|| panic!("{spec:?} has no closed form")))
}

/// The closed form, and the clocks where the closed form is a formula, are the executed cycles.
fn check(spec: Spec, chip: &Chip) -> u64 {
    let (cycles, form) = executed(spec, chip);
    assert_eq!(form, cycles, "{spec:?} on {}", chip.name);
    assert_eq!(Gemm::new(spec, chip).clocks(), cycles, "{spec:?} on {}", chip.name);
    cycles
}

#[test]
fn on_every_small_mesh_with_equal_and_ragged_blocks() {
    let sizes = [(1, 1, 1), (3, 2, 5), (7, 9, 6), (12, 12, 12), (24, 36, 48), (29, 43, 31)].map(dims);
    let (wse2, wse3) = (wse2(), Chip::preset("wse3").unwrap());
    for algo in Algo::ALL {
        for mesh in (1..=4).flat_map(|c| (1..=4).map(move |r| (c, r))) {
            for (size, numerics) in sizes.into_iter().flat_map(|s| NUMERICS.map(|n| (s, n))) {
                let chip = if numerics == Numerics::Paper { &wse3 } else { &wse2 };
                check(Spec::new(algo, mesh, size, numerics), chip);
            }
        }
    }
}

#[test]
fn on_larger_meshes() {
    for algo in Algo::ALL {
        for mesh in [(8, 8), (7, 7), (5, 7), (12, 8), (16, 3), (1, 20), (20, 1), (16, 16)] {
            for size in [(37, 50, 41), (112, 96, 80), (128, 128, 128)] {
                check(Spec::new(algo, mesh, dims(size), Numerics::Default), &wse2());
            }
        }
        for size in [(64, 64, 64), (100, 131, 97)] {
            check(Spec::new(algo, (32, 32), dims(size), Numerics::Paper), &wse2());
        }
    }
}

#[test]
fn with_operands_in_f32_aligned_at_load_and_brought_home() {
    for (algo, mesh) in [Algo::Mesh, Algo::Cannon, Algo::CannonLockstep]
        .into_iter()
        .flat_map(|a| [(4, 4), (5, 5), (6, 4), (3, 5)].map(|m| (a, m)))
    {
        for (load, finish) in
            [(Load::Aligned, Finish::Lean), (Load::Natural, Finish::Home), (Load::Aligned, Finish::Home)]
        {
            for size in [(9, 17, 11), (60, 60, 60)] {
                let spec = Spec::new(algo, mesh, dims(size), Numerics::Default);
                check(Spec { load, finish, a: Storage::F32, ..spec }, &wse2());
            }
        }
    }
}

/// A chip whose products, software, sends, lanes and queues are others.
fn chips() -> Vec<Chip> {
    let mut chips = Vec::new();
    for (mac, software, word, issue, turn) in
        [(0.0, 0, 0.0, 0, 0), (0.0, 30, 0.25, 3, 2), (0.1, 75, 1.0, 0, 5), (4.0, 0, 0.0, 7, 0)]
    {
        for (alpha, ramp, depth, queue) in [(1, 2, 2, 8), (3, 0, 1, 2), (1, 4, 5, 300)] {
            let mut chip = wse2();
            for rates in [&mut chip.f32, &mut chip.f16] {
                (rates.mac, rates.axpy, rates.launch) = (mac, 0.0, 0.0);
            }
            (chip.overheads.exchange, chip.overheads.exchange_word) = (software, word);
            (chip.issue_cycles, chip.turn_cycles, chip.alpha, chip.ramp) = (issue, turn, alpha, ramp);
            (chip.lane_depth, chip.queue_wavelets) = (depth, queue);
            chips.push(chip);
        }
    }
    chips
}

#[test]
fn whatever_the_chip_charges_and_buffers() {
    for (chip, algo) in chips().iter().flat_map(|chip| Algo::ALL.map(|algo| (chip, algo))) {
        for mesh in [(4, 4), (5, 5), (6, 4), (3, 5), (9, 9)] {
            for size in [(12, 12, 12), (17, 21, 13), (40, 47, 52), (60, 60, 60)] {
                let spec = Spec::new(algo, mesh, dims(size), Numerics::Default);
                match chip.lane_depth {
                    1 => nearly(spec, chip),
                    _ => check(spec, chip),
                };
            }
        }
    }
}

/// Rings are taken to have room in their lanes: where a lane holds a single burst they may take a little longer.
fn nearly(spec: Spec, chip: &Chip) -> u64 {
    let (cycles, form) = executed(spec, chip);
    assert!(form <= cycles && cycles - form <= cycles / 100, "{spec:?} on {}: {form}, executed {cycles}", chip.name);
    cycles
}

/// Cells of Figure 6 whose mesh can be executed: side of the mesh, side of a tile.
const CELLS: [(usize, usize); 7] = [(2, 4), (5, 3), (8, 6), (16, 3), (16, 5), (24, 4), (32, 6)];

#[test]
fn summa_with_its_steps_apart_is_the_published_formula() {
    let slow = Chip { issue_cycles: 5, ..wse2() };
    for ((p, side), chip) in CELLS.into_iter().flat_map(|cell| [(cell, wse2()), (cell, slow.clone())]) {
        let layer = Layer { chip: &chip, p, tiles: Tiles { d: 0, f: 0, s: 0 } };
        let cycles = |kind| gemm_cycles(&layer, kind, p * side).unwrap().unwrap();
        let (found, together) = (cycles(GemmKind::SummaInStep), cycles(GemmKind::Program(Algo::Summa)));
        let size = dims((p * side, p * side, p * side));
        let spec = Spec { finish: Finish::Home, ..Spec::new(Algo::Summa, (p, p), size, Numerics::Paper) };
        assert_eq!(found, Gemm::new(spec, &chip).summa_in_step(), "{p} {side}: one row stands for the mesh");
        assert_eq!(together, executed(spec, &chip).0, "{p} {side}");
        // P (comp + P alpha + lat + c_s).
        let words = (side * side).div_ceil(2) as u64;
        let t = chip.timing();
        let comp = chip.f16.gemm(side, side, side).0;
        let step = comp + (p as u64 - 1) * u64::from(t.alpha) + u64::from(2 * t.ramp) + words;
        let formula = (p as u64 * (step + u64::from(chip.overheads.exchange))) as f64;
        let off = found as f64 / formula - 1.0;
        assert!(off.abs() < 0.06 || chip.issue_cycles > 0, "{p} {side}: {found}, formula {formula}");
        assert!(found >= together, "{p} {side}");
    }
}

#[test]
fn the_cells_of_figure_6_are_executed_cycles_where_a_mesh_can_be_executed() {
    let chip = wse2();
    for (p, side) in CELLS {
        let layer = Layer { chip: &chip, p, tiles: Tiles { d: 0, f: 0, s: 0 } };
        for algo in [Algo::CannonLockstep, Algo::Summa, Algo::Allgather] {
            let size = dims((p * side, p * side, p * side));
            let (load, finish) = (Load::Aligned, Finish::Home);
            let spec = Spec { load, finish, ..Spec::new(algo, (p, p), size, Numerics::Paper) };
            let found = gemm_cycles(&layer, GemmKind::Program(algo), p * side).unwrap();
            assert_eq!(found, Some(executed(spec, &chip).0), "{algo:?} {p} {side}");
        }
    }
    // What the arena refuses in `bench gemm` has no cycles.
    let layer = Layer { chip: &chip, p: 40, tiles: Tiles { d: 0, f: 0, s: 0 } };
    assert_eq!(gemm_cycles(&layer, GemmKind::Program(Algo::Allgather), 40 * 16).unwrap(), None);
    assert!(gemm_cycles(&layer, GemmKind::Program(Algo::Summa), 40 * 16).unwrap().is_some());
}
