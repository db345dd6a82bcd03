//! `--plot FILE.svg|png`: cycles against the mesh, a bar an algorithm, compute and communication shaded.
//!
//! As the paper's Figures 9 and 10 show it: the lower part of a bar is what the busiest core computed, the lighter part
//! above it is communication that computing does not hide; a line joins the bars of an algorithm.
//! Invariant: drawn from the rows alone; a refused row has no bar. Called by `bench`.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::letters::Lettered;
use crate::kernels::Row;

/// Pixels.
const SIZE: (u32, u32) = (1000, 600);
/// Distinct in print and for the colour-blind (Okabe and Ito).
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(60, 60, 60),
];

/// Format of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Svg,
    Png,
}

fn format(path: &Path) -> Result<Format> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    match extension.as_str() {
        "svg" => Ok(Format::Svg),
        "png" => Ok(Format::Png),
        _ => bail!("--plot {}: need a name that ends in .svg or .png", path.display()),
    }
}

/// Is the name one that `picture` can write?
///
/// # Errors
/// What it should end in.
pub fn check(path: &Path) -> Result<()> {
    format(path).map(|_| ())
}

/// The picture, as the bytes of a file called `path`.
///
/// # Errors
/// A name with another ending; no row with cycles.
pub fn picture(path: &Path, rows: &[Row], title: &str) -> Result<Vec<u8>> {
    match format(path)? {
        Format::Svg => {
            let mut text = String::new();
            draw(&SVGBackend::with_string(&mut text, SIZE).into_drawing_area(), rows, title)?;
            Ok(text.into_bytes())
        }
        Format::Png => {
            let mut pixels = vec![0; (SIZE.0 * SIZE.1 * 3) as usize];
            let bitmap = BitMapBackend::with_buffer(&mut pixels, SIZE);
            draw(&Lettered(bitmap).into_drawing_area(), rows, title)?;
            let mut bytes = Vec::new();
            let mut encoder = png::Encoder::new(&mut bytes, SIZE.0, SIZE.1);
            encoder.set_color(png::ColorType::Rgb);
            encoder.write_header()?.write_image_data(&pixels)?;
            Ok(bytes)
        }
    }
}

/// Values of a field in the order of their first row.
fn distinct<'a>(rows: &'a [Row], field: impl Fn(&'a Row) -> &'a str) -> Vec<&'a str> {
    let mut all = Vec::new();
    rows.iter().map(field).for_each(|v| {
        if !all.contains(&v) {
            all.push(v);
        }
    });
    all
}

fn draw<B: DrawingBackend>(area: &DrawingArea<B, Shift>, rows: &[Row], title: &str) -> Result<()>
where
    B::ErrorType: 'static,
{
    let (algos, meshes) = (distinct(rows, |r| &r.algo), distinct(rows, |r| &r.mesh));
    let most =
        rows.iter().filter_map(|r| r.cycles).max().ok_or_else(|| anyhow!("--plot: the chip ran no algorithm"))?;
    let fail = |error: DrawingAreaErrorKind<B::ErrorType>| anyhow!("--plot: {error}");
    area.fill(&WHITE).map_err(fail)?;
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{title}: cycles by mesh; full color computes, light color communicates"), ("sans-serif", 18))
        .margin(16)
        .x_label_area_size(30)
        .y_label_area_size(90)
        .build_cartesian_2d(0.0..meshes.len() as f64, 0.0..most as f64 * 1.3)
        .map_err(fail)?;
    let name = |x: &f64| match x.fract() {
        f if (f - 0.5).abs() < 1e-6 => meshes.get(*x as usize).map_or_else(String::new, |m| (*m).to_owned()),
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(2 * meshes.len() + 1)
        .x_label_formatter(&name)
        .y_label_formatter(&|y| format!("{y:.0}"))
        .draw()
        .map_err(fail)?;
    let width = 0.8 / algos.len() as f64;
    for (a, algo) in algos.iter().enumerate() {
        let color = COLORS[a % COLORS.len()];
        let mut tops = Vec::new();
        for row in rows.iter().filter(|r| r.algo == *algo) {
            let (Some(all), Some(compute)) = (row.cycles, row.compute_cycles) else { continue };
            let mesh = meshes.iter().position(|m| *m == row.mesh).unwrap_or(0) as f64;
            let left = mesh + 0.1 + a as f64 * width;
            let bar = |from: u64, to: u64, style: ShapeStyle| {
                Rectangle::new([(left, from as f64), (left + 0.9 * width, to as f64)], style)
            };
            let bars = [bar(0, compute, color.filled()), bar(compute, all, color.mix(0.35).filled())];
            chart.draw_series(bars).map_err(fail)?;
            tops.push((left + 0.45 * width, all as f64));
        }
        chart
            .draw_series(LineSeries::new(tops, color.stroke_width(2)))
            .map_err(fail)?
            .label(*algo)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], color.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()
        .map_err(fail)?;
    area.present().map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Numerics;

    fn row(algo: &str, mesh: &str, cycles: Option<(u64, u64)>) -> Row {
        Row {
            algo: algo.to_owned(),
            mesh: mesh.to_owned(),
            size: "8x8x8".to_owned(),
            numerics: Numerics::Default,
            colors_per_core: 1,
            longest_hop: 1,
            depth: None,
            arena_peak: 0,
            wavelets: None,
            cycles: cycles.map(|c| c.0 + c.1),
            compute_cycles: cycles.map(|c| c.0),
            comm_cycles: cycles.map(|c| c.1),
            closed_form_cycles: None,
            host_seconds: None,
            refused: None,
        }
    }

    #[test]
    fn a_picture_names_every_mesh_and_algorithm_and_has_two_shades_a_bar() -> Result<()> {
        let rows = [row("one", "4x4", Some((100, 50))), row("two", "4x4", None), row("one", "8x8", Some((60, 80)))];
        let svg = String::from_utf8(picture(Path::new("x.svg"), &rows, "GEMM")?)?;
        for part in ["4x4", "8x8", "one", "two", "GEMM", "opacity=\"0.35\""] {
            assert!(svg.contains(part), "{part} is not in the picture");
        }
        assert_eq!(svg.matches("opacity=\"0.35\"").count(), 2, "a light part for each row that ran");
        let bytes = picture(Path::new("x.PNG"), &rows, "GEMM")?;
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info()?;
        let mut pixels = vec![0; (SIZE.0 * SIZE.1 * 3) as usize];
        reader.next_frame(&mut pixels)?;
        let has = |color: [u8; 3]| pixels.chunks_exact(3).any(|p| p == color);
        assert!(has([COLORS[0].0, COLORS[0].1, COLORS[0].2]) && has([255; 3]));
        Ok(())
    }

    #[test]
    fn what_cannot_be_drawn_says_why() {
        for (name, rows, says) in [("x.gif", vec![], ".svg or .png"), ("x.svg", vec![row("a", "1x1", None)], "no algo")]
        {
            let error = picture(Path::new(name), &rows, "t").unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
