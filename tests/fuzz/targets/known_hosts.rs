//! A known_hosts file of any content: read without a panic, in time that grows with its length only.
#![no_main]

use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use sidecar::transport::ssh::known_hosts::{self, File};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (name, text) = text.split_once('\n').unwrap_or(("[127.0.0.1]:2222", &text));
    let files = [File { path: PathBuf::from("known_hosts"), text: text.to_owned() }];
    drop(known_hosts::warnings(&files, name));
    known_hosts::reorder(&files, name, &[]);
});
