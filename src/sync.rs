//! The one place that names the memory model: std here, loom in `tests/loom.rs`, which compiles `link` and the step
//! loop a second time under a `crate::sync` of its own.

pub use std::sync::Arc;
pub use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// `UnsafeCell` with loom's closure interface, so that both builds share their callers.
#[derive(Debug)]
pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    /// A cell that holds `value`.
    pub const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Hands a shared pointer to `f`; the caller's `f` keeps the aliasing rules.
    #[inline(always)]
    pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    /// Hands an exclusive pointer to `f`; the caller's `f` keeps the aliasing rules.
    #[inline(always)]
    pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// Tells the processor that this thread waits.
#[inline]
pub fn spin() {
    std::hint::spin_loop();
}

/// Gives the processor away once.
#[inline]
pub fn yield_now() {
    std::thread::yield_now();
}
