//! Planning: what a model would take on a wafer, before and beside running it.
//!
//! | file       | what                                                                |
//! |------------|---------------------------------------------------------------------|
//! | `ask`      | the question                                                         |
//! | `advice`   | what to do where nothing fits                                        |
//! | `score`    | what an objective counts                                             |
//! | `search`   | the choice: closed forms to rank, dry runs to confirm                |
//! | `confirm`  | a finalist: trees, ways, executed layers, latency and rate           |
//! | `prompt`   | the prompt: by token, in chunks, or on a mesh of its own             |
//! | `smaller`  | the same tiles on a mesh on which a prompt is executed in seconds    |
//! | `draw`     | the floorplan as text and as SVG                                     |
//! | `closed`   | cycles of a layer and of a token as closed forms, to rank meshes     |
//! | `utilise`  | how much of that the PEs of a run could have done                    |
//! | `rivals`   | WaferLLM's utilisation over T10's and Ladder's                       |
//!
//! Invariant: pure: nothing here prints, reads a file or looks at a wall clock. Called by `app`.

pub mod advice;
pub mod ask;
pub mod closed;
pub mod confirm;
pub mod draw;
pub mod prompt;
pub mod rivals;
pub mod score;
pub mod search;
pub mod smaller;
pub mod utilise;
