//! How busy links are in windows of 256 cycles: exact where two colors share a link, the same at every worker count and
//! schedule, and what `check` says of it.

use plummer::exec::{LinkUse, RunOptions, WINDOW, check};
use plummer::fabric::{Chip, TileDecl, TileId};
use plummer::host::{Session, SessionConfig, Token};
use plummer::link::{LinkLoad, Schedule};
use plummer::math::checkpoint::WeightFormat;
use plummer::math::random_checkpoint::RandomCheckpoint;
use plummer::prelude::*;

fn at(col: u32) -> Coord {
    Coord::new(col, 0)
}

const WORDS: usize = 200;

/// PEs 0 and 1 each send a burst of 200 words to PE 2, on colors of their own, at the same time.
struct TwoColors;

impl Kernel for TwoColors {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        let tiles = [TileId(0), TileId(1)];
        match pe.coord().col {
            2 => {
                let posted = [0, 1].map(|c| pe.post_recv(pe.rx(Color(c)), pe.tile(tiles[usize::from(c)])));
                for ticket in posted {
                    pe.join(ticket).await;
                }
            }
            col => pe.send(pe.tx(Color(col as u8)), pe.tile(tiles[0])).await,
        }
    }
}

fn layout() -> Layout {
    let mut layout = Layout::default();
    for col in 0..3 {
        layout.pe(at(col)).share = (col * 65536 / 3) as u16;
        for id in [0, 1] {
            let bytes = 4 * WORDS as u32;
            layout.tile(at(col), TileDecl { id: TileId(id), name: "t", owner: Owner::Receive, bytes, visit: 0 });
        }
    }
    layout.line(Color(0), at(0), at(2), false).unwrap();
    layout.line(Color(1), at(1), at(2), false).unwrap();
    layout
}

#[test]
fn colors_that_share_a_link_add_up_and_the_excess_is_counted() {
    let chip = Chip::preset("wse2").unwrap();
    // A send leaves its ramp at cycle 2: color 1 holds the shared link for [2, 202), color 0, a hop on, for [3, 203).
    let shared = LinkLoad { busiest: 400, at: 0, over: 1, excess: 400 - WINDOW };
    let alone = LinkLoad { busiest: 200, at: 0, over: 0, excess: 0 };
    for workers in 1..=3 {
        for schedule in [Schedule::DepthFirst, Schedule::Random(7), Schedule::Random(8)] {
            let options = RunOptions { schedule, link_windows: true, ..RunOptions::new(workers) };
            let trial = Trial::run(TwoColors, layout(), &chip, &options, |_, _, _| {}).unwrap();
            let links = trial.links().unwrap();
            let load = |from, to| links[&(at(from), at(to))].load;
            assert_eq!((load(0, 1), load(1, 2)), (alone, shared), "{workers} workers, {schedule:?}");
        }
    }
    let report = check(&TwoColors, &layout(), &chip).unwrap();
    let load = report.load;
    assert_eq!((load.links_over, load.windows_over, load.excess), (1, 1, 144));
    assert_eq!(load.busiest, Some(((at(1), at(2)), shared)));
    // Uncharged: the cycles are those of a run without windows, and without them nothing is counted.
    let plain = Trial::run(TwoColors, layout(), &chip, &RunOptions::new(1), |_, _, _| {}).unwrap();
    assert_eq!(plain.facts.counters.cycles, report.cycles);
    assert!(plain.links().unwrap().values().all(|link| link.load == LinkLoad::default()));
}

/// Links of a decode session over prompt and own tokens; windows are closed between passes.
fn session(workers: usize, random_schedule: Option<u64>) -> Vec<((Coord, Coord), LinkUse)> {
    let shape = plummer::math::checkpoint::ModelShape {
        hidden: 24,
        n_layers: 3,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 8,
        ffn: 40,
        vocab: 50,
        norm_eps: 1e-5,
        inv_freq: vec![1.0, 0.1, 0.01, 0.001],
        tied: true,
        qkv_bias: false,
    };
    let model = RandomCheckpoint::new(shape, WeightFormat::F16, 2);
    let chip = Chip::preset("wse2").unwrap();
    let config =
        SessionConfig { mesh: Some((4, 3)), context: 12, workers, random_schedule, ..SessionConfig::new(chip) };
    let mut session = Session::traced(&model, config, None, true).unwrap();
    for i in 0..12 {
        let token = if i < 6 { Token::Given(i) } else { Token::Own };
        session.step(token, i >= 5).unwrap();
    }
    session.wafer().link_use().unwrap().into_iter().collect()
}

#[test]
fn the_windows_of_a_session_do_not_depend_on_workers_or_schedules() {
    let expect = session(1, None);
    let busy: Vec<_> = expect.iter().filter(|link| link.1.load.busiest > 0).collect();
    assert!(busy.len() > 20);
    for (link, used) in &expect {
        let wavelets = used.unicast.1 + used.multicast.1;
        assert_eq!(used.load.busiest > 0, wavelets > 0, "{link:?}");
        assert!(used.load.busiest <= wavelets, "{link:?}: a wavelet takes one cycle on wse2");
    }
    for (workers, schedule) in [(2, None), (3, None), (1, Some(4)), (2, Some(5))] {
        assert_eq!(session(workers, schedule), expect, "{workers} workers, {schedule:?}");
    }
}
