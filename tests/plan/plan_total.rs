//! Planning is total: any shape, chip and request gives a plan or an error, never a panic; and what is planned passes
//! the layout check of its chip (arenas, routes, colors), on straight and on turning floorplans.

use plummer::collectives::Tree;
use plummer::fabric::{Backing, Chip, LayoutError, build};
use plummer::kernels::decode::{Decode, KvFormat, Launch};
use plummer::math::checkpoint::{ModelShape, WeightFormat};
use plummer::placement::{Plan, PlanRequest, tree_root};
use plummer::units::Coord;
use proptest::prelude::*;

/// Small numbers, zero included, and now and then an absurd one.
fn size(small: usize) -> impl Strategy<Value = usize> {
    prop_oneof![12 => 0..=small, 1 => 1_000usize..100_000, 1 => Just(1 << 31), 1 => Just(usize::MAX)]
}

/// A size of a model that could exist.
fn plain(small: usize) -> impl Strategy<Value = usize> {
    1..=small
}

fn shape(dims: [usize; 7], pairs: usize, tied: bool, qkv_bias: bool) -> ModelShape {
    let [hidden, n_layers, n_heads, n_kv_heads, head_dim, ffn, vocab] = dims;
    let inv_freq = vec![1.0; pairs];
    ModelShape { hidden, n_layers, n_heads, n_kv_heads, head_dim, ffn, vocab, norm_eps: 1e-5, inv_freq, tied, qkv_bias }
}

fn chip() -> impl Strategy<Value = Chip> {
    (1u32..24, 1u32..24, 0u64..20_000, 0u64..4_000, 4u32..64, 0u32..4).prop_map(
        |(cols, rows, arena_bytes, reserved_bytes, colors, colors_reserved)| Chip {
            cols,
            rows,
            arena_bytes,
            reserved_bytes,
            colors,
            colors_reserved,
            ..Chip::preset("wse2").unwrap()
        },
    )
}

fn request() -> impl Strategy<Value = PlanRequest> {
    let mesh = proptest::option::weighted(0.7, (0u32..30, 0u32..30));
    (mesh, size(60), 1usize..5, proptest::option::weighted(0.3, size(40)), 0usize..10).prop_map(
        |(mesh, context, kv_bytes, concat_prompt, k_tree)| PlanRequest {
            mesh,
            context,
            kv_bytes,
            concat_prompt,
            k_tree,
            trees: None,
            straight_colors: Decode::straight_colors(k_tree),
            spread: plummer::placement::Spread::default(),
            in_chunks: plummer::placement::InChunks::default(),
        },
    )
}

/// The plan finds the sender of a line without a tree; the collective must agree.
#[test]
fn the_root_of_a_plan_is_the_root_of_the_collective() {
    for n in 1..40 {
        for groups in [vec![1], vec![2, 1], vec![3, 1], vec![n, 1], vec![5, 2, 1], vec![9, 4, 1]] {
            let line = (0..n as u32).map(|col| Coord::new(col, 0)).collect();
            let tree = Tree { line, groups: groups.clone(), base: 0 };
            assert_eq!(tree_root(n, &groups), tree.root(), "{n} {groups:?}");
        }
    }
}

/// Sides between two of those that are looked at hold nothing that these do not.
#[test]
fn no_mesh_that_holds_a_model_is_missed() {
    let mut held = 0;
    for (i, dims) in
        [[24, 3, 4, 2, 6, 30, 50], [17, 5, 6, 6, 4, 23, 40], [30, 2, 3, 1, 8, 41, 9]].into_iter().enumerate()
    {
        let shape = shape(dims, dims[4] / 2, i == 1, false);
        for arena_bytes in [1_500, 2_500, 4_500, 9_000] {
            let chip = Chip { cols: 13, rows: 11, arena_bytes, reserved_bytes: 0, ..Chip::preset("wse2").unwrap() };
            for context in [1, 14, 60] {
                let straight_colors = Decode::straight_colors(2);
                let r = PlanRequest {
                    mesh: None,
                    context,
                    kv_bytes: 2,
                    concat_prompt: None,
                    k_tree: 2,
                    trees: None,
                    straight_colors,
                    spread: plummer::placement::Spread::default(),
                    in_chunks: plummer::placement::InChunks::default(),
                };
                let on = |mesh| Plan::sketches(&shape, &chip, &PlanRequest { mesh: Some(mesh), ..r.clone() }).ok();
                let all = (1..=13).flat_map(|cols| (1..=11).map(move |rows| (cols, rows)));
                let fits: Vec<_> = all.filter_map(on).flatten().collect();
                let found = Plan::sketches(&shape, &chip, &r).unwrap_or_default();
                assert_eq!(fits.is_empty(), found.is_empty(), "{dims:?} {arena_bytes} {context}");
                for s in &fits {
                    let better = |f: &&plummer::placement::Sketch| f.stages <= s.stages && f.pes() <= s.pes();
                    assert!(found.iter().any(|f| better(&f)), "{dims:?} {arena_bytes} {context}: {s:?}");
                }
                held += fits.len();
            }
        }
    }
    assert!(held > 100, "{held}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn no_shape_and_no_request_makes_a_plan_panic(
        dims in [size(40), size(12), size(12), size(12), size(20), size(40), size(60)],
        pairs in 0usize..12,
        flags in any::<[bool; 2]>(),
        chip in chip(),
        request in request(),
    ) {
        let shape = shape(dims, pairs, flags[0], flags[1]);
        for plan in [Plan::new(&shape, &chip, &request), Plan::smallest(&shape, &chip, &request)] {
            match plan {
                Ok(plan) => prop_assert!(plan.floor.bands() * plan.rows <= chip.rows as usize),
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }

    #[test]
    fn what_is_planned_passes_the_layout_check(
        sizes in [plain(30), plain(12), plain(3), plain(4), plain(5), plain(40), plain(40)],
        flags in any::<[bool; 2]>(),
        chip in chip(),
        request in request(),
    ) {
        let [hidden, layers, group, kv_heads, half, ffn, vocab] = sizes;
        let dims = [hidden, layers, group * kv_heads, kv_heads, 2 * half, ffn, vocab];
        let shape = shape(dims, half, flags[0], flags[1]);
        let kv = KvFormat::F16;
        let request = PlanRequest { kv_bytes: kv.bytes(), ..request };
        let Ok(plan) = Plan::new(&shape, &chip, &request) else { return Ok(()) };
        let concat_prompt = request.concat_prompt;
        let launch = Launch::default();
        let decode = Decode { shape, plan, format: WeightFormat::F16, kv, concat_prompt, chip, launch };
        let layout = decode.layout().map_err(|e| TestCaseError::fail(e.to_string()))?;
        match build(&layout, &decode.chip, 2, Backing::Packed) {
            Ok(_) => {}
            Err(LayoutError::Colors { need, have, .. }) => {
                prop_assert!(need <= decode.colors(), "the plan counts {}, the check {need}", decode.colors());
                prop_assert!(decode.plan.floor.tracks == 0, "{have} colors are too few and the plan knew");
            }
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        }
    }
}
