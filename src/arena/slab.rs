//! A pinned slab of futures of one type: a million programs in one allocation.
//!
//! Invariant: a future never moves after it was stored, until the slab is dropped.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Futures by index; polled without wakers (links wake their readers).
pub struct Slab<F> {
    futures: Box<[Option<F>]>,
}

impl<F: Future<Output = ()>> Slab<F> {
    /// Takes the futures in.
    pub fn new(futures: impl ExactSizeIterator<Item = F>) -> Self {
        let mut all = crate::link::vec_on_large_pages(futures.len());
        all.extend(futures.map(Some));
        Self { futures: all.into_boxed_slice() }
    }

    /// Where they lie.
    pub fn places(&self) -> crate::link::Programs {
        crate::link::Programs::of(&self.futures)
    }

    /// Polls future `at`; `true` when it has returned. Its storage is dropped then.
    #[inline]
    pub fn poll(&mut self, at: u32) -> bool {
        let slot = &mut self.futures[at as usize];
        let Some(future) = slot.as_mut() else { return true };
        // SAFETY: the boxed slice is never resized or moved out of, and `slot` is overwritten (dropping the future in
        // place) only after it has returned; so the future stays where it is while it can be polled.
        let pinned = unsafe { Pin::new_unchecked(future) };
        let mut context = Context::from_waker(Waker::noop());
        match pinned.poll(&mut context) {
            Poll::Ready(()) => {
                *slot = None;
                true
            }
            Poll::Pending => false,
        }
    }
}
