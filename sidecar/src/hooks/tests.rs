//! Hooks on this machine with a real shell: what they say, how they fail, how they are ended.

use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use expect_test::{Expect, expect};
use protocol::editor::OutputStream;
use protocol::error::Code;

use super::*;
use crate::config::{Document, Places, Source, check, tree};
use crate::frontend::{Answer, Progress, Question, Terminal};

/// Hears what is told.
#[derive(Debug, Default)]
struct Listener(Mutex<Vec<String>>);

#[async_trait]
impl Frontend for Listener {
    fn report(&self, _: Progress) {}

    fn tell(&self, line: String) {
        self.0.lock().expect("no test panics while it is locked").push(line);
    }

    async fn output(&self, _: OutputStream, _: Bytes) {}

    async fn ask(&self, _: &Question) -> Option<Answer> {
        None
    }

    fn terminal(&self) -> Option<Terminal> {
        None
    }
}

impl Listener {
    fn heard(&self) -> Vec<String> {
        self.0.lock().expect("no test panics while it is locked").clone()
    }
}

fn hook(run: &str) -> Hook {
    let source = Source::file(Layer::User, Path::new("config.yaml"));
    Hook {
        point: HookPoint::ConfigLoaded,
        run: run.to_owned(),
        place: Where::Local,
        timeout: Duration::from_mins(1),
        on_failure: OnFailure::Fail,
        said: Place { source, line: 3, column: 5 },
    }
}

/// Runs hooks on this machine; returns what was heard, and the error.
async fn ran(hooks: &[Hook], values: &Values, cancel: &CancellationToken) -> (Vec<String>, Option<Error>) {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let listener = Arc::new(Listener::default());
    let frontend: Arc<dyn Frontend> = listener.clone();
    let secrets = Secrets::new(Arc::clone(&frontend));
    let stage = Stage {
        project: folder.path(),
        remote: None,
        trusted: false,
        frontend: Some(frontend),
        secrets: &secrets,
        cancel,
    };
    let result = run(hooks, HookPoint::ConfigLoaded, values, &stage).await;
    (listener.heard(), result.err())
}

async fn check(run: &str, expected: &Expect) {
    let (heard, error) = ran(&[hook(run)], &Values::default(), &CancellationToken::new()).await;
    let error = error.map(|error| format!("error: {error}\nhelp: {}\n", error.help)).unwrap_or_default();
    let heard: Vec<String> = heard.into_iter().chain([error]).collect();
    expected.assert_eq(&heard.join("\n"));
}

#[tokio::test]
async fn what_it_says_is_heard_line_by_line() {
    check(
        "echo one; printf two",
        &expect![[r"
            on_config_loaded: one
            on_config_loaded: two
        "]],
    )
    .await;
    check(
        "printf 'one\\n\\n\\033[2Jtwo\\377' >&2",
        &expect![[r"
        on_config_loaded: one
        on_config_loaded:
        on_config_loaded: �[2Jtwo�
    "]],
    )
    .await;
}

#[tokio::test]
async fn a_hook_that_fails() {
    check(
        "echo no repository >&2; exit 3",
        &expect![[r"
        on_config_loaded: no repository
        error: the hook `on_config_loaded` of config.yaml:3:5 ended with status 3: no repository
        help: Run the command by itself to see what fails, and mend it in config.yaml:3:5; its standard input is empty.
    "]],
    )
    .await;
    check("no-such-program 2>&-", &expect![[r"
        error: the hook `on_config_loaded` of config.yaml:3:5 ended with status 127
        help: Check that the program is installed on the machine where it runs (`where: local`) and in its `PATH`, or mend the command in config.yaml:3:5.
    "]]).await;
}

#[tokio::test]
async fn a_hook_that_kills_itself() {
    check("kill -9 $$", &expect![[r"
        error: the hook `on_config_loaded` of config.yaml:3:5 was ended by the signal 9
        help: Run the command by itself and look with `dmesg` whether the machine ran out of memory; it stands in config.yaml:3:5.
    "]]).await;
}

#[tokio::test]
async fn a_hook_that_wants_input_finds_none() {
    check(
        "read answer; echo \"got <$answer>\"; exit 1",
        &expect![[r"
        on_config_loaded: got <>
        error: the hook `on_config_loaded` of config.yaml:3:5 ended with status 1: got <>
        help: Run the command by itself to see what fails, and mend it in config.yaml:3:5; its standard input is empty.
    "]],
    )
    .await;
}

#[tokio::test]
async fn a_hook_that_floods_is_cut_and_never_waits() {
    let (heard, error) = ran(
        &[hook("yes 0123456789 | head -c 20000000; head -c 300000 /dev/zero; echo end >&2")],
        &Values::default(),
        &CancellationToken::new(),
    )
    .await;
    assert_eq!(error, None);
    let bytes: usize = heard.iter().map(String::len).sum();
    assert!(bytes < 256 * 1024, "{bytes}");
    assert!(heard.iter().any(|line| line.contains("more than 64 KiB were said")), "{:?}", heard.last());
}

#[tokio::test]
async fn a_hook_that_hangs_is_killed() {
    let hangs = Hook { timeout: Duration::from_millis(50), ..hook("exec sleep 1000") };
    let (_, error) = ran(&[hangs], &Values::default(), &CancellationToken::new()).await;
    let error = error.expect("it did not end");
    assert_eq!(error.message, "the hook `on_config_loaded` of config.yaml:3:5 did not end within 50ms and was killed");
    assert!(error.help.contains("`timeout: 1s`"), "{}", error.help);
}

#[tokio::test]
async fn all_that_a_hook_started_ends_with_it() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let ids = folder.path().join("ids");
    // The first one ignores the request to end.
    let script =
        format!("sh -c 'trap \"\" TERM; echo $$ >> {0}; sleep 1000; sleep 1000' & echo $$ >> {0}; wait", ids.display());
    let cancel = CancellationToken::new();
    let begun = async {
        let read = || std::fs::read_to_string(&ids).unwrap_or_default();
        while read().lines().count() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        cancel.cancel();
    };
    let hooks = [hook(&script)];
    let values = Values::default();
    let ((), (_, error)) = tokio::join!(begun, ran(&hooks, &values, &cancel));
    assert_eq!(error.expect("it was cancelled").code, Code::Cancelled);
    for id in std::fs::read_to_string(&ids).expect("they began").lines() {
        gone(id).await;
    }
}

/// Waits until a process is gone or a zombie that nobody has asked about yet.
async fn gone(id: &str) {
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        if stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with(['Z', 'X'])) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_cancelled_hook_ends_and_no_other_begins() {
    let cancel = CancellationToken::new();
    cancel.cancel();
    let warns = |run: &str| Hook { on_failure: OnFailure::Warn, ..hook(run) };
    let (heard, error) = ran(&[warns("sleep 1000"), warns("echo never")], &Values::default(), &cancel).await;
    assert_eq!(error.expect("it was cancelled").code, Code::Cancelled);
    assert_eq!(heard, Vec::<String>::new());
    // Its values are not even looked for.
    let (_, error) = ran(&[hook("echo {{ remote.hots }}")], &Values::default(), &cancel).await;
    assert_eq!(error.expect("it was cancelled").code, Code::Cancelled);
}

#[tokio::test]
async fn a_warning_is_said_and_the_next_one_runs() {
    let warns = |run: &str| Hook { on_failure: OnFailure::Warn, ..hook(run) };
    let (heard, error) = ran(
        &[warns("exit 1"), warns("echo next"), hook("exit 2"), warns("echo never")],
        &Values::default(),
        &CancellationToken::new(),
    )
    .await;
    assert_eq!(
        error.expect("the third fails").message,
        "the hook `on_config_loaded` of config.yaml:3:5 ended with status 2"
    );
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(
        heard[0].starts_with("warning: the hook `on_config_loaded` of config.yaml:3:5 ended with status 1."),
        "{heard:?}"
    );
    assert_eq!(heard[1], "on_config_loaded: next");
}

#[tokio::test]
async fn what_is_not_allowed_or_not_there_is_not_started() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let began = folder.path().join("began");
    let run = format!("touch {}", began.display());
    let source = Source::file(Layer::Project, Path::new("/p/mltoolbox.yaml"));
    let of_project = Hook { said: Place { source, line: 1, column: 1 }, ..hook(&run) };
    let there = Hook { place: Where::Remote, ..hook(&run) };
    let takes = Hook { run: format!("{run} ${{env:HOME}}"), place: Where::Remote, ..of_project.clone() };
    let within = Hook { place: Where::Container, ..hook(&run) };
    let unknown = hook("echo {{ remote.hots }}");
    for (hook, code) in [
        (of_project, Code::TrustNeeded),
        (takes, Code::TrustNeeded),
        (there, Code::HookFailed),
        (within, Code::HookFailed),
        (unknown, Code::ConfigInvalid),
    ] {
        let (_, error) = ran(&[hook], &Values::default(), &CancellationToken::new()).await;
        assert_eq!(error.expect("it is not run").code, code);
    }
    assert!(!began.exists());
}

#[tokio::test]
async fn values_are_words_and_no_commands() {
    let values = Values {
        remote_host: Some("$(echo pasted); echo 'pasted' \"x".to_owned()),
        remote_name: Some("gpu1".to_owned()),
        files_changed: Some(3),
        ..Values::default()
    };
    let text = "printf '%s\\n' {{ remote.host }} \"{{remote.name}} has {{ sync.files_changed }}\" '{{ remote.name }}'";
    let (heard, error) = ran(&[hook(text)], &values, &CancellationToken::new()).await;
    assert_eq!(error, None);
    let expected = ["$(echo pasted); echo 'pasted' \"x", "gpu1 has 3", "gpu1"];
    assert_eq!(heard, expected.map(|line| format!("on_config_loaded: {line}")));
}

#[test]
fn where_hooks_run_and_for_how_long() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let file = folder.path().join("mltoolbox.yaml");
    let text = "environment: {base_image: a}\nhooks:\n  on_connect: [git pull]\n  on_sync_complete:\n    - run: make\n      where: local\n      timeout: 30s\n      on_failure: fail\n  on_container_start: [pip install -e .]\n  on_config_loaded: [echo hi]\n";
    std::fs::write(&file, text).expect("a file for the test");
    let parsed = check::check(tree::parse(text, &Source::file(Layer::Project, &file)), Document::Project);
    assert_eq!(parsed.problems, []);
    let places = Places {
        start: folder.path().to_owned(),
        user: folder.path().join("u"),
        system: folder.path().join("s"),
        ..Places::default()
    };
    let hooks = of(&crate::config::load(&places).expect("it is valid"));
    let shown: Vec<String> = hooks
        .iter()
        .map(|hook| {
            format!(
                "{} {} {:?} {} {}:{}",
                hook.point,
                hook.place.name(),
                hook.timeout,
                hook.on_failure.name(),
                hook.said.line,
                hook.said.column
            )
        })
        .collect();
    expect![[r#"
        [
            "on_config_loaded local 300s warn 10:22",
            "on_connect remote 300s warn 3:16",
            "on_sync local 30s fail 5:7",
            "on_container_start container 300s warn 9:24",
        ]
    "#]]
    .assert_debug_eq(&shown);
}
