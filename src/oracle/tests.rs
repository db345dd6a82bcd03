//! Tests of the oracles: against each other, against a direct implementation, and against their own recipe.

use super::*;
use crate::math::checkpoint::{Checkpoint, MatrixId, ModelShape, VectorId, WeightFormat};
use crate::math::random_checkpoint::RandomCheckpoint;
use crate::math::{exp, fma, rope};

const IDS: [u32; 12] = [3, 17, 0, 40, 17, 5, 22, 1, 36, 9, 9, 28];

/// A tiny model with dimensions that divide nothing.
fn model(n_heads: usize, n_kv_heads: usize, head_dim: usize, tied: bool, qkv_bias: bool) -> ModelShape {
    let half = head_dim / 2;
    ModelShape {
        hidden: 37,
        n_layers: 3,
        n_heads,
        n_kv_heads,
        head_dim,
        ffn: 53,
        vocab: 41,
        norm_eps: 1e-5,
        inv_freq: (0..half).map(|i| libm::pow(10_000.0, -(i as f64) / half as f64)).collect(),
        tied,
        qkv_bias,
    }
}

fn models() -> Vec<RandomCheckpoint> {
    let shapes = [
        (model(4, 4, 8, true, false), WeightFormat::F16),
        (model(6, 2, 6, false, true), WeightFormat::Bf16),
        (model(5, 1, 10, true, true), WeightFormat::F16),
        (model(6, 3, 4, false, false), WeightFormat::Bf16),
    ];
    let seeded = shapes.into_iter().zip(1..);
    seeded.map(|((shape, format), seed)| RandomCheckpoint::new(shape, format, seed)).collect()
}

/// Meshes with fewer columns than KV heads, as many, many more, and more rows than positions or inputs.
fn recipes(kv_type: KvType) -> Vec<Recipe> {
    let meshes = [
        (1, 1, 1, vec![1], vec![1]),
        (2, 3, 4, vec![1], vec![1]),
        (3, 5, 2, vec![2, 1], vec![1]),
        (7, 16, 5, vec![4, 1], vec![3, 1]),
        (23, 40, 9, vec![5, 2, 1], vec![4, 2, 1]),
    ];
    let kvs = [KvMode::Shift, KvMode::Concat { prompt: 7 }];
    let recipe = |(cols, rows, head_cols, groups_y, groups_x): (_, _, _, Vec<usize>, Vec<usize>), kv| Recipe {
        cols,
        rows,
        head_cols,
        groups_y,
        groups_head: groups_x.clone(),
        groups_x,
        kv,
        kv_type,
    };
    meshes.into_iter().flat_map(|mesh| kvs.map(|kv| recipe(mesh.clone(), kv))).collect()
}

/// Logits of every position.
fn run(checkpoint: &dyn Checkpoint, recipe: Recipe) -> Vec<Vec<f32>> {
    let mut oracle = Oracle::new(checkpoint, recipe).expect("a valid recipe");
    IDS.iter().map(|id| oracle.step(*id, true).expect("wanted")).collect()
}

fn bits(logits: &[Vec<f32>]) -> Vec<u32> {
    logits.concat().iter().map(|l| l.to_bits()).collect()
}

#[test]
fn every_recipe_is_close_to_the_f64_oracle() {
    // F16: both round K and V to 11 bits, but a value near a midpoint may fall to either side.
    for (kv_type, bound) in [(KvType::F32, 2e-5), (KvType::F16, 5e-3)] {
        for (i, checkpoint) in models().iter().enumerate() {
            let mut exact = F64Oracle::new(checkpoint, kv_type);
            let exact: Vec<f64> = IDS.iter().flat_map(|id| exact.step(*id)).collect();
            let largest = exact.iter().fold(0.0f64, |m, l| m.max(l.abs()));
            assert!(largest > 1.0, "model {i}: logits that are all small would pass anything");
            for recipe in recipes(kv_type) {
                let logits = run(checkpoint, recipe.clone()).concat();
                let differ = |(a, b): (&f32, &f64)| (f64::from(*a) - b).abs();
                let worst = logits.iter().zip(&exact).map(differ).fold(0.0, f64::max);
                assert!(worst < bound, "model {i}, {recipe:?}: {worst:e}");
            }
        }
    }
}

#[test]
fn the_mesh_shows_in_the_bits() {
    let checkpoint = &models()[1];
    let mut seen: Vec<Vec<u32>> = Vec::new();
    for recipe in recipes(KvType::F32).into_iter().skip(2).filter(|r| r.kv == KvMode::Shift) {
        let mut other_tree = recipe.clone();
        other_tree.groups_y = vec![recipe.rows - 1, 1];
        seen.push(bits(&run(checkpoint, recipe)));
        seen.push(bits(&run(checkpoint, other_tree)));
    }
    for (i, a) in seen.iter().enumerate() {
        assert!(seen[..i].iter().all(|b| a != b), "two recipes with the same bits test nothing");
    }
}

#[test]
fn unwanted_logits_change_nothing_and_unknown_ids_embed_to_zero() {
    let checkpoint = &models()[0];
    let recipe = recipes(KvType::F16).swap_remove(4);
    let all = run(checkpoint, recipe.clone());
    let mut oracle = Oracle::new(checkpoint, recipe.clone()).expect("valid");
    let (last, prompt) = IDS.split_last().expect("not empty");
    assert!(prompt.iter().all(|id| oracle.step(*id, false).is_none()));
    assert_eq!(oracle.step(*last, true).as_ref(), all.last());
    let mut oracle = Oracle::new(checkpoint, recipe).expect("valid");
    let logits = oracle.step(1000, true).expect("wanted");
    assert!(logits.iter().all(|l| *l == 0.0), "no layer of a bias-free model moves zero");
}

#[test]
fn recipes_without_a_mesh_or_a_tree_are_refused() {
    let checkpoint = &models()[0];
    let good = Recipe::one_pe(KvType::F16);
    let refuse = |edit: fn(&mut Recipe)| {
        let mut recipe = good.clone();
        edit(&mut recipe);
        Oracle::new(checkpoint, recipe).err().expect("refused").to_string()
    };
    assert!(refuse(|r| r.rows = 0).contains("rows is 0"));
    assert!(refuse(|r| r.head_cols = 0).contains("head_cols is 0"));
    assert!(refuse(|r| r.groups_y = vec![2]).contains("groups_y is [2]"));
    assert!(refuse(|r| r.groups_x = vec![]).contains("groups_x is []"));
    assert!(refuse(|r| r.groups_head = vec![0, 1]).contains("groups_head is [0, 1]"));
}

#[test]
fn one_pe_equals_the_direct_implementation() {
    for kv_type in [KvType::F16, KvType::F32] {
        for checkpoint in models() {
            let got = run(&checkpoint, Recipe::one_pe(kv_type));
            let mut direct = Direct { checkpoint: &checkpoint, kv_type, kv: vec![Vec::new(); 3], pos: 0 };
            for (got, id) in got.iter().zip(IDS) {
                let expect: Vec<u32> = direct.step(id).iter().map(|l| l.to_bits()).collect();
                let got: Vec<u32> = got.iter().map(|l| l.to_bits()).collect();
                assert_eq!(got, expect, "position {} {kv_type:?}", direct.pos - 1);
            }
        }
    }
}

/// The contract for a single PE as straight loops: no slices, no trees, row-major weights.
struct Direct<'a> {
    checkpoint: &'a dyn Checkpoint,
    kv_type: KvType,
    kv: Vec<Vec<[Vec<f32>; 2]>>,
    pos: usize,
}

impl Direct<'_> {
    fn gemv(&self, id: MatrixId, x: &[f32]) -> Vec<f32> {
        let w = self.checkpoint.matrix(id);
        (0..w.rows).map(|n| (0..w.cols).fold(0.0, |y, k| fma(x[k], w.at(n, k), y))).collect()
    }

    fn normed(&self, norm: VectorId, id: MatrixId, x: &[f32]) -> Vec<f32> {
        let shape = self.checkpoint.shape();
        let g = self.checkpoint.vector(norm);
        let xg: Vec<f32> = (0..x.len()).map(|k| x[k] * g[k]).collect();
        let ss = x.iter().fold(0.0, |ss, x| fma(*x, *x, ss));
        let inv = 1.0 / (ss / shape.hidden as f32 + shape.norm_eps).sqrt();
        self.gemv(id, &xg).iter().map(|y| inv * y).collect()
    }

    /// Q, K or V of all heads, with bias.
    fn projected(&self, l: usize, id: MatrixId, bias: VectorId, x: &[f32]) -> Vec<f32> {
        let mut y = self.normed(VectorId::AttentionNorm(l), id, x);
        if self.checkpoint.shape().qkv_bias {
            let bias = self.checkpoint.vector(bias);
            (0..y.len()).for_each(|n| y[n] += bias[n]);
        }
        y
    }

    fn rotated(&self, mut y: Vec<f32>) -> Vec<f32> {
        let shape = self.checkpoint.shape();
        for n in 0..y.len() {
            let i = n % shape.head_dim;
            if i < shape.head_dim / 2 {
                let (s, c) = rope::sin_cos(self.pos as u64, shape.inv_freq[i]);
                (y[n], y[n + shape.head_dim / 2]) = rope::rotate(y[n], y[n + shape.head_dim / 2], c, s);
            }
        }
        y
    }

    fn step(&mut self, id: u32) -> Vec<f32> {
        let shape = self.checkpoint.shape().clone();
        let (hd, queries) = (shape.head_dim, shape.n_heads / shape.n_kv_heads);
        let table = self.checkpoint.matrix(MatrixId::Embedding);
        let mut x: Vec<f32> = (0..shape.hidden).map(|i| table.at(id as usize, i)).collect();
        for l in 0..shape.n_layers {
            let scale = (1.0 / (hd as f64).sqrt()) as f32;
            let mut q = self.rotated(self.projected(l, MatrixId::Q(l), VectorId::QBias(l), &x));
            q.iter_mut().for_each(|q| *q *= scale);
            let k = self.rotated(self.projected(l, MatrixId::K(l), VectorId::KBias(l), &x));
            let v = self.projected(l, MatrixId::V(l), VectorId::VBias(l), &x);
            let round = |y: f32| match self.kv_type {
                KvType::F16 => half::f16::from_f32(y).to_f32(),
                KvType::F32 => y,
            };
            self.kv[l].push([k, v].map(|y| y.into_iter().map(round).collect()));
            let kv = &self.kv[l];
            let mut o = vec![0.0; shape.n_heads * hd];
            for h in 0..shape.n_heads {
                let at = h / queries * hd;
                let s: Vec<f32> =
                    kv.iter().map(|kv| (0..hd).fold(0.0, |s, d| fma(q[h * hd + d], kv[0][at + d], s))).collect();
                let m = s.iter().fold(f32::NEG_INFINITY, |m, s| if *s > m { *s } else { m });
                let e: Vec<f32> = s.iter().map(|s| exp(s - m)).collect();
                let sum = e.iter().fold(0.0, |sum, e| sum + e);
                for d in 0..hd {
                    o[h * hd + d] = kv.iter().zip(&e).fold(0.0, |o, (kv, e)| fma(e / sum, kv[1][at + d], o));
                }
            }
            let y = self.gemv(MatrixId::O(l), &o);
            (0..shape.hidden).for_each(|n| x[n] += y[n]);
            let gate = self.normed(VectorId::FfnNorm(l), MatrixId::Gate(l), &x);
            let up = self.normed(VectorId::FfnNorm(l), MatrixId::Up(l), &x);
            let h: Vec<f32> = (0..shape.ffn).map(|n| gate[n] / (1.0 + exp(-gate[n])) * up[n]).collect();
            let y = self.gemv(MatrixId::Down(l), &h);
            (0..shape.hidden).for_each(|n| x[n] += y[n]);
        }
        self.pos += 1;
        self.normed(VectorId::FinalNorm, MatrixId::Output, &x)
    }
}

/// Logits after the first 7 ids by prefill, and of every later one by decode.
fn run_prefilled(checkpoint: &dyn Checkpoint, recipe: Recipe, chunks: Chunks) -> Vec<Vec<f32>> {
    let mut oracle = Oracle::new(checkpoint, recipe).expect("a valid recipe");
    let first = oracle.prefill(&IDS[..7], chunks);
    std::iter::once(first).chain(IDS[7..].iter().map(|id| oracle.step(*id, true).expect("wanted"))).collect()
}

#[test]
fn prefill_is_close_to_the_f64_oracle_and_decode_goes_on_from_it() {
    for (kv_type, bound) in [(KvType::F32, 2e-5), (KvType::F16, 5e-3)] {
        for (i, checkpoint) in models().iter().enumerate() {
            let mut exact = F64Oracle::new(checkpoint, kv_type);
            let exact: Vec<f64> = IDS.iter().map(|id| exact.step(*id)).skip(6).flatten().collect();
            for recipe in recipes(kv_type) {
                for (positions, older) in [(1, 1), (1, 3), (2, 2), (3, 1), (7, 4), (9, 1)] {
                    let chunks = Chunks { positions, older };
                    let logits = run_prefilled(checkpoint, recipe.clone(), chunks).concat();
                    assert_eq!(logits.len(), exact.len());
                    let differ = |(a, b): (&f32, &f64)| (f64::from(*a) - b).abs();
                    let worst = logits.iter().zip(&exact).map(differ).fold(0.0, f64::max);
                    assert!(worst < bound, "model {i}, {recipe:?}, {chunks:?}: {worst:e}");
                }
            }
        }
    }
}

#[test]
fn the_chunk_shows_in_the_bits_of_a_prefill() {
    let recipe = recipes(KvType::F32).swap_remove(4);
    let cuts = [(1, 1), (1, 2), (2, 1), (3, 1), (7, 1)];
    let chunks = cuts.map(|(positions, older)| Chunks { positions, older });
    let runs = chunks.map(|chunks| bits(&run_prefilled(&models()[1], recipe.clone(), chunks)));
    for (i, a) in runs.iter().enumerate() {
        assert!(runs[..i].iter().all(|b| a != b), "two chunk sizes with the same bits test nothing");
    }
}
