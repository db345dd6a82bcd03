//! The floorplan of a wafer as text and as SVG: regions, what is free, how full arenas are.
//!
//! Invariant: one cell of the text stands for a rectangle of PEs and shows what is in its middle; the SVG is to scale.
//! Called by `app`.

use std::fmt::Write as _;

use crate::fabric::Chip;
use crate::placement::Plan;
use crate::units::Coord;

/// Cells of the text.
const COLUMNS: usize = 75;
const ROWS: usize = 28;
/// Letters of stages, in turn: of the plan, and of a prefill on regions of its own.
const LETTERS: [&[u8]; 2] = [b"abcdefghijklmnopqrstuvwxyz", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"];

/// `#`: head, letters: stages in turn, capitals: those of a prefill `apart` (its head is `%`), `.`: free.
pub fn text(plan: &Plan, apart: Option<&Plan>, chip: &Chip) -> String {
    let (cols, rows) = (COLUMNS.min(chip.cols as usize), ROWS.min(chip.rows as usize));
    let mut text = String::new();
    for y in 0..rows {
        for x in 0..cols {
            let at = |i: usize, cells: usize, all: u32| ((2 * i + 1) * all as usize / (2 * cells)) as u32;
            let pe = Coord::new(at(x, cols, chip.cols), at(y, rows, chip.rows));
            let region = |p: &Plan| p.floor.find(pe, p.rows).map(|at| at.0);
            let letter = |region: usize, of: usize| char::from(LETTERS[of][(region - 1) % LETTERS[of].len()]);
            text.push(match (region(plan), apart.and_then(region)) {
                (None, None) => '.',
                (Some(0), _) => '#',
                (Some(at), _) => letter(at, 0),
                (None, Some(0)) => '%',
                (None, Some(at)) => letter(at, 1),
            });
        }
        text.push('\n');
    }
    text
}

/// A picture of `chip`; `fill` are the shares of their arenas that the fullest head PE and stage PE use. Regions of a
/// prefill `apart` are green and without a share.
pub fn svg(plan: &Plan, apart: Option<&Plan>, chip: &Chip, title: &str, fill: [f64; 2]) -> String {
    let (cols, rows) = (chip.cols, chip.rows);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-10 -40 {} {}\" font-family=\"sans-serif\" \
         font-size=\"14\">\n<text x=\"0\" y=\"-18\">{}</text>\n\
         <rect x=\"0\" y=\"0\" width=\"{cols}\" height=\"{rows}\" fill=\"#eeeeee\" stroke=\"#444444\"/>\n",
        cols + 20,
        rows + 50,
        escaped(title)
    );
    for (i, place) in plan.floor.regions.iter().enumerate() {
        let (name, full) = match i {
            0 => ("head".to_owned(), fill[0]),
            _ => {
                let layers = &plan.stages[i - 1];
                (format!("{}: layers {}..{}", i - 1, layers.start, layers.end), fill[1])
            }
        };
        // The fuller, the darker.
        let light = 92.0 - 45.0 * full.clamp(0.0, 1.0);
        let hue = if i == 0 { 30 } else { 210 };
        let _ = writeln!(
            svg,
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"hsl({hue},60%,{light:.0}%)\" \
             stroke=\"#333333\"><title>{name}, {:.0} % of the arena</title></rect>\n\
             <text x=\"{}\" y=\"{}\">{}</text>",
            place.col,
            place.row,
            place.cols,
            plan.rows,
            full * 100.0,
            place.col + 4,
            place.row + 18,
            if i == 0 { "head".to_owned() } else { (i - 1).to_string() }
        );
    }
    for (i, place) in apart.iter().flat_map(|p| p.floor.regions.iter().enumerate()) {
        let rows = apart.map_or(0, |p| p.rows);
        let _ = writeln!(
            svg,
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{rows}\" fill=\"hsl(130,40%,75%)\" \
             stroke=\"#333333\"><title>prefill: {}</title></rect>",
            place.col,
            place.row,
            place.cols,
            if i == 0 { "head".to_owned() } else { format!("stage {}", i - 1) }
        );
    }
    svg + "</svg>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
