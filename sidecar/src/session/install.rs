//! Brings the agent to a remote: probe, upload, verify, start.
