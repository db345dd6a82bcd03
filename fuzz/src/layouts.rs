//! Layouts from bytes, and a second opinion on each, written apart from the check.
//!
//! | bytes       | meaning                                                                          |
//! |-------------|----------------------------------------------------------------------------------|
//! | head        | columns and rows of the chip (1 to 8 each), usable colors (1 to 32)              |
//! | op, a, b, c | a route at PE a, a line from PE a to PE b, or a tile at PE a; PEs as two nibbles |

use plummer::arena::Owner;
use plummer::fabric::{Backing, Chip, Direction, Layout, LayoutError, Survey, TileDecl, TileId, Tx, build};
use plummer::units::{Color, Coord};

const DIRECTIONS: [Direction; 6] =
    [Direction::North, Direction::East, Direction::South, Direction::West, Direction::Ramp, Direction::Host];

/// Two PEs and the color between them: the smallest layout that moves a burst.
pub fn pair() -> Layout {
    let mut layout = Layout::default();
    layout.line(Color(0), Coord::new(0, 0), Coord::new(1, 0), false).expect("one writer");
    layout
}

fn coord(byte: u8) -> Coord {
    Coord::new(u32::from(byte & 15), u32::from(byte >> 4))
}

fn command(layout: &mut Layout, op: u8, a: u8, b: u8, c: u8) -> Result<(), LayoutError> {
    match op % 4 {
        0 | 1 => {
            let ports = DIRECTIONS[..5].iter().filter(|d| c >> **d as u8 & 1 != 0);
            let tx = ports.fold(Tx::NONE, |tx, d| tx.and(*d));
            layout.route(coord(a), Color(b % 32), DIRECTIONS[usize::from(op >> 2) % 6], tx)
        }
        2 => layout.line(Color(c % 32), coord(a), coord(b), c >= 128),
        _ => {
            let owner = Owner::ALL[usize::from(op >> 2) % 4];
            let id = TileId(layout.pe(coord(a)).tiles.len() as u16);
            layout.tile(coord(a), TileDecl { id, name: "t", owner, bytes: 97 * u32::from(b), visit: u64::from(c) });
            Ok(())
        }
    }
}

/// Decodes a layout, asks the check at several numbers of workers, and compares with `deliverable`.
pub fn check(bytes: &[u8]) {
    let Some((&[cols, rows, colors], commands)) = bytes.split_first_chunk::<3>() else { return };
    let mut chip = Chip::preset("bench").expect("a preset");
    (chip.cols, chip.rows) = (u32::from(cols % 8) + 1, u32::from(rows % 8) + 1);
    chip.colors = chip.colors_reserved + u32::from(colors % 32) + 1;
    let mut layout = Layout::default();
    for &[op, a, b, c] in commands.as_chunks::<4>().0.iter().take(256) {
        if command(&mut layout, op, a, b, c).is_err() {
            return;
        }
    }
    let cols = chip.cols;
    layout.pes.iter_mut().for_each(|pe| pe.share = (pe.coord.col * 65536 / cols).min(65535) as u16);
    Survey::of(&layout);
    let verdict = |workers, backing| build(&layout, &chip, workers, backing).map(|fleet| fleet.colors_max);
    let first = verdict(1, Backing::Packed);
    for (workers, backing) in [(2, Backing::Packed), (5, Backing::Packed), (1, Backing::Full), (1, Backing::Dry)] {
        assert_eq!(verdict(workers, backing), first, "{workers} workers, {backing:?}");
    }
    assert_eq!(first.is_ok(), deliverable(&layout, &chip), "{first:?} of {layout:?}");
}

/// Budgets hold, every output meets a router that listens there, and every input leads back to a ramp or the host.
fn deliverable(layout: &Layout, chip: &Chip) -> bool {
    let mut colors = [false; 256];
    layout.pes.iter().all(|pe| {
        let at = pe.coord;
        let tiles: u64 = pe.tiles.iter().map(|t| u64::from(t.bytes).next_multiple_of(16)).sum();
        let fits = at.col < chip.cols && at.row < chip.rows && tiles + chip.reserved_bytes <= chip.arena_bytes;
        fits && pe.routes.iter().all(|route| {
            colors[usize::from(route.color.0)] |= route.rx != Direction::Host;
            let heard =
                |d: Direction| route_at(layout, step(at, d), route.color).is_some_and(|(rx, _)| rx == d.opposite());
            let goes = route.tx.links().all(heard) && route.tx != Tx::NONE;
            let is_odd = match route.rx {
                Direction::Ramp => route.tx.has(Direction::Ramp),
                Direction::Host => route.tx.links().count() == 4,
                _ => false,
            };
            goes && !is_odd && fed(layout, at, route.color)
        })
    }) && colors.iter().filter(|used| **used).count() <= chip.usable_colors() as usize
}

fn step(at: Coord, d: Direction) -> Option<Coord> {
    d.neighbour(at, u32::MAX, u32::MAX)
}

fn route_at(layout: &Layout, at: Option<Coord>, color: Color) -> Option<(Direction, Tx)> {
    let pe = &layout.pes[layout.find(at?)? as usize];
    pe.routes.iter().find(|r| r.color == color).map(|r| (r.rx, r.tx))
}

/// Upstream from a router, a ramp or the host comes before the walk repeats itself.
fn fed(layout: &Layout, from: Coord, color: Color) -> bool {
    let mut at = from;
    for _ in 0..=layout.pes.len() {
        match route_at(layout, Some(at), color) {
            Some((Direction::Ramp | Direction::Host, _)) => return true,
            Some((rx, _)) => {
                let Some(above) = step(at, rx) else { return false };
                if !route_at(layout, Some(above), color).is_some_and(|(_, tx)| tx.has(rx.opposite())) {
                    return false;
                }
                at = above;
            }
            None => return false,
        }
    }
    false
}
