//! The rules that the source has to keep: who may use what, one door per dependency, no orphans, nothing stale.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use sidecar::config::Document;

mod fresh;

/// Where SSH is spoken.
const SSH: &[&str] = &[
    "sidecar/src/transport/ssh.rs",
    "sidecar/src/transport/ssh/",
    "sidecar/src/transport/ssh_server.rs",
    "sidecar/src/transport/ssh_server/",
];

/// Where SFTP is spoken.
const SFTP: &[&str] = &[
    "sidecar/src/transport/ssh.rs",
    "sidecar/src/transport/ssh/",
    "sidecar/src/transport/ssh_server.rs",
    "sidecar/src/transport/ssh_server/",
    "sidecar/src/sync/via_sftp.rs",
    "sidecar/src/sync/via_sftp/",
];

/// A dependency and the only files that may name it: a path, or a folder with `/` at its end.
const DOORS: &[(&str, &[&str])] = &[
    ("russh", SSH),
    ("russh_sftp", SFTP),
    ("rusqlite", &["sidecar/src/store.rs", "sidecar/src/store/"]),
    ("tower_lsp", &["sidecar/src/frontend/lsp.rs", "sidecar/src/frontend/lsp/"]),
    ("notify", &["sidecar/src/sync/watch.rs", "sidecar/src/sync/watch/"]),
    ("ignore", &["sidecar/src/sync.rs", "sidecar/src/sync/"]),
    ("unicode_normalization", &["sidecar/src/sync/plan/names.rs"]),
    ("ureq", &["sidecar/src/session/install/download.rs"]),
    ("sha2", &["sidecar/src/session/install/download.rs"]),
    ("indicatif", &["sidecar/src/frontend/cli/"]),
    ("rpassword", &["sidecar/src/frontend/cli/"]),
    ("clap_complete", &["sidecar/src/commands/cli.rs"]),
    ("clap_mangen", &["sidecar/src/commands/cli.rs"]),
    ("tracing_subscriber", &["sidecar/src/log.rs", "agent/src/"]),
    (
        "clap",
        &[
            "protocol/src/editor.rs",
            "protocol/src/editor/",
            "protocol/src/method.rs",
            "sidecar/src/commands.rs",
            "sidecar/src/commands/tree.rs",
            "sidecar/src/frontend/cli/usage.rs",
            "sidecar/src/commands/cli.rs",
            "sidecar/src/frontend/cli.rs",
            "agent/src/cli.rs",
            "agent/src/daemon.rs",
            "agent/src/cli/",
        ],
    ),
    ("saphyr_parser", &["sidecar/src/config/tree/read.rs"]),
    ("age", &["sidecar/src/secrets/file/seal.rs"]),
    ("dbus_secret_service", &["sidecar/src/secrets/keychain/secret_service.rs"]),
    ("security_framework", &["sidecar/src/secrets/keychain/apple.rs"]),
    ("zstd", &["agent/src/wire/packed.rs"]),
    ("fastcdc", &["agent/src/delta/"]),
    ("postcard", &["agent/src/", "sidecar/src/session/link.rs", "sidecar/src/session/link/", "tests/"]),
];

/// A folder or file, what it must not name, and why.
const WALLS: &[(&str, &str, &str)] = &[
    ("protocol/src/", "tokio", "the words do no I/O"),
    ("sidecar/src/interpolate", "tokio", "references are replaced in pure code"),
    ("sidecar/src/interpolate", "std::fs", "references are replaced in pure code"),
    ("sidecar/src/secrets", "crate::commands", "secrets do not know who asks"),
    ("protocol/src/", "std::fs", "the words do no I/O"),
    ("protocol/src/", "std::time", "the words have no clock"),
    ("sidecar/src/transport", "crate::session", "a transport knows nothing of sessions"),
    ("sidecar/src/transport", "crate::sync", "a transport knows nothing of features"),
    ("sidecar/src/session", "crate::sync", "a session knows nothing of features"),
    ("sidecar/src/session", "crate::commands", "a session knows nothing of commands"),
    ("sidecar/src/sync", "crate::commands", "features do not know who asks"),
    ("sidecar/src/sync/plan", "tokio", "the planner is pure"),
    ("sidecar/src/sync/plan", "std::fs", "the planner is pure"),
    ("sidecar/src/sync/guard", "tokio", "the brake is pure"),
    ("sidecar/src/sync/guard", "std::fs", "the brake is pure"),
    ("sidecar/src/frontend", "crate::sync", "front ends know only commands"),
    ("sidecar/src/frontend", "crate::sessions", "front ends know only commands"),
    ("sidecar/src/frontend", "crate::transport", "front ends know only commands"),
];

/// What each member may depend on among the others, and what it must not link.
const MEMBERS: &[(&str, &[&str], &[&str])] = &[
    ("mltoolbox-protocol", &[], &["tokio", "rustix", "russh", "rusqlite", "tower-lsp"]),
    ("mltoolbox-agent", &["mltoolbox-protocol"], &["tower-lsp", "rusqlite", "russh", "reqwest", "hyper", "ureq"]),
    ("mltoolbox-sidecar", &["mltoolbox-agent", "mltoolbox-protocol"], &["anyhow"]),
    ("mltoolbox-tests", &["mltoolbox-agent", "mltoolbox-protocol", "mltoolbox-sidecar"], &[]),
];

/// Folders that need a sign, and its longest length.
const ROOMS: &[&str] = &["protocol", "agent", "sidecar", "editors", "tests"];
const SIGN_LINES: usize = 120;

struct Source {
    /// From the project's root.
    path: String,
    text: String,
}

impl Source {
    /// Returns whether all of the file is about tests.
    fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.ends_with("tests.rs") || self.path.contains("/tests/")
    }

    /// Returns the code without comments and without the tests at its foot, with line numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = self.text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        self.text[..end]
            .lines()
            .enumerate()
            .map(|(number, line)| (number + 1, line.split("//").next().unwrap_or_default()))
    }
}

fn sources() -> Vec<Source> {
    let root = fresh::root();
    let mut sources = Vec::new();
    let mut folders: Vec<_> = ["protocol", "agent", "sidecar", "tests"].map(|folder| root.join(folder)).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the project") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("sources are text");
                let path = path.strip_prefix(&root).expect("below the root").display().to_string();
                sources.push(Source { path, text });
            }
        }
    }
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(sources.len() > 50, "the sources were not found");
    sources
}

#[track_caller]
fn none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

/// Returns whether a line of code names `word` as a path, not as a part of a longer name.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = &line[at + word.len()..];
        let free = before.is_none_or(|letter| !letter.is_alphanumeric() && !"_:.\"`-".contains(letter));
        let is_use = line.trim_start().starts_with("use ") || line.trim_start().starts_with("pub use ");
        free && (after.starts_with("::") || is_use && (after.starts_with(';') || after.starts_with(" as ")))
            || word.contains("::")
                && free
                && !after.starts_with(|letter: char| letter.is_alphanumeric() || letter == '_')
    })
}

#[test]
fn the_finder_of_names_finds_names() {
    assert!(names("use russh::client;", "russh"));
    assert!(names("let x = russh::keys();", "russh"));
    assert!(names("use crate::sync::plan;", "crate::sync"));
    assert!(!names("use russh_sftp::client;", "russh"));
    assert!(!names("use crate::notify::x;", "notify"));
    assert!(!names("use crate::sync_state;", "crate::sync"));
    assert!(!names("pub ignore: bool,", "ignore"));
}

#[test]
fn each_dependency_has_one_door() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        for (dependency, doors) in DOORS {
            if !doors.iter().any(|door| is_behind(source, door)) {
                let lines = source.code().filter(|(_, line)| names(line, dependency));
                broken.extend(lines.map(|(number, _)| format!("{}:{number} names `{dependency}`", source.path)));
            }
        }
    }
    none("one door per dependency", &broken);
}

/// Returns whether a file is the door, or lies in the folder that is.
fn is_behind(source: &Source, door: &str) -> bool {
    source.path == door || door.ends_with('/') && source.path.starts_with(door)
}

#[test]
fn every_door_is_used() {
    let sources = sources();
    let mut broken = Vec::new();
    for (dependency, doors) in DOORS {
        for door in *doors {
            // A file and its folder are one place.
            let place = door.trim_end_matches(".rs").trim_end_matches('/');
            let (file, folder) = (format!("{place}.rs"), format!("{place}/"));
            let mut behind = sources.iter().filter(|source| is_behind(source, &file) || is_behind(source, &folder));
            if !behind.any(|source| source.code().any(|(_, line)| names(line, dependency))) {
                broken.push(format!("{door} does not name `{dependency}`"));
            }
        }
    }
    none("a door that nobody uses is closed", &broken);
}

#[test]
fn every_wall_stands() {
    let sources = sources();
    let broken = WALLS.iter().filter(|(place, ..)| !sources.iter().any(|source| source.path.starts_with(place)));
    none("a wall is around something", &broken.map(|(place, ..)| (*place).to_owned()).collect::<Vec<_>>());
}

#[test]
fn nothing_reaches_through_a_wall() {
    let mut broken = Vec::new();
    for source in sources() {
        for (place, word, why) in WALLS.iter().filter(|(place, ..)| source.path.starts_with(place)) {
            let lines = source.code().filter(|(_, line)| names(line, word));
            broken.extend(lines.map(|(number, _)| format!("{}:{number} names `{word}` ({place}: {why})", source.path)));
        }
    }
    none("what must not depend on what", &broken);
}

#[test]
fn members_depend_as_they_may() {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(fresh::root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo speaks JSON");
    let packages = metadata["packages"].as_array().expect("cargo lists packages");
    let names: BTreeSet<_> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    assert_eq!(
        names,
        MEMBERS.iter().map(|(name, ..)| *name).collect(),
        "members without a rule, or rules without a member"
    );
    let mut broken = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, may, must_not)) = MEMBERS.iter().find(|(member, ..)| *member == name) else { continue };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let other = dependency["name"].as_str().unwrap_or_default();
            let kind = dependency["kind"].as_str().unwrap_or("normal");
            let member = other.starts_with("mltoolbox-");
            if kind != "dev" && (member && !may.contains(&other) || must_not.contains(&other)) {
                broken.push(format!("{name} uses {other}"));
            }
        }
    }
    none("dependencies between members", &broken);
}

#[test]
fn every_file_says_what_it_is_for() {
    let broken = sources().into_iter().filter(|source| !source.text.starts_with("//! ")).map(|source| source.path);
    none("`//!` opens every file", &broken.collect::<Vec<_>>());
}

#[test]
fn no_file_is_called_mod() {
    let broken = sources().into_iter().filter(|source| source.path.ends_with("/mod.rs")).map(|source| source.path);
    none("`sync.rs` next to `sync/`, never `mod.rs`", &broken.collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_undone_or_ignored() {
    // Spelled in halves, so that this file does not name what it forbids.
    let forbidden = [
        concat!("#[ign", "ore"),
        concat!("#[should_", "panic"),
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("db", "g!("),
    ];
    let mut broken = Vec::new();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            let found = forbidden.iter().find(|word| line.contains(*word));
            broken.extend(found.map(|word| format!("{}:{} {word}", source.path, number + 1)));
        }
    }
    none("nothing is left undone", &broken);
}

#[test]
fn the_environment_is_asked_in_one_file() {
    let mut broken = Vec::new();
    for source in sources() {
        let may = ["sidecar/src/env.rs", "agent/src/env.rs"].contains(&source.path.as_str());
        let asks = !source.is_test() && !may;
        for (number, line) in source.code().filter(|_| asks) {
            let calls =
                ["env::var(", "env::var_os(", "env::vars(", "env::vars_os(", "env::home_dir(", "env::temp_dir("];
            if calls.iter().any(|call| line.contains(call)) {
                broken.push(format!("{}:{number}", source.path));
            }
        }
    }
    none("environment variables are read in `env.rs` only", &broken);
}

#[test]
fn every_variable_is_declared_once_with_its_meaning() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| source.path.ends_with("src/env.rs")) {
        let mut names = BTreeSet::new();
        let mut before = "";
        for (number, line) in source.text.lines().enumerate() {
            if let Some((_, value)) = line.strip_prefix("pub const ").and_then(|line| line.split_once(": &str = "))
                && (!before.starts_with("///") || !names.insert(value.to_owned()))
            {
                broken.push(format!("{}:{} {line}", source.path, number + 1));
            }
            before = line;
        }
        assert!(!names.is_empty(), "{} declares nothing", source.path);
    }
    none("a variable is declared once, with a doc comment", &broken);
}

#[test]
fn no_file_is_an_orphan() {
    let root = fresh::root();
    let declared = |folder: &str| -> Vec<String> {
        let manifest = std::fs::read_to_string(root.join(folder).join("Cargo.toml")).expect("the manifest is there");
        let paths = manifest.lines().filter_map(|line| line.trim().strip_prefix("path = \"")?.strip_suffix('"'));
        paths.map(|path| format!("{folder}/{path}")).collect()
    };
    let mut reached: BTreeSet<String> = ["tests", "tests/fuzz"].into_iter().flat_map(declared).collect();
    let sources = sources();
    // The roots that Cargo finds by itself.
    let found_by_cargo = sources.iter().filter(|source| {
        let parts: Vec<&str> = source.path.split('/').collect();
        matches!(
            parts[..],
            [_, "src", "lib.rs" | "main.rs"] | [_, "tests" | "benches" | "examples", _] | [_, "build.rs"]
        )
    });
    reached.extend(found_by_cargo.map(|source| source.path.clone()));
    // A module's file lies next to a crate's root, or in the folder of its parent.
    let mut waiting: Vec<String> = reached.iter().cloned().collect();
    while let Some(path) = waiting.pop() {
        let Some(source) = sources.iter().find(|source| source.path == path) else {
            panic!("{path} is declared and missing");
        };
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let own = path.trim_end_matches(".rs");
        for (_, line) in source.code() {
            // A system that has a file of its own names it.
            let named = line.split_once("path = \"").and_then(|(_, rest)| Some(rest.split_once('"')?.0));
            let named = named.map(|file| format!("{folder}/{file}"));
            if let Some(module) = named.filter(|module| sources.iter().any(|source| source.path == *module))
                && reached.insert(module.clone())
            {
                waiting.push(module);
            }
            let Some(line) = line.trim().strip_suffix(';') else { continue };
            let name = match line.split_once("mod ") {
                Some(("", name)) => name,
                Some((visibility, name)) if visibility.starts_with("pub") => name,
                Some(_) | None => continue,
            };
            for module in [format!("{folder}/{name}.rs"), format!("{own}/{name}.rs")] {
                if sources.iter().any(|source| source.path == module) && reached.insert(module.clone()) {
                    waiting.push(module);
                }
            }
        }
    }
    let orphans = sources.iter().filter(|source| !reached.contains(&source.path));
    none("every file is reachable from a target", &orphans.map(|source| source.path.clone()).collect::<Vec<_>>());
}

#[test]
fn every_room_has_a_sign() {
    let mut broken = Vec::new();
    let front = std::fs::read_to_string(fresh::root().join("README.md")).expect("the project has a README");
    for room in ROOMS {
        let sign = fresh::root().join(room).join("README.md");
        match std::fs::read_to_string(&sign) {
            Ok(text) if text.lines().count() <= SIGN_LINES => {}
            Ok(text) => broken.push(format!("{room}/README.md has {} lines", text.lines().count())),
            Err(error) => broken.push(format!("{room}/README.md: {error}")),
        }
        if !front.contains(&format!("]({room}/README.md)")) {
            broken.push(format!("README.md does not lead to {room}/README.md"));
        }
    }
    none("a README of at most 120 lines in every room", &broken);
}

#[test]
fn generated_files_are_fresh() {
    fresh::check("protocol/commands.json", &sidecar::commands::reference::commands_json());
    fresh::check("protocol/methods.md", &sidecar::commands::reference::methods_md());
    fresh::check("protocol/config.md", &sidecar::config::reference::config_md());
    for (document, file) in [(Document::Project, "config"), (Document::Agent, "agent")] {
        let schema =
            serde_json::to_string_pretty(&sidecar::config::reference::json_schema(document)).expect("plain data");
        fresh::check(&format!("protocol/{file}.schema.json"), &format!("{schema}\n"));
    }
}

#[test]
fn the_project_names_no_machine() {
    let home = Path::new("/").join("work").join("");
    let home = home.to_string_lossy();
    let broken = sources().into_iter().filter(|source| source.text.contains(&*home)).map(|source| source.path);
    none("no path of one machine", &broken.collect::<Vec<_>>());
}
