//! The parts that read what others wrote, for `tests/fuzz`: texts in, a host out. Nothing is asked or opened.

use std::path::Path;

use super::evaluate::{Question, aliases, evaluate};
use super::file::{self, Place};
use super::host::{Person, host};
use super::values::Values;
use super::{ConfigError, Host, Overrides};

/// Returns the host that an output of `ssh -G` describes.
pub fn answer(alias: &str, output: &str) -> Result<Host, ConfigError> {
    made(alias, &Values::parse(output), Vec::new())
}

/// Returns what a file without `Include` says of a host, and the names that could be imported from it.
pub fn file(alias: &str, text: &str) -> Result<(Host, Vec<String>), ConfigError> {
    let home = Path::new("/home/ada");
    let parsed = [file::parse(Path::new("config"), text, Place { home, folder: home })?];
    let mut warnings = Vec::new();
    let values = evaluate(&parsed, Question { alias, local_user: "ada" }, Values::default(), &mut warnings)?;
    Ok((made(alias, &values, warnings)?, aliases(&parsed)))
}

fn made(alias: &str, values: &Values, warnings: Vec<String>) -> Result<Host, ConfigError> {
    let person = Person {
        home: "/home/ada".into(),
        account_home: Some("/root".into()),
        user: Some("ada".to_owned()),
        machine: "desk.lab".to_owned(),
    };
    host(alias, values, &Overrides::default(), &person, warnings).map(|(host, _)| host)
}
