//! The loaders: whole files, damaged files, fuzz seeds, rotations; one module a subject.

#[path = "../model_support/mod.rs"]
mod model_support;

mod fuzz_seeds;
mod model_damage;
mod model_files;
mod model_forward;
mod model_rope;
