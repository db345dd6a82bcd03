//! SmolLM2-135M-Instruct: tokenizer, decode and prefill, against independent engines and the oracle; one module a
//! subject.
//!
//! Needs the downloaded model: skipped loudly without it.

#[path = "../oracle_support/mod.rs"]
mod oracle_support;

mod smollm2_golden;
mod smollm2_oracle;
mod smollm2_prefill;
mod smollm2_tokenizer;
mod support;
