//! Every example passes its own check.

#[path = "../examples/allreduce.rs"]
mod allreduce;
#[path = "../examples/mesh_gemv.rs"]
mod mesh_gemv;
#[path = "../examples/one_pe.rs"]
mod one_pe;
#[path = "../examples/text.rs"]
mod text;

#[test]
fn one_core_adds() {
    one_pe::main().unwrap();
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
