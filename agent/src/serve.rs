//! One conversation: frames in, requests to tasks, frames out.
