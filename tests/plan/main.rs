//! The planner and placement on small chips: plans are total, best and true; one module a subject.

mod placement_props;
mod plan_advice;
mod plan_forms;
mod plan_objectives;
mod plan_total;
