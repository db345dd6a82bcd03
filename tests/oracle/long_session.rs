//! A session on the fewest PEs goes on for as long as its KV tiles have room.

use plummer::collectives::{Allreduce, Chain};
use plummer::exec::{RunOptions, Wafer};
use plummer::fabric::Chip;
use plummer::host::{Session, SessionConfig, Token};
use plummer::kernels::line::{Line, LineOp, row_of};
use plummer::math::checkpoint::{ModelShape, WeightFormat};
use plummer::math::random_checkpoint::RandomCheckpoint;

#[test]
fn every_pass_gives_its_buffers_back() {
    let shape = ModelShape {
        hidden: 8,
        n_layers: 1,
        n_heads: 1,
        n_kv_heads: 1,
        head_dim: 2,
        ffn: 8,
        vocab: 16,
        norm_eps: 1e-5,
        inv_freq: vec![1.0],
        tied: true,
        qkv_bias: false,
    };
    let model = RandomCheckpoint::new(shape, WeightFormat::F16, 1);
    for queue_wavelets in [0, 8] {
        let config = SessionConfig {
            mesh: Some((1, 1)),
            context: 500,
            ..SessionConfig::new(Chip { queue_wavelets, ..Chip::preset("wse2").expect("a preset") })
        };
        let mut session = Session::new(&model, config).unwrap_or_else(|e| panic!("{e}"));
        for at in 0..session.capacity() {
            let token = if at == 0 { Token::Given(1) } else { Token::Own };
            session.step(token, true).unwrap_or_else(|e| panic!("token {at}: {e}"));
        }
        assert!(session.step(Token::Own, true).is_err(), "full");
    }
}

/// A long burst that crosses to another worker is backed by one buffer there, however many sinks it has.
#[test]
fn a_multicast_over_workers_gives_its_buffer_back() {
    let line = Line {
        collective: Allreduce::Chain(Chain { line: row_of(6), base: 0 }),
        op: LineOp::Broadcast,
        words: 64,
        passes: 2000,
    };
    let chip = Chip { arena_bytes: 4096, reserved_bytes: 0, ..Chip::preset("wse2").expect("a preset") };
    for workers in [1, 2, 3] {
        let layout = line.layout().expect("its own colors");
        let options = RunOptions::new(workers);
        let mut wafer = Wafer::launch(line.clone(), layout, &chip, &options, |_, _, _| {}).expect("it fits");
        wafer.run(&[]).unwrap_or_else(|e| panic!("{workers} workers: {e}"));
        assert_eq!(wafer.counters().expect("counters").bursts, 2000);
    }
}
