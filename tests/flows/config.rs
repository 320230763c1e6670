//! The configuration on the command line: what holds, what is wrong with broken files, what is changed, what is shown where.

use std::fs;
use std::path::Path;

use expect_test::{expect, expect_file};
use harness::cli::{self, check, run};
use harness::skip::{self, Reason};
use harness::work::Work;
use protocol::editor::{ConfigGetOutput, ConfigSetOutput, ConfigShowOutput, ConfigValidateOutput};
use sidecar::config::{Document, Layer, Source, check as checked, tree};

/// Broken files, and what their fixes come to: a text of the file and the one that is typed in its place.
const BROKEN: &[(&str, &[(&str, &str)])] = &[
    ("both", &[("  gpu_count: 2\n", "")]),
    ("bracket", &[("data/\n", "data/]\n")]),
    ("colon", &[("  name_of_it: b: c\n", "")]),
    ("cyclic", &[("*env", "one")]),
    ("documents", &[("---\nproject:\n  name: b\n", "")]),
    ("duplicate", &[("  watch: true\n", "  watch: true\n  git: push\n"), ("sync:\n  git: push\n", "")]),
    ("indent", &[("\n debounce: 2s", "\n  debounce: 2s")]),
    ("laughs", &[]),
    ("list", &[("- project\n- sync\n", "version: \"3.0\"\n")]),
    ("newer", &[("\"4.0\"", "\"3.0\"")]),
    ("no_colon", &[("  name a\n", "  name: a\n")]),
    ("no_source", &[("environment:\n", "environment:\n  base_image: python:3.12\n")]),
    ("no_unit", &[("debounce: 2", "debounce: 2s")]),
    ("ports", &[("88888", "8888"), ("./data:data", "./data:/data")]),
    ("profile", &[("profiles:\n  ml:\n    env:\n      A: b\n", "environment:\n  base_image: a\n  env:\n    A: b\n")]),
    ("quote", &[("\"myproject", "\"myproject\"")]),
    ("secret", &[("sk-1234567890", "${secret:lambda_api_key}")]),
    ("star", &[("- *.pyc", "- \"*.pyc\"")]),
    ("strategy", &[("rclone", "rsync")]),
    ("tab", &[("\t\t- ", "    - "), ("\texclude", "  exclude")]),
    ("template", &[("{{ remote.host }}", "\"{{ remote.host }}\"")]),
    ("two_sources", &[("  dockerfile: ./Dockerfile\n", "")]),
    ("type", &[("\"*.pyc\"", "[\"*.pyc\"]"), ("[true]", "true")]),
    ("unit", &[("2sec", "2s")]),
    ("unknown", &[("snyc", "sync"), ("exclude:\n  - a\n", "")]),
];

fn broken(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("flows/broken").join(format!("{name}.yaml"));
    fs::read_to_string(file).expect("a file of this folder")
}

#[test]
fn every_broken_file_gives_place_reason_and_fix() {
    let work = Work::new();
    let mut transcript = String::new();
    for (name, _) in BROKEN {
        fs::write(work.workspace().join("mltoolbox.yaml"), broken(name)).expect("our own folder");
        let ran = run(&work, &["config", "validate"]);
        assert_eq!(ran.code, 3, "{name}: {}", ran.text());
        transcript.extend([&broken(name), "\n", &work.redact(&ran.text()), "\n"]);
    }
    fs::write(work.workspace().join("mltoolbox.yaml"), b"project:\n  name: caf\xe9\n").expect("our own folder");
    transcript += &work.redact(&run(&work, &["config", "validate"]).text());
    expect_file!["broken/transcript.snap"].assert_eq(&transcript);
}

#[test]
fn every_fix_mends_its_file() {
    for (name, fixes) in BROKEN.iter().filter(|(_, fixes)| !fixes.is_empty()) {
        let mut text = broken(name);
        for (wrong, right) in *fixes {
            assert!(text.contains(wrong), "{name} holds no {wrong:?}");
            text = text.replace(wrong, right);
        }
        let source = Source::file(Layer::Project, Path::new("mltoolbox.yaml"));
        let problems = checked::check(tree::parse(&text, &source), Document::Project).problems;
        assert!(problems.is_empty(), "{name}: {problems:#?}\n{text}");
    }
}

#[test]
fn a_first_file_is_written_checked_and_shown() {
    let work = Work::new();
    work.write("//- /Dockerfile\nFROM scratch\n//- /.env\nA=hunter2\n");
    check(
        &work,
        "config validate",
        &expect![[r"
        $ mltoolbox-sidecar config validate
        No problems in 1 file.
        [exit 0]
    "]],
    );
    check(
        &work,
        "init",
        &expect![[r"
        $ mltoolbox-sidecar init
        Wrote `$WORK/workspace/mltoolbox.yaml`: `environment.dockerfile` is
        `./Dockerfile`.
        Edit it, then run `mltoolbox-sidecar config validate`.
        [exit 0]
    "]],
    );
    check(
        &work,
        "init",
        &expect![[r"
        $ mltoolbox-sidecar init
        error: `$WORK/workspace/mltoolbox.yaml` is there already
          help: Run `mltoolbox-sidecar config validate
                $WORK/workspace/mltoolbox.yaml` to check it, or `mv
                $WORK/workspace/mltoolbox.yaml
                $WORK/workspace/mltoolbox.yaml.old` to begin anew.
        [exit 2]
    "]],
    );
    check(
        &work,
        "config validate",
        &expect![[r"
        $ mltoolbox-sidecar config validate
        No problems in 1 file.
        [exit 0]
    "]],
    );
    check(
        &work,
        "config show --origin --set sync.debounce=2s",
        &expect![[r#"
        $ mltoolbox-sidecar config show --origin --set sync.debounce=2s
        version: "3.0"  # $WORK/workspace/mltoolbox.yaml:4:10
        project:
          name: workspace  # $WORK/workspace/mltoolbox.yaml:7:9
        environment:
          dockerfile: ./Dockerfile  # $WORK/workspace/mltoolbox.yaml:15:15
          env_file: .env  # $WORK/workspace/mltoolbox.yaml:16:13
          gpu:
            count: 1  # default
          network_mode: bridge  # default
        ray:
          enabled: false  # default
          port: 6379  # default
          dashboard_port: 8265  # default
        sync:
          exclude:  # $WORK/workspace/mltoolbox.yaml:30:5
            - "*.pyc"
            - __pycache__/
            - .ipynb_checkpoints/
          strategy: rsync  # default
          watch: true  # default
          debounce: 2s  # flag --set
          git: off  # default
        provision:
          auto: false  # default
          requirements:
            gpu_count: 1  # default
          strategy: price  # default
        watch:
          enabled: false  # default
        editors:
          autostart: false  # default
        [exit 0]
    "#]],
    );
    fs::remove_file(work.workspace().join("mltoolbox.yaml")).expect("our own folder");
    let ran = run(&work, &["init", "--from", "image"]);
    assert!(ran.stdout.contains("python:3.12"), "{}", ran.text());
}

#[test]
fn a_key_is_read_and_set_where_it_was_asked() {
    let work = Work::new();
    work.write("//- /mltoolbox.yaml\n# mine\nsync:\n  debounce: 1s # why\n");
    let set: ConfigSetOutput = run(&work, &["config", "set", "sync.debounce", "2s", "--json"]).json();
    assert_eq!((set.value, set.hidden_by), ("2s".into(), None));
    let file = work.workspace().join("mltoolbox.yaml");
    assert_eq!(fs::read_to_string(&file).expect("it is there"), "# mine\nsync:\n  debounce: 2s # why\n");
    let set: ConfigSetOutput = run(&work, &["config", "set", "--user", "sync.debounce", "3s", "--json"]).json();
    assert_eq!(set.hidden_by.and_then(|origin| origin.line), Some(3), "the project's file holds another value");
    let own = work.home().join(".config/mltoolbox/config.yaml");
    assert_eq!(fs::read_to_string(own).expect("it is there"), "version: \"3.0\"\nsync:\n  debounce: 3s\n");
    let got: ConfigGetOutput = run(&work, &["config", "get", "sync.debounce", "--json"]).json();
    assert_eq!((got.text.as_str(), got.origin.layer.as_str()), ("2s", "project"));
    check(
        &work,
        "config get sync.debounc",
        &expect![[r"
        $ mltoolbox-sidecar config get sync.debounc
        error: there is no key `sync.debounc`
          help: Use `sync.debounce` in place of `sync.debounc`.
        [exit 2]
    "]],
    );
    check(
        &work,
        "config get sync.pull",
        &expect![[r"
        $ mltoolbox-sidecar config get sync.pull
        error: `sync.pull` is not set
          help: Run `mltoolbox-sidecar config set sync.pull VALUE` to set it.
        [exit 2]
    "]],
    );
    check(
        &work,
        "config set sync.debounce 2",
        &expect![[r"
        $ mltoolbox-sidecar config set sync.debounce 2
        error: flag VALUE: `2` has no unit
          help: Write `2s` in its place.
        [exit 3]
    "]],
    );
    check(
        &work,
        "config get sync",
        &expect![[r"
        $ mltoolbox-sidecar config get sync
        strategy: rsync
        watch: true
        debounce: 2s
        git: off
        [exit 0]
    "]],
    );
}

#[test]
fn a_file_that_is_wrong_stops_what_needs_it() {
    let work = Work::new();
    work.write("//- /mltoolbox.yaml\nsync:\n  exlude: [a]\n");
    check(
        &work,
        "config show",
        &expect![[r"
        $ mltoolbox-sidecar config show
        error: $WORK/workspace/mltoolbox.yaml:2:3: there is no key `exlude`
               in `sync`
          help: Write `exclude` in place of `exlude`.
        [exit 3]
    "]],
    );
    let ran = run(&work, &["sync", "push", "--json"]);
    assert_eq!(ran.code, 3, "{}", ran.text());
    let found: ConfigValidateOutput =
        serde_json::from_str(&run(&work, &["config", "validate", "--json"]).stdout).expect("one document");
    assert_eq!(found.problems.iter().map(|problem| problem.origin.line).collect::<Vec<_>>(), [Some(2)]);
}

#[test]
fn the_examples_of_the_readme_hold_and_name_every_key() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the project").join("README.md");
    let readme = fs::read_to_string(readme).expect("it is there");
    let (_, chapter) = readme.split_once("\n## Configuration\n").expect("the chapter is there");
    let chapter = chapter.split("\n## ").next().unwrap_or_default();
    let blocks: Vec<&str> = chapter.split("```yaml\n").skip(1).filter_map(|block| block.split("```").next()).collect();
    for document in [Document::Project, Document::Agent] {
        let is_agent = |block: &&&str| block.starts_with("# agent.yaml") == (document == Document::Agent);
        let mut trees = Vec::new();
        for block in blocks.iter().filter(is_agent) {
            let source = Source::file(Layer::User, Path::new("README.md"));
            let found = checked::check(tree::parse(block, &source), document);
            assert!(found.problems.is_empty(), "{:#?}\n{block}", found.problems);
            trees.extend(found.root);
        }
        let is_named = |key: &str| trees.iter().any(|tree| tree.at(key.split('.')).is_some());
        for (key, _) in document.keys().iter().filter(|(key, _)| !key.contains(['*', '['])) {
            assert!(is_named(key), "no example of the README names `{key}`");
        }
    }
}

#[test]
fn what_holds_is_json_without_secrets() {
    let work = Work::new();
    work.write("//- /mltoolbox.yaml\nenvironment:\n  base_image: a\n  env: {KEY: \"${secret:key}\"}\n  env_file: .env\n//- /.env\nTOKEN=hunter2\n");
    let ran = run(&work, &["config", "show", "--origin", "--json"]);
    let shown: ConfigShowOutput = ran.json();
    assert_eq!(shown.config["environment"]["env"]["KEY"], "${secret:key}");
    assert!(shown.origins.iter().any(|origin| origin.key == "environment.env.KEY" && origin.line == Some(3)));
    assert!(!ran.text().contains("hunter2"));
}

#[test]
fn a_file_of_somebody_else_above_is_not_used() {
    let test = "a_file_of_somebody_else_above_is_not_used";
    let work = Work::new();
    work.write("//- /own/a\ntext\n//- /mltoolbox.yaml\nremote:\n  dir: /theirs\n");
    let (above, own) = (work.workspace().join("mltoolbox.yaml"), work.workspace().join("own"));
    if std::os::unix::fs::chown(&above, Some(12_345), None).is_err() {
        let reason = "only root can make a file that belongs to somebody else".to_owned();
        return skip::skip(test, &Reason::OtherPlatform(reason));
    }
    let show = |arguments: &[&str]| {
        let mut command = cli::command(&work, arguments);
        cli::finish(command.current_dir(&own))
    };
    let refused = show(&["config", "show"]);
    assert_eq!(refused.code, 3, "{}", refused.text());
    assert!(refused.text().contains("belongs to another"), "{}", refused.text());
    let named = show(&["config", "show", "--config", "../mltoolbox.yaml"]);
    assert_eq!(named.code, 0, "{}", named.text());
}
