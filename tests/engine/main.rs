//! The engine: programs on links, tiles and tickets, their clocks, stalls and refusals; one module a subject.

mod check_random;
mod golden_cycles;
mod large_multicast;
mod launch;
mod layout_errors;
mod link_windows;
mod open_send;
mod published_formulas;
mod rings;
mod routing_props;
mod script;
mod stalls;
mod tickets;
mod trades;
