//! The cross-core round trip, printed beside every figure of two workers: they talk that often.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Seconds for a cache line to go to another thread and back.
pub fn round_trip() -> f64 {
    const TRIPS: u64 = 2000;
    let ball = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..TRIPS {
                while ball.load(Ordering::Acquire) != 2 * i + 1 {
                    std::hint::spin_loop();
                }
                ball.store(2 * i + 2, Ordering::Release);
            }
        });
        let start = Instant::now();
        for i in 0..TRIPS {
            ball.store(2 * i + 1, Ordering::Release);
            while ball.load(Ordering::Acquire) != 2 * i + 2 {
                std::hint::spin_loop();
            }
        }
        start.elapsed().as_secs_f64() / TRIPS as f64
    })
}
