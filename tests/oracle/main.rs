//! The wafer against the serial oracle, bit for bit: decode, prefill, floorplans, the embedded model; one module a
//! subject.

#[path = "../oracle_support/mod.rs"]
mod oracle_support;

mod decode_oracle;
mod decode_support;
mod embedded_oracle;
mod floorplan;
mod long_session;
mod prefill_apart;
mod prefill_oracle;
mod tiny;
mod verify;
