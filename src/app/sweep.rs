//! `plummer sweep`: what a model would do on a chip with another constant, or on another mesh.
//!
//! Every point is a plan of its own (`plan::search`), its layer executed. Finished points are printed as they come and,
//! with `--resume FILE`, kept there, one JSON object a line: a later run with the same question goes on behind them.
//!
//! Invariant: a point is a function of the question and the value alone, so a resumed sweep is the whole one.
//! Called by the command.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::dry::sizes;
use super::interrupt::Interrupt;
use super::plan::shares::Shares;
use super::plan::{AskArgs, ask};
use super::{print, say};
use crate::fabric::Chip;
use crate::model::sizes::Sizes;
use crate::plan::confirm::Timed;
use crate::plan::rivals::Rivals;
use crate::plan::utilise::Utilisation;

/// Version of the JSON object.
const SCHEMA: u32 = 1;
/// Of how points are made: changed when that changes, so that no file mixes old and new ones.
const REVISION: u32 = 2;
/// Characters of the longest bar.
const BAR: usize = 40;

/// `plummer sweep`.
#[derive(Clone, Debug, Args)]
pub struct SweepArgs {
    /// The question.
    #[command(flatten)]
    pub ask: AskArgs,
    /// A constant of the chip (a field of its TOML file, such as alpha, ramp, arena_bytes, colors, clock_hz, f32.mac),
    /// or `mesh`, and its values: NAME=V1,V2,..; meshes are sides or COLSxROWS.
    #[arg(long, value_name = "NAME=V1,V2,..", value_parser = vary)]
    pub vary: Vary,
    /// Keep finished points in this file, and go on behind those that are there.
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// What is varied.
#[derive(Clone, Debug, PartialEq)]
pub struct Vary {
    name: String,
    values: Vec<String>,
}

fn vary(text: &str) -> Result<Vary, String> {
    let parsed = text.split_once('=').map(|(name, values)| Vary {
        name: name.trim().to_owned(),
        values: values.split(',').map(|v| v.trim().to_owned()).collect(),
    });
    let usable = |v: &Vary| !v.name.is_empty() && v.values.iter().all(|v| !v.is_empty());
    parsed.filter(usable).ok_or_else(|| "need NAME=V1,V2,.. such as arena_bytes=49152,98304".to_owned())
}

/// One value of the sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Point {
    /// Everything else that the point depends on.
    question: String,
    value: String,
    /// Why there is no plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    mesh: Option<(usize, usize)>,
    stages: Option<usize>,
    token_cycles: Option<u64>,
    tpr: Option<f64>,
    /// Prompt and answer.
    seconds: Option<f64>,
    /// Of decode and of the prompt, and over rivals likewise.
    #[serde(default)]
    utilisation: Option<[Utilisation; 2]>,
    #[serde(default)]
    rivals: Option<[Option<Rivals>; 2]>,
}

/// `chip` with field `name` (sections joined by dots) set to `value`.
fn with_field(chip: &Chip, name: &str, value: &str) -> Result<Chip> {
    let mut table = toml::Value::try_from(chip)?;
    let mut at = &mut table;
    for part in name.split('.') {
        at = at.get_mut(part).with_context(|| format!("--vary {name}: a chip has no such constant"))?;
    }
    let bad = || format!("--vary {name}={value}: need a value like {at}", at = at.clone());
    *at = match at {
        toml::Value::Integer(_) => toml::Value::Integer(value.parse().with_context(bad)?),
        toml::Value::Float(_) => toml::Value::Float(value.parse().with_context(bad)?),
        _ => bail!("--vary {name}: only numbers can be varied"),
    };
    let varied: Chip = table.try_into().with_context(|| format!("--vary {name}={value}"))?;
    varied.check().with_context(|| format!("--vary {name}={value}"))?;
    Ok(varied)
}

/// A mesh from a side or COLSxROWS.
fn mesh_of(value: &str) -> Result<(u32, u32)> {
    let text = if value.contains(['x', 'X']) { value.to_owned() } else { format!("{value}x{value}") };
    super::cli::mesh(&text).map_err(|need| anyhow::anyhow!("--vary mesh={value}: {need}"))
}

/// Question of one value: chip and flags.
fn varied(args: &SweepArgs, chip: &Chip, value: &str) -> Result<(Chip, AskArgs)> {
    if args.vary.name == "mesh" {
        return Ok((chip.clone(), AskArgs { mesh: Some(mesh_of(value)?), ..args.ask.clone() }));
    }
    Ok((with_field(chip, &args.vary.name, value)?, args.ask.clone()))
}

/// Runs the command; the exit code.
pub fn run(args: &SweepArgs) -> Result<u8> {
    let sizes = sizes(args.ask.model.as_deref())?;
    let chip = super::chips::open(&args.ask.chip)?;
    let a = &args.ask;
    let question = format!(
        "{REVISION} {} {:?} {:?} {:?} {} {} {} {} {:?} {:?} {:?} {:?} {:?}",
        sizes.name,
        sizes.config.shape,
        sizes.format,
        chip,
        a.prompt,
        a.output,
        a.wafers,
        a.wafer_us,
        a.mesh,
        a.prefill_mesh,
        a.kv_type,
        a.objective,
        args.vary.name
    );
    // Every value is one that a chip can have, before the first is planned.
    args.vary.values.iter().try_for_each(|value| varied(args, &chip, value).map(|_| ()))?;
    let kept = args.resume.as_deref().map_or(Ok(Vec::new()), read)?;
    let interrupt = Interrupt::listen().context("Ctrl-C handler")?;
    interrupt.run_begins();
    let mut points: Vec<Point> = Vec::new();
    for value in &args.vary.values {
        let old = kept.iter().find(|p| p.question == question && p.value == *value);
        let point = match old {
            Some(point) => point.clone(),
            None if interrupt.asked() => break,
            None => {
                let point = measure(args, &sizes, &chip, &question, value)?;
                args.resume.as_deref().map_or(Ok(()), |path| append(path, &point))?;
                point
            }
        };
        if !args.json {
            print(line(&args.vary.name, &point).as_bytes())?;
        }
        points.push(point);
    }
    let left = args.vary.values.len() - points.len();
    if args.json {
        let points: Vec<_> = points.iter().map(shown).collect();
        let object = json!({
            "schema": SCHEMA, "model": sizes.name, "chip": chip.name, "vary": args.vary.name,
            "tokens": {"prompt": a.prompt, "output": a.output}, "points": points, "left": left,
        });
        print(format!("{object}\n").as_bytes())?;
    } else {
        print(bars(&points).as_bytes())?;
    }
    if left > 0 {
        say(&format!("interrupted: {left} of {} points are left\n", args.vary.values.len()));
    }
    Ok(0)
}

fn measure(args: &SweepArgs, sizes: &Sizes, chip: &Chip, question: &str, value: &str) -> Result<Point> {
    let (chip, flags) = varied(args, chip, value)?;
    let clock = chip.clock_hz;
    let blank = Point {
        question: question.to_owned(),
        value: value.to_owned(),
        refused: None,
        mesh: None,
        stages: None,
        token_cycles: None,
        tpr: None,
        seconds: None,
        utilisation: None,
        rivals: None,
    };
    let ask = ask(&flags, sizes, chip, 1)?;
    Ok(match ask.choose(&mut Timed::default()) {
        Err(error) => Point { refused: Some(error.to_string()), ..blank },
        Ok(choices) => {
            let best = &choices[0];
            let Shares { decode, prefill, rivals } = Shares::of(&ask, best);
            Point {
                mesh: Some((best.plan.cols, best.plan.rows)),
                stages: Some(best.stages),
                token_cycles: Some(best.token_cycles(&ask)),
                tpr: Some(clock / best.token_cycles(&ask) as f64),
                seconds: Some(best.total_cycles(&ask) as f64 / clock),
                utilisation: Some([decode, prefill]),
                rivals: Some(rivals.map(Result::ok)),
                ..blank
            }
        }
    })
}

/// A point without the question, which the object says once.
fn shown(p: &Point) -> serde_json::Value {
    json!({
        "value": p.value, "refused": p.refused, "mesh": p.mesh, "stages": p.stages, "token_cycles": p.token_cycles,
        "tpr": p.tpr, "seconds": p.seconds,
        "utilisation": p.utilisation.as_ref().map(|[decode, prefill]| json!({"decode": decode, "prefill": prefill})),
        "rivals": p.rivals.as_ref().map(|[decode, prefill]| json!({"decode": decode, "prefill": prefill})),
    })
}

fn line(name: &str, p: &Point) -> String {
    let what = match (p.mesh, p.stages, p.token_cycles, p.tpr.zip(p.seconds)) {
        (Some((cols, rows)), Some(stages), Some(cycles), Some((tpr, all))) => {
            let ms = all * 1e3;
            let shares = |[decode, prefill]: &[Utilisation; 2]| {
                let names = [("decode", decode), ("prefill", prefill)];
                names.map(|(name, u)| format!("\n{:16}{name}: {}", "", u.line())).concat()
            };
            let over = |r: &[Option<Rivals>; 2]| {
                let names = ["decode", "prefill"].into_iter().zip(r).filter_map(|(name, r)| Some((name, (*r)?)));
                names.map(|(name, r)| format!("\n{:16}{name}: {}", "", Rivals::line(&Ok(r)))).collect::<String>()
            };
            format!(
                "{cols}x{rows}, {stages} stages, {cycles} cycles a token, {tpr:.0} tokens/s, {ms:.2} ms in all{}{}",
                p.utilisation.as_ref().map_or(String::new(), shares),
                p.rivals.as_ref().map_or(String::new(), over)
            )
        }
        _ => p.refused.clone().unwrap_or_default(),
    };
    format!("{name} = {:<12} {what}\n", p.value)
}

/// Tokens a second against the values.
fn bars(points: &[Point]) -> String {
    let most = points.iter().filter_map(|p| p.tpr).fold(0.0, f64::max);
    let bar = |p: &Point| {
        let tpr = p.tpr?;
        let length = (tpr / most * BAR as f64).round() as usize;
        Some(format!("{:>12} |{} {tpr:.0}\n", p.value, "=".repeat(length)))
    };
    points.iter().filter_map(bar).collect()
}

/// The points of a file, if it is there.
fn read(path: &Path) -> Result<Vec<Point>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).with_context(|| format!("--resume {}", path.display())),
    };
    // A line without an end was cut while it was written: it goes, and its point is made again.
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let point = |(i, line): (usize, &str)| {
        let what = || format!("--resume {}, line {}: need a point of a sweep", path.display(), i + 1);
        serde_json::from_str(line).with_context(what)
    };
    let points = text[..whole].lines().enumerate().map(point).collect::<Result<Vec<_>>>()?;
    if whole < text.len() {
        let file = OpenOptions::new().write(true).open(path);
        let cut = file.and_then(|file| file.set_len(whole as u64));
        cut.with_context(|| format!("--resume {}", path.display()))?;
    }
    Ok(points)
}

fn append(path: &Path, point: &Point) -> Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    let write = |mut file: std::fs::File| file.write_all(format!("{}\n", json!(point)).as_bytes());
    file.and_then(write).with_context(|| format!("--resume {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_a_chip_can_be_varied_and_nothing_else() {
        let chip = Chip::preset("wse2").expect("a preset");
        assert_eq!(with_field(&chip, "alpha", "3").expect("an integer").alpha, 3);
        assert_eq!(with_field(&chip, "f32.mac", "0.25").expect("a float").f32.mac, 0.25);
        for (name, value) in [("alpha", "0"), ("alpha", "x"), ("name", "y"), ("f32.nothing", "1"), ("alpha.x", "1")] {
            let error = format!("{:#}", with_field(&chip, name, value).expect_err("refused"));
            assert!(error.contains(&format!("--vary {name}")), "{error}");
        }
    }

    #[test]
    fn sides_and_pairs_are_meshes() {
        assert_eq!(mesh_of("36").expect("a side"), (36, 36));
        assert_eq!(mesh_of("36x20").expect("a pair"), (36, 20));
        assert!(mesh_of("0").is_err());
    }
}
