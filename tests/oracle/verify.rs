//! `plummer verify`: equal in every way of running; an injected difference is named by token, phase, layer, PE and
//! value.

use std::borrow::Cow;

use plummer::app::verify::verify;
use plummer::fabric::Chip;
use plummer::host::SessionConfig;
use plummer::math::checkpoint::{Checkpoint, Matrix, MatrixId, ModelShape, VectorId, WeightFormat};
use plummer::math::random_checkpoint::RandomCheckpoint;
use plummer::units::Coord;

fn model() -> RandomCheckpoint {
    let shape = ModelShape {
        hidden: 24,
        n_layers: 3,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 6,
        ffn: 40,
        vocab: 37,
        norm_eps: 1e-5,
        inv_freq: vec![1.0, 0.1, 0.01],
        tied: false,
        qkv_bias: false,
    };
    RandomCheckpoint::new(shape, WeightFormat::F16, 9)
}

fn config() -> SessionConfig {
    SessionConfig { mesh: Some((4, 3)), context: 8, workers: 3, ..SessionConfig::new(Chip::preset("wse2").unwrap()) }
}

/// The model with one weight turned negative.
struct Damaged<'a> {
    model: &'a RandomCheckpoint,
    id: MatrixId,
    /// Output and input of the weight.
    at: (usize, usize),
}

impl Checkpoint for Damaged<'_> {
    fn shape(&self) -> &ModelShape {
        self.model.shape()
    }
    fn matrix(&self, id: MatrixId) -> Matrix<'_> {
        let mut matrix = self.model.matrix(id);
        if id == self.id {
            let at = self.at.0 * matrix.cols + self.at.1;
            let mut bits = matrix.bits.into_owned();
            bits[at] ^= 0x8000;
            matrix.bits = Cow::Owned(bits);
        }
        matrix
    }
    fn vector(&self, id: VectorId) -> Cow<'_, [f32]> {
        self.model.vector(id)
    }
}

#[test]
fn every_way_of_running_is_equal() {
    let model = model();
    let lines = verify((&model, &model), &config(), 5, 4, |_| {}).unwrap().1;
    for line in &lines {
        assert_eq!(line.difference, None, "{}", line.what);
    }
    for part in ["1 worker,", "2 workers", "3 workers", "random schedule 3", "lane depth 1", "lane depth 4", "Scalar"] {
        assert!(lines.iter().any(|l| l.what.contains(part)), "no line has {part}");
    }
}

#[test]
fn an_injected_difference_is_named_by_token_phase_layer_pe_and_value() {
    let model = model();
    // hidden 24 on 3 rows: element 17 is on row 2. K of head 1, dimension 2, follows the 24 numbers of q; at position 0
    // RoPE turns by nothing, so its partner stays equal.
    let k_row = 6 + 2;
    for (id, at, phase, layer, index) in [
        (MatrixId::Down(1), (17, 3), "FFN", Some(1), 17),
        (MatrixId::O(2), (17, 3), "O", Some(2), 17),
        (MatrixId::K(0), (k_row, 0), "QKV", Some(0), 24 + k_row),
        (MatrixId::Output, (36, 1), "logits", None, 36),
        (MatrixId::Embedding, (5, 17), "embedding", None, 17),
    ] {
        let twin = Damaged { model: &model, id, at };
        let lines = verify((&model, &twin), &config(), 5, 2, |_| {}).unwrap().1;
        for line in &lines {
            let Some(d) = &line.difference else { panic!("{id:?}: {} does not differ", line.what) };
            let what = format!("{id:?}, {}: {d}", line.what);
            assert_eq!((d.token, d.phase, d.layer), (0, phase, layer), "{what}");
            assert_ne!(d.wafer.to_bits(), d.oracle.to_bits(), "{what}");
            assert_eq!(d.index, index, "{what}");
            assert!(d.pe.is_some(), "{what}");
            if phase == "O" || phase == "FFN" {
                assert_eq!(d.pe.map(|pe: Coord| pe.row), Some(2), "{what}: rows hold eight elements each");
            }
        }
        assert!(
            lines.windows(2).all(|l| l[0].difference == l[1].difference),
            "{id:?}: the same in every way of running"
        );
    }
}
