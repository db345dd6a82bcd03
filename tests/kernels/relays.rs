//! T10 and Ladder: exact results at small P, and closed forms that are the executed cycles.

use plummer::exec::RunOptions;
use plummer::fabric::Chip;
use plummer::math::gemm::Dims;
use plummer::workloads::relay::gemm::RelayGemm;
use plummer::workloads::relay::gemv::RelayGemv;
use plummer::workloads::relay::layer::RelayCosts;
use plummer::workloads::relay::{Policy, RelayCost};

const POLICIES: [Policy; 2] = [Policy::T10, Policy::Ladder];

/// -1, 0 or 1: sums of products are exact in f16 in any order.
fn ternary(i: usize, j: usize) -> f32 {
    ((i * 31 + j * 17 + i * j) % 3) as f32 - 1.0
}

fn gemm(policy: Policy, p: usize, block: Dims) -> RelayGemm {
    let chip = Chip::preset("wse2").unwrap();
    let costs = RelayCosts::of(&chip);
    let relay = if policy == Policy::T10 { costs.t10_block } else { costs.ladder_block };
    RelayGemm { policy, p, block, relay, chip }
}

fn gemv(policy: Policy, p: usize, k: usize, n: usize) -> RelayGemv {
    let chip = Chip::preset("wse2").unwrap();
    let costs = RelayCosts::of(&chip);
    let relay = if policy == Policy::T10 { costs.t10_sum } else { costs.ladder_gemv };
    RelayGemv { policy, p, k, n, relay, chip }
}

#[test]
fn products_of_both_policies_are_exact_and_take_the_cycles_of_the_closed_form() {
    for policy in POLICIES {
        for p in [1, 2, 3, 4, 5, 8, 11] {
            for block in [Dims { m: 3, k: 2, n: 5 }, Dims { m: 6, k: 7, n: 4 }, Dims { m: 4, k: 9, n: 20 }] {
                let kernel = gemm(policy, p, block);
                let (trial, c) = kernel.run(&RunOptions::new(1), &ternary, &|k, n| ternary(n, k)).unwrap();
                let place = format!("{policy:?} {p} {block:?}");
                for (i, j) in (0..p * block.m).flat_map(|i| (0..p * block.n).map(move |j| (i, j))) {
                    let sum: f32 = (0..p * block.k).map(|k| ternary(i, k) * ternary(j, k)).sum();
                    assert_eq!(c[i * p * block.n + j], sum, "{place} C({i}, {j})");
                }
                assert_eq!(trial.facts.counters.cycles, kernel.closed_form_cycles(), "{place}");
            }
        }
    }
}

#[test]
fn vectors_of_both_policies_are_exact_and_take_the_cycles_of_the_closed_form() {
    for policy in POLICIES {
        for p in [1, 2, 3, 4, 7, 16, 33] {
            for (k, n) in [(1, 1), (5, 3), (10, 35), (35, 10)] {
                let kernel = gemv(policy, p, k, n);
                let x: Vec<f32> = (0..p * k).map(|i| ternary(i, 7)).collect();
                for row in [0, p - 1] {
                    let (trial, y) = kernel.run(&RunOptions::new(1), &x, &ternary, row).unwrap();
                    let place = format!("{policy:?} {p} {k} {n}");
                    for (j, found) in y.iter().enumerate() {
                        let sum: f32 = (0..p * k).map(|i| x[i] * ternary(i, j)).sum();
                        assert_eq!(*found, sum, "{place} y({j})");
                    }
                    assert_eq!(trial.facts.counters.cycles, kernel.closed_form_cycles(), "{place}");
                }
            }
        }
    }
}

/// Shapes of the tables on larger meshes, without payloads, and on two workers.
#[test]
fn closed_forms_hold_for_the_tiles_of_the_tables() {
    for policy in POLICIES {
        for (p, m, k, n) in [(24, 9, 9, 30), (31, 7, 14, 50), (17, 9, 30, 9)] {
            let options = RunOptions { dry: true, ..RunOptions::new(2) };
            let kernel = gemm(policy, p, Dims { m, k, n });
            let (trial, _) = kernel.run(&options, &ternary, &ternary).unwrap();
            assert_eq!(trial.facts.counters.cycles, kernel.closed_form_cycles(), "{policy:?} {p}");
        }
    }
}

/// Other software costs, none at all included, and the constants of another chip.
#[test]
fn closed_forms_hold_for_other_costs_and_chips() {
    let mut far = Chip::preset("wse2").unwrap();
    (far.alpha, far.ramp, far.stage_cycles) = (3, 4, 2);
    (far.ser_num, far.ser_den) = (9, 8);
    for chip in [Chip::preset("wse2").unwrap(), far] {
        for (message, word) in [(0.0, 0.0), (7.0, 0.5), (33.3, 4.0)] {
            let relay = RelayCost { message, word };
            for (policy, p) in POLICIES.into_iter().flat_map(|policy| [2, 5, 12].map(|p| (policy, p))) {
                let options = RunOptions { dry: true, ..RunOptions::new(1) };
                let place = format!("{policy:?} {p} {relay:?} alpha {}", chip.alpha);
                let vector = RelayGemv { relay, chip: chip.clone(), ..gemv(policy, p, 6, 10) };
                let x = vec![0.0; 6 * p];
                let (trial, _) = vector.run(&options, &x, &ternary, 0).unwrap();
                assert_eq!(trial.facts.counters.cycles, vector.closed_form_cycles(), "y = x W, {place}");
                let matrix = RelayGemm { relay, chip: chip.clone(), ..gemm(policy, p, Dims { m: 5, k: 6, n: 9 }) };
                let (trial, _) = matrix.run(&options, &ternary, &ternary).unwrap();
                assert_eq!(trial.facts.counters.cycles, matrix.closed_form_cycles(), "C = A B, {place}");
            }
        }
    }
}

#[test]
fn a_mesh_makes_the_crossbar_s_last_hop_p_relays_long() {
    let cycles = |relay, p| RelayGemm { relay, ..gemm(Policy::T10, p, Dims { m: 4, k: 4, n: 4 }) }.closed_form_cycles();
    let slow = RelayCost { message: 1000.0, word: 0.0 };
    let ratio = cycles(slow, 32) as f64 / cycles(slow, 16) as f64;
    assert!((3.8..4.4).contains(&ratio), "P^2: {ratio}");
}
