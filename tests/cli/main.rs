//! The built command as a user drives it, the examples and the guide; one module a subject.

#[path = "../model_support/mod.rs"]
mod model_support;

mod accuracy;
mod cli;
mod cli_bench;
mod cli_chips;
mod cli_files;
mod cli_flags;
mod cli_paper;
mod cli_shares;
mod cli_stream;
mod command;
mod dry;
mod examples;
mod gemm_cli;
mod guide;
mod plan_cli;
mod trace;
