//! MeshGEMV 16384 x 16384 on 512x512 PEs, 512 MB of f16 weights, against the best flat loop over as many weights.
//!
//! Flat: the same GEMV kernel over the matrix in panels, k-major inside, columns shared out among the threads. Both run
//! at the speed of the memory; a higher ratio means that state of PEs and messages cost more, or that streams of
//! weights restart badly between tiles. Rounds of both alternate.
//!
//! Between two products the roots of the columns meet, as they do in a norm: no column begins the next product before
//! all have ended this one, so every product takes all weights from memory. Their meeting, a chain of 512 roots and
//! back, is in the time and the bursts. (Columns that go on as soon as they can are run one after the other, all
//! products of one while its weights are in cache.) A product's time is the one between two meetings; the first one,
//! with first resumes and memory that the host backs, ends at the first of them.

use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use plummer::arena::Owner;
use plummer::collectives::{Allreduce, Chain, Seat, Tree, allreduce, answer, give, reduce};
use plummer::exec::{RunOptions, Wafer};
use plummer::fabric::{Chip, Layout, TileId};
use plummer::kernels::Numerics;
use plummer::kernels::gemv::{Gemv, GemvAlgo, GemvShape, Operands, tile};
use plummer::math::Kernels;
use plummer::math::checkpoint::WeightFormat;
use plummer::math::gemv::{PackedShape, Stream, gemv};
use plummer::pe::{Fold, Kernel, Pe};
use plummer::units::Coord;

use super::round_trip::round_trip;

const SIDE: usize = 16384;
const MESH: usize = 512;
/// Products of a launch; the first one is not timed.
const PRODUCTS: usize = 7;
/// Flat products before a launch, and as many behind it: as many as it times.
const FLAT: usize = (PRODUCTS - 1) / 2;
const ROUNDS: usize = 3;

/// What roots of columns meet with.
const MET: TileId = TileId(3);

/// One product after the other.
struct Sequence {
    gemv: Gemv,
    column: Tree,
    products: usize,
    /// When the roots met.
    met: Arc<Mutex<Vec<Instant>>>,
}

impl Sequence {
    fn new(gemv: Gemv, products: usize) -> Self {
        let Allreduce::Tree(column) = gemv.column(0) else { panic!("MeshGEMV has a tree") };
        Self { gemv, column, products, met: Arc::default() }
    }

    /// The row of the roots; its colors are those behind a column's.
    fn roots(&self) -> Allreduce {
        let row = self.column.root() as u32;
        let line = (0..MESH as u32).map(|col| Coord::new(col, row)).collect();
        Allreduce::Chain(Chain { line, base: Tree::colors(self.column.levels()) })
    }

    fn layout(&self) -> Layout {
        let mut layout = self.gemv.layout().expect("its own colors");
        let roots = self.roots();
        roots.lay_out(&mut layout).expect("colors of its own");
        layout.words(roots.line(), MET, "met", Owner::Activations, 1);
        layout
    }
}

impl Kernel for Sequence {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        let (at, y, local) = (pe.coord(), pe.tile(tile::Y), self.gemv.local(pe));
        let seat = self.gemv.column(at.col as usize).seat(pe, at.row as usize);
        let Seat::Staged { roles, ends } = seat else { return };
        if at.row as usize != self.column.root() {
            for _ in 0..self.products {
                self.gemv.product(pe, &local);
                pe.relay(&roles, y, Fold::Add, answer(&ends, y)).await;
            }
            return;
        }
        Box::pin(async {
            let (roots, met) = (self.roots().seat(pe, at.col as usize), pe.tile(MET));
            for _ in 0..self.products {
                self.gemv.product(pe, &local);
                reduce(pe, &roles, y, Fold::Add).await;
                self.gemv.check(pe, &local);
                allreduce(pe, &roots, met, Fold::Add).await;
                if at.col == 0 {
                    self.met.lock().expect("no other root takes it").push(Instant::now());
                }
                give(pe, &ends, y).await;
            }
        })
        .await;
    }
}

/// Seconds of one flat product on `threads` threads.
fn flat(kernels: Kernels, threads: usize, w: &[u16], x: &[f32], y: &mut [f32]) -> f64 {
    let shape = PackedShape { k: SIDE, n: SIDE / threads };
    let start = Instant::now();
    std::thread::scope(|scope| {
        for (w, y) in w.chunks_exact(shape.len()).zip(y.chunks_exact_mut(shape.n)) {
            scope.spawn(move || gemv(kernels, (WeightFormat::F16, Stream::Steady), shape, w, x, black_box(y)));
        }
    });
    start.elapsed().as_secs_f64()
}

/// Seconds of the timed products on `workers` workers, and the bursts of one.
fn mesh(chip: &Chip, workers: usize, x: &[f32]) -> (Vec<f64>, u64) {
    let shape = GemvShape { cols: MESH, rows: MESH, m: SIDE, n: SIDE };
    let algo = GemvAlgo::ktree(2, shape, Numerics::Default, chip);
    let filled = Gemv { shape, algo, numerics: Numerics::Default, chip: chip.clone(), passes: 1 };
    let operands = Operands { x, w: &|_, _| 0x3c00 };
    let kernel = Sequence::new(filled.clone(), PRODUCTS);
    let (layout, met) = (kernel.layout(), Arc::clone(&kernel.met));
    let fill = |at, id, words: &mut [u32]| filled.fill(&operands, at, id, words);
    let mut wafer = Wafer::launch(kernel, layout, chip, &RunOptions::new(workers), fill).expect("the chip runs it");
    wafer.run(&[]).expect("it completes");
    let met = met.lock().expect("the roots are done");
    let times = met.windows(2).map(|two| (two[1] - two[0]).as_secs_f64()).collect();
    (times, wafer.counters().expect("the workers are there").bursts / PRODUCTS as u64)
}

fn median_and_best(times: &mut [f64]) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[0])
}

/// Prints times and ratios for one thread and, where there are two, for two.
pub fn print(kernels: Kernels) {
    let (chip, x) = (Chip::preset("wse2").expect("a preset"), vec![1.0f32; SIDE]);
    let w = vec![0x3c00u16; SIDE * SIDE];
    let mut y = vec![0.0f32; SIDE];
    println!(
        "MeshGEMV {SIDE}x{SIDE} on {MESH}x{MESH}, ms a product: median (best) of {} in {ROUNDS} interleaved rounds",
        ROUNDS * (PRODUCTS - 1)
    );
    for threads in [1, 2].into_iter().take(std::thread::available_parallelism().map_or(1, usize::from)) {
        let (mut flats, mut meshes, mut trips, mut bursts) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for _ in 0..ROUNDS {
            trips.push(round_trip());
            flats.extend((0..FLAT).map(|_| flat(kernels, threads, &w, &x, &mut y)));
            let (times, of_one) = mesh(&chip, threads, &x);
            meshes.extend(times);
            bursts = of_one;
            flats.extend((0..FLAT).map(|_| flat(kernels, threads, &w, &x, &mut y)));
        }
        let (flat, mesh) = (median_and_best(&mut flats), median_and_best(&mut meshes));
        println!(
            "  {threads} threads: flat {:.1} ({:.1}), wafer {:.1} ({:.1}), ratio {:.2} ({:.2}); {bursts} bursts; \
             cross-core round trip {:.0} ns",
            flat.0 * 1e3,
            flat.1 * 1e3,
            mesh.0 * 1e3,
            mesh.1 * 1e3,
            mesh.0 / flat.0,
            mesh.1 / flat.1,
            median_and_best(&mut trips).0 * 1e9,
        );
    }
}
