//! Bytes of the fullest PE of each kind of region, and the numbers that no plan can be made from.
//!
//! Invariant: sums saturate instead of wrapping, so a model of absurd size is too large and never seems to fit.
//! Invariant: counts are those of the tiles that `kernels::decode` declares. Called by `Plan`.

use crate::fabric::Chip;
use crate::math::checkpoint::ModelShape;

use super::columns::Columns;
use super::error::PlanError;

/// Words of the longest message: the fabric counts them in 16 bits.
pub(super) const MESSAGE_WORDS_MAX: usize = u16::MAX as usize;
/// Layers that tile ids can name: 64 ids in front, 16 for every layer, 65,536 in all.
pub(super) const LAYERS_MAX: usize = (65_536 - 64) / 16;
/// A limit on every size of a shape, far above any model: positions and ids must fit in a control word.
pub(super) const SIZE_MAX: usize = 1 << 31;

/// Bytes of a PE by owner, as `OWNERS` names them.
pub type Account = [usize; 3];
pub(super) const OWNERS: [&str; 3] = ["weights", "K and V", "activations, receive buffers"];

/// Bytes of a tile of so many elements on the 16-byte grid.
fn tile(factors: &[usize]) -> usize {
    let bytes = factors.iter().fold(1usize, |a, b| a.saturating_mul(*b));
    bytes.checked_next_multiple_of(16).unwrap_or(usize::MAX)
}

fn sum(bytes: impl IntoIterator<Item = usize>) -> usize {
    bytes.into_iter().fold(0, usize::saturating_add)
}

/// Bytes for tiles in an arena.
pub(super) fn have(chip: &Chip) -> usize {
    chip.arena_bytes.saturating_sub(chip.reserved_bytes) as usize
}

/// Refuses shapes that describe no model.
///
/// # Errors
/// The first field that is impossible.
pub(super) fn check_shape(shape: &ModelShape) -> Result<(), PlanError> {
    let sized = [
        ("hidden", shape.hidden),
        ("n_layers", shape.n_layers),
        ("n_heads", shape.n_heads),
        ("n_kv_heads", shape.n_kv_heads),
        ("head_dim", shape.head_dim),
        ("ffn", shape.ffn),
        ("vocab", shape.vocab),
    ];
    let fail = |field, need, found| Err(PlanError::Shape { field, need, found });
    for (field, found) in sized {
        if found == 0 || found > SIZE_MAX {
            return fail(field, "1 to 2^31", found);
        }
    }
    if shape.n_layers > LAYERS_MAX {
        return fail("n_layers", "at most 4092", shape.n_layers);
    }
    if !shape.n_heads.is_multiple_of(shape.n_kv_heads) {
        return fail("n_heads", "a multiple of n_kv_heads", shape.n_heads);
    }
    if !shape.head_dim.is_multiple_of(2) {
        return fail("head_dim", "an even number (RoPE turns pairs)", shape.head_dim);
    }
    if shape.inv_freq.len() != shape.head_dim / 2 {
        return fail("inv_freq", "one frequency for each of the head_dim / 2 pairs", shape.inv_freq.len());
    }
    Ok(())
}

/// One stage PE, at most: slices of the dimensions on the fullest column and row.
pub(super) struct StageSizes {
    q: usize,
    kv: usize,
    d: usize,
    h: usize,
    f: usize,
    cap: usize,
}

impl StageSizes {
    /// On a region of `cols x rows` with `cap` positions a row.
    pub(super) fn new(shape: &ModelShape, cols: usize, rows: usize, cap: usize) -> Self {
        let (q, kv, d) = head_counts(shape, cols);
        Self { q, kv, d, h: shape.hidden.div_ceil(rows), f: shape.ffn.div_ceil(cols), cap }
    }

    fn qkv(&self) -> usize {
        self.q.saturating_add(2 * self.kv).saturating_mul(self.d)
    }

    fn wide(&self) -> usize {
        self.qkv().max(2 * self.f).saturating_add(1)
    }

    /// Words of the longest message.
    pub(super) fn message_words(&self) -> usize {
        self.wide().max(self.q.saturating_mul(self.cap)).max(self.h)
    }

    /// Tiles that a PE has once.
    pub(super) fn fixed_bytes(&self) -> usize {
        let Self { q, kv, d, h, f, cap } = *self;
        let once = [h, h, h, self.wide(), f, q, q, d, d].map(|words| tile(&[words, 4]));
        let moved = tile(&[kv, d, 2, 4]);
        sum(once.into_iter().chain([tile(&[q, cap, 4]), tile(&[q, d, 4]), moved, moved]))
    }

    /// Tiles that a PE has once, in decode or in a prefill of one position on each row and each column, whichever are
    /// more.
    pub(super) fn with_prefill_bytes(&self, kv_bytes: usize) -> usize {
        self.prefill(kv_bytes, 1, 1).0.max(self.fixed_bytes())
    }

    /// Tiles that a PE has once in a prefill of so many positions a column and a row, as `kernels::prefill` declares
    /// them, and words of its longest message. A prefill needs the frequencies on every row.
    pub(super) fn prefill(&self, kv_bytes: usize, on_col: usize, on_row: usize) -> (usize, usize) {
        let Self { q, kv, d, h, f, .. } = *self;
        let times = usize::saturating_mul;
        let passed = tile(&[2, on_row, kv, d, kv_bytes]) / 4;
        let both = times(on_col, h.saturating_add(1)).max(passed);
        let passing = both.max(times(on_row, q.saturating_mul(d))).max(times(on_row, f));
        let scores = times(times(q, on_row), on_row.saturating_add(1));
        let state = times(times(q, on_row), d.saturating_add(2)).saturating_add(scores);
        let work = times(on_col.min(on_row), self.wide().max(h)).max(state);
        let words = [d, times(on_col, h), passing, both, times(on_row, self.wide()), work, times(on_row, d)];
        (sum(words.map(|words| tile(&[words, 4]))), passing.max(work))
    }

    /// Tiles that a PE has per layer.
    pub(super) fn layer_bytes(&self, kv_bytes: usize, bias: bool) -> usize {
        self.weight_bytes(bias).saturating_add(self.cell_bytes(kv_bytes))
    }

    /// Weights, norms and biases of a layer.
    fn weight_bytes(&self, bias: bool) -> usize {
        let Self { q, d, h, f, .. } = *self;
        let qkv = self.qkv();
        let weights = [tile(&[2, h, qkv]), tile(&[2, q, d, h]), tile(&[4, h, f]), tile(&[2, f, h])];
        let vectors = [tile(&[4, h]), tile(&[4, h]), if bias { tile(&[4, qkv]) } else { 0 }];
        sum(weights.into_iter().chain(vectors))
    }

    /// K and V of a layer.
    pub(super) fn cell_bytes(&self, kv_bytes: usize) -> usize {
        let cells = tile(&[self.kv, self.d, self.cap, kv_bytes]);
        cells.saturating_add(cells)
    }

    /// What a PE with one layer holds, by owner.
    pub(super) fn ledger(&self, kv_bytes: usize, bias: bool) -> Account {
        [self.weight_bytes(bias), self.cell_bytes(kv_bytes), self.fixed_bytes()]
    }
}

/// Largest counts of any column: (query heads, KV heads, local dims of a head).
///
/// First parts are the longer ones: column 0 has the most whole heads, the shortest band (the last) the most pairs.
fn head_counts(shape: &ModelShape, cols: usize) -> (usize, usize, usize) {
    let columns = Columns::new(shape, cols);
    let shortest = columns.slice(cols - 1).band.start;
    [0, shortest].into_iter().fold((0, 0, 0), |(q, kv, d), c| {
        let s = columns.slice(c);
        (q.max(s.kv_heads.len() * columns.group), kv.max(s.kv_heads.len()), d.max(2 * s.pairs.len()))
    })
}

/// Tiles of a head PE.
pub(super) fn head_bytes(shape: &ModelShape, cols: usize, rows: usize) -> usize {
    let (h, v) = (shape.hidden.div_ceil(rows), shape.vocab.div_ceil(cols));
    let table = tile(&[2, h, v]);
    let tables = if shape.tied { [table, 0] } else { [table, table] };
    let vector = tile(&[4, h]);
    sum(tables.into_iter().chain([vector, vector, vector, tile(&[4, v.saturating_add(1)]), 3 * 16]))
}

/// Bytes that a head PE takes at most while there are columns: in larger arenas fewer columns would hold the head, and
/// every token would wait for their longer products. What the arenas of `wse2` have for tiles.
const HEAD_BYTES: usize = 40 << 10;

/// The fewest head columns whose arenas hold the tables, if the chip has as many.
///
/// # Errors
/// Bytes needed with all columns that could help.
pub(super) fn head_cols(shape: &ModelShape, chip: &Chip, rows: usize) -> Result<usize, usize> {
    let most = shape.vocab.min(chip.cols as usize).max(1);
    let have = if head_bytes(shape, most, rows) <= HEAD_BYTES { have(chip).min(HEAD_BYTES) } else { have(chip) };
    let fits = |cols: usize| {
        let words = shape.vocab.div_ceil(cols).saturating_add(1).max(shape.hidden.div_ceil(rows));
        head_bytes(shape, cols, rows) <= have && words <= MESSAGE_WORDS_MAX
    };
    if !fits(most) {
        return Err(head_bytes(shape, most, rows));
    }
    let (mut short, mut enough) = (0, most);
    while enough - short > 1 {
        let half = short + (enough - short) / 2;
        if fits(half) { enough = half } else { short = half }
    }
    Ok(enough)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_columns_are_the_first_and_the_start_of_the_last_band() {
        for kv_heads in 1..6 {
            for group in 1..4 {
                for half in [1, 3, 4] {
                    for cols in 1..20 {
                        let shape = ModelShape {
                            hidden: 8,
                            n_layers: 1,
                            n_heads: kv_heads * group,
                            n_kv_heads: kv_heads,
                            head_dim: 2 * half,
                            ffn: 8,
                            vocab: 8,
                            norm_eps: 1e-5,
                            inv_freq: vec![1.0; half],
                            tied: true,
                            qkv_bias: false,
                        };
                        let columns = Columns::new(&shape, cols);
                        let slices = || (0..cols).map(|c| columns.slice(c));
                        let kv = slices().map(|s| s.kv_heads.len()).max().unwrap_or(0);
                        let dims = slices().map(|s| 2 * s.pairs.len()).max().unwrap_or(0);
                        assert_eq!(head_counts(&shape, cols), (kv * group, kv, dims), "{kv_heads} {half} {cols}");
                    }
                }
            }
        }
    }

    #[test]
    fn absurd_sizes_saturate() {
        assert_eq!(tile(&[usize::MAX, 4]), usize::MAX);
        assert_eq!(tile(&[3, 4]), 16);
        assert_eq!(sum([usize::MAX, 16]), usize::MAX);
    }
}
