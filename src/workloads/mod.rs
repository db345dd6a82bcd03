//! Workloads that are not a model's own run: what the WaferLLM paper timed, as program lists over the crate's kernels.
//!
//! | file        | what                                                                              |
//! |-------------|-----------------------------------------------------------------------------------|
//! | `shape`     | the four models of the paper, padded to a mesh, and the authors' group counts     |
//! | `skeleton`  | `waferllm-skeleton`: one layer of prefill as a list of operations, one kernel     |
//! | `decode`    | one layer of decode: the graph that was measured, and better ones                 |
//! | `scaling`   | the algorithms that Figures 6 and 8 compare                                       |
//! | `line`      | a list as programs of PEs; one line of the mesh stands for all (see there)        |
//! | `relay`     | T10 and Ladder on the same mesh: every hop between cores is software              |
//!
//! Software of the published programs is the chip's (`Chip::overheads`), with provenance.
//! Invariant: cycles are those of executed programs, or of a closed form that a test holds against execution.
//! Called by `report` and tests.

pub mod decode;
pub mod line;
pub mod relay;
pub mod scaling;
pub mod shape;
pub mod skeleton;

pub use line::{Axis, Op, Program, TimedError};
pub use shape::{MODELS, PaperModel, Tiles, groups_of};
