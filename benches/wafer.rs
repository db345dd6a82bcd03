//! Whole wafers on one worker: how long layouts and launches take, what a million PEs cost in memory, and layers of
//! LLaMA3-8B without payloads.
//!
//! | row               | what                                                                                 |
//! |-------------------|--------------------------------------------------------------------------------------|
//! | neighbours        | 1000x850 PEs, two lanes each, every PE sends 16 words east and south: live programs    |
//! | layout            | one kernel's layout and its check                                                      |
//! | layer             | `generate --dry --one-layer`: two layers of decode, one of a prefill of 4096 positions |
//!
//! Seconds are those of the wall and, in parentheses, of all CPUs (user and system, from /proc; 0 where there is none):
//! on a busy machine only the latter say something. More seconds at equal PEs mean that layouts or the build became
//! slower; more bytes a PE bound the largest dry run.

use std::fmt;
use std::time::Instant;

use plummer::arena::Owner;
use plummer::exec::{RunOptions, Wafer};
use plummer::fabric::{Backing, Chip, Layout, TileId, build};
use plummer::host::dry::{decode_layer, prefill_layer};
use plummer::host::{Kv, KvType, SessionConfig};
use plummer::kernels::Numerics;
use plummer::kernels::gemm::{Algo, Gemm, Spec};
use plummer::math::gemm::Dims;
use plummer::model::sizes::Sizes;
use plummer::pe::{Kernel, Pe};
use plummer::units::{Color, Coord};

fn main() {
    neighbours();
    layouts();
    for side in [360, 480, 660, 720] {
        layer(side);
    }
}

/// Seconds of the wall and of all CPUs since a moment.
struct Clock {
    begin: Instant,
    cpu: f64,
}

struct Span {
    wall: f64,
    cpu: f64,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2}) s", self.wall, self.cpu)
    }
}

/// User and system time of this process in seconds: fields 14 and 15 of /proc/self/stat, in ticks of 1/100 s.
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = text.rsplit(')').next().unwrap_or_default();
    let ticks = after.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

impl Clock {
    fn start() -> Self {
        Self { begin: Instant::now(), cpu: cpu() }
    }

    /// Since the start or the last lap.
    fn lap(&mut self) -> Span {
        let now = Self::start();
        let span = Span { wall: (now.begin - self.begin).as_secs_f64(), cpu: now.cpu - self.cpu };
        *self = now;
        span
    }
}

/// A field of /proc/self/status in MB; 0 where there is none.
fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|l| l.starts_with(field));
    line.and_then(|l| l.split_whitespace().nth(1)).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) / 1024
}

const TILE: TileId = TileId(0);
const WORDS: usize = 16;

/// Every PE sends its tile east and south and takes one from the west and one from the north.
struct Neighbours {
    cols: u32,
    rows: u32,
}

/// Color of a link that leaves column (or row) `at`.
fn color(at: u32, is_y: bool) -> Color {
    Color((at % 2) as u8 + if is_y { 2 } else { 0 })
}

impl Kernel for Neighbours {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        let (at, tile) = (pe.coord(), pe.tile(TILE));
        for (place, end, is_y) in [(at.col, self.cols, false), (at.row, self.rows, true)] {
            if place + 1 < end {
                pe.send(pe.tx(color(place, is_y)), tile).await;
            }
            if place > 0 {
                pe.recv(pe.rx(color(place - 1, is_y)), tile).await;
            }
        }
    }
}

impl Neighbours {
    fn layout(&self) -> Layout {
        let mut layout = Layout::default();
        layout.reserve((self.cols * self.rows) as usize);
        let pes = layout.rectangle(self.cols, self.rows);
        for at in &pes {
            if at.col + 1 < self.cols {
                layout.line(color(at.col, false), *at, Coord::new(at.col + 1, at.row), false).expect("free");
            }
            if at.row + 1 < self.rows {
                layout.line(color(at.row, true), *at, Coord::new(at.col, at.row + 1), false).expect("free");
            }
        }
        layout.words(&pes, TILE, "tile", Owner::Activations, WORDS);
        layout
    }
}

fn neighbours() {
    let chip = Chip::preset("bench").expect("a preset");
    let (before, mut clock) = (status("VmRSS"), Clock::start());
    let kernel = Neighbours { cols: chip.cols, rows: chip.rows };
    let layout = kernel.layout();
    let laid = clock.lap();
    let mut wafer = Wafer::launch(kernel, layout, &chip, &RunOptions::new(1), |_, _, _| {}).expect("it fits");
    let launched = clock.lap();
    wafer.run(&[]).expect("it completes");
    let ran = clock.lap();
    let hops = wafer.counters().expect("counters").hops;
    let (resident, peak) = (status("VmRSS") - before, status("VmHWM"));
    println!("neighbours  1000x850 PEs, 2 lanes each: layout {laid}, launch {launched}, first pass {ran}, {hops} hops");
    println!("            {resident} MB resident, peak {peak} MB");
}

fn layouts() {
    let chip = Chip::preset("wse2").expect("a preset");
    for algo in [Algo::Mesh, Algo::Cannon, Algo::Summa] {
        let size = Dims { m: 1440, k: 1440, n: 1440 };
        let gemm = Gemm::new(Spec::new(algo, (720, 720), size, Numerics::Default), &chip);
        let mut clock = Clock::start();
        let layout = gemm.layout().expect("its own colors");
        let laid = clock.lap();
        build(&layout, &chip, 1, Backing::Dry).expect("it fits");
        let built = clock.lap();
        println!("layout      {} on 720x720: {laid}, check and lanes {built}", algo.name());
    }
}

fn layer(side: u32) {
    let sizes = Sizes::preset("llama3-8b").expect("a preset");
    let config = SessionConfig {
        chip: Chip::preset("wse2").expect("a preset"),
        mesh: Some((side, side)),
        kv: Kv::Shift,
        kv_type: KvType::F16,
        k_tree: 2,
        context: 4097,
        prompt: 4096,
        workers: 1,
        arena_full: false,
        random_schedule: None,
        spread: plummer::placement::Spread::default(),
        in_chunks: plummer::placement::InChunks::default(),
        kernels: None,
        trees: None,
    };
    let (shape, mut clock) = (&sizes.config.shape, Clock::start());
    let decode = decode_layer(shape, sizes.format, &config, 4096).expect("it runs");
    let token = clock.lap();
    let prefill = prefill_layer(shape, sizes.format, &config, 4096).expect("it runs");
    let prompt = clock.lap();
    let (cycles, peak) = ([decode.cycles, prefill.cycles], status("VmHWM"));
    println!("layer       llama3-8b at {side}x{side}: decode {} cycles in {token}", cycles[0]);
    println!("            prefill of 4096 positions {} cycles in {prompt}, peak so far {peak} MB", cycles[1]);
}
