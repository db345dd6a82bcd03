//! The words of one worker's tiles, and the bounded buffers that back short bursts and tiles of other workers.
//!
//! ```text
//!   | tiles, in visiting order (or PE by PE, 48 KiB each, poisoned) | buffers: header, words, header, words ... |
//! ```
//! Invariant: tiles are disjoint; a buffer is owned by its readers until the last has released it, then it goes back to
//! the free list of its size. Places are word indices.
//! Buffers are taken from a reserve that the host backs lazily; it is bounded by lanes x depth.

use std::ptr::NonNull;

use memmap2::{MmapMut, MmapOptions};

use crate::link::{NONE, Span, Store};

/// A program's handle of a tile: words at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    pub(crate) place: u32,
    pub(crate) words: u32,
}

impl Tile {
    /// An empty tile.
    pub const EMPTY: Self = Self { place: 0, words: 0 };

    /// Length in 32-bit words.
    pub fn words(self) -> usize {
        self.words as usize
    }

    /// `len` words from word `from` on.
    ///
    /// # Panics
    /// When they are not inside the tile: a defect of the program.
    #[must_use]
    pub fn slice(self, from: usize, len: usize) -> Self {
        let fits = from.checked_add(len).is_some_and(|end| end <= self.words as usize);
        assert!(fits, "slice {from}+{len} of a tile of {} words", self.words);
        Self { place: self.place + from as u32, words: len as u32 }
    }

    /// Its words are elsewhere now, unless `place` is `NONE`.
    #[inline(always)]
    pub(crate) fn moved_to(&mut self, place: u32) {
        if place != NONE {
            self.place = place;
        }
    }

    /// The same for the links.
    #[inline(always)]
    pub(crate) fn span(self) -> Span {
        Span { place: self.place, words: self.words }
    }

    /// Do the two share a word?
    #[inline(always)]
    pub fn overlaps(self, other: Self) -> bool {
        self.span().overlaps(other.span())
    }
}

/// Words in front of a buffer: readers left, size class.
const HEADER: usize = 4;
/// Sizes of buffers, each twice the one before; the largest holds a burst of 65,535 words and its control words.
const CLASSES: usize = 20;
/// What uncovered bytes of a full arena hold: a signalling pattern that is a NaN in every format.
pub const POISON: u32 = 0xffff_ffff;

/// See the module.
pub struct Memory {
    /// Of `_map`, which stays where it is.
    words: NonNull<u32>,
    len: usize,
    _map: MmapMut,
    tiles: usize,
    bump: usize,
    free: [Vec<u32>; CLASSES],
}

// SAFETY: `words` points into `_map`, which this value owns alone; a mapping may be used from any thread.
unsafe impl Send for Memory {}
// SAFETY: `&Memory` gives words to read alone.
unsafe impl Sync for Memory {}

impl Memory {
    /// Room for `tiles` words of tiles and up to `buffers` words of buffers.
    ///
    /// # Errors
    /// When the host does not give the address space.
    pub fn new(tiles: usize, buffers: usize, poison: bool) -> std::io::Result<Self> {
        let bytes = (tiles + buffers).max(1) * 4;
        let mut map = MmapOptions::new().len(bytes).no_reserve_swap().map_anon()?;
        #[cfg(target_os = "linux")]
        map.advise(memmap2::Advice::HugePage).ok();
        if poison {
            map[..tiles * 4].fill(POISON as u8);
        }
        let (words, len) = (NonNull::from(&mut *map).cast(), map.len() / 4);
        Ok(Self { words, len, _map: map, tiles, bump: tiles, free: Default::default() })
    }

    #[inline(always)]
    fn all(&self) -> &[u32] {
        // SAFETY: `_map` is `len` words on a page boundary, initialised (zero) by the host, and lives and stays where
        // it is as long as `self`; `&self` keeps writers out.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.len) }
    }

    #[inline(always)]
    fn all_mut(&mut self) -> &mut [u32] {
        // SAFETY: as `all`; `&mut self` keeps everybody else out.
        unsafe { std::slice::from_raw_parts_mut(self.words.as_ptr(), self.len) }
    }

    /// The words of a tile to be written and of as many others to be read.
    ///
    /// # Panics
    /// When the two overlap: a defect of the program.
    #[inline(always)]
    pub fn pair(&mut self, tile: Tile, other: u32) -> (&mut [u32], &[u32]) {
        let words = tile.words as usize;
        let (to, from) = (tile.place as usize, other as usize);
        let all = self.all_mut();
        if from >= to + words {
            let (low, high) = all.split_at_mut(from);
            (&mut low[to..to + words], &high[..words])
        } else {
            let (low, high) = all.split_at_mut(to);
            (&mut high[..words], &low[from..from + words])
        }
    }

    /// The words of a tile.
    #[inline]
    pub fn tile(&self, tile: Tile) -> &[u32] {
        self.words(tile.place, tile.words as usize)
    }

    /// The words of several disjoint tiles, to be written.
    ///
    /// # Panics
    /// When two tiles overlap: a defect of the program.
    #[inline]
    pub fn tiles_mut<const N: usize>(&mut self, tiles: [Tile; N]) -> [&mut [u32]; N] {
        let ranges = tiles.map(|t| t.place as usize..(t.place + t.words) as usize);
        match self.all_mut().get_disjoint_mut(ranges) {
            Ok(slices) => slices,
            Err(error) => panic!("tiles {tiles:?}: {error}"),
        }
    }

    /// The words of two tiles to be read, and of a third one, disjoint from both, to be written.
    ///
    /// # Panics
    /// When the third one overlaps one of the others: a defect of the program.
    #[inline(always)]
    pub fn beside(&mut self, read: [Tile; 2], write: Tile) -> ([&[u32]; 2], &mut [u32]) {
        let [from, to] = [write.place as usize, (write.place + write.words) as usize];
        let (rest, high) = self.all_mut().split_at_mut(to);
        let (low, out) = rest.split_at_mut(from);
        let (low, high) = (&*low, &*high);
        let words = |tile: Tile| {
            let (at, words) = (tile.place as usize, tile.words as usize);
            match at.checked_sub(to) {
                _ if at + words <= from => &low[at..at + words],
                Some(at) => &high[at..at + words],
                None => panic!("tiles {read:?} and {write:?} share words"),
            }
        };
        ([words(read[0]), words(read[1])], out)
    }

    /// Brings words into the cache.
    pub fn warm(&self, words: std::ops::Range<usize>) {
        crate::link::warm(&self.all()[words]);
    }

    #[cold]
    fn new_buffer(&mut self, class: usize) -> u32 {
        let place = self.bump + HEADER;
        self.bump = place + (1 << class);
        assert!(self.bump <= self.len, "burst buffers exceed lanes x depth: a defect");
        place as u32
    }

    /// Words of buffers that were ever in use at once, with their headers.
    pub fn buffer_words_used(&self) -> usize {
        self.bump - self.tiles
    }
}

impl Store for Memory {
    #[inline]
    fn words(&self, place: u32, words: usize) -> &[u32] {
        &self.all()[place as usize..place as usize + words]
    }

    #[inline]
    fn words_mut(&mut self, place: u32, words: usize) -> &mut [u32] {
        &mut self.all_mut()[place as usize..place as usize + words]
    }

    #[inline(always)]
    fn copy(&mut self, from: u32, to: u32, words: usize) {
        let (to, from) = self.pair(Tile { place: to, words: words as u32 }, from);
        to.copy_from_slice(from);
    }

    #[inline(always)]
    fn buffer(&mut self, words: usize, readers: u32) -> u32 {
        let class = words.max(4).next_power_of_two().trailing_zeros() as usize;
        let place = match self.free[class].pop() {
            Some(place) => place,
            None => self.new_buffer(class),
        };
        let header = self.words_mut(place - HEADER as u32, 2);
        header.copy_from_slice(&[readers, class as u32]);
        place
    }

    #[inline(always)]
    fn release(&mut self, place: u32) {
        let header = self.words_mut(place - HEADER as u32, 2);
        header[0] -= 1;
        if header[0] == 0 {
            let class = header[1] as usize;
            self.free[class].push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_returns_after_its_last_reader_and_is_used_again() {
        let mut m = Memory::new(8, 1024, false).unwrap();
        let a = m.buffer(5, 2);
        let b = m.buffer(5, 1);
        assert_ne!(a, b);
        m.release(a);
        assert_ne!(m.buffer(6, 1), a, "one reader is left");
        m.release(a);
        assert_eq!(m.buffer(6, 1), a);
    }

    #[test]
    fn tiles_to_be_read_lie_beside_the_one_to_be_written_or_that_is_told() {
        let mut m = Memory::new(6, 64, false).unwrap();
        (0..6).for_each(|at| m.words_mut(at, 1)[0] = at);
        let tiles = || (0..6).flat_map(|place| (0..=6 - place).map(move |words| Tile { place, words }));
        for (read, write) in tiles().flat_map(|read| tiles().map(move |write| (read, write))) {
            let words = |t: Tile| t.place as usize..(t.place + t.words) as usize;
            let are_apart = m.all_mut().get_disjoint_mut([words(read), words(write)]).is_ok();
            let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let ([a, b], out) = m.beside([read, Tile::EMPTY], write);
                let all: Vec<u32> = a.iter().chain(&*out).copied().collect();
                assert_eq!((all, b.len()), (words(read).chain(words(write)).map(|at| at as u32).collect(), 0));
            }));
            assert_eq!(found.is_ok(), are_apart, "{read:?} {write:?}");
        }
    }

    #[test]
    fn a_poisoned_arena_is_nan_in_f32_and_in_f16() {
        let m = Memory::new(4, 64, true).unwrap();
        let word = m.words(0, 1)[0];
        assert!(f32::from_bits(word).is_nan() && half::f16::from_bits(word as u16).is_nan());
    }
}
