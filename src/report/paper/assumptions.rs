//! What the numbers rest on, in sentences: printed under the tables and in the JSON object.

use crate::fabric::{Chip, FIELDS};

/// Assumptions about workload and method, then the chip's constants with provenance.
pub fn assumptions(chip: &Chip) -> Vec<String> {
    let fixed = [
        "published values were measured on a WSE-2, and calibration cells calibrate the wse2 preset: on another chip \
         the error compares two chips",
        "workload waferllm-skeleton: one layer x number of layers, padded tiles, one head, full-width K and \
         V, no mask, no lm_head, nothing fused, paper numerics (f16 storage, transport and sums); not the \
         LLaMA that writes text",
        "WaferLLM cells are executed in virtual time on one row and one column of the mesh, which take the \
         same cycles as the whole mesh (tests/kernels/workloads.rs)",
        "T10 and Ladder cells are closed forms that equal execution at small P, where results are exact \
         (tests/kernels/relays.rs); a layer is the sum of its operations; empty on a chip that states no cost of \
         their software, or whose sends take time to issue",
        "Q K^T of prefill stands as a ring product: its row reductions are left out, about 1 % of a layer",
        "published values are those that the reference pages state; all but colors are calibration cells, other \
         columns are left empty rather than recalled; SGLang on A100 is quoted only, and no figure of it is \
         stated there",
        "Table 2: lengths chosen here; each system on its best mesh of Tables 3 and 4; re-layout of WaferLLM \
         bounded by all weights and KV crossing the middle of the prefill mesh once; of the baselines not \
         charged",
        "Table 5: shift and concat are what an arena has left beside f16 weights, K and V of full width and the chip's \
         reserve for code, core by core, as the paper reckons; `ledgers of the model` are the arenas' own, as plan has \
         them: the model as it is (grouped heads), with head region, activations and stages of whole layers, as many \
         as the wafer has room for. In both the ratio is the side of the mesh; meshes chosen here; 0 where the weights \
         do not fit the regions of a mesh",
        "Utilisation: cores busy, and edges busy (the border of the mesh), by the counters of the executed layer; \
         bubbles of one request in as many regions of the mesh's size as hold the weights in 16 bits, each waiting \
         for the others: 1 - 1 / regions; 34B and 72B as if wafers enough were joined",
        "Tables 6 to 8: chip power x time; the ratio to A100s of 400 W each needs their time, which the reference \
         pages do not state: --gpu MODEL=PREFILL/DECODE/GPUS quotes it for Tables 7 and 8, else the ratio is empty",
        "software of T10's and Ladder's relays: the published constants overheads.t10_* and ladder_*, less \
         what a message takes by the chip's rules (workloads/relay/layer.rs); fitted to executed cycles with \
         products and barriers",
        "34B and 72B do not fit one wafer in 16 bits: layer x number of layers, as in the paper",
        "Figure 6: MeshGEMM executed; Cannon in lockstep, SUMMA and Allgather by closed forms of their programs \
         that equal execution (tests/kernels/gemm_forms.rs); an empty cell is a product whose tiles the arenas refuse \
         (bench gemm says why). Multicasts of successive pieces overlap in the executed SUMMA, so it stays flat and \
         below MeshGEMM, where the paper's formula, which adds them up, grows with the mesh: that is SUMMA, steps \
         apart, the same clocks with a barrier after every step that takes no time, not executed. Figure 8: pipeline \
         and ring by closed forms that equal execution; MeshGEMV executed",
        "graphs: on wse2 a sum takes about 540 cycles at 420x420 whatever it carries, nearly all of it hops, and the \
         13 of the measured graph are 58 % of its layer: what is gained over the paper's TPR is sums that ride with \
         others (first Q, K, V and up, gate; then norms with the products after them; then the softmax's with A V), \
         and stages that cheaper trees save. Compute, SiLU and the layer constant are the skeleton's in every graph \
         but the last, which has SiLU on all of the inner dimension at an assumed rate. The released code spends 10 \
         colors an axis, published as 20, where 2 K + 1 suffice",
    ];
    let mut all: Vec<String> = fixed.map(str::to_owned).to_vec();
    all.extend(constants(chip));
    all
}

/// Every constant of the chip with value, unit, provenance and source.
fn constants(chip: &Chip) -> Vec<String> {
    let table = toml::Table::try_from(chip).unwrap_or_default(); // a chip is numbers, strings and tables
    let value = |field: &str| match field.split_once('.') {
        None => table.get(field).cloned(),
        Some((group, name)) => table.get(group).and_then(|g| g.get(name)).cloned(),
    };
    let line = |(field, unit): &(&str, &str)| {
        let from = chip.source(field).map_or("no source", |source| &source.from);
        Some(format!("{} {field} = {} {unit}: {}, {from}", chip.name, value(field)?, chip.provenance(field)))
    };
    FIELDS.iter().filter(|f| !f.0.starts_with("energy.")).filter_map(line).collect()
}
