//! Decode of SmolLM2-135M on the emulated wafer against the best flat loop over the same weights.
//!
//! The flat loop is what a program without a wafer would run at least: one GEMV per weight matrix, panel-major (the
//! layout that the PEs' tiles use), no attention, no norms. Rounds alternate in one process: flat, one worker, two
//! workers, so that the machine's moods hit all of them. Medians, with the minimum beside. The cross-core round trip is
//! printed because two workers talk that often.
//!
//! `cargo bench --bench decode -- [COLSxROWS] [ROUNDS]`; the weights are random where SmolLM2 has not been fetched.

use plummer::fabric::Chip;
use plummer::host::{Session, SessionConfig, Token};
use plummer::math::Kernels;
use plummer::math::checkpoint::{Checkpoint, MatrixId, ModelShape, WeightFormat};
use plummer::math::gemv::{PackedShape, Stream, gemv, pack};
use plummer::math::random_checkpoint::RandomCheckpoint;
use plummer::model::Model;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

#[path = "shared/round_trip.rs"]
mod round_trip;
use round_trip::round_trip;

const POSITIONS: usize = 128;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let mesh = args.first().map_or((12, 16), |m| {
        let (c, r) = m.split_once('x').expect("COLSxROWS");
        (c.parse().expect("columns"), r.parse().expect("rows"))
    });
    let rounds = args.get(1).map_or(40, |r| r.parse::<usize>().expect("rounds")).min(POSITIONS / 2);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/smollm2");
    let model: Box<dyn Checkpoint> = match Model::open(&path) {
        Ok(model) => Box::new(model),
        Err(_) => Box::new(RandomCheckpoint::new(smollm2_shape(), WeightFormat::F16, 1)),
    };
    let kernels = Kernels::detect();
    let mut flat = Flat::new(&*model);
    let start = Instant::now();
    let mut one = session(&*model, mesh, 1);
    let loaded = start.elapsed().as_secs_f64();
    let mut two = session(&*model, mesh, 2);
    let mut times: [Vec<f64>; 4] = Default::default();
    let mut trips = Vec::new();
    for round in 0..rounds {
        trips.push(round_trip());
        times[0].push(time(|| flat.token(kernels)));
        times[1].push(time(|| flat.token_on_two(kernels)));
        times[2].push(time(|| step(&mut one, round)) / 2.0);
        times[3].push(time(|| step(&mut two, round)) / 2.0);
    }
    let hops = one.report().hops as f64 / (2 * rounds) as f64;
    let [flat1, flat2, one1, two2] = times.map(|mut t| median_and_best(&mut t));
    let mib = flat.bytes as f64 / 1e6;
    println!("SmolLM2-135M, {}x{} PEs a stage, {} PEs, {kernels:?}", mesh.0, mesh.1, one.placement().pes);
    println!(
        "session built in {loaded:.2} s; cross-core round trip {:.0} ns (median)",
        median_and_best(&mut trips).0 * 1e9
    );
    println!("{mib:.0} MB of weights, {hops:.0} message-hops a token, median (best) of {rounds} rounds of 2 tokens");
    let line = |name: &str, t: (f64, f64)| {
        println!(
            "{name:<24} {:>8.2} ms ({:>7.2})  {:>5.1} GB/s  {:>5.2} x flat on one thread",
            t.0 * 1e3,
            t.1 * 1e3,
            mib / 1e3 / t.0,
            t.0 / flat1.0
        );
    };
    line("flat, one thread", flat1);
    line("flat, two threads", flat2);
    line("wafer, one worker", one1);
    line("wafer, two workers", two2);
    println!(
        "one worker / flat {:.2} (best {:.2}); two workers / one {:.2} (best {:.2}); flat two / one {:.2}; \
         beyond flat {:.0} ns a message-hop",
        one1.0 / flat1.0,
        one1.1 / flat1.1,
        two2.0 / one1.0,
        two2.1 / one1.1,
        flat2.0 / flat1.0,
        (one1.0 - flat1.0) / hops * 1e9
    );
}

fn smollm2_shape() -> ModelShape {
    ModelShape {
        hidden: 576,
        ffn: 1536,
        n_layers: 30,
        n_heads: 9,
        n_kv_heads: 3,
        head_dim: 64,
        vocab: 49152,
        tied: true,
        qkv_bias: false,
        norm_eps: 1e-5,
        inv_freq: (0..32).map(|i| 100_000f64.powf(-f64::from(i) / 32.0)).collect(),
    }
}

fn session(model: &dyn Checkpoint, mesh: (u32, u32), workers: usize) -> Session {
    let config = SessionConfig {
        mesh: Some(mesh),
        context: POSITIONS,
        workers,
        ..SessionConfig::new(Chip::preset("wse2").expect("a preset"))
    };
    Session::new(model, config).unwrap_or_else(|e| panic!("{e}"))
}

fn step(session: &mut Session, round: usize) {
    let token = if round == 0 { Token::Given(1) } else { Token::Own };
    session.step(token, true).unwrap_or_else(|e| panic!("{e}"));
    session.step(Token::Own, true).unwrap_or_else(|e| panic!("{e}"));
}

/// Every weight matrix of a token, packed as one tile each.
struct Flat {
    tiles: Vec<(PackedShape, Vec<u16>)>,
    format: WeightFormat,
    bytes: usize,
}

impl Flat {
    fn new(model: &dyn Checkpoint) -> Self {
        let shape = model.shape();
        let mut ids = Vec::new();
        for l in 0..shape.n_layers {
            ids.push(vec![MatrixId::Q(l), MatrixId::K(l), MatrixId::V(l)]);
            ids.push(vec![MatrixId::O(l)]);
            ids.push(vec![MatrixId::Gate(l), MatrixId::Up(l)]);
            ids.push(vec![MatrixId::Down(l)]);
        }
        ids.push(vec![if shape.tied { MatrixId::Embedding } else { MatrixId::Output }]);
        let format = model.matrix(MatrixId::Q(0)).format;
        let fuse = |group: &Vec<MatrixId>| {
            let parts: Vec<_> = group.iter().map(|id| model.matrix(*id)).collect();
            let rows: Vec<&[u16]> = parts.iter().flat_map(|m| m.bits.chunks_exact(m.cols)).collect();
            let packed = PackedShape { k: parts[0].cols, n: rows.len() };
            let mut tile = vec![0; packed.len()];
            pack(packed, &mut tile, |k, n| rows[n][k]);
            (packed, tile)
        };
        let tiles: Vec<_> = ids.iter().map(fuse).collect();
        let bytes = tiles.iter().map(|t| 2 * t.1.len()).sum();
        Self { tiles, format, bytes }
    }

    fn token(&mut self, kernels: Kernels) {
        self.part(kernels, 0, 1);
    }

    fn token_on_two(&mut self, kernels: Kernels) {
        std::thread::scope(|scope| {
            scope.spawn(|| self.part(kernels, 1, 2));
            self.part(kernels, 0, 2);
        });
    }

    /// Panels `me` of `of` of every matrix.
    fn part(&self, kernels: Kernels, me: usize, of: usize) {
        let x = vec![0.25f32; 4096];
        let mut y = vec![0f32; 1 << 17];
        for (shape, w) in &self.tiles {
            let panels = shape.n.div_ceil(64);
            let (first, last) = (panels * me / of * 64, (panels * (me + 1) / of * 64).min(shape.n));
            let part = PackedShape { k: shape.k, n: last - first };
            gemv(
                kernels,
                (self.format, Stream::Steady),
                part,
                &w[first * shape.k..last * shape.k],
                &x[..shape.k],
                &mut y[..part.n],
            );
            black_box(&mut y);
        }
    }
}

fn time(f: impl FnOnce()) -> f64 {
    let start = Instant::now();
    f();
    start.elapsed().as_secs_f64()
}

fn median_and_best(times: &mut [f64]) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[0])
}
