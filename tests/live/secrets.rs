//! Secrets from end to end: stored, found, imported, refused; by several processes at once, and typed at a terminal.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use harness::cli::{Ran, command, finish, run};
use harness::terminal::Terminal;
use harness::work::Work;
use harness::{or_skip, skip};
use protocol::editor::{SecretGetOutput, SecretImportOutput, SecretListOutput, SecretPlace, SecretSetOutput};

mod canary;
mod keychain;

const PASSPHRASE: &str = "correct horse battery";

fn file(work: &Work) -> PathBuf {
    work.home().join(".config/mltoolbox/secrets.yaml")
}

/// Returns the command with that on its standard input.
fn given(command: &mut Command, input: &[u8]) -> Ran {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    // One that refuses before it has read everything is what is tested, too.
    child.stdin.take().expect("a pipe").write_all(input).ok();
    let output = child.wait_with_output().expect("our own child");
    Ran {
        arguments: command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        code: output.status.code().unwrap_or(-1),
    }
}

fn with_passphrase(work: &Work, arguments: &[&str]) -> Command {
    let mut command = command(work, arguments);
    command.env("MLTOOLBOX_SECRETS_PASSPHRASE", PASSPHRASE);
    command
}

#[track_caller]
fn set(work: &Work, name: &str, value: &[u8]) {
    let ran = given(&mut with_passphrase(work, &["secret", "set", name, "--store", "file"]), value);
    assert_eq!(ran.code, 0, "{}", ran.text());
}

/// Returns what a command said, without the breaks of lines that are too long for a terminal.
fn said(ran: &Ran) -> String {
    let words: Vec<&str> = ran.stdout.split_whitespace().chain(ran.stderr.split_whitespace()).collect();
    words.join(" ")
}

fn reveal(work: &Work, name: &str) -> Ran {
    finish(&mut with_passphrase(work, &["secret", "get", name, "--reveal"]))
}

#[test]
fn a_secret_is_stored_found_and_forgotten() {
    let work = Work::new();
    let ran = given(&mut with_passphrase(&work, &["secret", "set", "hf-token", "--json"]), b"hunter2\n");
    let stored: SecretSetOutput = ran.json();
    assert_eq!((stored.place, stored.notes.len()), (SecretPlace::File, 1), "why it is not in the keychain");
    let mode = |path: PathBuf| fs::metadata(path).expect("it is there").permissions().mode() & 0o7777;
    assert_eq!((mode(file(&work)), mode(work.home().join(".config/mltoolbox"))), (0o600, 0o700));
    assert!(fs::read_to_string(file(&work)).expect("it is there").contains("\"hf-token\": |"));
    // Neither way of asking shows the value, and neither needs the passphrase.
    let ran = run(&work, &["secret", "get", "hf-token"]);
    assert!(ran.code == 0 && !ran.text().contains("hunter2"), "{}", ran.text());
    let got: SecretGetOutput = run(&work, &["secret", "get", "hf-token", "--json"]).json();
    assert_eq!((got.places, got.value), (vec![SecretPlace::File], None));
    assert_eq!(reveal(&work, "hf-token").stdout, "hunter2\n");
    // The environment wins, and the last way out is an error that says where was looked.
    let mut shadowed = with_passphrase(&work, &["secret", "get", "hf-token", "--reveal"]);
    assert_eq!(finish(shadowed.env("MLTOOLBOX_SECRET_HF_TOKEN", "other")).stdout, "other\n");
    let mut list = command(&work, &["secret", "list", "--json"]);
    let listed: SecretListOutput =
        finish(list.env("MLTOOLBOX_SECRET_HF_TOKEN", "x").env("MLTOOLBOX_SECRET_WANDB", "y")).json();
    let rows: Vec<_> = listed.secrets.iter().map(|row| (row.name.as_str(), row.places.as_slice())).collect();
    assert_eq!(
        rows,
        [
            ("hf-token", [SecretPlace::Environment, SecretPlace::File].as_slice()),
            ("wandb", [SecretPlace::Environment].as_slice())
        ]
    );
    assert_eq!(run(&work, &["secret", "remove", "hf-token"]).code, 0);
    let ran = run(&work, &["secret", "get", "hf-token"]);
    assert_eq!(ran.code, 3, "{}", ran.text());
    for words in ["`MLTOOLBOX_SECRET_HF_TOKEN` is not set", "keychain:", "does not hold", "secret set hf-token"] {
        assert!(said(&ran).contains(words), "{words}: {}", ran.text());
    }
}

#[test]
fn values_come_back_as_they_are() {
    let work = Work::new();
    let long = "x".repeat(64 << 10);
    for value in ["a\nb\nc", "\ttab ' \" $ `x` \\", "-rf", "ä€🔑", long.as_str()] {
        set(&work, "odd", format!("{value}\n").as_bytes());
        assert_eq!(reveal(&work, "odd").stdout, format!("{value}\n"));
    }
    set(&work, "odd", b"two\n\n");
    assert_eq!(reveal(&work, "odd").stdout, "two\n", "one line break is the shell's, the other the value's");
}

#[test]
fn what_cannot_be_a_secret_is_refused() {
    let work = Work::new();
    for (name, value, words) in [
        ("a b", &b"x"[..], "because of ` `"),
        ("a/b", b"x", "because of `/`"),
        ("..", b"x", "because of `.`"),
        ("empty", b"", "is empty"),
        ("empty", b"\n", "is empty"),
        ("nul", b"a\0b", "holds a NUL byte"),
        ("binary", b"\xff\xfe", "is not UTF-8"),
        ("long", &vec![b'x'; (64 << 10) + 1][..], "is longer than 65536 bytes"),
    ] {
        let ran = given(&mut with_passphrase(&work, &["secret", "set", name]), value);
        assert_eq!(ran.code, 2, "{}", ran.text());
        assert!(said(&ran).contains(words) && said(&ran).contains("help: "), "{}", ran.text());
    }
    assert!(!file(&work).exists());
}

#[test]
fn a_file_that_is_not_right_says_how_to_mend_it() {
    let work = Work::new();
    set(&work, "one", b"1");
    let path = file(&work);
    let whole = fs::read(&path).expect("it is there");
    let mut wrong = command(&work, &["secret", "get", "one", "--reveal"]);
    let ran = finish(wrong.env("MLTOOLBOX_SECRETS_PASSPHRASE", "wrong"));
    assert!(ran.code == 3 && said(&ran).contains("MLTOOLBOX_SECRETS_PASSPHRASE` does not open"), "{}", ran.text());
    let ran = run(&work, &["secret", "get", "one", "--reveal"]);
    assert!(ran.code == 3 && said(&ran).contains("MLTOOLBOX_SECRETS_PASSPHRASE"), "{}", ran.text());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("our own file");
    let ran = reveal(&work, "one");
    assert!(ran.code == 3 && said(&ran).contains("chmod 600"), "{}", ran.text());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("our own file");
    fs::write(&path, &whole[..whole.len() / 2]).expect("our own file");
    for line in [["secret", "get", "one"].as_slice(), &["secret", "remove", "one"]] {
        let ran = run(&work, line);
        assert!(ran.code == 3 && said(&ran).contains("cut off"), "{}", ran.text());
    }
    let ran = given(&mut with_passphrase(&work, &["secret", "set", "two", "--store", "file"]), b"2");
    assert!(ran.code == 3 && said(&ran).contains("line "), "{}", ran.text());
    assert_eq!(fs::read(&path).expect("it is there"), &whole[..whole.len() / 2], "nothing was written over it");
}

#[test]
fn processes_that_store_at_once_lose_nothing() {
    let work = Work::new();
    let name = |number: usize| format!("n{number}");
    let mut children: Vec<_> = (0..8)
        .map(|number| {
            let mut command = with_passphrase(&work, &["secret", "set", &name(number), "--store", "file"]);
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it starts");
            child.stdin.take().expect("a pipe").write_all(name(number).as_bytes()).expect("it reads");
            child
        })
        .collect();
    for child in &mut children {
        assert!(child.wait().expect("our own child").success());
    }
    for number in [0, 7] {
        assert_eq!(reveal(&work, &name(number)).stdout, name(number) + "\n");
    }
    let listed: SecretListOutput = run(&work, &["secret", "list", "--json"]).json();
    assert_eq!(listed.secrets.len(), 8);
    let left = fs::read_dir(file(&work).parent().expect("a folder")).expect("a folder");
    let names: Vec<_> = left.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
    assert!(names.iter().all(|name| !name.starts_with(".secrets-")), "{names:?}");
}

#[test]
fn an_env_file_is_imported_and_stays() {
    let work = Work::new();
    let text = "# keys\nHF_TOKEN='hf \"1\"'\nEMPTY=\nexport WANDB=w # mine\n";
    work.write(&format!("//- /.env\n{text}"));
    let import = ["secret", "import", ".env", "--store", "file", "--json"];
    let imported: SecretImportOutput = finish(&mut with_passphrase(&work, &import)).json();
    let names: Vec<_> = imported.imported.iter().map(|row| row.name.as_str()).collect();
    assert_eq!((names, imported.skipped[0].name.as_str()), (vec!["HF_TOKEN", "WANDB"], "EMPTY"));
    assert_eq!(reveal(&work, "HF_TOKEN").stdout, "hf \"1\"\n");
    let ran = finish(&mut with_passphrase(&work, &import));
    assert!(
        ran.code != 0 && said(&ran).contains("are stored already") && said(&ran).contains("--yes"),
        "{}",
        ran.text()
    );
    let again = ["secret", "import", ".env", "WANDB", "ABSENT", "--yes", "--json"];
    let imported: SecretImportOutput = finish(&mut with_passphrase(&work, &again)).json();
    assert_eq!((imported.imported.len(), imported.skipped[0].name.as_str()), (1, "ABSENT"));
    assert_eq!(fs::read_to_string(work.workspace().join(".env")).expect("it stays"), text);
    let ran = run(&work, &["secret", "import", "absent.env"]);
    assert!(ran.code != 0 && said(&ran).contains("absent.env") && said(&ran).contains("help: "), "{}", ran.text());
}

#[test]
fn a_typed_value_is_not_shown() {
    or_skip!("a_typed_value_is_not_shown", skip::live(&["setsid"]));
    let work = Work::new();
    let start = ["secret", "set", "typed", "--store", "file"];
    let mut terminal = or_skip!("a_typed_value_is_not_shown", Terminal::start(&work, &start));
    for (prompt, typed) in [
        ("Value of the secret `typed`:", "hunter2"),
        ("The same again:", "hunter2"),
        ("New passphrase for", PASSPHRASE),
        ("The same again:", PASSPHRASE),
    ] {
        terminal.expect(prompt);
        terminal.wait_for_no_echo();
        terminal.enter(typed);
    }
    let (ran, cooked) = terminal.finish();
    assert!(
        ran.code == 0 && cooked && !said(&ran).contains("hunter2") && !ran.stdout.contains(PASSPHRASE),
        "{}",
        ran.text()
    );
    assert_eq!(reveal(&work, "typed").stdout, "hunter2\n");
    // A passphrase may be mistyped; a value that was typed differently is not stored.
    let mut terminal =
        or_skip!("a_typed_value_is_not_shown", Terminal::start(&work, &["secret", "get", "typed", "--reveal"]));
    for typed in ["wrong", PASSPHRASE] {
        terminal.expect("Passphrase for");
        terminal.wait_for_no_echo();
        terminal.enter(typed);
    }
    terminal.expect("hunter2");
    assert_eq!(terminal.finish().0.code, 0);
    let mut terminal = or_skip!("a_typed_value_is_not_shown", Terminal::start(&work, &start));
    for (prompt, typed) in [("Value of the secret", "one"), ("The same again:", "other")] {
        terminal.expect(prompt);
        terminal.wait_for_no_echo();
        terminal.enter(typed);
    }
    assert_eq!(terminal.finish().0.code, 2);
    assert_eq!(reveal(&work, "typed").stdout, "hunter2\n");
}

#[test]
fn a_key_file_opens_without_a_passphrase() {
    let work = Work::new();
    let key = work.path().join("key");
    fs::write(&key, format!("{PASSPHRASE}\n")).expect("our own file");
    let keyed = |arguments: &[&str]| {
        let mut command = command(&work, arguments);
        command.env("MLTOOLBOX_SECRETS_KEY_FILE", &key);
        command
    };
    let start = ["secret", "set", "one", "--store", "file"];
    let ran = given(&mut keyed(&start), b"1");
    assert!(ran.code == 3 && said(&ran).contains("chmod 600"), "{}", ran.text());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("our own file");
    assert_eq!(given(&mut keyed(&start), b"1").code, 0);
    assert_eq!(finish(&mut keyed(&["secret", "get", "one", "--reveal"])).stdout, "1\n");
    assert_eq!(reveal(&work, "one").stdout, "1\n", "it holds the passphrase");
}
