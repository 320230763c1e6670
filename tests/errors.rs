//! Every error that a person can see, as they see it, in one file to read through: `errors.snap`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use protocol::error::{Code, Error, Example};
use sidecar::commands::{show, tree};

mod fresh;

/// Every type that explains itself, with each of its kinds at least once.
fn areas() -> Vec<(&'static str, Vec<Example>)> {
    vec![
        ("The command line", sidecar::frontend::cli::examples()),
        ("Nobody can be asked", sidecar::frontend::examples()),
        ("Editors", sidecar::frontend::lsp::examples()),
        ("Commands", sidecar::commands::examples()),
        ("Jobs", sidecar::jobs::examples()),
        ("The background process", sidecar::owner::examples()),
        ("The state database", sidecar::store::examples()),
        ("Secrets", sidecar::secrets::examples()),
        ("References and templates", sidecar::interpolate::examples()),
        ("Reaching a machine", sidecar::transport::examples()),
        ("The SSH configuration", sidecar::transport::ssh_config::examples()),
        ("Sessions", sidecar::sessions::examples()),
        ("The session with one remote", sidecar::session::examples()),
        ("Sync", sidecar::sync::examples()),
        ("Env files", sidecar::dotenv::examples()),
        ("Migration", sidecar::migrate::examples()),
        ("Hooks", sidecar::hooks::examples()),
        ("Trust", sidecar::trust::examples()),
        ("The agent's process", agent::daemon::error::examples()),
        ("The agent's requests", agent::serve::examples()),
        ("The agent's files", agent::files::examples()),
    ]
}

/// What is no error by itself and is shown as one: the file and the enum.
const SHOWN_AS_ERRORS: &[(&str, &str)] =
    &[("sidecar/src/frontend.rs", "Question"), ("protocol/src/sync.rs", "Rejected")];

/// Words that stand in a help instead of an act.
const BANNED: &[&str] = &["please", "check your configuration", "try again later", "simply", "just ", "invalid"];

#[test]
fn the_voice_of_the_product() {
    let mut snapshot = String::from("Every error as the command line shows it, with its code and exit status.\n");
    for (area, examples) in areas() {
        write!(snapshot, "\n== {area}\n").expect("a string takes everything");
        for Example { error, .. } in examples {
            let mut text = show::Text::default();
            show::error(&error, &mut text);
            let status = error.code.family().exit_code();
            // The log file lies in the home of whoever runs this test.
            let log = sidecar::log::path().display().to_string();
            let shown = unwrapped(text.as_str()).replace(&log, "$LOG").replace(&temporary(), "$TMP");
            write!(snapshot, "\n[{} {status}]\n{shown}", error.code.name()).expect("a string takes everything");
        }
    }
    fresh::check("tests/errors.snap", &snapshot);
}

/// Undoes the wrapping, so that the length of a path does not move the lines.
fn unwrapped(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
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
    let mut broken = Vec::new();
    for Example { kind, error } in areas().into_iter().flat_map(|(_, examples)| examples) {
        let Error { code, message, help, .. } = &error;
        let mut say = |what: &str| broken.push(format!("{kind}: {what}: `{message}` / `{help}`"));
        if message.chars().next().is_none_or(char::is_uppercase) {
            say("the message begins with a capital");
        }
        if message.ends_with('.') {
            say("the message ends with a full stop");
        }
        // What is listed as a problem of one path has its reason and no help of its own.
        if !kind.starts_with("Rejected::") && !help.ends_with(['.', '?']) {
            say("the help is no sentence");
        }
        if help.chars().next().is_some_and(char::is_lowercase) {
            say("the help begins without a capital");
        }
        if *code == Code::Unknown {
            say("there is no code");
        }
        let lower = help.to_lowercase();
        if let Some(word) = BANNED.iter().find(|word| lower.contains(**word)) {
            say(&format!("the help says `{word}`"));
        }
        if help.split('`').count() % 2 == 0 || message.split('`').count() % 2 == 0 {
            say("a backtick is missing");
        }
        if ends_a_sentence_with_a_path(help) {
            say("a full stop follows a path, and would be copied with it");
        }
        for command in named_commands(help) {
            if !exists(&command) {
                say(&format!("there is no command `{command}`"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Returns whether a path alone in backticks is followed by a full stop.
fn ends_a_sentence_with_a_path(help: &str) -> bool {
    let parts: Vec<&str> = help.split('`').collect();
    let quoted = parts.iter().zip(parts.iter().skip(1)).skip(1).step_by(2);
    quoted
        .into_iter()
        .any(|(quoted, after)| after.starts_with('.') && quoted.starts_with(['/', '~']) && !quoted.contains(' '))
}

/// Returns the commands of ours that a help tells to run, without the program's name.
fn named_commands(help: &str) -> Vec<String> {
    let quoted = help.split('`').skip(1).step_by(2);
    let own = quoted.filter_map(|quoted| quoted.strip_prefix(tree::PROGRAM)?.strip_prefix(' '));
    own.map(str::to_owned).collect()
}

/// Returns whether the command line takes these words.
fn exists(command: &str) -> bool {
    let words = shell_words::split(command).expect("a help quotes well");
    if words.iter().all(|word| word.starts_with("--")) {
        return true;
    }
    // clap answers a wish for help with an error that shows it.
    if let Some((last, before)) = words.split_last()
        && last == "--help"
    {
        return sidecar::commands::table().iter().any(|row| row.cli.iter().take(before.len()).eq(before.iter()));
    }
    let line = std::iter::once(tree::PROGRAM.to_owned()).chain(words);
    // A page of help is an answer, too.
    tree::parse(line.map(Into::into).collect()).map_or_else(|refused| !refused.use_stderr(), |_| true)
}

#[test]
fn no_kind_of_error_is_missing() {
    let shown: BTreeSet<String> =
        areas().into_iter().flat_map(|(_, examples)| examples).map(|example| example.kind).collect();
    let mut missing = Vec::new();
    let mut types = 0;
    for (path, text) in sources() {
        let explained = text.lines().filter(|line| line.starts_with("impl")).filter_map(|line| {
            let name = line.split_once("Explain for ")?.1;
            name.split(|letter: char| !letter.is_alphanumeric()).next()
        });
        let beside = SHOWN_AS_ERRORS.iter().filter(|(file, _)| *file == path).map(|(_, name)| *name);
        for name in explained.chain(beside) {
            types += 1;
            let kinds = variants(&text, name).unwrap_or_else(|| vec![name.to_owned()]);
            assert!(!kinds.is_empty(), "{path}: `{name}` cannot be read");
            missing.extend(kinds.iter().filter(|kind| !shown.contains(*kind)).map(|kind| format!("{path}: {kind}")));
        }
    }
    assert!(types > 25, "the types were not found");
    assert!(missing.is_empty(), "add these to the `examples()` beside them: {missing:#?}");
}

/// Returns `NAME::VARIANT` of each variant of the enum, or `None` when the text has no such enum.
fn variants(text: &str, name: &str) -> Option<Vec<String>> {
    let start = text.find(&format!("enum {name} {{"))?;
    let mut letters = text[start..].chars().peekable();
    let (mut depth, mut expected, mut found) = (0_usize, false, Vec::new());
    while let Some(letter) = letters.next() {
        match letter {
            '/' if letters.peek() == Some(&'/') => while letters.next_if(|letter| *letter != '\n').is_some() {},
            '"' => {
                while let Some(letter) = letters.next().filter(|letter| *letter != '"') {
                    if letter == '\\' {
                        letters.next();
                    }
                }
            }
            '{' | '(' | '[' => {
                depth += 1;
                expected |= depth == 1;
            }
            '}' | ')' | ']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(found);
                }
            }
            ',' if depth == 1 => expected = true,
            _ if depth == 1 && expected && letter.is_alphabetic() => {
                let mut variant = String::from(letter);
                while let Some(letter) = letters.next_if(|letter| letter.is_alphanumeric()) {
                    variant.push(letter);
                }
                found.push(format!("{name}::{variant}"));
                expected = false;
            }
            _ => {}
        }
    }
    Some(found)
}

#[test]
fn the_reader_of_enums_reads_enums() {
    let text = r#"
        enum Other { No }
        pub enum Some {
            /// One (1), with { a comment.
            #[error("`{path}`, \"Quoted\", [x]")]
            One { path: String, Two: u8 },
            #[error(transparent)]
            Three(#[source] Box<Four>, u8),
            Five,
        }
        enum Last { Six }
    "#;
    let named = |names: &[&str]| Some(names.iter().map(|name| format!("Some::{name}")).collect::<Vec<_>>());
    assert_eq!(variants(text, "Some"), named(&["One", "Three", "Five"]));
    assert_eq!(variants(text, "Last"), Some(vec!["Last::Six".to_owned()]));
    assert_eq!(variants(text, "None"), None);
}

/// Returns the sources of the three crates, by path from the root.
fn sources() -> Vec<(String, String)> {
    let root = fresh::root();
    let mut found = Vec::new();
    let mut folders: Vec<_> = ["protocol/src", "agent/src", "sidecar/src"].map(|folder| root.join(folder)).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the project") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("sources are text");
                found.push((path.strip_prefix(&root).expect("below the root").display().to_string(), text));
            }
        }
    }
    found
}
