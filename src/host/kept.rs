//! What a launch counts on: tiles that the launch before left in the same place of the same arena.
//!
//! | tiles                     | counted on by                                              |
//! |---------------------------|------------------------------------------------------------|
//! | weights, norms, K, V      | every launch on PEs that the launch before had             |
//! | own id, logits            | decode that goes on behind a prefill, and the host         |
//! | all others                | nobody: a launch fills them before it reads them           |
//!
//! Invariant: a tile is the same one if id, address and length are. Called by `transition` before every launch.

use crate::arena::Owner;
use crate::fabric::{Layout, PeDecl, TileDecl, TileId};
use crate::kernels::decode::tile;
use crate::units::Coord;

/// A tile that a launch counts on and that the launch before did not leave: a defect of a kernel's layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "launch: tile `{tile}` ({id}) of PE {pe} needs {} B at {} of its arena as the launch before left them; {}",
    need.1, need.0,
    found.map_or("there was none".to_owned(), |(at, bytes)| format!("it left {bytes} B at {at}"))
)]
pub struct NotKept {
    /// Whose arena.
    pub pe: Coord,
    /// Which.
    pub tile: &'static str,
    /// Its number.
    pub id: u16,
    /// Address and bytes in the launch to come.
    pub need: (u64, u64),
    /// Address and bytes in the launch before, if it had such a tile.
    pub found: Option<(u64, u64)>,
}

/// Must a tile outlive its launch?
fn counts(tile: &TileDecl) -> bool {
    matches!(tile.owner, Owner::Weights | Owner::Kv) || [tile::OWN, tile::LOGITS].contains(&tile.id)
}

/// Tiles of a PE with their addresses, in address order.
fn places(pe: &PeDecl) -> impl Iterator<Item = (u64, &TileDecl)> {
    let mut next = 0;
    pe.tiles.iter().map(move |tile| {
        let at = next;
        next += u64::from(tile.bytes).next_multiple_of(16);
        (at, tile)
    })
}

fn place_of(pe: &PeDecl, id: TileId) -> Option<(u64, u64)> {
    places(pe).find(|(_, tile)| tile.id == id).map(|(at, tile)| (at, u64::from(tile.bytes)))
}

/// Holds the layout of a launch to the one before it. `is_new`: PEs that come into use with this launch.
///
/// # Errors
/// The first tile, PE by PE and by address, that is not kept.
pub(super) fn check(before: &Layout, after: &Layout, is_new: impl Fn(Coord) -> bool) -> Result<(), NotKept> {
    for pe in after.pes.iter().filter(|pe| !is_new(pe.coord)) {
        let old = before.find(pe.coord).map(|at| &before.pes[at as usize]);
        for (at, tile) in places(pe).filter(|(_, tile)| counts(tile)) {
            let need = (at, u64::from(tile.bytes));
            let found = old.and_then(|old| place_of(old, tile.id));
            if found != Some(need) {
                return Err(NotKept { pe: pe.coord, tile: tile.name, id: tile.id.0, need, found });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PE: Coord = Coord { col: 3, row: 1 };

    fn tile(id: TileId, name: &'static str, owner: Owner, bytes: u32) -> TileDecl {
        TileDecl { id, name, owner, bytes, visit: 0 }
    }

    fn layout(tiles: &[TileDecl]) -> Layout {
        let mut layout = Layout::default();
        tiles.iter().for_each(|tile| layout.tile(PE, *tile));
        layout
    }

    #[test]
    fn a_tile_that_a_launch_counts_on_is_kept_or_named() {
        let weights = tile(TileId(64), "W", Owner::Weights, 40);
        let keys = tile(TileId(71), "K", Owner::Kv, 24);
        let own = tile(tile::OWN, "own id", Owner::Activations, 4);
        let buffer = |bytes| tile(TileId(1), "x", Owner::Activations, bytes);
        let before = layout(&[weights, keys, own, buffer(64)]);
        let find = |after: &[TileDecl]| check(&before, &layout(after), |_| false).err();
        assert_eq!(find(&[weights, keys, own, buffer(128)]), None, "a buffer may change");
        assert_eq!(find(&[weights]), None, "what is not there any more is not counted on");
        let lost = |name, id, need, found| Some(NotKept { pe: PE, tile: name, id, need, found });
        let longer = tile(keys.id, "K", Owner::Kv, 32);
        assert_eq!(find(&[weights, longer]), lost("K", 71, (48, 32), Some((48, 24))));
        assert_eq!(find(&[weights, own]), lost("own id", tile::OWN.0, (48, 4), Some((80, 4))), "it moved");
        let more = tile(TileId(72), "V", Owner::Kv, 24);
        let error = find(&[weights, keys, more]).expect("no V before");
        assert_eq!(Some(error.clone()), lost("V", 72, (80, 24), None));
        assert!(error.to_string().contains("tile `V` (72) of PE (3, 1) needs 24 B at 80"), "{error}");
        assert_eq!(check(&before, &layout(&[weights, keys, more]), |pe| pe == PE), Ok(()), "a new PE has no past");
    }
}
