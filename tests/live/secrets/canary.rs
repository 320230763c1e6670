//! A secret that can be told from everything else, searched for wherever one could get by mistake.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use harness::binary;
use harness::cli::{Ran, finish};
use harness::editor::Editor;
use harness::keyring::Keyring;
use harness::work::Work;
use serde_json::json;

use super::given;

/// The value, the passphrase, and a value of an imported file. None is a part of another.
const CANARIES: [&str; 3] = ["canary-Qh7vTz31-value", "canary-Xw9pLk52-passphrase", "canary-Bn4cRd68-imported"];

/// Returns every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("our own folder").map(|entry| entry.expect("an entry"));
    entries.flat_map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { vec![entry.path()] }).collect()
}

/// Returns which canary is in `bytes`, as it is or in base64 at any offset.
fn found(bytes: &[u8]) -> Option<&'static str> {
    let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    CANARIES.into_iter().find(|canary| {
        let encoded = (0..3).map(|skip| {
            let text = sidecar::frontend::base64::encode(&canary.as_bytes()[skip..]);
            // The last letters depend on what follows.
            text.trim_end_matches('=')[..text.trim_end_matches('=').len() - 2].to_owned()
        });
        holds(canary.as_bytes()) || encoded.into_iter().any(|text| holds(text.as_bytes()))
    })
}

/// Returns the command lines of all processes in which a canary is.
fn in_command_lines() -> Vec<String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.filter(|line| found(line).is_some()).map(|line| String::from_utf8_lossy(&line).into_owned()).collect()
}

/// Uses every command with the canaries and returns what they said.
fn use_everything(command: &dyn Fn(&[&str]) -> Command, store: &str) -> Vec<Ran> {
    let mut ran = vec![
        given(&mut command(&["-vv", "secret", "set", "canary", "--store", store]), CANARIES[0].as_bytes()),
        given(&mut command(&["-vv", "secret", "set", "canary", "--json"]), CANARIES[0].as_bytes()),
        finish(&mut command(&["-vv", "secret", "import", ".env", "--store", store, "--yes"])),
        finish(&mut command(&["-vv", "secret", "import", ".env", "--store", store, "--json"])),
    ];
    for line in [
        ["-vv", "secret", "get", "canary"].as_slice(),
        &["-vv", "secret", "get", "canary", "--json"],
        &["-vv", "secret", "list"],
        &["-vv", "secret", "list", "--json"],
        &["-vv", "secret", "get", "absent", "--reveal"],
        &["-vv", "config", "show", "--origin"],
        &["-vv", "config", "validate"],
        &["-vv", "remote", "list", "--json"],
        &["-vv", "doctor", "--json"],
    ] {
        ran.push(finish(&mut command(line)));
    }
    if store == "file" {
        let mut wrong = command(&["-vv", "secret", "get", "canary", "--reveal"]);
        ran.push(finish(wrong.env("MLTOOLBOX_SECRETS_PASSPHRASE", "wrong")));
    }
    ran
}

#[test]
fn a_secret_is_nowhere_but_where_it_belongs() {
    let work = Work::new();
    let environment = "environment:\n  base_image: python:3.12\n  env:\n    TOKEN: ${secret:canary}\n";
    work.write(&format!("//- /mltoolbox.yaml\nversion: \"3.0\"\n{environment}"));
    fs::write(work.workspace().join(".env"), format!("IMPORTED={}\n", CANARIES[2])).expect("our own file");
    let keyring = Keyring::open(&work);
    let command = |arguments: &[&str]| {
        let mut command = work.command(binary::sidecar());
        command.args(arguments).stdin(Stdio::null()).env("MLTOOLBOX_LOG", "trace");
        command.env("MLTOOLBOX_SECRETS_PASSPHRASE", CANARIES[1]);
        if let Ok(keyring) = &keyring {
            command.env("DBUS_SESSION_BUS_ADDRESS", keyring.address());
        }
        command
    };
    let done = AtomicBool::new(false);
    let (ran, on_command_lines) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = Vec::new();
            while !done.load(Ordering::Relaxed) {
                seen.extend(in_command_lines());
            }
            seen
        });
        let mut ran = use_everything(&command, "file");
        if keyring.is_ok() {
            ran.extend(use_everything(&command, "keychain"));
        }
        done.store(true, Ordering::Relaxed);
        (ran, watcher.join().expect("the watcher"))
    });
    // The configuration was read, with what refers to the secret.
    let ran_config = finish(&mut command(&["config", "show", "--origin"]));
    assert!(ran_config.code == 0 && ran_config.stdout.contains("${secret:canary}"), "{}", ran_config.text());
    assert_eq!(on_command_lines, Vec::<String>::new());
    for ran in &ran {
        assert_eq!(found(ran.text().as_bytes()), None, "{}", ran.text());
    }
    // It was really stored, and only this lets it out.
    let shown = finish(&mut command(&["secret", "get", "canary", "--reveal"]));
    assert_eq!(shown.stdout, format!("{}\n", CANARIES[0]), "{}", shown.text());
    // An editor cannot ask for it, nor give one.
    let (mut editor, _) = Editor::initialized(&work);
    for (method, params) in [
        ("mltoolbox/secret/get", json!({ "name": "canary", "reveal": true })),
        ("mltoolbox/secret/set", json!({ "name": "canary", "value": "typed into a protocol" })),
    ] {
        let refused = editor.call(method, &params).expect_err(method);
        assert!(refused.to_string().contains("in a terminal"), "{refused}");
    }
    drop(editor);
    if let Ok(keyring) = &keyring {
        assert!(fs::metadata(keyring.record()).expect("a record").len() > 1000, "the bus was recorded");
    }
    let kept = work.workspace().join(".env");
    let looked: Vec<PathBuf> = files(work.path()).into_iter().filter(|path| *path != kept).collect();
    assert!(looked.iter().any(|path| path.ends_with("mltoolbox.log")), "{looked:?}");
    for path in looked {
        // A socket has nothing to read.
        let Ok(bytes) = fs::read(&path) else { continue };
        assert_eq!(found(&bytes), None, "{}", path.display());
    }
}
