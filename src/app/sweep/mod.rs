//! `plummer sweep`: what a model would do on a chip with another constant, or on another mesh.
//!
//! Every point is a plan of its own (`plan::search`), its layer executed. Finished points are printed as they come and,
//! with `--resume FILE`, kept there (`resume`): a later run with the same question goes on behind them.
//!
//! Invariant: a point is a function of the question and the value alone, so a resumed sweep is the whole one.
//! Called by the command.

mod table;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::interrupt::Interrupt;
use super::plan::shares::Shares;
use super::plan::{AskArgs, ask};
use super::resume::Resume;
use super::{print, say};
use crate::fabric::Chip;
use crate::model::sizes::Sizes;
use crate::plan::confirm::Timed;
use crate::plan::rivals::Rivals;
use crate::plan::utilise::Utilisation;

/// Version of the JSON object.
const SCHEMA: u32 = 1;
/// As many as `plan` has by default, so that a point is its plan.
const FINALISTS: usize = 2;
/// Seconds of an hour.
const HOUR: f64 = 3600.0;

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
    /// Price of one wafer and hour, in any currency: points then say what a token costs.
    #[arg(long, value_name = "PRICE", allow_negative_numbers = true, value_parser = super::cli::price)]
    pub price: Option<f64>,
    /// Print one JSON object, with all shares and ratios of every point.
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
    /// Of the answer, the prompt's share included; all wafers at work.
    joules_per_token: Option<f64>,
    /// Of decode and of the prompt, and over rivals likewise.
    #[serde(default)]
    utilisation: Option<[Utilisation; 2]>,
    #[serde(default)]
    rivals: Option<[Option<Rivals>; 2]>,
}

/// `chip` with field `name` (sections joined by dots) set to `value`.
fn with_field(chip: &Chip, name: &str, value: &str) -> Result<Chip> {
    let mut table = toml::Value::try_from(chip)?;
    let need = format!("--vary {name}: need mesh or one of {}", numbers("", &table).join(", "));
    let mut at = &mut table;
    for part in name.split('.') {
        at = at.get_mut(part).with_context(|| need.clone())?;
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

/// The names of all numbers of a chip, below `prefix`.
fn numbers(prefix: &str, value: &toml::Value) -> Vec<String> {
    match value {
        toml::Value::Integer(_) | toml::Value::Float(_) => vec![prefix.trim_end_matches('.').to_owned()],
        toml::Value::Table(table) => table.iter().flat_map(|(k, v)| numbers(&format!("{prefix}{k}."), v)).collect(),
        _ => Vec::new(),
    }
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

/// What points are kept of: all that they depend on but the value.
fn question(args: &SweepArgs, sizes: &Sizes, chip: &Chip) -> String {
    let a = &args.ask;
    format!(
        "sweep {} {:?} {:?} {:?} {} {} {} {} {:?} {:?} {:?} {:?} {:?}",
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
    )
}

/// Runs the command; the exit code.
pub fn run(args: &SweepArgs) -> Result<u8> {
    let sizes = args.ask.sizes()?;
    args.ask.say_beyond(&sizes);
    let chip = super::chips::open(&args.ask.chip)?;
    let a = &args.ask;
    if args.vary.name == "mesh" && a.mesh.is_some() {
        bail!("--mesh is what --vary mesh varies: leave one out");
    }
    // Every value is one that a chip can have, before the first is planned.
    args.vary.values.iter().try_for_each(|value| varied(args, &chip, value).map(|_| ()))?;
    let mut kept: Resume<Point> = Resume::open(args.resume.as_deref(), &question(args, &sizes, &chip))?;
    let interrupt = Interrupt::listen().context("Ctrl-C handler")?;
    interrupt.run_begins();
    let mut points: Vec<Point> = Vec::new();
    for value in &args.vary.values {
        let point = match kept.find(value).cloned() {
            Some(point) => point,
            None if interrupt.asked() => break,
            None => {
                let point = measure(args, &sizes, &chip, value)?;
                kept.keep(value.clone(), point.clone())?;
                point
            }
        };
        if !args.json {
            let head =
                if points.is_empty() { table::head(&args.vary.name, args.price.is_some()) } else { String::new() };
            print((head + &table::line(&point, cost(args, &point))).as_bytes())?;
        }
        points.push(point);
    }
    let left = args.vary.values.len() - points.len();
    if args.json {
        let points: Vec<_> = points.iter().map(|point| shown(args, point)).collect();
        let object = json!({
            "schema": SCHEMA, "model": sizes.name, "chip": chip.name, "vary": args.vary.name,
            "tokens": {"prompt": a.prompt, "output": a.output}, "price_per_chip_hour": args.price, "points": points,
            "left": left,
        });
        print(format!("{object}\n").as_bytes())?;
    } else {
        print(table::bars(&points).as_bytes())?;
    }
    if left == 0
        && points.iter().all(|point| point.refused.is_some())
        && let Some(reason) = points.first().and_then(|point| point.refused.as_deref())
    {
        bail!("every point is refused; the first: {reason}");
    }
    if left > 0 {
        say(&format!("interrupted: {left} of {} points are left\n", args.vary.values.len()));
    }
    Ok(0)
}

fn measure(args: &SweepArgs, sizes: &Sizes, chip: &Chip, value: &str) -> Result<Point> {
    let (chip, flags) = varied(args, chip, value)?;
    let (clock, watts) = (chip.clock_hz, chip.power_watts * f64::from(flags.wafers));
    let blank = Point {
        value: value.to_owned(),
        refused: None,
        mesh: None,
        stages: None,
        token_cycles: None,
        tpr: None,
        seconds: None,
        joules_per_token: None,
        utilisation: None,
        rivals: None,
    };
    let ask = ask(&flags, sizes, chip, FINALISTS)?;
    Ok(match ask.choose(&mut Timed::default()) {
        Err(error) => Point { refused: Some(error.to_string()), ..blank },
        Ok(choices) => {
            let best = &choices[0];
            let seconds = best.total_cycles(&ask) as f64 / clock;
            let Shares { decode, prefill, rivals } = Shares::of(&ask, best);
            Point {
                mesh: Some((best.plan.cols, best.plan.rows)),
                stages: Some(best.stages),
                token_cycles: Some(best.token_cycles(&ask)),
                tpr: Some(clock / best.token_cycles(&ask) as f64),
                seconds: Some(seconds),
                joules_per_token: Some(seconds * watts / f64::from(flags.output)),
                utilisation: Some([decode, prefill]),
                rivals: Some(rivals.map(Result::ok)),
                ..blank
            }
        }
    })
}

/// A token of the answer, all wafers at work.
fn cost(args: &SweepArgs, p: &Point) -> Option<f64> {
    let (a, hours) = (&args.ask, p.seconds? / HOUR);
    Some(args.price? * hours * f64::from(a.wafers) / f64::from(a.output))
}

/// A point as the object has it.
fn shown(args: &SweepArgs, p: &Point) -> serde_json::Value {
    json!({
        "value": p.value, "refused": p.refused, "mesh": p.mesh, "stages": p.stages, "token_cycles": p.token_cycles,
        "tpr": p.tpr, "seconds": p.seconds, "joules_per_token": p.joules_per_token,
        "cost_per_token": cost(args, p),
        "utilisation": p.utilisation.as_ref().map(|[decode, prefill]| json!({"decode": decode, "prefill": prefill})),
        "rivals": p.rivals.as_ref().map(|[decode, prefill]| json!({"decode": decode, "prefill": prefill})),
    })
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
