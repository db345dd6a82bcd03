//! Prefill: a prompt in chunks of positions through decode's regions and weight tiles.  (WaferLLM section 4.1)
//!
//! 1. x of a chunk lies with its sequence on x (part c of the positions on column c), its embedding on y.
//! 2. QKV, gate|up: blocks of x g go once round their row's interleaved ring (MeshGEMM's); each PE multiplies what is
//!    here by its weight tile, which stays; the column reduces the partial product to the row that the positions belong
//!    to (GEMM-T's moving root). So q, k, v lie with the sequence on y (part r on row r), their dimensions on x.
//! 3. Q K^T, softmax, A V: K and V go round the column's ring; the band reduces partial scores to its middle, which
//!    masks, renormalises (ring attention: exp(s - m), m the running maximum) and sends exp(s - m) to the band.
//! 4. O, down: blocks of their input go round the column's ring, the row reduces to the positions' column: x again.
//!
//! Why these roles: W qkv and W gate|up have their inputs on y and outputs on x, W o and W down the reverse. With
//! weights that stay and activations that move, that is what decode needs too: **weights are stored once**, never
//! re-placed. K and V: while they pass in 3., each row keeps the positions that decode's balanced layout gives it, and
//! those of earlier chunks come from there. So after the last chunk nothing is left to move: the transition writes
//! routes alone. (A prefill on a mesh of its own has a placement of its own: `kernels::transition` moves everything.)
//!
//! | colors   | carries                                         |   | arena          | bytes                       |
//! |----------|-------------------------------------------------|---|----------------|-----------------------------|
//! | 0 .. 2   | blocks of x g along rows                        |   | W, K, V, norms | as in decode, same address  |
//! | 3 .. 5   | K and V, inputs of O and down, along columns    |   | x              | 4 c h                       |
//! | 6 .. 9   | partial products to a row                       |   | passing (2)    | 4 max(c (h + 1), K, V; r f) |
//! | 10 .. 13 | partial products to a column, scores to a root  |   | product        | 4 r max(qkv, 2 f) + ..      |
//! | 14       | probabilities to a band                         |   | work           | partial product; o, scores  |
//! | 15 ..    | ways between regions, as in decode              |   | sine, cosine   | 8 r pairs                   |
//!
//! With c = ceil(S / C) and r = ceil(S / R) for a chunk of S positions; S is the most that every PE's ledger admits,
//! if nothing smaller is asked for. `predict` says what that costs: large chunks leave stages idle, small ones make
//! many tours.
//! Cost: per tour of n blocks of w words, n - 1 rounds of `Ser(w) + 2 T_R + 1 + 2 alpha` at least, behind products and
//! chains of max(m, n - 1 - m) stages; executed, not assumed. A product is AXPYs along outputs or along positions,
//! whichever take fewer cycles (`cycles`); that order does not show in the bits.
//! The order of additions is the serial oracle's (`oracle::serial::prefill`): k ascending in a tile, chains from the
//! ends inwards, the higher side first; blocks as the ring brings them; o and l in order of position.
//!
//! Invariant: routes, sizes and cycles depend on positions and shapes, never on values.
//! Called by the host's session: one pass a position, a chunk runs when its last position is there.

mod attention;
mod blocks;
mod layout;
mod lockstep;
mod predict;
mod project;
mod stage;

use crate::fabric::{Rates, TileId};
use crate::kernels::decode::{Decode, Launch, Region, head};
use crate::kernels::gemm::product_cycles;
use crate::math::gemm::Dims;
use crate::pe::{Kernel, Pe};
use crate::units::Cycles;

pub use layout::PrefillRefused;

/// The kernel: decode's numbers, the prompt's length, and how many positions go at once.
#[derive(Clone, Debug)]
pub struct Prefill {
    /// Regions, weights, KV and head, as a decode has them; its ways between regions begin behind these colors.
    pub decode: Decode,
    /// The decode that follows, where it has a placement of its own; else it is `decode`.
    pub apart: Option<Decode>,
    /// Positions of the prompt.
    pub prompt: usize,
    /// Positions of a chunk; the last one may be shorter.
    pub chunk: usize,
    /// Earlier positions of a row that pass at once.
    pub older: usize,
}

/// First colors.
const X_RING: u8 = 0;
const Y_RING: u8 = 3;
const COLUMN_CHAIN: u8 = 6;
const ROW_CHAIN: u8 = 10;
const BAND: u8 = 14;
const WAYS: u8 = 15;

/// Tiles beside those of decode that stay (weights, norms, biases, frequencies, K, V).
pub(crate) mod tile {
    use super::TileId;
    pub const X: TileId = TileId(32);
    pub const PASSING: [TileId; 2] = [TileId(33), TileId(34)];
    pub const PRODUCT: TileId = TileId(35);
    pub const WORK: TileId = TileId(36);
    pub const ANGLES: TileId = TileId(37);
}

/// Names of the points that programs mark (decode's ids); the time up to a point belongs to its name.
pub const PHASES: [&str; 10] = [
    "prefill hand-over",
    "prefill QKV",
    "",
    "",
    "",
    "prefill attention",
    "prefill O",
    "prefill FFN",
    "prefill head",
    "prefill embedding",
];

impl Prefill {
    /// Prefill of `prompt` positions in front of `decode`, in chunks of `chunk` positions if its arenas admit as many,
    /// else, and without one, of the most that they do.
    ///
    /// # Errors
    /// When not even one position fits beside weights and KV, or the ways take more colors than there are.
    pub fn new(decode: &Decode, prompt: usize, chunk: Option<usize>) -> Result<Self, PrefillRefused> {
        let launch = Launch { positions: 0, ways_from: WAYS };
        let decode = Decode { launch, ..decode.clone() };
        let mut prefill = Self { decode, apart: None, prompt, chunk: 1, older: 1 };
        let free = prefill.free();
        let largest = prefill.largest_chunk(&free)?;
        prefill.chunk = chunk.map_or(largest, |n| n.clamp(1, largest));
        prefill.older = prefill.older_at_once(&free, prefill.chunk);
        Ok(prefill)
    }

    /// The decode that goes on behind this prompt.
    pub fn then(&self) -> Decode {
        let launch = Launch { positions: self.prompt, ways_from: 0 };
        Decode { launch, ..self.apart.as_ref().unwrap_or(&self.decode).clone() }
    }
}

/// Cycles of a product of tiles: m k AXPYs of length n, or k n of length m.
fn cycles(rates: &Rates, d: Dims) -> Cycles {
    Cycles(rates.gemv(d.m * d.k, d.n).0.min(product_cycles(rates, d).0))
}

impl Kernel for Prefill {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        match self.decode.region(pe.coord()) {
            Region::Head { col, row } => head::run(&self.decode, pe, col, row).await,
            Region::Stage(seat) => stage::run(self, pe, seat).await,
            Region::Transit => {}
        }
    }
}
