//! What to do where there is no plan.
//!
//! Invariant: what is named has been tried: its ways can be laid on some mesh, a prefill mesh has been chosen with. No
//! cycle is counted but for that. Called by `app`; `tests/plan/plan_advice.rs` follows it.

use serde::Serialize;

use crate::host::{Session, SessionConfig, SessionError};
use crate::math::checkpoint::ModelShape;
use crate::math::split::largest;
use crate::placement::{Plan, PlanError, PlanRequest, Sketch};

use super::ask::{Ask, with_reserve};
use super::closed::Mesh;
use super::confirm::Timed;

/// Prefill meshes that are tried, the nearest first.
const TRIED: usize = 6;
const KIB: u64 = 1 << 10;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// The mesh nearest to the one that was asked for (fewest columns and rows more or less) that holds the model.
    #[serde(rename = "nearest_mesh", skip_serializing_if = "Option::is_none")]
    pub mesh: Option<Sides>,
    /// The same of a prefill mesh.
    #[serde(rename = "nearest_prefill_mesh", skip_serializing_if = "Option::is_none")]
    pub prefill_mesh: Option<Sides>,
    /// What holds the model on some mesh; `None` where a mesh is the matter.
    #[serde(flatten)]
    pub sizes: Option<Fitting>,
}

/// A mesh by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sides {
    /// Columns.
    pub cols: usize,
    /// Rows.
    pub rows: usize,
}

/// What holds a model on some mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fitting {
    /// The fewest wafers, where more would do.
    #[serde(rename = "wafers_needed")]
    pub wafers: Option<usize>,
    /// Most of its layers on one wafer, its head included.
    #[serde(rename = "layers_that_fit")]
    pub layers: usize,
    /// Most bytes for code, in KiB, with the wafers that were asked for; `None` where less would not help.
    #[serde(rename = "reserved_kib_that_fit")]
    pub reserve_kib: Option<u64>,
    /// Most positions, prompt and answer, with them; `None` where fewer would not help.
    #[serde(rename = "positions_that_fit")]
    pub positions: Option<usize>,
}

impl From<Mesh> for Sides {
    fn from((cols, rows): Mesh) -> Self {
        Self { cols, rows }
    }
}

/// Is it the prefill, or the mesh of its own that it was given, that has no room?
pub fn is_of_prefill_mesh(error: &SessionError) -> bool {
    matches!(error, SessionError::PrefillMesh(_) | SessionError::PrefillRows { .. } | SessionError::Prefill(_))
}

impl Ask {
    /// Is there a mesh for it whose ways can be laid, with the trees that take the fewest colors?
    fn holds(&self) -> bool {
        let Some(k_tree) = self.levels().next() else { return false };
        let config = SessionConfig { k_tree, trees: None, ..self.config.clone() };
        let (shape, chip) = (self.part(), &self.config.chip);
        let Ok(request) = Session::request(&config) else { return false };
        let mut sketches = Plan::sketches(&shape, chip, &request).unwrap_or_default();
        sketches.sort_by_key(Sketch::tracks_least);
        sketches.into_iter().any(|s| s.finish(&shape, chip, &request).is_ok())
    }

    /// The same question on any mesh.
    fn on_any_mesh(&self) -> Self {
        let config = SessionConfig { mesh: None, ..self.config.clone() };
        Self { config, prefill_mesh: None, ..self.clone() }
    }

    /// What would do, after `error`.
    pub fn advice(&self, error: &SessionError) -> Advice {
        if is_of_prefill_mesh(error) {
            return Advice { prefill_mesh: self.nearest_prefill_mesh().map(Sides::from), ..Advice::default() };
        }
        // A smaller part of the model takes as many colors.
        if matches!(error, SessionError::Plan(PlanError::FewColors { .. })) {
            return Advice::default();
        }
        match self.nearest_mesh() {
            Some(mesh) => Advice { mesh: Some(mesh.into()), ..Advice::default() },
            None => Advice { sizes: Some(self.on_any_mesh().fitting()), ..Advice::default() },
        }
    }

    fn fitting(&self) -> Fitting {
        let all = self.shape.n_layers;
        let shape = |n_layers| ModelShape { n_layers, ..self.shape.clone() };
        let layers = largest(0, all, |n| Self { wafers: 1, shape: shape(n), ..self.clone() }.holds());
        let wafers = Some(layers).filter(|n| *n > 0).map(|n| all.div_ceil(n)).filter(|n| *n > self.wafers);
        let reserved = |kib: u64| {
            let chip = with_reserve(&self.config.chip, kib * KIB);
            Self { config: SessionConfig { chip, ..self.config.clone() }, ..self.clone() }.holds()
        };
        let long = |context: usize| {
            let config = SessionConfig { context, prompt: self.prompt.min(context - 1), ..self.config.clone() };
            Self { config, ..self.clone() }.holds()
        };
        // Code fills what it gets, so the next KiB below is the first that is less.
        let below = (self.config.chip.reserved_bytes.div_ceil(KIB)).saturating_sub(1);
        let kib = || largest(0, below as usize, |kib| reserved(kib as u64)) as u64;
        let reserve_kib = (self.config.chip.reserved_bytes > 0 && reserved(0)).then(kib);
        let context = self.config.context;
        let positions = (context > 2 && long(2)).then(|| largest(2, context - 1, long));
        Fitting { wafers, layers, reserve_kib, positions }
    }

    /// Where a mesh was asked for that does not hold the model: the nearest that does, with the same wafers.
    fn nearest_mesh(&self) -> Option<Mesh> {
        let asked = self.config.mesh?;
        let any = self.on_any_mesh();
        let request = Session::request(&any.config).ok()?;
        let sketches = Plan::sketches(&any.part(), &any.config.chip, &request).ok()?;
        nearest(&sketches, asked).find(|mesh| {
            let config = SessionConfig { mesh: Some(sides(*mesh)), ..any.config.clone() };
            Self { config, ..any.clone() }.holds()
        })
    }

    /// Where a prefill mesh was asked for that cannot be: the nearest that can.
    fn nearest_prefill_mesh(&self) -> Option<Mesh> {
        let (asked, chip, shape) = (self.prefill_mesh?, &self.config.chip, self.part());
        let request = Session::request(&self.config).ok()?;
        let decode = Plan::sketches(&shape, chip, &request).ok()?;
        let own = PlanRequest { mesh: None, context: self.prompt, ..request };
        let all = Plan::sketches(&shape, chip, &own).ok()?;
        let rows = |s: &Sketch| s.bands * s.rows;
        let least_rows = decode.iter().map(rows).min()?;
        let is_decode_s = |s: &Sketch| decode.iter().any(|d| (d.cols, d.rows) == (s.cols, s.rows));
        let has_room = |s: &Sketch| rows(s) + least_rows <= chip.rows as usize && self.wafers == 1 || is_decode_s(s);
        let takes = |s: &Sketch| s.chunk_room(&shape, chip, self.config.kv_type.bytes(), 1) > 0;
        let able: Vec<Sketch> = all.into_iter().filter(|s| has_room(s) && takes(s)).collect();
        nearest(&able, asked).take(TRIED).find(|mesh| {
            let with = Self { prefill_mesh: Some(sides(*mesh)), finalists: 1, ..self.clone() };
            with.choose(&mut Timed::default()).is_ok()
        })
    }
}

fn sides((cols, rows): Mesh) -> (u32, u32) {
    (cols as u32, rows as u32)
}

/// Meshes in the order of the columns and rows that they have more or less.
fn nearest(sketches: &[Sketch], (cols, rows): (u32, u32)) -> impl Iterator<Item = Mesh> + use<> {
    let far = |s: &Mesh| s.0.abs_diff(cols as usize) + s.1.abs_diff(rows as usize);
    let mut meshes: Vec<Mesh> = sketches.iter().map(|s| (s.cols, s.rows)).collect();
    meshes.sort_by_key(|s| (far(s), *s));
    meshes.into_iter()
}
