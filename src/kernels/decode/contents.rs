//! What the weight tiles hold: from tensor indices to packed tiles.
//!
//! Invariant: every weight of the model is in exactly one tile (the embedding's in one or two tables).

use std::borrow::Cow;

use crate::fabric::TileId;
use crate::math::checkpoint::{Checkpoint, Matrix, MatrixId, VectorId};
use crate::math::gemv::pack;
use crate::units::Coord;

use super::{Decode, Region, packed, tile};

/// The tensors of a checkpoint, held while tiles are filled.
pub struct Contents<'a> {
    decode: &'a Decode,
    layers: Vec<Layer<'a>>,
    output: Matrix<'a>,
    embedding: Option<Matrix<'a>>,
    final_norm: Cow<'a, [f32]>,
}

struct Layer<'a> {
    q: Matrix<'a>,
    k: Matrix<'a>,
    v: Matrix<'a>,
    o: Matrix<'a>,
    gate: Matrix<'a>,
    up: Matrix<'a>,
    down: Matrix<'a>,
    norm_att: Cow<'a, [f32]>,
    norm_ffn: Cow<'a, [f32]>,
    biases: Option<[Cow<'a, [f32]>; 3]>,
}

/// Which tensor an output of the fused QKV GEMV comes from, and its row there.
#[derive(Clone, Copy)]
enum Source {
    Q(usize),
    K(usize),
    V(usize),
}

impl<'a> Contents<'a> {
    /// Borrows (or dequantises once) all tensors.
    pub fn new(decode: &'a Decode, model: &'a dyn Checkpoint) -> Self {
        let layer = |l| Layer {
            q: model.matrix(MatrixId::Q(l)),
            k: model.matrix(MatrixId::K(l)),
            v: model.matrix(MatrixId::V(l)),
            o: model.matrix(MatrixId::O(l)),
            gate: model.matrix(MatrixId::Gate(l)),
            up: model.matrix(MatrixId::Up(l)),
            down: model.matrix(MatrixId::Down(l)),
            norm_att: model.vector(VectorId::AttentionNorm(l)),
            norm_ffn: model.vector(VectorId::FfnNorm(l)),
            biases: decode
                .shape
                .qkv_bias
                .then(|| [VectorId::QBias(l), VectorId::KBias(l), VectorId::VBias(l)].map(|id| model.vector(id))),
        };
        Self {
            decode,
            layers: (0..decode.shape.n_layers).map(layer).collect(),
            output: model.matrix(MatrixId::Output),
            embedding: (!decode.shape.tied).then(|| model.matrix(MatrixId::Embedding)),
            final_norm: model.vector(VectorId::FinalNorm),
        }
    }

    /// Formats of all matrices.
    pub fn formats(&self) -> impl Iterator<Item = crate::math::checkpoint::WeightFormat> {
        let layer = |l: &Layer<'_>| [&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down].map(|m| m.format);
        let rest = std::iter::once(self.output.format).chain(self.embedding.as_ref().map(|m| m.format));
        self.layers.iter().flat_map(layer).chain(rest)
    }

    /// Fills one tile; tiles that hold no weights are zeroed where programs read before they write.
    pub fn fill(&self, pe: Coord, id: TileId, words: &mut [u32]) {
        match self.decode.region(pe) {
            Region::Head { col, row } => self.fill_head(col, row, id, words),
            Region::Stage(seat) => self.fill_stage(seat.col, seat.row, id, words),
            Region::Transit => {}
        }
    }

    fn fill_head(&self, col: usize, row: usize, id: TileId, words: &mut [u32]) {
        let (h, v) = (self.decode.hidden_of(row), self.decode.vocab_of(col));
        let shape = packed(h.len(), v.len());
        let table = |m: &Matrix<'_>, words: &mut [u32]| {
            let halves: &mut [u16] = bytemuck::cast_slice_mut(words);
            pack(shape, &mut halves[..shape.len()], |k, n| m.bits[(v.start + n) * m.cols + h.start + k]);
        };
        match id {
            tile::OUTPUT => table(&self.output, words),
            tile::EMBEDDING => table(self.embedding.as_ref().unwrap_or(&self.output), words),
            tile::FINAL_NORM => set(words, &self.final_norm[h]),
            tile::OWN => words.fill(0),
            _ => {}
        }
    }

    fn fill_stage(&self, col: usize, row: usize, id: TileId, words: &mut [u32]) {
        let d = self.decode;
        if id == tile::FREQ {
            let pairs = d.columns().slice(col).pairs;
            let bits = pairs.flat_map(|p| {
                let b = d.shape.inv_freq[p].to_bits();
                [b as u32, (b >> 32) as u32]
            });
            return words.iter_mut().zip(bits).for_each(|(w, b)| *w = b);
        }
        if id.0 < tile::LAYER {
            return;
        }
        let layer = &self.layers[usize::from((id.0 - tile::LAYER) / 16)];
        let (h, f) = (d.hidden_of(row), d.ffn_of(col));
        match (id.0 - tile::LAYER) % 16 {
            tile::W_QKV => {
                let rows = d.qkv_rows(col);
                fill_packed(words, h.len(), rows.len(), |k, n| layer.qkv(rows[n], h.start + k));
            }
            tile::W_O => {
                let ins = d.attention_dims(col);
                fill_packed(words, ins.len(), h.len(), |k, n| at(&layer.o, h.start + n, ins[k]));
            }
            tile::W_UP => fill_packed(words, h.len(), 2 * f.len(), |k, n| {
                let (m, n) = if n < f.len() { (&layer.gate, n) } else { (&layer.up, n - f.len()) };
                at(m, f.start + n, h.start + k)
            }),
            tile::W_DOWN => {
                fill_packed(words, f.len(), h.len(), |k, n| at(&layer.down, h.start + n, f.start + k));
            }
            tile::NORM_ATT => set(words, &layer.norm_att[h]),
            tile::NORM_FFN => set(words, &layer.norm_ffn[h]),
            tile::BIAS => {
                let Some([q, k, v]) = &layer.biases else { return };
                for (w, source) in words.iter_mut().zip(d.qkv_rows(col)) {
                    *w = match source {
                        Source::Q(i) => q[i],
                        Source::K(i) => k[i],
                        Source::V(i) => v[i],
                    }
                    .to_bits();
                }
            }
            _ => {}
        }
    }
}

impl Decode {
    /// Rows of Q, K and V on a column, in the order of arith.md.
    fn qkv_rows(&self, col: usize) -> Vec<Source> {
        let columns = self.columns();
        let slice = columns.slice(col);
        let hd = self.shape.head_dim;
        let mut rows = Vec::new();
        for kv in slice.kv_heads.clone() {
            for q in kv * columns.group..(kv + 1) * columns.group {
                rows.extend(columns.dims(&slice).map(|d| Source::Q(q * hd + d)));
            }
            rows.extend(columns.dims(&slice).map(|d| Source::K(kv * hd + d)));
            rows.extend(columns.dims(&slice).map(|d| Source::V(kv * hd + d)));
        }
        rows
    }

    /// The same, numbered through all of Q, then K, then V.
    pub(in crate::kernels) fn qkv_outputs(&self, col: usize) -> Vec<usize> {
        let (shape, hd) = (&self.shape, self.shape.head_dim);
        let (q, kv) = (shape.n_heads * hd, shape.n_kv_heads * hd);
        let number = |source| match source {
            Source::Q(i) => i,
            Source::K(i) => q + i,
            Source::V(i) => q + kv + i,
        };
        self.qkv_rows(col).into_iter().map(number).collect()
    }

    /// Inputs of O on a column.
    pub(in crate::kernels) fn attention_dims(&self, col: usize) -> Vec<usize> {
        let q = |s: Source| if let Source::Q(i) = s { Some(i) } else { None };
        self.qkv_rows(col).into_iter().filter_map(q).collect()
    }
}

impl Layer<'_> {
    fn qkv(&self, source: Source, input: usize) -> u16 {
        match source {
            Source::Q(row) => at(&self.q, row, input),
            Source::K(row) => at(&self.k, row, input),
            Source::V(row) => at(&self.v, row, input),
        }
    }
}

fn at(m: &Matrix<'_>, out: usize, input: usize) -> u16 {
    m.bits[out * m.cols + input]
}

fn fill_packed(words: &mut [u32], k: usize, n: usize, get: impl FnMut(usize, usize) -> u16) {
    let halves: &mut [u16] = bytemuck::cast_slice_mut(words);
    pack(packed(k, n), &mut halves[..k * n], get);
}

fn set(words: &mut [u32], values: &[f32]) {
    words.copy_from_slice(bytemuck::cast_slice(values));
}
