//! Why there is no plan, with what is needed and what there is.
//!
//! Invariant: advice in an error is true: a smaller context is named only where one would fit.

use super::budget::{Account, OWNERS};

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A shape or a request that describes nothing.
    #[error("cannot plan: {field} is {found}, need {need}")]
    Shape { field: &'static str, need: &'static str, found: usize },
    /// A mesh of this size cannot hold one layer, or the head.
    #[error(
        "mesh {cols}x{rows}: {what} needs {need} B on its fullest PE, an arena has {have} B for tiles ({hint}){}",
        listed(ledger)
    )]
    TooSmall {
        cols: usize,
        rows: usize,
        what: &'static str,
        need: usize,
        have: usize,
        hint: &'static str,
        ledger: Account,
    },
    /// One message would be longer than the fabric counts.
    #[error("mesh {cols}x{rows}: a message has {need} words, at most {have} can be sent at once (use more PEs)")]
    TooLong { cols: usize, rows: usize, need: usize, have: usize },
    /// The bands of regions are higher than the wafer.
    #[error(
        "mesh {cols}x{rows}: a head region of {head_cols} columns and {stages} stages take {bands} bands on \
         {have_cols} columns, {need} rows; the chip has {have}"
    )]
    TooTall {
        cols: usize,
        rows: usize,
        head_cols: usize,
        stages: usize,
        bands: usize,
        have_cols: usize,
        need: usize,
        have: usize,
    },
    /// The turns of the floorplan take more colors than there are.
    #[error(
        "mesh {cols}x{rows}: {bands} bands need {need} colors ({tracks} of them for turns and the return), the chip \
         has {have} usable (use more columns, fewer rows)"
    )]
    Colors { cols: usize, rows: usize, bands: usize, tracks: usize, need: usize, have: usize },
    /// Not even trees of one level.
    #[error(
        "routing resource exhaustion: plans provide {need} colors for a layer with trees of one level, the chip has \
         {have} usable (a mesh of one row may take fewer: generate --k-tree 1 --mesh Nx1)"
    )]
    FewColors { need: usize, have: usize },
    /// More rows or columns than the chip has, or a zero.
    #[error("mesh {cols}x{rows}: need at least 1x1 and at most the chip's {have_cols}x{have_rows}")]
    OffMesh { cols: usize, rows: usize, have_cols: usize, have_rows: usize },
    /// No mesh fits.
    #[error("no mesh holds this model with {context} positions on chip {chip}: {last}")]
    NoMesh { context: usize, chip: String, last: Box<PlanError> },
    /// No mesh that was tried has lines for the group counts that were given.
    #[error("--groups are for lines of a known length: name the mesh with --mesh, and --head-cols; else {last}")]
    NoMeshForGroups { last: Box<PlanError> },
    /// Group counts for another number of levels.
    #[error("--groups: {found} for each kind of line before the last, 1; --k-tree {levels} needs {need}")]
    GroupLevels { levels: usize, need: usize, found: usize },
    /// More groups than members.
    #[error("--groups: {found} groups along {axis} of {have} at most (mesh {cols}x{rows}, level {level})")]
    GroupsBeyond { cols: usize, rows: usize, axis: &'static str, level: usize, found: usize, have: usize },
}

impl PlanError {
    /// Is it what was asked for, and no room, that stands in the way?
    pub fn is_of_request(&self) -> bool {
        matches!(
            self,
            Self::NoMeshForGroups { .. }
                | Self::OffMesh { .. }
                | Self::Shape { .. }
                | Self::GroupLevels { .. }
                | Self::GroupsBeyond { .. }
        )
    }
}

fn listed(ledger: &Account) -> String {
    let held = OWNERS.iter().zip(ledger).filter(|(_, bytes)| **bytes > 0);
    held.map(|(owner, bytes)| format!("\n  {owner:<28} {bytes:>9} B")).collect()
}
