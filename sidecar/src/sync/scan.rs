//! What the workspace holds now: stat always, hash only where a stamp cannot be trusted.
