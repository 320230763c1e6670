//! A sync target behind an agent's links.
