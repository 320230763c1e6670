//! Keeps one remote folder equal to one workspace: collect, scan, plan, guard, apply, record.

pub mod guard;
pub mod ignored;
pub mod plan;
pub mod scan;
pub mod source;
pub mod target;
pub mod via_agent;
pub mod watch;
