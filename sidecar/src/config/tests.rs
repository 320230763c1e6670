//! The configuration as a person writes it: what holds, who said it, and what is said of what is wrong.

use std::path::Path;

use expect_test::{Expect, expect};

use super::*;

/// Writes files from one text (`//- /path`) and returns the folder.
fn files(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
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

#[track_caller]
fn check(text: &str, expected: Expect) {
    let folder = files(&format!("//- /p/mltoolbox.yaml\n{text}"));
    let told = match load(&places(folder.path())) {
        Ok(_) => "fine\n".to_owned(),
        Err(ConfigError::Invalid { problems }) => told(folder.path(), &problems),
        Err(other) => other.to_string(),
    };
    expected.assert_eq(&told);
}

#[test]
fn all_problems_are_said_at_once() {
    check(
        "version: \"3.0\"\nsync:\n  exlude: [a]\n  debounce: 2sec\n  watch: yes\n  strategy: rclone\n  git: psuh\nexclude: [b]\nenvironment:\n  base_image: a\n  dockerfile: b\n  gpu_count: many\n",
        expect![[r#"
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
        "#]],
    );
}
