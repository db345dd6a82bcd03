//! The ring between two workers: one writer, one reader, 64-byte lines that validate themselves.
//!
//! A message takes one line or more. The writer fills the body lines first and the header line last; the header's
//! `stamp` (its absolute line number + 1) is stored with Release and is all that the reader looks at, so a short
//! message costs the reader one cache miss. The reader publishes how far it read, which is the writer's room.
//!
//! ```text
//!   writer:  body lines, header words, stamp.store(Release)   <-pairs with->  reader: stamp.load(Acquire)
//!   reader:  copies out, read.store(Release)                  <-pairs with->  writer: read.load(Acquire)
//! ```
//! Invariant: a line is written only while `written - read < capacity`, so never while the reader may look at it.
//! Stamps come again after 2^32 lines: the reader would take an old one for a new one only in a line in which no header
//! was written in all that time, 2^18 turns of a ring and more.

use crate::sync::{Arc, AtomicU32, Ordering, UnsafeCell};

use super::message::{HEADER_WORDS, Message};

/// Words of a line beside its stamp.
pub const LINE_WORDS: usize = 15;

#[repr(align(64))]
struct Line {
    stamp: AtomicU32,
    words: UnsafeCell<[u32; LINE_WORDS]>,
}

#[repr(align(256))]
struct Progress(AtomicU32);

struct Shared {
    lines: Box<[Line]>,
    read: Progress,
}

// SAFETY: `words` is written by the one `Producer` and read by the one `Consumer`, never at the same time: the
// stamp's Release/Acquire pair hands a line over, the `read` counter's pair hands it back.
unsafe impl Sync for Shared {}
// SAFETY: as above; nothing in it is tied to a thread.
unsafe impl Send for Shared {}

/// The writing end.
pub struct Producer {
    shared: Arc<Shared>,
    written: u32,
    read_seen: u32,
}

/// The reading end.
pub struct Consumer {
    shared: Arc<Shared>,
    read: u32,
    published: u32,
}

/// A ring of at least `lines` lines (rounded up to a power of two).
pub fn ring(lines: usize) -> (Producer, Consumer) {
    let lines = lines.next_power_of_two();
    let line = || Line { stamp: AtomicU32::new(0), words: UnsafeCell::new([0; LINE_WORDS]) };
    let shared = Arc::new(Shared { lines: (0..lines).map(|_| line()).collect(), read: Progress(AtomicU32::new(0)) });
    (Producer { shared: Arc::clone(&shared), written: 0, read_seen: 0 }, Consumer { shared, read: 0, published: 0 })
}

/// Lines that a message with `payload` words takes.
pub const fn lines_of(payload: usize) -> u32 {
    (HEADER_WORDS + payload).div_ceil(LINE_WORDS) as u32
}

impl Producer {
    /// Writes a message; `false` (and nothing written) when there is no room now.
    #[must_use]
    pub fn push(&mut self, header: &[u32; HEADER_WORDS], payload: &[u32]) -> bool {
        let need = lines_of(payload.len());
        let capacity = self.shared.lines.len() as u32;
        assert!(need <= capacity, "a message of {} words exceeds the ring", payload.len());
        if self.written.wrapping_sub(self.read_seen) + need > capacity {
            // Acquire: pairs with the reader's Release in `Consumer::publish`; its copies are done.
            self.read_seen = self.shared.read.0.load(Ordering::Acquire);
            if self.written.wrapping_sub(self.read_seen) + need > capacity {
                return false;
            }
        }
        let (first, rest) = payload.split_at(payload.len().min(LINE_WORDS - HEADER_WORDS));
        for (i, chunk) in rest.chunks(LINE_WORDS).enumerate() {
            self.write(1 + i as u32, &[], chunk);
        }
        self.write(0, header, first);
        let stamp = self.written.wrapping_add(1);
        // Release: pairs with the reader's Acquire in `Consumer::pop`; hands over all lines of the message.
        self.line(0).stamp.store(stamp, Ordering::Release);
        self.written = self.written.wrapping_add(need);
        true
    }

    fn line(&self, offset: u32) -> &Line {
        let mask = self.shared.lines.len() as u32 - 1;
        &self.shared.lines[(self.written.wrapping_add(offset) & mask) as usize]
    }

    fn write(&self, offset: u32, a: &[u32], b: &[u32]) {
        self.line(offset).words.with_mut(|words| {
            // SAFETY: the line is free (`push` checked the room), so the reader does not touch it, and there is one
            // writer.
            let words = unsafe { &mut *words };
            words[..a.len()].copy_from_slice(a);
            words[a.len()..a.len() + b.len()].copy_from_slice(b);
        });
    }
}

impl Consumer {
    /// Is there a message?
    #[inline]
    pub fn ready(&self) -> bool {
        // Acquire: pairs with the writer's Release in `Producer::push`.
        self.line(0).stamp.load(Ordering::Acquire) == self.read.wrapping_add(1)
    }

    /// Takes a message; its payload replaces what is in `payload`.
    pub fn pop(&mut self, payload: &mut Vec<u32>) -> Option<Message> {
        if !self.ready() {
            return None;
        }
        payload.clear();
        let mut header = [0; HEADER_WORDS];
        let mut first = [0; LINE_WORDS - HEADER_WORDS];
        self.read_line(0, |words| {
            header.copy_from_slice(&words[..HEADER_WORDS]);
            first.copy_from_slice(&words[HEADER_WORDS..]);
        });
        let message = Message::decode(&header);
        let n = message.payload_words();
        payload.extend_from_slice(&first[..n.min(first.len())]);
        let mut offset = 1;
        while payload.len() < n {
            let more = (n - payload.len()).min(LINE_WORDS);
            self.read_line(offset, |words| payload.extend_from_slice(&words[..more]));
            offset += 1;
        }
        self.read = self.read.wrapping_add(lines_of(n));
        // A quarter of the ring at a time: the counter's cache line rarely moves between the cores.
        if self.read.wrapping_sub(self.published) >= self.shared.lines.len() as u32 / 4 {
            self.publish();
        }
        Some(message)
    }

    /// Tells the writer how far this end has read; also called before the worker goes idle.
    pub fn publish(&mut self) {
        if self.published != self.read {
            self.published = self.read;
            // Release: pairs with the writer's Acquire in `Producer::push`; gives the lines back.
            self.shared.read.0.store(self.read, Ordering::Release);
        }
    }

    fn line(&self, offset: u32) -> &Line {
        let mask = self.shared.lines.len() as u32 - 1;
        &self.shared.lines[(self.read.wrapping_add(offset) & mask) as usize]
    }

    fn read_line(&self, offset: u32, f: impl FnOnce(&[u32; LINE_WORDS])) {
        self.line(offset).words.with(|words| {
            // SAFETY: the header's stamp was seen with Acquire, so the writer has finished this line and will not
            // touch it before `publish` gives it back.
            f(unsafe { &*words });
        });
    }
}
