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
        expect![[""]],
    );
}
