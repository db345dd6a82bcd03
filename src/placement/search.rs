//! The choice of a mesh: the least estimated host time a token, or the fewest PEs.
//!
//! A token visits every PE in use (cold state: records, lanes, activations, restarts of the weight stream) and moves
//! every burst link by link; the weights themselves are read once on any mesh. So, in message-hops,
//!
//! ```text
//!   cost = PEs x 40 + hops a token
//!   hops = layers x 17 to 18 x (cols x rows)  +  hand-over, head, return        (two levels)
//! ```
//! 40 hops a PE: measured decode (30 layers, 18x18 against 12x16, with and without fused reductions) solves to about
//! 1e-6 of the flat loop's time a hop and 4e-5 a PE. Fewer and fuller PEs win on the first term, small regions with
//! few layers each on the second: both want one layer to fill a region.
//!
//! A prompt in chunks goes round the rings of every layer once a chunk, whatever the chunk's length:
//!
//! ```text
//!   cost = answer x cost of a token  +  chunks x layers x (cols x rows) x (cols + rows) x 40
//! ```
//! What a position computes is the same on all meshes and left out. Measured on SmolLM2, 480 positions, one worker:
//! 5.4 us for a core's share of one step of a ring, within 20 % on 12x17, 18x16, 24x12, 24x16, 24x24 and 32x16, where
//! 29 to 2 chunks took 32 to 9 s; a token of decode says 0.1 us a hop then. Long prompts want room for long chunks.
//!
//! The estimate is no better than 1/8. Among meshes that near to the best the one with the shortest lines
//! (cols + rows) is taken: every allreduce waits for its line, so it has the fewest cycles and the widest tiles.
//!
//! Invariant: the choice depends on shape, chip and request alone. Called by `Plan`.

use std::collections::BTreeSet;

use crate::fabric::Chip;
use crate::math::checkpoint::ModelShape;

use super::budget;
use super::error::PlanError;
use super::plan::{InChunks, Plan, PlanRequest, Room, Spread};
use super::sketch::Sketch;

/// Host time of one PE a token, in message-hops; see the module.
const PE_IN_HOPS: usize = 40;
/// Host time of a core's share of one step of a ring, in message-hops.
const STEP_IN_HOPS: usize = 40;
/// Costs within one part in this many of the least count as equal.
const EQUAL_PARTS: usize = 8;

/// The mesh of the least cost.
///
/// # Errors
/// `NoMesh` with the last reason.
pub(super) fn fastest(shape: &ModelShape, chip: &Chip, r: &PlanRequest, room: Room) -> Result<Plan, PlanError> {
    let (sketches, last) = sketches(shape, chip, r, room);
    let cost = |s: &Sketch| cost((shape, chip, r), s);
    let mut costed: Vec<(usize, Sketch)> = sketches.into_iter().map(|s| (cost(&s), s)).collect();
    let least = costed.iter().map(|c| c.0).min().unwrap_or(0);
    let equal = least.saturating_add(least / EQUAL_PARTS);
    costed.sort_by_key(|(cost, s)| {
        let (lines, far) = (s.cols + s.rows, *cost > equal);
        if far { (far, *cost, lines, s.rows) } else { (far, lines, *cost, s.rows) }
    });
    first(costed.into_iter().map(|c| c.1), last, shape, chip, r)
}

/// The estimate of a whole request, in message-hops.
fn cost((shape, chip, r): (&ModelShape, &Chip, &PlanRequest), s: &Sketch) -> usize {
    let token = s.pes() * PE_IN_HOPS + hops(shape, s, r.k_tree);
    let InChunks { positions, answer, .. } = r.in_chunks;
    let Some(chunks) = chunks((shape, chip, r), s) else {
        // The prompt goes token by token, if there is one.
        return answer.saturating_add(positions).max(1).saturating_mul(token);
    };
    let times = |n: usize, by: usize| n.saturating_mul(by);
    let steps = times(times(shape.n_layers, s.cols * s.rows), (s.cols + s.rows) * STEP_IN_HOPS);
    times(answer.max(1), token).saturating_add(times(chunks, steps))
}

/// In how many chunks the prompt of a request goes, if it does.
fn chunks((shape, chip, r): (&ModelShape, &Chip, &PlanRequest), s: &Sketch) -> Option<usize> {
    let InChunks { positions, at_once, .. } = r.in_chunks;
    let most = if at_once == 0 { positions } else { at_once.min(positions) };
    let room = if positions == 0 { 0 } else { s.chunk_room(shape, chip, r.kv_bytes, most) };
    (room > 0).then(|| positions.div_ceil(room))
}

/// The mesh with the fewest PEs, whether or not a prefill has room; of equal ones that with the fewest hops.
///
/// # Errors
/// As `fastest`.
pub(super) fn smallest(shape: &ModelShape, chip: &Chip, r: &PlanRequest) -> Result<Plan, PlanError> {
    let (mut sketches, last) = sketches(shape, chip, r, Room::Decode);
    sketches.sort_by_key(|s| (s.pes(), hops(shape, s, r.k_tree), s.rows));
    first(sketches.into_iter(), last, shape, chip, r)
}

/// Meshes that hold the model and whose sides are the least for their tiles, or fill the chip. A side in between has
/// the tiles of the next one below, which holds the model on fewer PEs and with shorter lines; so if any mesh holds it,
/// one of these does.
///
/// # Errors
/// As `fastest`.
pub(super) fn all(shape: &ModelShape, chip: &Chip, r: &PlanRequest) -> Result<Vec<Sketch>, PlanError> {
    let (mut found, mut last) = (Vec::new(), None);
    // Slices of the feed-forward part; of a head's pairs on the columns of its band; of the heads on fewer columns.
    let (most, kv_heads) = (chip.cols as usize, shape.n_kv_heads);
    let bands = steps(shape.head_dim / 2, most).map(|band| band.saturating_mul(kv_heads));
    let cols = sides(most, steps(shape.ffn, most).chain(bands).chain(steps(kv_heads, most)));
    // Slices of the hidden part, and of the positions.
    let most = chip.rows as usize;
    let context = r.concat_prompt.unwrap_or(r.context);
    for rows in sides(most, steps(shape.hidden, most).chain(steps(context, most))) {
        let head_cols = budget::head_cols(shape, chip, rows);
        for &cols in &cols {
            match Sketch::new(shape, chip, r, (cols, rows), head_cols, Room::Decode) {
                Ok(sketch) => found.push(sketch),
                Err(error) => last = Some(error),
            }
        }
    }
    if found.is_empty() { Err(no_mesh(chip, r, last)) } else { Ok(found) }
}

/// A mesh, and with it those of the same sides with more stages or head columns, if there is room: what a smaller arena
/// asks for may be better. Stages have up to so many layers each, any number; heads are 2, 4, 8 .. times as wide, at
/// most as wide as a stage.
pub(super) fn spreads((shape, chip, r): (&ModelShape, &Chip, &PlanRequest), least: Sketch) -> Vec<Sketch> {
    let doubled = |n: usize| std::iter::successors(Some(n.max(1)), |n| n.checked_mul(2));
    let (mesh, head_least) = ((least.cols, least.rows), least.head_cols);
    let mut stages: Vec<usize> = (1..=shape.n_layers).map(|layers| shape.n_layers.div_ceil(layers)).collect();
    stages.retain(|n| *n >= least.stages);
    stages.dedup();
    let mut found = vec![least];
    for stages in stages {
        for head_cols in doubled(head_least).take_while(|n| *n <= mesh.0.max(head_least).min(shape.vocab)) {
            let r = PlanRequest { spread: Spread { stages, head_cols }, ..r.clone() };
            let other = Sketch::new(shape, chip, &r, mesh, Ok(head_least), Room::Decode);
            found.extend(other.ok().filter(|sketch| !sketch.is_least));
        }
    }
    found
}

/// The least sides up to `most` at which the longest slice of a size is as short as it is there.
fn steps(size: usize, most: usize) -> impl Iterator<Item = usize> {
    (1..=most).map(move |side| size.div_ceil(size.div_ceil(side).max(1)))
}

/// Those sides up to `most`, and those so many of which fill the chip.
fn sides(most: usize, steps: impl Iterator<Item = usize>) -> BTreeSet<usize> {
    let filling = (1..=most).map(|regions| most / regions);
    filling.chain(steps).filter(|side| (1..=most).contains(side)).collect()
}

fn no_mesh(chip: &Chip, r: &PlanRequest, last: Option<PlanError>) -> PlanError {
    let (have_cols, have_rows) = (chip.cols as usize, chip.rows as usize);
    if let Some(beyond @ PlanError::GroupsBeyond { .. }) = last {
        return PlanError::NoMeshForGroups { last: Box::new(beyond) };
    }
    let none = PlanError::OffMesh { cols: 0, rows: 0, have_cols, have_rows };
    PlanError::NoMesh { context: r.context, chip: chip.name.clone(), last: Box::new(last.unwrap_or(none)) }
}

/// The first sketch whose ways can be laid.
fn first(
    mut sketches: impl Iterator<Item = Sketch>,
    last: Option<PlanError>,
    shape: &ModelShape,
    chip: &Chip,
    r: &PlanRequest,
) -> Result<Plan, PlanError> {
    let mut last = last;
    let found = sketches.find_map(|s| match s.finish(shape, chip, r) {
        Ok(plan) => Some(plan),
        Err(error) => {
            last = Some(error);
            None
        }
    });
    found.ok_or_else(|| no_mesh(chip, r, last))
}

/// Meshes worth a thought: for every number of rows the fewest columns for each number of stages and of chunks (more
/// columns only add PEs and hops), and where the floorplan turns for each number of tracks. And why the last one did
/// not fit.
fn sketches(shape: &ModelShape, chip: &Chip, r: &PlanRequest, room: Room) -> (Vec<Sketch>, Option<PlanError>) {
    let (mut found, mut last) = (Vec::new(), None);
    for rows in 1..=chip.rows as usize {
        let head_cols = budget::head_cols(shape, chip, rows);
        let (mut stages, mut tracks, mut fewest) = (usize::MAX, usize::MAX, usize::MAX);
        for cols in 1..=chip.cols as usize {
            match Sketch::new(shape, chip, r, (cols, rows), head_cols, room) {
                Ok(s) => {
                    let turns = rows.div_ceil(cols);
                    // Fewer than one there cannot be: most meshes are not asked.
                    let asked = if fewest > 1 { chunks((shape, chip, r), &s) } else { None };
                    let chunks = asked.unwrap_or(fewest);
                    if s.stages < stages || s.bands > 1 && turns < tracks || chunks < fewest {
                        (stages, tracks, fewest) = (stages.min(s.stages), tracks.min(turns), fewest.min(chunks));
                        found.push(s);
                    }
                }
                Err(error) => last = Some(error),
            }
            if stages == 1 {
                break;
            }
        }
    }
    (found, last)
}

/// Message-hops of one token.
fn hops(shape: &ModelShape, s: &Sketch, levels: usize) -> usize {
    // Every level of a tree moves about once along the line, and so does the broadcast.
    let reduce = |n: usize| levels * (n - 1);
    let all = |n: usize| reduce(n) + n - 1;
    let (cols, rows) = (s.cols, s.rows);
    let bands = shape.n_kv_heads.min(cols);
    // Along y QKV, AV, gate|up in every column, max and sum in one of each band; along x O and down; in the bands the
    // score and its probabilities; the shift moves half the rows.
    let layer = 3 * cols * all(rows)
        + 2 * bands * all(rows)
        + 2 * rows * all(cols)
        + 2 * rows * (cols - bands)
        + cols * rows / 2;
    let hand_over = rows * (cols + cols / 2);
    let head = rows * reduce(s.head_cols) + s.head_cols * reduce(rows) + s.head_cols * rows;
    let home = rows * (s.head_cols + cols * s.stages) / s.bands;
    shape.n_layers * layer + s.stages * hand_over + head + home
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smollm2() -> ModelShape {
        ModelShape {
            hidden: 576,
            n_layers: 30,
            n_heads: 9,
            n_kv_heads: 3,
            head_dim: 64,
            ffn: 1536,
            vocab: 49_152,
            norm_eps: 1e-5,
            inv_freq: vec![1.0; 32],
            tied: true,
            qkv_bias: false,
        }
    }

    fn request(context: usize) -> PlanRequest {
        PlanRequest {
            mesh: None,
            context,
            kv_bytes: 2,
            concat_prompt: None,
            k_tree: 2,
            trees: None,
            straight_colors: 18,
            spread: Spread::default(),
            in_chunks: InChunks::default(),
        }
    }

    fn wse2() -> Chip {
        Chip::preset("wse2").unwrap()
    }

    #[test]
    fn auto_fills_near_square_regions_with_one_layer_of_smollm2() {
        for context in [29, 128, 256] {
            let plan = Plan::new(&smollm2(), &wse2(), &request(context)).unwrap();
            let (cols, rows) = (plan.cols, plan.rows);
            assert_eq!(plan.stages.len(), 30, "{context}: {cols}x{rows}");
            assert!(cols.max(rows) <= 2 * cols.min(rows), "{context}: {cols}x{rows} is not near square");
            let sizes = budget::StageSizes::new(&smollm2(), cols, rows, plan.cap);
            let (used, have) = (sizes.fixed_bytes() + sizes.layer_bytes(2, false), budget::have(&wse2()));
            assert!(used * 100 >= have * 85, "{context}: {cols}x{rows} fills {used} of {have} bytes");
            let best = Plan::smallest(&smollm2(), &wse2(), &request(context)).unwrap();
            assert!(plan.pes() * 100 <= best.pes() * 115, "{context}: {} PEs, {} would do", plan.pes(), best.pes());
        }
    }

    #[test]
    fn a_long_prompt_gets_room_for_long_chunks_and_a_long_answer_fewer_cores() {
        let plan = |positions, context| {
            let in_chunks = InChunks { positions, at_once: 0, answer: context - positions };
            Plan::new(&smollm2(), &wse2(), &PlanRequest { in_chunks, ..request(context) }).unwrap()
        };
        let room = |plan: &Plan| {
            let r = PlanRequest { mesh: Some((plan.cols as u32, plan.rows as u32)), ..request(plan.capacity) };
            let sketch = Plan::sketches(&smollm2(), &wse2(), &r).unwrap().remove(0);
            sketch.chunk_room(&smollm2(), &wse2(), 2, 480)
        };
        let (long, answer) = (plan(480, 482), plan(0, 482));
        assert!(room(&long) >= 4 * room(&answer).max(1), "{long:?}, {answer:?}");
        assert!(long.pes() > answer.pes());
        assert_eq!(plan(8, 482).pes(), answer.pes(), "a short prompt asks for nothing");
    }

    #[test]
    fn the_estimate_is_near_the_measured_hops_of_12x16() {
        // Measured with fused reductions at 128 positions: 94,000 message-hops a token.
        let r = PlanRequest { mesh: Some((12, 16)), ..request(128) };
        let head_cols = budget::head_cols(&smollm2(), &wse2(), 16);
        let sketch = Sketch::new(&smollm2(), &wse2(), &r, (12, 16), head_cols, Room::Decode).unwrap();
        let hops = hops(&smollm2(), &sketch, 2);
        assert!((80_000..125_000).contains(&hops), "{hops}");
    }

    #[test]
    fn smallest_has_the_fewest_pes_of_all_meshes() {
        let shape = ModelShape { hidden: 40, n_layers: 5, ffn: 90, vocab: 70, head_dim: 6, ..smollm2() };
        let shape = ModelShape { inv_freq: vec![1.0; 3], ..shape };
        let chip = Chip { cols: 14, rows: 11, arena_bytes: 4096, reserved_bytes: 512, ..wse2() };
        let best = Plan::smallest(&shape, &chip, &request(20)).unwrap();
        for cols in 1..=14 {
            for rows in 1..=11 {
                let r = PlanRequest { mesh: Some((cols, rows)), ..request(20) };
                if let Ok(plan) = Plan::new(&shape, &chip, &r) {
                    assert!(plan.pes() >= best.pes(), "{cols}x{rows}: {} < {}", plan.pes(), best.pes());
                }
            }
        }
    }
}
