//! Placement over random shapes and meshes: every tensor element once, RoPE pairs whole, even blocks, bands of columns.
//!
//! A checkpoint whose elements all have bits of their own is packed into the tiles of a planned layout; where a pattern
//! turns up is where the element is.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use plummer::arena::Owner;
use plummer::fabric::Chip;
use plummer::host::{Session, SessionConfig};
use plummer::kernels::decode::Contents;
use plummer::kernels::decode::KvFormat;
use plummer::kernels::prefill::Prefill;
use plummer::math::checkpoint::{Checkpoint, Matrix, MatrixId, ModelShape, VectorId, WeightFormat};
use plummer::placement::Columns;
use plummer::units::Coord;
use proptest::prelude::*;

/// Elements numbered 1, 2, .. over all matrices, in 16 bits; vectors are zero and so do not show in tiles.
struct Numbered {
    shape: ModelShape,
    /// First number of each matrix.
    starts: BTreeMap<MatrixId, usize>,
    elements: usize,
}

fn dims(s: &ModelShape, id: MatrixId) -> (usize, usize) {
    let (q, kv) = (s.n_heads * s.head_dim, s.n_kv_heads * s.head_dim);
    match id {
        MatrixId::Embedding | MatrixId::Output => (s.vocab, s.hidden),
        MatrixId::Q(_) => (q, s.hidden),
        MatrixId::K(_) | MatrixId::V(_) => (kv, s.hidden),
        MatrixId::O(_) => (s.hidden, q),
        MatrixId::Gate(_) | MatrixId::Up(_) => (s.ffn, s.hidden),
        MatrixId::Down(_) => (s.hidden, s.ffn),
    }
}

impl Numbered {
    fn new(shape: ModelShape) -> Self {
        let layer = |l| {
            use MatrixId::{Down, Gate, K, O, Q, Up, V};
            [Q(l), K(l), V(l), O(l), Gate(l), Up(l), Down(l)]
        };
        let mut ids = vec![MatrixId::Output];
        ids.extend((!shape.tied).then_some(MatrixId::Embedding));
        ids.extend((0..shape.n_layers).flat_map(layer));
        let (mut starts, mut next) = (BTreeMap::new(), 1);
        for id in ids {
            starts.insert(id, next);
            let (rows, cols) = dims(&shape, id);
            next += rows * cols;
        }
        Self { shape, starts, elements: next - 1 }
    }

    /// Matrix, row and column of a number.
    fn element(&self, number: usize) -> (MatrixId, usize, usize) {
        let (id, start) = self.starts.iter().filter(|s| *s.1 <= number).max_by_key(|s| *s.1).expect("from 1 on");
        let (_, cols) = dims(&self.shape, *id);
        (*id, (number - start) / cols, (number - start) % cols)
    }
}

impl Checkpoint for Numbered {
    fn shape(&self) -> &ModelShape {
        &self.shape
    }

    fn matrix(&self, id: MatrixId) -> Matrix<'_> {
        let id = if self.shape.tied && id == MatrixId::Embedding { MatrixId::Output } else { id };
        let (rows, cols) = dims(&self.shape, id);
        let start = self.starts[&id];
        let bits: Vec<u16> = (start..start + rows * cols).map(|n| n as u16).collect();
        Matrix { rows, cols, format: WeightFormat::Bf16, bits: Cow::Owned(bits) }
    }

    fn vector(&self, id: VectorId) -> Cow<'_, [f32]> {
        let s = &self.shape;
        let n = match id {
            VectorId::AttentionNorm(_) | VectorId::FfnNorm(_) | VectorId::FinalNorm => s.hidden,
            VectorId::QBias(_) => s.n_heads * s.head_dim,
            VectorId::KBias(_) | VectorId::VBias(_) => s.n_kv_heads * s.head_dim,
        };
        Cow::Owned(vec![0.0; n])
    }
}

prop_compose! {
    fn shapes()(
        hidden in 1usize..14,
        n_layers in 1usize..5,
        n_kv_heads in 1usize..5,
        queries in 1usize..4,
        half in 1usize..5,
        ffn in 1usize..25,
        vocab in 1usize..30,
        tied in any::<bool>(),
        qkv_bias in any::<bool>(),
    ) -> ModelShape {
        ModelShape {
            hidden, n_layers, n_heads: n_kv_heads * queries, n_kv_heads, head_dim: 2 * half, ffn, vocab,
            norm_eps: 1e-5, inv_freq: vec![0.0; half], tied, qkv_bias,
        }
    }
}

/// Which PEs hold which elements.
type Homes = BTreeMap<usize, Vec<Coord>>;

fn config(mesh: Option<(u32, u32)>, arena_bytes: u64) -> SessionConfig {
    let chip = Chip { arena_bytes, ..Chip::preset("wse2").expect("a preset") };
    SessionConfig { mesh, context: 9, prompt: 4, ..SessionConfig::new(chip) }
}

/// Homes of all elements, and the number of stages; nothing where no layer fits the arena.
fn homes(model: &Numbered, mesh: (u32, u32), arena_bytes: u64) -> Option<(Homes, usize)> {
    let (decode, layout) = Session::plan_only(model, &config(Some(mesh), arena_bytes)).ok()?;
    let contents = Contents::new(&decode, model);
    let mut found = Homes::new();
    for pe in &layout.pes {
        for tile in pe.tiles.iter().filter(|t| t.owner == Owner::Weights) {
            let mut words = vec![0u32; tile.bytes.div_ceil(4) as usize];
            contents.fill(pe.coord, tile.id, &mut words);
            let halves = words.iter().flat_map(|w| [*w as u16, (*w >> 16) as u16]);
            halves.filter(|h| *h > 0).for_each(|h| found.entry(usize::from(h)).or_default().push(pe.coord));
        }
    }
    Some((found, decode.plan.stages.len()))
}

fn even(lengths: impl IntoIterator<Item = usize>) -> bool {
    let all: Vec<usize> = lengths.into_iter().collect();
    all.iter().max().unwrap_or(&0) - all.iter().min().unwrap_or(&0) <= 1
}

/// In the whole arena, or in the smallest one that holds the model on this mesh.
fn in_arena(model: &Numbered, mesh: (u32, u32), small: bool) -> (Homes, usize) {
    let sizes = if small { 8_192 + 512..49_152 } else { 49_152..49_153 };
    sizes.step_by(256).find_map(|bytes| homes(model, mesh, bytes)).expect("48 KiB hold so small a model")
}

#[test]
fn small_arenas_make_several_stages() {
    let (hidden, n_layers, ffn, vocab) = (12, 4, 20, 20);
    let model = Numbered::new(ModelShape {
        hidden,
        n_layers,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 6,
        ffn,
        vocab,
        norm_eps: 1e-5,
        inv_freq: vec![0.0; 3],
        tied: true,
        qkv_bias: false,
    });
    let stages = [true, false].map(|small| in_arena(&model, (3, 3), small).1);
    assert!(stages[0] > 1 && stages[1] == 1, "{stages:?}");
}

/// The planner counts what the prefill declares: one position on every row and every column fits.
#[test]
fn an_automatic_mesh_leaves_room_for_a_prefill() {
    let mut seen = BTreeSet::new();
    for (n_kv_heads, queries, qkv_bias) in [(2, 1, false), (3, 2, true), (1, 4, false)] {
        let shape = ModelShape {
            hidden: 40,
            n_layers: 5,
            n_heads: n_kv_heads * queries,
            n_kv_heads,
            head_dim: 6,
            ffn: 70,
            vocab: 50,
            norm_eps: 1e-5,
            inv_freq: vec![0.0; 3],
            tied: true,
            qkv_bias,
        };
        let model = Numbered::new(shape);
        for (bytes, kv_type) in
            (9_400..20_000).step_by(400).flat_map(|b| [KvFormat::F16, KvFormat::F32].map(|t| (b, t)))
        {
            let config = SessionConfig { kv_type, context: 90, ..config(None, bytes) };
            let (decode, _) = Session::plan_only(&model, &config).expect("the wafer is large");
            let least = decode.plan.cols.min(decode.plan.rows);
            let prefill = Prefill::new(&decode, 80, Some(least)).unwrap_or_else(|e| panic!("{bytes} B: {e}"));
            assert_eq!(prefill.chunk, least, "{bytes} B, {}x{}", decode.plan.cols, decode.plan.rows);
            seen.insert((decode.plan.cols, decode.plan.rows));
        }
    }
    assert!(seen.len() > 5, "{seen:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_weight_is_in_exactly_one_tile_and_pairs_are_whole(
        shape in shapes(),
        cols in 1u32..12,
        rows in 1u32..12,
        small in any::<bool>(),
    ) {
        let model = Numbered::new(shape);
        prop_assume!(model.elements < 1 << 16);
        // The whole arena, or the smallest that holds the model on this mesh: then there are several stages.
        let (found, _) = in_arena(&model, (cols, rows), small);
        for number in 1..=model.elements {
            let n = found.get(&number).map_or(0, Vec::len);
            prop_assert_eq!(n, 1, "{:?} of {:?}", model.element(number), model.shape);
        }
        prop_assert_eq!(found.len(), model.elements, "nothing but weights");

        let s = &model.shape;
        let at = |id: MatrixId, row: usize, col: usize| found[&(model.starts[&id] + row * dims(s, id).1 + col)][0];
        for layer in 0..s.n_layers {
            for (id, heads) in [(MatrixId::Q(layer), s.n_heads), (MatrixId::K(layer), s.n_kv_heads)] {
                for head in 0..heads {
                    for pair in 0..s.head_dim / 2 {
                        for input in 0..s.hidden {
                            let low = at(id, head * s.head_dim + pair, input);
                            let high = at(id, head * s.head_dim + pair + s.head_dim / 2, input);
                            prop_assert_eq!(low, high, "{:?} head {} pair {} is torn", id, head, pair);
                        }
                    }
                }
            }
            // A query's dims are where its KV head's are; V and O follow; all PEs of a layer are in one region.
            let group = s.n_heads / s.n_kv_heads;
            for head in 0..s.n_heads {
                for dim in 0..s.head_dim {
                    let q = at(MatrixId::Q(layer), head * s.head_dim + dim, 0);
                    let k = at(MatrixId::K(layer), head / group * s.head_dim + dim, 0);
                    let v = at(MatrixId::V(layer), head / group * s.head_dim + dim, 0);
                    let o = at(MatrixId::O(layer), 0, head * s.head_dim + dim);
                    prop_assert!(q == k && k == v && o == q, "head {} dim {}: {} {} {} {}", head, dim, q, k, v, o);
                }
            }
        }
        // Blocks: inputs of a row, FFN columns of a PE, vocabulary of a head column differ by at most one.
        let count = |per: &dyn Fn(usize) -> Coord, n: usize, parts: u32| {
            let mut sizes: BTreeMap<Coord, usize> = BTreeMap::new();
            (0..n).for_each(|i| *sizes.entry(per(i)).or_default() += 1);
            let empty = (parts as usize).saturating_sub(sizes.len());
            even(sizes.into_values().chain(std::iter::repeat_n(0, empty)))
        };
        prop_assert!(count(&|i| at(MatrixId::Gate(0), 0, i), s.hidden, rows), "inputs over rows");
        prop_assert!(count(&|i| at(MatrixId::Gate(0), i, 0), s.ffn, cols), "FFN over columns");
        prop_assert!(count(&|i| at(MatrixId::Down(0), i, 0), s.hidden, rows), "outputs over rows");
        let head_cols: BTreeSet<Coord> = (0..s.vocab).map(|i| at(MatrixId::Output, i, 0)).collect();
        prop_assert!(count(&|i| at(MatrixId::Output, i, 0), s.vocab, head_cols.len() as u32), "vocabulary");
    }

    #[test]
    fn bands_cut_the_columns_evenly_and_pairs_inside_them_too(shape in shapes(), cols in 1usize..80) {
        let columns = Columns::new(&shape, cols);
        let slices: Vec<_> = (0..cols).map(|c| columns.slice(c)).collect();
        let mut seen = vec![0; shape.n_kv_heads * shape.head_dim];
        for (col, slice) in slices.iter().enumerate() {
            prop_assert!(slice.band.contains(&col));
            for head in slice.kv_heads.clone() {
                columns.dims(slice).for_each(|d| seen[head * shape.head_dim + d] += 1);
            }
            // Everybody in a band agrees on it.
            slice.band.clone().for_each(|c| assert_eq!(slices[c].band, slice.band));
        }
        prop_assert!(seen.iter().all(|n| *n == 1), "{:?}", seen);
        let bands: BTreeSet<(usize, usize)> = slices.iter().map(|s| (s.band.start, s.band.end)).collect();
        prop_assert!(even(bands.iter().map(|b| b.1 - b.0)));
        prop_assert_eq!(bands.iter().map(|b| b.1 - b.0).sum::<usize>(), cols);
        for band in bands {
            prop_assert!(even(slices[band.0..band.1].iter().map(|s| s.pairs.len())));
        }
        prop_assert!(even(slices.iter().map(|s| s.kv_heads.len())));
        // Fewer columns than KV heads: whole heads; otherwise one head a column.
        let whole = cols < shape.n_kv_heads;
        for s in &slices {
            prop_assert!(if whole { 2 * s.pairs.len() == shape.head_dim } else { s.kv_heads.len() == 1 }, "{:?}", s);
        }
    }

    #[test]
    fn stages_are_consecutive_and_balanced(
        shape in shapes(), cols in 1u32..9, rows in 1u32..9, spare in 700u64..4_000,
    ) {
        let chip = Chip { arena_bytes: 8_192 + spare, ..Chip::preset("wse2").expect("a preset") };
        let request = plummer::placement::PlanRequest {
            straight_colors: 18,
            spread: plummer::placement::Spread::default(),
            in_chunks: plummer::placement::InChunks::default(),
            mesh: Some((cols, rows)), context: 9, kv_bytes: 2, concat_prompt: None, k_tree: 2, trees: None,
        };
        if let Ok(plan) = plummer::placement::Plan::new(&shape, &chip, &request) {
            let layers: Vec<usize> = plan.stages.iter().cloned().flatten().collect();
            prop_assert_eq!(layers, (0..shape.n_layers).collect::<Vec<_>>());
            prop_assert!(even(plan.stages.iter().map(|s| s.len())));
            prop_assert!(plan.capacity >= 9 && plan.cap * plan.rows >= plan.capacity);
        }
    }
}
