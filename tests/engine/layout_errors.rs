//! Every layout that a chip cannot run is refused before the launch, with place, need and have, at any worker count.
//!
//! Small layouts, one for each `LayoutError`, and beside each the nearest one that passes.

use plummer::arena::Owner;
use plummer::exec::{LaunchError, RunOptions, Wafer};
use plummer::fabric::{Backing, Chip, Direction, Layout, LayoutError, TileDecl, TileId, Tx, build};
use plummer::pe::{Kernel, Pe};
use plummer::units::{Bytes, Color, Coord};

use Direction::{East, North, Ramp, South, West};

fn at(col: u32, row: u32) -> Coord {
    Coord::new(col, row)
}

fn wse2() -> Chip {
    Chip::preset("wse2").unwrap()
}

/// A layout of routes (PE, color, from, to); PEs are cut by columns among the workers.
fn layout(routes: &[(Coord, u8, Direction, Tx)]) -> Layout {
    let mut layout = Layout::default();
    for &(pe, color, rx, tx) in routes {
        layout.route(pe, Color(color), rx, tx).unwrap();
    }
    let cols = routes.iter().map(|r| r.0.col % 750 + 1).max().unwrap_or(1);
    for &(pe, ..) in routes {
        layout.pe(pe).share = (pe.col % 750 * 65536 / cols).min(65535) as u16;
    }
    layout
}

/// The verdict, which no worker count changes.
fn verdict(layout: &Layout, chip: &Chip) -> Result<u32, LayoutError> {
    let one = build(layout, chip, 1, Backing::Packed).map(|fleet| fleet.colors_max);
    for (workers, backing) in [(2, Backing::Packed), (3, Backing::Dry), (1, Backing::Full)] {
        assert_eq!(build(layout, chip, workers, backing).map(|fleet| fleet.colors_max), one, "{workers} {backing:?}");
    }
    one
}

#[test]
fn a_layout_that_fits_passes() {
    let line =
        [(at(0, 0), 0, Ramp, Tx::to(East)), (at(1, 0), 0, West, Tx::RAMP.and(East)), (at(2, 0), 0, West, Tx::RAMP)];
    assert_eq!(verdict(&layout(&line), &wse2()), Ok(1));
}

#[test]
fn two_writers_on_one_lane_are_refused_when_the_second_is_named() {
    for (first, second) in [(North, East), (West, Ramp), (Ramp, South), (East, Direction::Host)] {
        let mut l = layout(&[(at(3, 4), 7, first, Tx::RAMP)]);
        let error = l.route(at(3, 4), Color(7), second, Tx::to(North)).unwrap_err();
        assert_eq!(error, LayoutError::TwoWriters { pe: at(3, 4), color: Color(7), first, second });
        let text = error.to_string();
        for part in ["two writers", "(3, 4)", "color 7", &format!("{first:?}"), &format!("{second:?}")] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
    // Two lines of one color that meet: at the router where the second comes in from another side.
    let mut l = Layout::default();
    l.line(Color(0), at(0, 1), at(4, 1), false).unwrap();
    let error = l.line(Color(0), at(2, 0), at(2, 3), false).unwrap_err();
    assert_eq!(error, LayoutError::TwoWriters { pe: at(2, 1), color: Color(0), first: West, second: North });
    // Another color there, or the same receive port, is no second writer.
    l.line(Color(1), at(2, 0), at(2, 3), false).unwrap();
    l.route(at(2, 1), Color(0), West, Tx::RAMP).unwrap();
}

#[test]
fn a_burst_that_would_leave_the_mesh_is_undeliverable() {
    let (chip, found) = (wse2(), "the mesh ends there");
    let (east, south) = (chip.cols - 1, chip.rows - 1);
    for (pe, to) in [(at(5, 0), North), (at(east, 5), East), (at(5, south), South), (at(0, 5), West)] {
        let l = layout(&[(pe, 2, Ramp, Tx::to(to))]);
        assert_eq!(verdict(&l, &chip), Err(LayoutError::Undeliverable { pe, color: Color(2), to, found }));
        let text = verdict(&l, &chip).unwrap_err().to_string();
        for part in ["undeliverable", &pe.to_string(), "color 2", &format!("{to:?}"), found] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}

#[test]
fn a_ramp_that_should_hear_itself_is_undeliverable() {
    let found = "no burst comes back over the ramp that sends it";
    for tx in [Tx::RAMP, Tx::to(East).and(Ramp)] {
        let l = layout(&[(at(0, 0), 2, Ramp, tx), (at(1, 0), 2, West, Tx::RAMP)]);
        let error = LayoutError::Undeliverable { pe: at(0, 0), color: Color(2), to: Ramp, found };
        assert_eq!(verdict(&l, &wse2()), Err(error));
    }
}

#[test]
fn a_lane_from_the_host_goes_on_over_three_links_and_no_more() {
    let ends = [(at(1, 0), South), (at(2, 1), West), (at(1, 2), North), (at(0, 1), East)];
    let fan = |n: usize| {
        let tx = [North, East, South, West][..n].iter().fold(Tx::RAMP, |tx, d| tx.and(*d));
        let mut routes = vec![(at(1, 1), 0, Direction::Host, tx)];
        routes.extend(ends[..n].iter().map(|(to, rx)| (*to, 0, *rx, Tx::RAMP)));
        layout(&routes)
    };
    assert_eq!(verdict(&fan(3), &wse2()), Ok(1));
    assert_eq!(verdict(&fan(4), &wse2()), Err(LayoutError::HostFan { pe: at(1, 1), color: Color(0) }));
}

#[test]
fn a_burst_that_meets_no_route_or_another_receive_port_is_undeliverable() {
    let error = |l: &Layout| verdict(l, &wse2()).unwrap_err();
    let refused = |pe, to, found| LayoutError::Undeliverable { pe, color: Color(0), to, found };
    let start = (at(0, 0), 0, Ramp, Tx::to(East));

    assert_eq!(error(&layout(&[start])), refused(at(0, 0), East, "the PE there is not in use"));

    let other_color = (at(1, 0), 1, Ramp, Tx::to(West));
    let taker = (at(0, 0), 1, East, Tx::RAMP);
    let found = "the router there has no route for the color";
    assert_eq!(error(&layout(&[start, other_color, taker])), refused(at(0, 0), East, found));

    // The third PE of a line listens to the south instead of the west; its own sender is there, so nothing is unfed.
    let found = "the router there receives the color from another side";
    let transit = (at(1, 0), 0, West, Tx::to(East));
    let wrong = (at(2, 0), 0, South, Tx::RAMP);
    let feeder = (at(2, 1), 0, Ramp, Tx::to(North));
    assert_eq!(error(&layout(&[start, transit, wrong, feeder])), refused(at(1, 0), East, found));
    assert_eq!(verdict(&layout(&[wrong, feeder]), &wse2()), Ok(1));
}

#[test]
fn a_cycle_of_routes_and_a_lane_that_nobody_feeds_are_refused() {
    let unfed = |pe, color| Err(LayoutError::Unfed { pe, color: Color(color) });
    // Around a square, with and without somebody who listens.
    for ramp in [Tx::NONE, Tx::RAMP] {
        let square = [
            (at(0, 0), 3, South, ramp.and(East)),
            (at(1, 0), 3, West, ramp.and(South)),
            (at(1, 1), 3, North, ramp.and(West)),
            (at(0, 1), 3, East, ramp.and(North)),
        ];
        assert_eq!(verdict(&layout(&square), &wse2()), unfed(at(0, 0), 3));
    }
    // Two routers that feed each other.
    let pair = [(at(0, 0), 3, East, Tx::to(East)), (at(1, 0), 3, West, Tx::to(West))];
    assert_eq!(verdict(&layout(&pair), &wse2()), unfed(at(0, 0), 3));
    // A receive where the neighbour sends another color only; the message says what is missing.
    let deaf = [(at(0, 0), 0, Ramp, Tx::to(East)), (at(1, 0), 0, West, Tx::RAMP), (at(1, 0), 1, West, Tx::RAMP)];
    let error = verdict(&layout(&deaf), &wse2());
    assert_eq!(error, unfed(at(1, 0), 1));
    let text = error.unwrap_err().to_string();
    for part in ["(1, 0)", "color 1", "not fed by any ramp", "cycle"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_route_to_nowhere_is_refused() {
    for (rx, feeder) in [(Ramp, None), (West, Some((at(0, 0), 4, Ramp, Tx::to(East))))] {
        let mut routes: Vec<_> = feeder.into_iter().collect();
        routes.push((at(1, 0), 4, rx, Tx::NONE));
        let error = verdict(&layout(&routes), &wse2()).unwrap_err();
        assert_eq!(error, LayoutError::Nowhere { pe: at(1, 0), color: Color(4) });
        assert!(error.to_string().contains("(1, 0)") && error.to_string().contains("color 4"), "{error}");
    }
}

/// `n` colors from PE (2, 1) to its eastern neighbour.
fn colors(n: u8) -> Layout {
    let routes: Vec<_> =
        (0..n).flat_map(|c| [(at(2, 1), c, Ramp, Tx::to(East)), (at(3, 1), c, West, Tx::RAMP)]).collect();
    layout(&routes)
}

#[test]
fn more_colors_than_the_chip_has_are_refused_with_need_and_have() {
    assert_eq!(verdict(&colors(21), &wse2()), Ok(21), "24 colors, 3 of them reserved");
    let error = verdict(&colors(22), &wse2()).unwrap_err();
    assert_eq!(error, LayoutError::Colors { pe: at(2, 1), routed: 22, need: 22, have: 21 });
    let text = error.to_string();
    for part in ["routing resource exhaustion", "22 colors", "(2, 1)", "21 usable"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    // A color is one id on the whole wafer: 22 of them do not fit even where no PE routes more than two.
    let spread: Vec<_> = (0..22)
        .flat_map(|c| {
            [(at(2 * u32::from(c), 0), c, Ramp, Tx::to(East)), (at(2 * u32::from(c) + 1, 0), c, West, Tx::RAMP)]
        })
        .collect();
    assert!(matches!(
        verdict(&layout(&spread), &wse2()),
        Err(LayoutError::Colors { routed: 1, need: 22, have: 21, .. })
    ));
}

#[test]
fn a_chip_file_with_more_colors_runs_what_wse2_refuses() {
    let text = toml::to_string(&Chip { name: "roomy".into(), colors: 25, ..wse2() }).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let chip = Chip::from_toml_file(file.path()).unwrap();
    assert_eq!((chip.name.as_str(), verdict(&colors(22), &chip)), ("roomy", Ok(22)));
    assert_eq!(verdict(&colors(23), &chip), Err(LayoutError::Colors { pe: at(2, 1), routed: 23, need: 23, have: 22 }));
}

#[test]
fn a_pe_outside_the_mesh_is_refused() {
    let chip = wse2();
    for pe in [at(chip.cols, 0), at(0, chip.rows), at(u32::MAX, u32::MAX)] {
        let mut l = Layout::default();
        l.pe(pe);
        let error = verdict(&l, &chip).unwrap_err();
        assert_eq!(error, LayoutError::OffMesh { pe, cols: 750, rows: 994 });
        assert!(error.to_string().contains(&pe.to_string()) && error.to_string().contains("750x994"), "{error}");
    }
    let mut l = Layout::default();
    l.pe(at(chip.cols - 1, chip.rows - 1));
    assert_eq!(verdict(&l, &chip), Ok(0));
}

/// One PE with a tile of every owner; the weights take `weights` bytes.
fn tiles(weights: u32) -> Layout {
    let mut l = Layout::default();
    l.pe(at(0, 0));
    let all = [
        ("x", Owner::Activations, 1000),
        ("w_qkv", Owner::Weights, weights),
        ("keys", Owner::Kv, 2000),
        ("inbox", Owner::Receive, 100),
    ];
    for (i, (name, owner, bytes)) in all.into_iter().enumerate() {
        l.tile(at(5, 6), TileDecl { id: TileId(i as u16), name, owner, bytes, visit: 0 });
    }
    l
}

#[test]
fn an_arena_over_budget_is_refused_with_the_whole_ledger_and_the_tile_to_shrink() {
    // 48 KiB less 8 KiB for code and stack; tiles lie on a 16-byte grid: 1008 + 2000 + 112 bytes beside the weights.
    let room = 49_152 - 8_192 - 1008 - 2000 - 112;
    assert_eq!(verdict(&tiles(room), &wse2()), Ok(0), "a full arena");
    let Err(LayoutError::Arena(error)) = verdict(&tiles(room + 1), &wse2()) else { panic!("one byte more passes") };
    assert_eq!((error.pe, error.need, error.budget), (at(5, 6), Bytes(49_152 + 16), Bytes(49_152)));
    assert_eq!((error.reserved, error.largest), (Bytes(8_192), "w_qkv"));
    let text = LayoutError::Arena(error).to_string();
    for part in [
        "(5, 6)",
        "need 49168 B",
        "8192 B for code and stack",
        "have 49152 B",
        "largest tile is `w_qkv`: shrink that one",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    for owner in Owner::ALL {
        assert!(text.contains(owner.name()), "{} in {text}", owner.name());
    }
    for part in ["x", "keys", "inbox", "1000 B", "2000 B", "100 B", "37841 B"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn of_several_arenas_over_budget_the_worst_is_shown() {
    let mut l = tiles(40_000);
    for (col, bytes) in [(7, 45_000), (8, 60_000), (9, 50_000)] {
        l.tile(at(col, 1), TileDecl { id: TileId(0), name: "w", owner: Owner::Weights, bytes, visit: 0 });
    }
    let Err(LayoutError::Arena(error)) = verdict(&l, &wse2()) else { panic!("it passes") };
    assert_eq!((error.pe, error.need), (at(8, 1), Bytes(60_000 + 8_192)));
}

#[test]
fn two_tiles_with_one_id_on_one_pe_are_refused_by_name() {
    let tile = |id, name| TileDecl { id: TileId(id), name, owner: Owner::Activations, bytes: 16, visit: 0 };
    let with = |tiles: &[(u32, u16, &'static str)]| {
        let mut l = Layout::default();
        tiles.iter().for_each(|&(col, id, name)| l.tile(at(col, 1), tile(id, name)));
        l
    };
    let different = [(3, 7, "x"), (3, 8, "y"), (4, 8, "x"), (4, 7, "y"), (5, 8, "x")];
    assert_eq!(verdict(&with(&different), &wse2()), Ok(0), "the same ids on other PEs, in any order");
    let l = with(&[&different[..], &[(5, 2, "z"), (5, 8, "y")]].concat());
    let error = verdict(&l, &wse2()).unwrap_err();
    assert_eq!(error, LayoutError::TwoTiles { pe: at(5, 1), id: TileId(8), first: "x", second: "y" });
    for part in ["two tiles with one id", "(5, 1)", "`x`", "`y`", "tile 8"] {
        assert!(error.to_string().contains(part), "{part} in {error}");
    }
}

struct Idle;

impl Kernel for Idle {
    async fn program<'a>(&'a self, _: Pe<'a>) {}
}

#[test]
fn a_launch_is_refused_for_the_same_reason() {
    let cases = [layout(&[(at(0, 0), 2, Ramp, Tx::to(West))]), colors(22), tiles(48_000)];
    for l in cases {
        let expect = verdict(&l, &wse2()).unwrap_err();
        let options = RunOptions::new(2);
        let found = Wafer::launch(Idle, l, &wse2(), &options, |_, _, _| panic!("nothing is filled")).err();
        assert!(matches!(&found, Some(LaunchError::Layout(error)) if *error == expect), "{found:?}, not {expect}");
    }
}
