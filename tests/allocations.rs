//! Messages within a worker cost no allocation: a launched wafer allocates as often for many passes as for few.
//!
//! One test in a process of its own, because the allocator counts for all threads.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use plummer::collectives::{Allreduce, Chain, Ring, RingOrder, Tree};
use plummer::exec::{RunOptions, Wafer};
use plummer::fabric::Chip;
use plummer::kernels::Numerics;
use plummer::kernels::gemv::{Gemv, GemvAlgo, GemvShape};
use plummer::kernels::line::{Line, LineOp, row_of};
use plummer::pe::Kernel;

/// Allocations so far, on any thread. Relaxed: read when the workers have answered over channels.
static COUNT: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: as the trait says.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller guarantees.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: as the trait says.
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller guarantees.
        unsafe { System.dealloc(at, layout) }
    }

    // SAFETY: as the trait says.
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller guarantees.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Channels between host and worker allocate for an end that has to wait, or not, as it happens; not for messages of
/// the fabric, of which there are hundreds in a pass.
const OF_CHANNELS: u64 = 4;

/// Allocations and bursts of a pass of the host's, from launch to quiescence.
fn counted<K: Kernel>(kernel: K, layout: plummer::fabric::Layout, chip: &Chip) -> (u64, u64) {
    let options = RunOptions::new(1);
    let mut wafer = Wafer::launch(kernel, layout, chip, &options, |_, _, words| words.fill(0)).unwrap();
    // Answered by workers that have set up what they keep.
    wafer.counters().unwrap();
    let before = COUNT.load(Ordering::Relaxed);
    wafer.run(&[]).unwrap();
    let allocations = COUNT.load(Ordering::Relaxed) - before;
    (allocations, wafer.counters().unwrap().bursts)
}

#[test]
fn many_passes_allocate_as_often_as_few() {
    let chip = Chip::preset("wse2").unwrap();
    let chain = || Allreduce::Chain(Chain { line: row_of(24), base: 0 });
    let tree = || Allreduce::Tree(Tree { line: row_of(24), groups: vec![4, 1], base: 0 });
    let ring = |order| Allreduce::Ring(Ring { line: row_of(24), order, base: 0 });
    let collectives = [chain(), tree(), ring(RingOrder::WrapAround), ring(RingOrder::Interleaved)];
    // Bursts that queues hold, and rendezvous.
    for (collective, words) in collectives.iter().flat_map(|c| [24, 24 * 40].map(|words| (c, words))) {
        let run = |passes| {
            let line = Line { collective: collective.clone(), op: LineOp::Allreduce, words, passes };
            let layout = line.layout().unwrap();
            counted(line, layout, &chip)
        };
        let (few, many) = (run(4), run(40));
        assert!(many.1 == 10 * few.1, "{collective:?}");
        assert!(many.0 <= few.0 + OF_CHANNELS, "{words} words, {collective:?}: {few:?}, {many:?}");
    }
    let shape = GemvShape { cols: 6, rows: 12, m: 96, n: 60 };
    let run = |passes| {
        let algo = GemvAlgo::ktree(2, shape, Numerics::Default, &chip);
        let gemv = Gemv { shape, algo, numerics: Numerics::Default, chip: chip.clone(), passes };
        let layout = gemv.layout().unwrap();
        counted(gemv, layout, &chip)
    };
    let (few, many) = (run(4), run(40));
    assert!(many.0 <= few.0 + OF_CHANNELS, "MeshGEMV: {few:?}, {many:?}");
}
