//! Every example passes its own check.

#[path = "../../examples/allreduce.rs"]
mod allreduce;
#[path = "../../examples/kernel_deadlock.rs"]
pub mod kernel_deadlock;
#[path = "../../examples/kernel_halo.rs"]
mod kernel_halo;
#[path = "../../examples/kernel_topk.rs"]
mod kernel_topk;
#[path = "../../examples/mesh_gemv.rs"]
mod mesh_gemv;
#[path = "../../examples/one_pe.rs"]
mod one_pe;
#[path = "../../examples/text.rs"]
mod text;
#[path = "../../examples/two_cores.rs"]
mod two_cores;

#[test]
fn one_core_adds() {
    one_pe::main().unwrap();
}

#[test]
fn a_long_burst_waits_for_its_taker_and_a_short_one_does_not() {
    two_cores::main().unwrap();
}

#[test]
fn a_line_sums_in_the_cycles_of_the_formula() {
    allreduce::main().unwrap();
}

#[test]
fn a_mesh_multiplies_with_every_allreduce() {
    mesh_gemv::main().unwrap();
}

#[test]
fn the_wafer_writes_the_ids_of_the_float64_forward_pass() {
    text::main().unwrap();
}

#[test]
fn a_stencil_trades_its_halo_in_the_cycles_of_its_formula() {
    kernel_halo::main().unwrap();
}

#[test]
fn the_best_k_of_a_mesh_are_the_best_k() {
    kernel_topk::main().unwrap();
}

#[test]
fn a_send_first_exchange_stalls_with_a_report_and_its_repairs_run() {
    kernel_deadlock::main().unwrap();
}
