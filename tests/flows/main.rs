//! The user's stories from end to end, hermetic: own home, no network, no program but ours.

mod cli;
mod config;
mod decoders;
mod editor;
mod recorded;
mod wire;
