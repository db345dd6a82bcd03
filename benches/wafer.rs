//! Whole wafers on one worker: how long layouts and launches take, what a million PEs cost in memory, and layers of
//! LLaMA3-8B without payloads.
//!
//! | row               | what                                                                                 |
//! |-------------------|--------------------------------------------------------------------------------------|
//! | neighbours        | 1000x850 PEs, two lanes each, every PE sends 16 words east and south: live programs    |
//! | layout            | one kernel's layout and its check                                                      |
//! | layer             | `generate --dry --one-layer`: layout, launch, a pass through two layers of decode      |
//!
//! More seconds at equal PEs mean that layouts or the build became slower; more bytes a PE bound the largest dry run.

use std::time::Instant;

use plummer::arena::Owner;
use plummer::exec::{RunOptions, Wafer};
use plummer::fabric::{Backing, Chip, Layout, TileId, build};
use plummer::host::dry::decode_layer;
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
    let (before, begin) = (status("VmRSS"), Instant::now());
    let kernel = Neighbours { cols: chip.cols, rows: chip.rows };
    let layout = kernel.layout();
    let laid = begin.elapsed().as_secs_f64();
    let mut wafer = Wafer::launch(kernel, layout, &chip, &RunOptions::new(1), |_, _, _| {}).expect("it fits");
    let launched = begin.elapsed().as_secs_f64();
    wafer.run(&[]).expect("it completes");
    let ran = begin.elapsed().as_secs_f64();
    let hops = wafer.counters().expect("counters").hops;
    println!(
        "neighbours  1000x850 PEs, 2 lanes each: layout {laid:.2} s, launch {:.2} s, first pass {:.2} s ({hops} hops), \
         {} MB resident (peak {})",
        launched - laid,
        ran - launched,
        status("VmRSS") - before,
        status("VmHWM")
    );
}

fn layouts() {
    let chip = Chip::preset("wse2").expect("a preset");
    for algo in [Algo::Mesh, Algo::Cannon, Algo::Summa] {
        let size = Dims { m: 1440, k: 1440, n: 1440 };
        let gemm = Gemm::new(Spec::new(algo, (720, 720), size, Numerics::Default), &chip);
        let begin = Instant::now();
        let layout = gemm.layout().expect("its own colors");
        let laid = begin.elapsed().as_secs_f64();
        build(&layout, &chip, 1, Backing::Dry).expect("it fits");
        let built = begin.elapsed().as_secs_f64() - laid;
        println!("layout      {} on 720x720: {laid:.2} s, check and lanes {built:.2} s", algo.name());
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
        kernels: None,
    };
    let t = decode_layer(&sizes.config.shape, sizes.format, &config, 4096).expect("it runs");
    let (all, pass) = t.seconds;
    println!(
        "layer       llama3-8b at {side}x{side}: {} cycles, {all:.2} s in all, {:.2} s a layer of the pass, peak {} MB",
        t.cycles,
        pass / t.layers as f64,
        status("VmHWM")
    );
}
