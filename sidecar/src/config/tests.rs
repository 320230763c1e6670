//! The configuration as a person writes it: what holds, who said it, and what is said of what is wrong.

use std::path::Path;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

mod agreement;
mod changing;

/// Writes files from one text (`//- /path`) and returns the folder.
fn files(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("p")).expect("a folder");
    for part in text.split("//- /").skip(1) {
        let (name, text) = part.split_once('\n').expect("a name ends with its line");
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }
    folder
}

fn places(folder: &Path) -> Places {
    Places { start: folder.join("p"), user: folder.join("user"), system: folder.join("etc"), ..Places::default() }
}

fn told(folder: &Path, problems: &[Problem]) -> String {
    let line = |problem: &Problem| format!("{}: {}\n  {}\n", problem.place, problem.reason, problem.fix);
    problems.iter().map(line).collect::<String>().replace(&folder.display().to_string(), "$WORK")
}

/// Says what is wrong with files, else what holds and who said it; defaults are left out.
fn outcome(folder: &Path, places: &Places) -> String {
    match load(places) {
        Ok(loaded) => {
            let text = write::yaml(&loaded.tree, true).replace(&folder.display().to_string(), "$WORK");
            text.split_inclusive('\n').filter(|line| !line.ends_with("# default\n")).collect()
        }
        Err(ConfigError::Invalid { problems }) => told(folder, &problems),
        Err(other) => other.to_string(),
    }
}

#[track_caller]
fn check(fixture: &str, expected: &Expect) {
    let folder = files(fixture);
    let all = outcome(folder.path(), &places(folder.path()));
    // Sections that hold nothing but defaults say nothing.
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut said: Vec<&str> = all.lines().collect();
    while let Some(at) = (0..said.len())
        .find(|at| said[*at].ends_with(':') && said.get(at + 1).is_none_or(|next| indent(next) <= indent(said[*at])))
    {
        said.remove(at);
    }
    expected.assert_eq(&format!("{}\n", said.join("\n")));
}

#[test]
fn all_problems_are_said_at_once() {
    check(
        "//- /p/mltoolbox.yaml\nversion: \"3.0\"\nsync:\n  exlude: [a]\n  debounce: 2sec\n  watch: yes\n  strategy: rclone\n  git: psuh\nexclude: [b]\nenvironment:\n  base_image: a\n  dockerfile: b\n  gpu_count: many\n",
        &expect![[r"
            $WORK/p/mltoolbox.yaml:3:3: there is no key `exlude` in `sync`
              Write `exclude` in place of `exlude`.
            $WORK/p/mltoolbox.yaml:4:13: `sec` is no unit of time; there are `ms`, `s`, `m` and `h`
              Write `2s` in its place.
            $WORK/p/mltoolbox.yaml:5:10: `yes` is neither `true` nor `false`
              Write `watch: true`.
            $WORK/p/mltoolbox.yaml:6:13: `rclone` is not there yet: this version sends files over SSH only
              Write `strategy: rsync`.
            $WORK/p/mltoolbox.yaml:7:8: `psuh` is none of `off`, `push`
              Write `git: push`.
            $WORK/p/mltoolbox.yaml:8:1: there is no key `exclude`
              Move it: there is a key `sync.exclude`.
            $WORK/p/mltoolbox.yaml:11:3: specify exactly one: base_image, dockerfile, or devcontainer; here are `base_image` and `dockerfile`
              Keep `base_image` and remove `dockerfile`, or the other way round.
            $WORK/p/mltoolbox.yaml:12:14: `environment.gpu.count` takes a whole number, not a text
              Write it as in `count: 2`.
        "]],
    );
}

#[test]
fn each_layer_wins_over_those_below_and_every_value_says_who_said_it() {
    check(
        "
//- /etc/config.yaml
sync: {debounce: 1s, git: push, exclude: [system]}
environment: {env: {A: system, B: system, C: system}}
remote: {default: system}
//- /user/config.yaml
sync: {debounce: 2s, exclude: [user]}
environment: {env: {B: user, C: user}}
//- /p/mltoolbox.local.yaml
sync: {exclude: [local]}
environment: {env: {C: local, D: local}, base_image: local}
//- /p/mltoolbox.yaml
environment: {dockerfile: Dockerfile, env: {C: project}}
sync:
  debounce: 3s
  exclude: [project, other]
",
        &expect![[r"
            remote:
              default: system  # $WORK/etc/config.yaml:3:19
            environment:
              dockerfile: Dockerfile  # $WORK/p/mltoolbox.yaml:1:27
              env:
                A: system  # $WORK/etc/config.yaml:2:24
                B: user  # $WORK/user/config.yaml:2:24
                C: project  # $WORK/p/mltoolbox.yaml:1:48
                D: local  # $WORK/p/mltoolbox.local.yaml:2:34
            sync:
              exclude:  # $WORK/p/mltoolbox.yaml:4:12
                - project
                - other
              debounce: 3s  # $WORK/p/mltoolbox.yaml:3:13
              git: push  # $WORK/etc/config.yaml:1:27
        "]],
    );
}

#[test]
fn null_takes_back_what_weaker_layers_said() {
    check(
        "
//- /etc/config.yaml
sync: {debounce: 1s, git: push, exclude: [system]}
environment: {env: {A: system, B: system}}
//- /user/config.yaml
sync: {debounce: null, git: ~, exclude: null}
environment: {env: {A: null}}
",
        &expect![[r"
            environment:
              env:
                B: system  # $WORK/etc/config.yaml:2:35
        "]],
    );
}

#[test]
fn both_spellings_come_to_one() {
    check(
        "
//- /p/mltoolbox.yaml
version: 3.0
environment: {base_image: a, gpu_count: 2}
auto_provision:
  enabled: true
  requirements: {gpu_type: A100, min_ram_gb: 64}
  prefer_backends: [shadeform]
provision:
  strategy: performance
hooks:
  on_sync_complete: [echo]
plugins: [wandb-integration, slack-notifications]
sync: {strategy: delta}
autostart: true
watch:
  on_available:
    - provision: true
    - notify: slack
",
        &expect![[r#"
            version: "3.0"  # $WORK/p/mltoolbox.yaml:1:10
            environment:
              base_image: a  # $WORK/p/mltoolbox.yaml:2:27
              gpu:
                count: 2  # $WORK/p/mltoolbox.yaml:2:41
            sync:
              strategy: rsync  # $WORK/p/mltoolbox.yaml:12:18
            provision:
              auto: true  # $WORK/p/mltoolbox.yaml:4:12
              requirements:
                gpu_type: A100  # $WORK/p/mltoolbox.yaml:5:28
                min_ram_gb: 64  # $WORK/p/mltoolbox.yaml:5:46
              strategy: performance  # $WORK/p/mltoolbox.yaml:8:13
              prefer_backends:  # $WORK/p/mltoolbox.yaml:6:20
                - shadeform
            watch:
              on_available:
                provision: true  # $WORK/p/mltoolbox.yaml:16:18
                notify: slack  # $WORK/p/mltoolbox.yaml:17:15
            hooks:
              on_sync:  # $WORK/p/mltoolbox.yaml:10:21
                - echo
            plugins:  # $WORK/p/mltoolbox.yaml:11:10
              - wandb
              - slack-notifications
            editors:
              autostart: true  # $WORK/p/mltoolbox.yaml:13:12
        "#]],
    );
}

#[test]
fn anchors_and_merges_are_put_in() {
    check(
        "
//- /p/mltoolbox.yaml
environment:
  base_image: a
  env: &env {A: one, B: two}
provision:
  backends:
    lambda: &backend
      enabled: true
    shadeform:
      <<: *backend
      api_key: ${secret:shade}
",
        &expect![[r#"
            environment:
              base_image: a  # $WORK/p/mltoolbox.yaml:2:15
              env:
                A: one  # $WORK/p/mltoolbox.yaml:3:17
                B: two  # $WORK/p/mltoolbox.yaml:3:25
            provision:
              backends:
                lambda:
                  enabled: true  # $WORK/p/mltoolbox.yaml:7:16
                shadeform:
                  api_key: "${secret:shade}"  # $WORK/p/mltoolbox.yaml:10:16
                  enabled: true  # $WORK/p/mltoolbox.yaml:7:16
        "#]],
    );
}

#[test]
fn a_profile_gives_way_to_all_that_is_said() {
    check(
        "
//- /etc/config.yaml
environment: {env: {A: system}}
profiles: {ml: {env: {A: profile, B: profile, C: profile}}}
//- /user/config.yaml
profiles: {ml: {env: {C: mine}}}
//- /p/mltoolbox.yaml
environment: {profile: ml, base_image: a, env: {B: null}}
",
        &expect![[r"
            environment:
              base_image: a  # $WORK/p/mltoolbox.yaml:1:40
              env:
                A: system  # $WORK/etc/config.yaml:1:24
                C: mine  # $WORK/user/config.yaml:1:26
              profile: ml  # $WORK/p/mltoolbox.yaml:1:24
            profiles:
              ml:
                env:
                  A: profile  # $WORK/etc/config.yaml:2:26
                  B: profile  # $WORK/etc/config.yaml:2:38
                  C: mine  # $WORK/user/config.yaml:1:26
        "]],
    );
    check(
        "//- /p/mltoolbox.yaml\nenvironment: {base_image: a, profile: mll}\n//- /user/config.yaml\nprofiles: {ml: {env: {A: b}}}\n",
        &expect![[r"
            $WORK/p/mltoolbox.yaml:1:39: there is no profile `mll`
              Write `profile: ml`.
        "]],
    );
}

#[test]
fn without_a_project_file_others_stand_in() {
    check(
        "
//- /p/.devcontainer/devcontainer.json
{
\t// A comment, a tab and a last comma.
\t\"name\": \"My project\", /* more */
\t\"image\": \"registry.example/a/b:1\",
\t\"mounts\": [
\t\t\"source=${localWorkspaceFolder}/data,target=/data,type=bind,readonly\",
\t\t{\"source\": \"cache\", \"target\": \"/cache\", \"type\": \"volume\"},
\t],
}
",
        &expect![[r"
            project:
              name: My-project  # $WORK/p/.devcontainer/devcontainer.json:3:10
            environment:
              base_image: registry.example/a/b:1  # $WORK/p/.devcontainer/devcontainer.json:4:11
              volumes:  # $WORK/p/.devcontainer/devcontainer.json:5:12
                - ../data:/data:ro
                - cache:/cache
        "]],
    );
    check(
        "//- /p/Dockerfile\nFROM scratch\n",
        &expect![[r"
        environment:
          dockerfile: ./Dockerfile  # $WORK/p/Dockerfile
    "]],
    );
    check(
        "//- /p/.devcontainer.json\n{\"dockerComposeFile\": \"compose.yml\"}\n",
        &expect![[r"
        environment:
          devcontainer: $WORK/p/.devcontainer.json  # $WORK/p/.devcontainer.json:1:1
    "]],
    );
    check(
        "//- /p/.devcontainer.json\n{\"image\": 3\n",
        &expect![[r#"
        $WORK/p/.devcontainer.json:1:1: this brace is never closed
          Write `{"image": 3}`.
    "#]],
    );
}

#[test]
fn the_project_is_found_upward_and_can_be_named() {
    let folder = files(
        "//- /p/mltoolbox.yaml\nproject: {name: above}\n//- /p/a/b/x\n\n//- /other.yaml\nproject: {name: named}\n",
    );
    let places = Places { start: folder.path().join("p/a/b"), ..places(folder.path()) };
    let found = load(&places).expect("it is fine");
    assert_eq!(found.config.project.name.map(|name| name.0), Some("above".to_owned()));
    assert_eq!(found.project, Some(folder.path().join("p/mltoolbox.yaml")));
    let named = Places { named: Some(folder.path().join("other.yaml")), ..places.clone() };
    assert_eq!(load(&named).expect("it is fine").config.project.name.map(|name| name.0), Some("named".to_owned()));
    let missing = Places { named: Some(folder.path().join("none.yaml")), ..places };
    let error = load(&missing).expect_err("it is not there").to_string();
    assert!(error.ends_with("none.yaml: there is no such file"), "{error}");
}

#[test]
fn variables_and_flags_win_over_files() {
    let folder =
        files("//- /p/mltoolbox.yaml\nsync: {debounce: 1s, exclude: [a], git: push}\nremote: {default: file}\n");
    let mut places = places(folder.path());
    let set = [
        ("MLTOOLBOX_SYNC_DEBOUNCE", "2s"),
        ("MLTOOLBOX_SYNC_EXCLUDE", "[\"*.x\", y]"),
        ("MLTOOLBOX_REMOTE", "variable"),
        ("MLTOOLBOX_SYNC_PULL", "runs/"),
    ];
    places.variables = set.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
    places.flags = vec![("--set".to_owned(), "sync.debounce".to_owned(), "3s".to_owned())];
    let loaded = load(&places).expect("it is fine");
    let origin = |key: &str| loaded.origin(key).map(ToString::to_string).unwrap_or_default();
    assert_eq!(origin("sync.debounce"), "flag --set");
    assert_eq!(origin("sync.exclude"), "variable MLTOOLBOX_SYNC_EXCLUDE");
    assert_eq!(origin("remote.default"), "variable MLTOOLBOX_REMOTE");
    assert!(origin("sync.git").ends_with("mltoolbox.yaml:1:41"), "{}", origin("sync.git"));
    assert_eq!(loaded.config.sync.pull.iter().map(|pattern| pattern.0.as_str()).collect::<Vec<_>>(), ["runs/"]);
    places.variables.insert("MLTOOLBOX_SYNC_WATCH".to_owned(), "yes".to_owned());
    places.flags.push(("--set".to_owned(), "sync.wacth".to_owned(), "x".to_owned()));
    assert_eq!(
        outcome(folder.path(), &places),
        "variable MLTOOLBOX_SYNC_WATCH: `yes` is neither `true` nor `false`\n  Write `watch: true`.\n\
         flag --set: there is no key `wacth` in `sync`\n  Write `watch` in place of `wacth`.\n"
    );
}

#[test]
fn what_cannot_be_read_is_said_with_its_place() {
    let folder = files("//- /user/config.yaml/x\n\n//- /etc/config.yaml\na: \"\u{0}\"\n");
    std::fs::write(folder.path().join("p/mltoolbox.yaml"), vec![b'#'; 50 << 20]).expect("a file");
    std::fs::write(folder.path().join("p/mltoolbox.local.yaml"), b"project:\n  name: caf\xe9\n").expect("a file");
    let told = outcome(folder.path(), &places(folder.path()));
    for said in [
        "user/config.yaml: a folder stands where",
        "larger than 1024 KiB",
        "mltoolbox.local.yaml:2:12: the byte 0xe9 is no UTF-8",
    ] {
        assert!(told.contains(said), "{said}: {told}");
    }
}

#[test]
fn the_agents_file_of_the_user_wins_over_the_machines() {
    let folder = files(
        "//- /etc/agent.yaml\nrelay: {port: 7000, enabled: true}\nlogging: {max_size: 10GiB}\n//- /user/agent.yaml\nrelay: {port: 7001, auth_token: \"${MLTOOLBOX_RELAY_TOKEN}\"}\n",
    );
    let loaded = load_agent(&places(folder.path())).expect("it is fine");
    assert_eq!((loaded.agent.relay.port.0, loaded.agent.relay.enabled), (7001, true));
    assert_eq!(loaded.agent.logging.max_size.0, 10 << 30);
    assert_eq!(loaded.agent.metrics.collect_interval.0, std::time::Duration::from_secs(10));
}

#[test]
fn what_the_configuration_names_always_travels() {
    let folder = files(
        "//- /p/mltoolbox.yaml\nenvironment: {devcontainer: ./.devcontainer/devcontainer.json, env_file: [.env, ../outside, \"a b.env\"]}\n//- /p/.devcontainer/devcontainer.json\n{\"dockerComposeFile\": [\"../compose.yml\"], \"build\": {\"dockerfile\": \"Dockerfile\"}}\n",
    );
    let loaded = load(&places(folder.path())).expect("it is fine");
    let always = travel::always(&loaded, &folder.path().join("p"), None);
    assert_eq!(
        always,
        ["/.devcontainer/Dockerfile", "/.devcontainer/devcontainer.json", "/.env", "/a\\ b.env", "/compose.yml"]
    );
}

/// Where a value of the property stands, the weakest first.
const LAYERS: [&str; 6] =
    ["etc/config.yaml", "user/config.yaml", "p/mltoolbox.local.yaml", "p/mltoolbox.yaml", "variable", "flag"];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// A value that is set in one layer wins over all below it and over none above.
    #[test]
    fn the_strongest_layer_that_says_a_key_wins(
        said in prop::collection::vec(prop::collection::vec(prop::option::of(1_u64..1000), 3), 6)
    ) {
        let folder = files("");
        let mut places = places(folder.path());
        // The local file counts beside a project's.
        std::fs::write(folder.path().join("p/mltoolbox.yaml"), "").expect("a file");
        std::fs::create_dir(folder.path().join("user")).expect("a folder");
        std::fs::create_dir(folder.path().join("etc")).expect("a folder");
        let keys = ["sync.debounce", "metrics", "project.name"];
        let text = |key: &str, number: u64| match key { "sync.debounce" => format!("{number}ms"), "metrics" => number.to_string(), _ => format!("n{number}") };
        let key_of = |key: &'static str| if key == "metrics" { "ray.port" } else { key };
        for (layer, values) in LAYERS.iter().zip(&said) {
            let mut lines = String::new();
            for (key, value) in keys.iter().zip(values) {
                let Some(value) = value.map(|number| text(key, number)) else { continue };
                let key = key_of(key);
                match *layer {
                    "variable" => drop(places.variables.insert(format!("MLTOOLBOX_{}", key.replace('.', "_").to_uppercase()), value)),
                    "flag" => places.flags.push(("--set".to_owned(), key.to_owned(), value)),
                    _ => {
                        let (section, name) = key.split_once('.').expect("two parts");
                        lines.extend([section, ": {", name, ": ", &value, "}\n"]);
                    }
                }
            }
            if !lines.is_empty() {
                std::fs::write(folder.path().join(layer), lines).expect("a file");
            }
        }
        let loaded = load(&places).expect("all of it is fine");
        for (at, key) in keys.iter().enumerate() {
            let strongest = (0..6).rev().find_map(|layer| said[layer][at].map(|number| (layer, text(key, number))));
            let node = loaded.tree.at(key_of(key).split('.'));
            match strongest {
                Some((layer, value)) => {
                    let node = node.expect("somebody said it");
                    prop_assert_eq!(node.as_written(), Some(value.as_str()));
                    let place = node.place.to_string();
                    prop_assert!(place.contains(LAYERS[layer]), "{} is not of {}", place, LAYERS[layer]);
                }
                None => prop_assert!(node.is_none_or(|node| node.place.source == Source::Default)),
            }
        }
    }

    /// Whatever the bytes, there is an answer, and every problem has a fix.
    #[test]
    fn any_text_has_an_answer(text in "[\\PC\n\t:\\[\\]{}&*!|>'\"#%@,\\-? ]{0,120}") {
        let source = Source::file(Layer::Project, Path::new("x.yaml"));
        let checked = check::check(tree::parse(&text, &source), Document::Project);
        prop_assert!(checked.problems.iter().all(|problem| !problem.fix.is_empty() && !problem.reason.is_empty()));
    }

    /// What is written as YAML is read again as the same.
    #[test]
    fn a_text_survives_being_written(text in "\\PC{0,40}") {
        let line = format!("value: {}\n", write::scalar(&text));
        let root = tree::parse(&line, &Source::Default).root.expect("it is YAML");
        prop_assert_eq!(root.get("value").map(|node| node.value.clone()), Some(Value::Text(text)));
    }
}
