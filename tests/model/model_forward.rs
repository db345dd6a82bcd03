//! A LLaMA forward pass in f64 and a SentencePiece encoder, written apart from the crate: plain loops over the values
//! that the test itself wrote into the model file.
//!
//! Invariant: uses nothing of the crate; rows of Q and K are in Hugging Face's rotate-half order.

use crate::model_support::{FFN, HEAD_DIM, HIDDEN, N_HEADS, N_LAYERS, Tensors};

/// Epsilon of the tiny model.
const EPS: f64 = 1e-5;

/// Radians per position of each pair.
pub type Frequencies = Vec<f64>;

/// `base^(-2i / head_dim)`.
pub fn plain(base: f64) -> Frequencies {
    (0..HEAD_DIM / 2).map(|i| 1.0 / base.powf(2.0 * i as f64 / HEAD_DIM as f64)).collect()
}

/// Linear scaling (Chen et al.: positions divided by the factor).
pub fn linear(base: f64, factor: f64) -> Frequencies {
    plain(base).into_iter().map(|f| f / factor).collect()
}

/// What a rotation is divided by under Llama 3.1's published rule.
pub fn llama3_divisors(base: f64, factor: f64, low: f64, high: f64, original: f64) -> Vec<f64> {
    let divisor = |f: f64| {
        let wavelength = std::f64::consts::TAU / f;
        if wavelength < original / high {
            1.0
        } else if wavelength > original / low {
            factor
        } else {
            let smooth = (original / wavelength - low) / (high - low);
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    };
    plain(base).into_iter().map(divisor).collect()
}

/// Each rotation by its own divisor.
pub fn divided(base: f64, divisors: &[f64]) -> Frequencies {
    plain(base).iter().zip(divisors).map(|(f, d)| f / d).collect()
}

fn times(tensors: &Tensors, name: &str, x: &[f64]) -> Vec<f64> {
    let (dims, values) = &tensors[name];
    assert_eq!(dims[1], x.len(), "{name}");
    let mut y = vec![0.0; dims[0]];
    for (row, y) in y.iter_mut().enumerate() {
        for (col, x) in x.iter().enumerate() {
            *y += f64::from(values[row * dims[1] + col]) * x;
        }
    }
    y
}

fn normed(tensors: &Tensors, name: &str, x: &[f64]) -> Vec<f64> {
    let mut squares = 0.0;
    for x in x {
        squares += x * x;
    }
    let root = (squares / HIDDEN as f64 + EPS).sqrt();
    x.iter().zip(&tensors[name].1).map(|(x, g)| x / root * f64::from(*g)).collect()
}

fn rotated(mut heads: Vec<f64>, frequencies: &[f64], position: usize) -> Vec<f64> {
    for head in heads.chunks_mut(HEAD_DIM) {
        for i in 0..HEAD_DIM / 2 {
            let (sin, cos) = (position as f64 * frequencies[i]).sin_cos();
            let (a, b) = (head[i], head[i + HEAD_DIM / 2]);
            head[i] = a * cos - b * sin;
            head[i + HEAD_DIM / 2] = a * sin + b * cos;
        }
    }
    heads
}

/// Attention of all query heads over the one KV head.
fn attended(q: &[f64], keys: &[Vec<f64>], values: &[Vec<f64>]) -> Vec<f64> {
    let mut out = vec![0.0; N_HEADS * HEAD_DIM];
    for head in 0..N_HEADS {
        let q = &q[head * HEAD_DIM..(head + 1) * HEAD_DIM];
        let mut weights = Vec::new();
        for key in keys {
            let mut dot = 0.0;
            for i in 0..HEAD_DIM {
                dot += q[i] * key[i];
            }
            weights.push((dot / (HEAD_DIM as f64).sqrt()).exp());
        }
        let total: f64 = weights.iter().sum();
        for (weight, value) in weights.iter().zip(values) {
            for i in 0..HEAD_DIM {
                out[head * HEAD_DIM + i] += weight / total * value[i];
            }
        }
    }
    out
}

/// Logits after each of `ids`, of the tiny model with one KV head.
pub fn forward(tensors: &Tensors, frequencies: &[f64], ids: &[u32]) -> Vec<Vec<f64>> {
    let mut cache = vec![(Vec::new(), Vec::new()); N_LAYERS];
    let mut logits = Vec::new();
    for (position, &id) in ids.iter().enumerate() {
        let table = &tensors["model.embed_tokens.weight"].1;
        let mut x: Vec<f64> = (0..HIDDEN).map(|i| f64::from(table[id as usize * HIDDEN + i])).collect();
        for (layer, (keys, values)) in cache.iter_mut().enumerate() {
            let name = |part: &str| format!("model.layers.{layer}.{part}");
            let h = normed(tensors, &name("input_layernorm.weight"), &x);
            let projected = |part: &str| {
                let mut y = times(tensors, &name(&format!("self_attn.{part}_proj.weight")), &h);
                if let Some((_, bias)) = tensors.get(&name(&format!("self_attn.{part}_proj.bias"))) {
                    y.iter_mut().zip(bias).for_each(|(y, b)| *y += f64::from(*b));
                }
                y
            };
            let q = rotated(projected("q"), frequencies, position);
            keys.push(rotated(projected("k"), frequencies, position));
            values.push(projected("v"));
            let o = times(tensors, &name("self_attn.o_proj.weight"), &attended(&q, keys, values));
            (0..HIDDEN).for_each(|i| x[i] += o[i]);
            let h = normed(tensors, &name("post_attention_layernorm.weight"), &x);
            let gate = times(tensors, &name("mlp.gate_proj.weight"), &h);
            let up = times(tensors, &name("mlp.up_proj.weight"), &h);
            let wide: Vec<f64> = (0..FFN).map(|i| gate[i] / (1.0 + (-gate[i]).exp()) * up[i]).collect();
            let down = times(tensors, &name("mlp.down_proj.weight"), &wide);
            (0..HIDDEN).for_each(|i| x[i] += down[i]);
        }
        logits.push(times(tensors, "lm_head.weight", &normed(tensors, "model.norm.weight", &x)));
    }
    logits
}

/// SentencePiece's unigram-score merging, naively: the best pair of neighbours (leftmost on ties) until none is left.
pub fn encode(pieces: &[(String, f32)], text: &str) -> Vec<u32> {
    let find = |piece: &str| pieces.iter().position(|(p, _)| p == piece);
    let marked = format!("\u{2581}{}", text.replace(' ', "\u{2581}"));
    let mut parts: Vec<String> = marked.chars().map(String::from).collect();
    loop {
        let mut best: Option<(usize, f32)> = None;
        for i in 1..parts.len() {
            let Some(id) = find(&format!("{}{}", parts[i - 1], parts[i])) else { continue };
            if best.is_none_or(|(_, score)| pieces[id].1 > score) {
                best = Some((i - 1, pieces[id].1));
            }
        }
        let Some((at, _)) = best else { break };
        let right = parts.remove(at + 1);
        parts[at].push_str(&right);
    }
    let mut ids = Vec::new();
    for part in parts {
        match find(&part) {
            Some(id) => ids.push(id as u32),
            None => ids.extend(part.bytes().map(|b| find(&format!("<0x{b:02X}>")).expect("a byte token") as u32)),
        }
    }
    ids
}
