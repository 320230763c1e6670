//! Every error that a person can see, as they see it, in one file to read through: `errors.snap`.

use protocol::error::{Code, Error};
use sidecar::commands::show;

mod fresh;

/// Every type that explains itself, with each of its kinds once.
fn areas() -> Vec<(&'static str, Vec<Error>)> {
    vec![
        ("CliError, UsageError", sidecar::frontend::cli::examples()),
        ("DoctorError", sidecar::commands::doctor::machine::examples()),
        ("JobError", sidecar::jobs::examples()),
        ("OwnerError", sidecar::owner::examples()),
        ("ParamsError", sidecar::commands::examples()),
        ("Unanswered", sidecar::frontend::examples()),
    ]
}

#[test]
fn the_voice_of_the_product() {
    let mut snapshot = String::from("Every error as the command line shows it, with its code and exit status.\n");
    for (area, examples) in areas() {
        snapshot.push_str(&format!("\n== {area}\n"));
        for error in examples {
            let mut text = show::Text::default();
            show::error(&error, &mut text);
            let status = error.code.family().exit_code();
            // The log file lies in the home of whoever runs this test.
            let log = sidecar::log::path().display().to_string();
            let shown = text.as_str().replace('\n', "\u{0}");
            let shown = unwrapped(&shown).replace(&log, "$LOG").replace(&temporary(), "$TMP");
            snapshot.push_str(&format!("\n[{} {status}]\n{shown}", error.code.name()));
        }
    }
    fresh::check("tests/errors.snap", &snapshot);
}

/// Undoes the wrapping, so that the length of a path does not move the lines.
fn unwrapped(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.split('\u{0}').filter(|line| !line.is_empty()) {
        let begins = ["error: ", "  caused by: ", "  help: "].iter().any(|label| line.starts_with(label));
        match lines.last_mut() {
            Some(last) if !begins => {
                last.push(' ');
                last.push_str(line.trim_start());
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines.join("\n") + "\n"
}

fn temporary() -> String {
    std::env::temp_dir().display().to_string()
}

#[test]
fn every_error_follows_the_style() {
    for (area, examples) in areas() {
        for error in examples {
            let Error { code, message, help, .. } = &error;
            let first = message.chars().next().unwrap_or('A');
            assert!(!first.is_uppercase(), "{area}: `{message}` begins with a capital");
            assert!(!message.ends_with('.'), "{area}: `{message}` ends with a full stop");
            assert!(help.ends_with('.'), "{area}: the help of `{message}` is no sentence: {help}");
            assert_ne!(*code, Code::Unknown, "{area}: `{message}` has no code");
            let lower = help.to_lowercase();
            for banned in ["please", "check your configuration", "try again later"] {
                assert!(!lower.contains(banned), "{area}: the help of `{message}` says `{banned}`");
            }
        }
    }
}

#[test]
fn no_type_that_explains_itself_is_missing() {
    let areas = areas();
    let mut missing = Vec::new();
    for (path, text) in sources() {
        for line in text.lines().filter(|line| line.starts_with("impl") && line.contains("Explain for ")) {
            let name = line.split("Explain for ").nth(1).unwrap_or_default();
            let name = name.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default();
            if !areas.iter().any(|(area, _)| area.split(", ").any(|known| known == name)) {
                missing.push(format!("{path}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "give these an `examples()` and a line in `areas`: {missing:#?}");
}

/// Returns the sources of the three crates, by path from the root.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<_> =
        ["protocol/src", "agent/src", "sidecar/src"].map(|folder| fresh::root().join(folder)).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the project") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("sources are text");
                found.push((path.display().to_string(), text));
            }
        }
    }
    found
}
