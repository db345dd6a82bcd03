//! What a run leaves for other tools: trace events (Chrome's JSON, for Perfetto), traffic by link, ledgers by PE.
//!
//! ```text
//!   process 1 "phases"  one thread a stage            complete events ("X"), one after the other
//!   process 2 "cores"   one thread a traced PE        complete events: compute, send, receive, waits with their reason
//!                       posted operations             async events ("b", "e"): they overlap what the core does
//! ```
//! A run of several launches (prefill, decode) is one trace: each begins where the one before ended.
//! Invariant: one unit of `ts` and `dur` is one cycle of virtual time; within a thread, complete events do not
//! overlap and come in the order of their start. The text is the same at every worker count.
//! Called by `app`; formats alone, nothing is measured here.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::arena::Owner;
use crate::exec::LinkUse;
use crate::fabric::{Chip, Direction, Layout};
use crate::kernels::decode::point;
use crate::pe::{Did, Log, Mark, TraceSpan};
use crate::units::{Color, Coord};

use super::recorded::{Launched, Recorded};

/// A span of a stage's time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Which thread of "phases": a stage, or `u16::MAX` for the head.
    pub track: u16,
    /// What.
    pub name: &'static str,
    /// First cycle.
    pub start: u64,
    /// Cycle after the last.
    pub end: u64,
}

/// The phases of a launch that began at cycle `from`: at every stage, the time up to a mark has the mark's name.
pub fn stage_phases(marks: &[Mark], names: &[&'static str], from: u64) -> Vec<Phase> {
    let mut by_stage: BTreeMap<u16, Vec<(u64, u16)>> = BTreeMap::new();
    marks.iter().for_each(|m| by_stage.entry(m.who).or_default().push((from + m.now, m.id)));
    let mut phases = Vec::new();
    for (track, mut marks) in by_stage {
        marks.sort_unstable();
        let mut start = from;
        for (end, id) in marks {
            let point = point::of(id).0;
            let name = if point == point::ARRIVED { "waits for x" } else { names[usize::from(point)] };
            if end <= start {
                continue;
            }
            match phases.last_mut() {
                Some(Phase { track: of, name: last, end: until, .. }) if (*of, *last) == (track, name) => *until = end,
                _ => phases.push(Phase { track, name, start, end }),
            }
            start = end;
        }
    }
    phases
}

/// Of the marks of a pass those behind which another point follows at the same stage: `stage_phases` needs no others.
pub(super) fn ends_of_phases(marks: &[Mark]) -> Vec<Mark> {
    let of = |mark: &Mark| (mark.who, point::of(mark.id).0);
    let mut sorted = marks.to_vec();
    sorted.sort_by_key(|m| (m.who, m.now, m.id));
    let mut ends: Vec<Mark> = Vec::new();
    for mark in sorted {
        match ends.last_mut() {
            Some(last) if of(last) == of(&mark) => *last = mark,
            _ => ends.push(mark),
        }
    }
    ends
}

/// The phases of a kernel that marks points (id, name) at every PE: each lasts until its last PE has passed.
pub fn kernel_phases(marks: &[Mark], names: &[(u16, &'static str)]) -> Vec<Phase> {
    let mut start = 0;
    let mut phases = Vec::new();
    for &(id, name) in names {
        let end = marks.iter().filter(|m| m.id == id).map(|m| m.now).max().unwrap_or(start);
        if end > start {
            phases.push(Phase { track: 0, name, start, end });
            start = end;
        }
    }
    phases
}

/// A trace in the making.
pub struct Chrome<'a> {
    /// Whose cycles.
    pub chip: &'a Chip,
    /// Launches and phases.
    pub run: &'a Recorded,
}

impl Chrome<'_> {
    /// Events that found no room.
    pub fn cut(&self) -> u64 {
        self.run.phases_cut + self.run.launches.iter().flat_map(|l| &l.logs).map(|log| log.cut).sum::<u64>()
    }

    /// The JSON text.
    pub fn json(&self) -> String {
        let mut out = String::from("{\"displayTimeUnit\":\"ns\",\"otherData\":");
        let run = self.run;
        let mut by_core: BTreeMap<Coord, Vec<(&Launched, &Log)>> = BTreeMap::new();
        for launched in &run.launches {
            launched.logs.iter().for_each(|log| by_core.entry(log.pe).or_default().push((launched, log)));
        }
        let cores = run.launches.iter().map(|l| l.layout.pes.len()).max();
        let other = serde_json::json!({
            "chip": self.chip.name, "clock_hz": self.chip.clock_hz, "unit": "1 us shown = 1 cycle of virtual time",
            "traced_cores": by_core.len(), "cores": cores, "launches": run.launches.len(), "events_cut": self.cut(),
        });
        let _ = write!(out, "{other},\"traceEvents\":[");
        name(&mut out, "process_name", (1, 0), "phases");
        name(&mut out, "process_name", (2, 0), "cores");
        let mut tracks: Vec<u16> = run.phases.iter().map(|p| p.track).collect();
        tracks.dedup();
        for track in tracks {
            let title = if track == u16::MAX { "head".to_owned() } else { format!("stage {track}") };
            name(&mut out, "thread_name", (1, u32::from(track)), &title);
        }
        for p in &run.phases {
            let id = (1, u32::from(p.track));
            complete(&mut out, (p.name, "phase"), id, (p.start, p.end), "{}");
        }
        let mut posted = 0;
        for (tid, (pe, logs)) in by_core.into_iter().enumerate() {
            name(&mut out, "thread_name", (2, tid as u32), &format!("core {pe}"));
            for (launched, log) in logs {
                core(&mut out, tid as u32, launched, log, &mut posted);
            }
        }
        out.pop(); // the last comma
        out.push_str("]}\n");
        out
    }
}

/// What one PE did in one launch.
fn core(out: &mut String, tid: u32, launched: &Launched, log: &Log, posted: &mut u64) {
    let mut spans: Vec<&TraceSpan> = log.spans.iter().collect();
    spans.sort_by_key(|s| s.start);
    for span in spans {
        let (title, category) = title(&launched.layout, log.pe, span);
        let (start, end) = (launched.from + span.start, launched.from + span.end);
        let place = span.place.map_or_else(String::new, |l| format!("{}:{}", l.file(), l.line()));
        let args = serde_json::json!({ "words": span.words, "at": place }).to_string();
        if category == "posted" {
            *posted += 1;
            for (ph, ts) in [("b", start), ("e", end)] {
                let _ = write!(
                    out,
                    "{{\"name\":\"{title}\",\"cat\":\"posted\",\"ph\":\"{ph}\",\"id\":{posted},\"ts\":{ts},\
                     \"pid\":2,\"tid\":{tid},\"args\":{args}}},"
                );
            }
        } else {
            complete(out, (&title, category), (2, tid), (start, end), &args);
        }
    }
}

/// Name and category of a span.
fn title(layout: &Layout, pe: Coord, span: &TraceSpan) -> (String, &'static str) {
    let sides = |sends: bool| span.color.map_or_else(String::new, |c| sides(layout, pe, c, sends));
    let (from, to) = (sides(false), sides(true));
    match span.did {
        Did::Compute => ("compute".to_owned(), "compute"),
        Did::Issue => ("issue".to_owned(), "compute"),
        Did::Send => (format!("send {to}"), "send"),
        Did::Receive => (format!("receive {from}"), "receive"),
        Did::Combine => (format!("combine {to}"), "combine"),
        Did::WaitBurst => (format!("wait: no burst on {from}"), "wait"),
        Did::WaitPass => (format!("wait: no pass on {from}"), "wait"),
        Did::WaitCredit => (format!("wait: port or lanes taken, {to}"), "wait"),
        Did::WaitSinks => (format!("wait: a sink has not begun, {to}"), "wait"),
        Did::WaitPostedSend => (format!("wait: posted send {to} is open"), "wait"),
        Did::WaitPostedReceive => (format!("wait: posted receive {from} is open"), "wait"),
        Did::PostedSend => (format!("send {to}"), "posted"),
        Did::PostedReceive => (format!("receive {from}"), "posted"),
    }
}

fn sides(layout: &Layout, pe: Coord, color: Color, sends: bool) -> String {
    let routes = layout.find(pe).map(|at| &layout.pes[at as usize].routes);
    let Some(route) = routes.and_then(|r| r.iter().find(|r| r.color == color)) else { return color.to_string() };
    if !sends {
        return format!("{color} from {:?}", route.rx);
    }
    let to: Vec<String> = route.tx.links().map(|d: Direction| format!("{d:?}")).collect();
    format!("{color} to {}", to.join(" and "))
}

fn name(out: &mut String, what: &str, (pid, tid): (u32, u32), name: &str) {
    let _ = write!(
        out,
        "{{\"name\":\"{what}\",\"ph\":\"M\",\"pid\":{pid},\"tid\":{tid},\"args\":{{\"name\":\"{name}\"}}}},"
    );
}

fn complete(out: &mut String, (title, cat): (&str, &str), (pid, tid): (u32, u32), time: (u64, u64), args: &str) {
    let (ts, dur) = (time.0, time.1 - time.0);
    let _ = write!(
        out,
        "{{\"name\":\"{title}\",\"cat\":\"{cat}\",\"ph\":\"X\",\"ts\":{ts},\"dur\":{dur},\"pid\":{pid},\
         \"tid\":{tid},\"args\":{args}}},"
    );
}

/// Traffic by directed link, as CSV; windows are of `link::WINDOW` cycles, all colors together.
pub fn links_csv(links: &BTreeMap<(Coord, Coord), LinkUse>) -> String {
    let mut out = "from_col,from_row,to_col,to_row,colors,unicast_bursts,unicast_wavelets,multicast_bursts,\
                   multicast_wavelets,busiest_window_cycles,busiest_window_at,windows_over,excess_cycles\n"
        .to_owned();
    for ((from, to), u) in links {
        let (one, many) = (u.unicast, u.multicast);
        let _ = writeln!(
            out,
            "{},{},{},{},{},{},{},{},{},{},{},{},{}",
            from.col,
            from.row,
            to.col,
            to.row,
            u.colors,
            one.0,
            one.1,
            many.0,
            many.1,
            u.load.busiest,
            u.load.at,
            u.load.over,
            u.load.excess
        );
    }
    out
}

/// The ledger of every PE in every launch, the first of which is 1, as CSV: bytes. `padding` is what the 16-byte grid
/// of tiles adds.
pub fn map_csv(launches: &[Launched], chip: &Chip) -> String {
    let mut out = "col,row,code,weights,kv,activations,receive,padding,free,launch\n".to_owned();
    let mut pes = Vec::new();
    for (launch, launched) in (1..).zip(launches) {
        pes.extend(launched.layout.pes.iter().map(|pe| (launch, pe)));
    }
    pes.sort_by_key(|(launch, pe)| (*launch, pe.coord));
    for (launch, pe) in pes {
        let ledger = pe.ledger();
        let of = Owner::ALL.map(|owner| ledger.of(owner).0);
        let (sum, total) = (of.iter().sum::<u64>(), ledger.total().0);
        let free = chip.arena_bytes.saturating_sub(chip.reserved_bytes + total);
        let [weights, kv, activations, receive] = of;
        let (at, code) = (pe.coord, chip.reserved_bytes);
        let _ = writeln!(
            out,
            "{},{},{code},{weights},{kv},{activations},{receive},{},{free},{launch}",
            at.col,
            at.row,
            total - sum
        );
    }
    out
}
