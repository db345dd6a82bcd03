//! Emulated hops and cycles of one layer of decode, phase by phase, beside their formulas.
//!
//! A layer of SmolLM2's width on 12 x 16 PEs, all layers in one region (the chip has a larger arena for that): the
//! difference between three layers and two, in one pass at a position where every row holds as many keys. Hops must be
//! the formula's: an assertion. Cycles are of the chain of dependent steps that marks the phases; the formulas add up
//! one PE's operations and trees whose members begin together, so what differs is what PEs wait for each other.
//! A change of these numbers means that the machine or a kernel changed; nothing here depends on the host.
//!
//! R, C: rows, columns; B: bands; h, q, d, f, n: a PE's slices of hidden size, heads, head, FFN, and its positions.

use plummer::collectives::cost;
use plummer::fabric::Chip;
use plummer::host::{PhaseCycles, Session, SessionConfig, Token};
use plummer::link::Timing;
use plummer::math::checkpoint::{ModelShape, WeightFormat};
use plummer::math::random_checkpoint::RandomCheckpoint;
use plummer::math::split::split;
use plummer::placement::Columns;

const MESH: (usize, usize) = (12, 16);
/// Of the pass that is looked at: two full rounds of rows before it, so three positions a row.
const POSITION: usize = 3 * MESH.1 - 1;

fn main() {
    let chip = Chip { arena_bytes: 262_140, ..Chip::preset("wse2").expect("a preset") };
    let (three, two) = (run(&chip, 3), run(&chip, 2));
    let rows = formulas(&chip);
    println!(
        "one layer of 576 / 9 / 3 / 1536 on {}x{} PEs at position {POSITION}, cycles: executed = formula",
        MESH.0, MESH.1
    );
    println!("{:<8} {:<34} {:>6}  {:>15} {:>13} {:>13}", "phase", "hops =", "", "compute", "reduce", "broadcast");
    for row in &rows {
        let of = |phases: &[PhaseCycles]| phases.iter().find(|p| p.name == row.name).map_or([0; 4], |p| p.parts);
        let (more, less) = (of(&three.1), of(&two.1));
        let part = |i: usize| format!("{} = {}", more[i] - less[i], row.cycles[i]);
        println!(
            "{:<8} {:<34} {:>6}  {:>15} {:>13} {:>13}",
            row.name,
            row.hops_as,
            row.hops,
            part(0),
            part(1),
            part(2)
        );
    }
    let (hops, formula) = (three.0 - two.0, rows.iter().map(|row| row.hops).sum::<usize>() as u64);
    println!("all      {hops} hops");
    assert_eq!(hops, formula, "executed hops are not the formulas'");
}

fn shape(n_layers: usize) -> ModelShape {
    ModelShape {
        hidden: 576,
        n_layers,
        n_heads: 9,
        n_kv_heads: 3,
        head_dim: 64,
        ffn: 1536,
        vocab: 512,
        norm_eps: 1e-5,
        inv_freq: vec![0.01; 32],
        tied: true,
        qkv_bias: false,
    }
}

/// Hops and phases of the pass at `POSITION`.
fn run(chip: &Chip, n_layers: usize) -> (u64, Vec<PhaseCycles>) {
    let model = RandomCheckpoint::new(shape(n_layers), WeightFormat::F16, 1);
    let mesh = Some((MESH.0 as u32, MESH.1 as u32));
    let config = SessionConfig { mesh, context: POSITION + 1, ..SessionConfig::new(chip.clone()) };
    let mut session = Session::new(&model, config).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(session.placement().stages, 1);
    let mut step = |token| {
        session.step(token, true).unwrap_or_else(|e| panic!("{e}"));
        session.report()
    };
    let mut before = step(Token::Given(1));
    (2..POSITION).for_each(|_| before = step(Token::Own));
    let before = step(Token::Own);
    let after = step(Token::Own);
    let less = |p: &PhaseCycles| before.by_phase.iter().find(|b| b.name == p.name).map_or([0; 4], |b| b.parts);
    let phases = after.by_phase.iter().map(|p| {
        let old = less(p);
        PhaseCycles { parts: std::array::from_fn(|i| p.parts[i] - old[i]), ..*p }
    });
    (after.hops - before.hops, phases.collect())
}

struct Row {
    name: &'static str,
    hops_as: &'static str,
    hops: usize,
    /// Compute, reduce, broadcast.
    cycles: [u64; 3],
}

/// Cycles of the reduction of `words` over a tree of `n`, and of the broadcast of `back` words.
fn tree(n: usize, groups: &[usize], words: usize, back: usize, t: &Timing) -> [u64; 2] {
    let (root, _) = walk(n, groups);
    let broadcast = |words| if n > 1 { cost::broadcast(n, root, 0, words, t) } else { 0 };
    [cost::ktree(vec![0; n], groups, words, t) - broadcast(words), broadcast(back)]
}

/// Root of a tree, and the hops of its reduction: at every level each group is crossed from end to end.
fn walk(n: usize, groups: &[usize]) -> (usize, usize) {
    let (mut members, mut hops) = ((0..n).collect::<Vec<_>>(), 0);
    for &g in groups {
        let parts: Vec<&[usize]> = split(members.len(), g.min(members.len())).map(|r| &members[r]).collect();
        hops += parts.iter().map(|p| p[p.len() - 1] - p[0]).sum::<usize>();
        members = parts.iter().map(|p| p[p.len() / 2]).collect();
    }
    (members[0], hops)
}

fn formulas(chip: &Chip) -> Vec<Row> {
    let (cols, rows) = MESH;
    let shape = shape(3);
    let model = RandomCheckpoint::new(shape.clone(), WeightFormat::F16, 1);
    let config = SessionConfig { mesh: Some((12, 16)), context: POSITION + 1, ..SessionConfig::new(chip.clone()) };
    let plan = Session::plan_only(&model, &config).unwrap_or_else(|e| panic!("{e}")).0.plan;
    let (gy, gx, t) = (&plan.groups_y, &plan.groups_x, &chip.timing());
    let columns = Columns::new(&shape, cols);
    let slice = columns.slice(0);
    let (q, d, band) = (slice.kv_heads.len() * columns.group, 2 * slice.pairs.len(), slice.band.len());
    let (h, f, n, bands) = (shape.hidden / rows, shape.ffn / cols, POSITION.div_ceil(rows), cols / band);
    let qkv = (columns.group + 2) * d;
    let (ew, gemv, special) = (|n| chip.elementwise(n).0, |k, n| chip.gemv(k, n).0, |n| chip.special(n).0);
    let ([hy, hx], [ry, rx]) = ([walk(rows, gy).1, walk(cols, gx).1], [rows - 1, cols - 1]);
    let y = |words, back| tree(rows, gy, words, back, t);
    let x = |words| tree(cols, gx, words, words, t);
    let in_band = tree(band, &[1], q * n, q * n, t);
    let row = |name, hops_as, hops, compute, [reduce, broadcast]: [u64; 2]| Row {
        name,
        hops_as,
        hops,
        cycles: [compute, reduce, broadcast],
    };
    let both = |a: [u64; 2], b: [u64; 2]| [a[0] + b[0], a[1] + b[1]];
    let (all_y, moved) = (cols * (hy + ry), POSITION % rows);
    let norm = |n| ew(h) + gemv(h, n) + ew(h);
    let act = special(f + 2) + 2 * ew(2 * f);
    vec![
        row("QKV", "C (Hy + R - 1)", all_y, norm(qkv) + special(2) + ew(qkv) + ew(3 * qkv), y(qkv + 1, qkv)),
        row("shift", "C (position mod R)", cols * moved, ew(2 * d), [0, 0]),
        row("score", "R (C - B)", rows * (cols - bands), q as u64 * gemv(d, n), [in_band[0], 0]),
        row(
            "softmax",
            "2 B (Hy + R - 1) + R (C - B)",
            2 * bands * (hy + ry) + rows * (cols - bands),
            2 * ew(q * n) + special(q * n),
            both(both(y(q, q), y(q, q)), [0, in_band[1]]),
        ),
        row("AV", "C (Hy + R - 1)", all_y, q as u64 * gemv(n, d), y(q * d, q * d)),
        row("O", "R (Hx + C - 1)", rows * (hx + rx), gemv(q * d, h) + ew(h), x(h)),
        row(
            "FFN",
            "C (Hy + R - 1) + R (Hx + C - 1)",
            all_y + rows * (hx + rx),
            norm(2 * f) + act + gemv(f, h) + ew(h),
            both(y(2 * f + 1, f), x(h)),
        ),
    ]
}
