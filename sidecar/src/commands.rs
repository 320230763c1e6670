//! THE TABLE: one row per command. Every front end is a projection of it.
