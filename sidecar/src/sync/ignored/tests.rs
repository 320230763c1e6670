//! The rules against trees on disk, and against git itself.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;

fn path(text: &str) -> RelPath {
    RelPath::new(text).expect("a plain path")
}

fn write(root: &Path, name: &str, text: &str) {
    let file = root.join(name);
    std::fs::create_dir_all(file.parent().expect("it is in the root")).expect("made");
    std::fs::write(file, text).expect("written");
}

fn options(exclude: &[&str], include: &[&str]) -> Options {
    let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
    Options { exclude: owned(exclude), include: owned(include), global: None, git: false }
}

/// Checks verdicts: a trailing slash marks a folder; the signs are `+` synced, `-` ignored, `~` pass.
fn check(files: &[(&str, &str)], options: &Options, expected: &[&str]) {
    let root = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        write(root.path(), name, text);
    }
    let rules = Rules::load(root.path(), options);
    for line in expected {
        let (sign, name) = line.split_at(1);
        let is_folder = name.ends_with('/');
        let found = match rules.verdict(&path(name.trim_end_matches('/')), is_folder) {
            Verdict::Synced => "+",
            Verdict::Ignored => "-",
            Verdict::Pass => "~",
        };
        assert_eq!(found, sign, "{name}");
    }
}

#[test]
fn git_and_our_own_names_are_never_synced() {
    let bare = [(".gitignore", "!\n!.git\n!*\n")];
    let expected =
        ["-.git/", "-.git", "-a/.git/config", "-.git/HEAD", "-.mltoolbox/", "-a/.mltoolbox-x/y", "+.gitignore"];
    check(&bare, &options(&[], &["*", ".git", ".git/**"]), &expected);
}

#[test]
fn a_deeper_file_wins_and_nothing_returns_below_an_ignored_folder() {
    check(
        &[(".gitignore", "*.log\ntarget/\n"), ("logs/.gitignore", "!keep.log\n"), ("target/.gitignore", "!*\n")],
        &options(&[], &[]),
        &[
            "-a.log",
            "-logs/a.log",
            "+logs/keep.log",
            "-target/",
            "-target/x",
            "+target",
            "+src/target.rs",
            "-src/target/",
        ],
    );
}

#[test]
fn mltignore_outranks_gitignore_at_every_level() {
    check(
        &[
            (".mltignore", "!.env\n!data/\n*.bin\n"),
            (".gitignore", ".env\ndata/\n"),
            ("sub/.gitignore", "!*.bin\n.env\n"),
        ],
        &options(&[], &[]),
        &["+.env", "+sub/.env", "+data/", "+data/x", "-sub/a.bin", "-a.bin"],
    );
}

#[test]
fn excludes_outrank_files_and_includes_outrank_excludes() {
    check(
        &[(".mltignore", "!*.bin\n"), (".gitignore", "target\nnode_modules/\n")],
        &options(&["*.bin", "big/"], &["target/debug/o", "big/small.bin", "node_modules/*/keep"]),
        &[
            "-a.bin",
            "~target/",
            "~target/debug/",
            "+target/debug/o",
            "-target/debug/p",
            "-target/release/",
            "~big/",
            "+big/small.bin",
            "-big/other",
            "~node_modules/",
            "~node_modules/x/",
            "+node_modules/x/keep/",
            "+node_modules/x/keep/deep/file",
            "-node_modules/x/keep/.git",
            "-node_modules/x/other/",
        ],
    );
}

#[test]
fn an_include_at_any_depth_prunes_nothing() {
    check(
        &[(".gitignore", "out/\nvendor/\n")],
        &options(&[], &["*.keep", "vendor/**/x.txt"]),
        &[
            "~out/",
            "~out/deep/",
            "+out/deep/a.keep",
            "-out/deep/a",
            "~vendor/a/b/",
            "+vendor/a/b/x.txt",
            "-vendor/a/b/y",
        ],
    );
    check(
        &[(".gitignore", "out/\nvendor/\n")],
        &options(&[], &["vendor/**/x.txt"]),
        &["-out/", "~vendor/", "~vendor/a/", "+vendor/x.txt", "-vendor/a/y.txt"],
    );
}

#[test]
fn info_and_global_files_come_last() {
    let root = tempfile::tempdir().expect("a folder");
    let outside = tempfile::tempdir().expect("a folder");
    write(root.path(), ".git/info/exclude", "*.swp\n!*.keep\n");
    write(root.path(), ".gitignore", "!b.swp\n");
    write(outside.path(), "global", "*.keep\n*.tmp\n");
    let rules = Rules::load(root.path(), &Options { global: Some(outside.path().join("global")), ..options(&[], &[]) });
    for (name, expected) in [
        ("a.swp", Verdict::Ignored),
        ("b.swp", Verdict::Synced),
        ("x.keep", Verdict::Synced),
        ("y.tmp", Verdict::Ignored),
    ] {
        assert_eq!(rules.verdict(&path(name), false), expected, "{name}");
    }
}

#[test]
fn a_linked_worktree_uses_the_common_rules() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "main/.git/info/exclude", "*.swp\n");
    write(folder.path(), "main/.git/worktrees/w/commondir", "../..\n");
    write(folder.path(), "w/.git", "gitdir: ../main/.git/worktrees/w\n");
    let rules = Rules::load(&folder.path().join("w"), &options(&[], &[]));
    assert_eq!(rules.verdict(&path("a.swp"), false), Verdict::Ignored);
}

#[test]
fn a_changed_rule_file_counts_after_a_reload() {
    let root = tempfile::tempdir().expect("a folder");
    write(root.path(), "sub/.gitignore", "*.o\n");
    let rules = Rules::load(root.path(), &options(&[], &[]));
    assert_eq!(rules.verdict(&path("sub/deep/a.o"), false), Verdict::Ignored);
    write(root.path(), "sub/.gitignore", "");
    assert!(Rules::is_rule_file(&path("sub/.gitignore")) && !Rules::is_rule_file(&path("gitignore")));
    rules.reload(Some(&path("sub")));
    assert_eq!(rules.verdict(&path("sub/deep/a.o"), false), Verdict::Synced);
}

#[test]
fn a_malformed_pattern_is_named_and_skipped() {
    let root = tempfile::tempdir().expect("a folder");
    write(root.path(), "sub/.gitignore", "*.o\n[abc\n*.a\n");
    let rules = Rules::load(root.path(), &options(&["[z"], &[]));
    assert_eq!(rules.verdict(&path("sub/x.o"), false), Verdict::Ignored);
    assert_eq!(rules.verdict(&path("sub/x.a"), false), Verdict::Ignored);
    let problems = rules.problems();
    assert_eq!(
        problems.iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(),
        ["--exclude", "sub/.gitignore"]
    );
    assert!(
        problems.last().is_some_and(|problem| problem.reason.starts_with("line 2: the pattern `[abc`")),
        "{problems:?}"
    );
}

/// A small generator of numbers; the same seed gives the same trees everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).expect("small")).expect("below a usize")
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }
}

const NAMES: [&str; 12] = ["a", "b", "ab", "a.o", "b.o", ".env", "lib", "x y", "{a,b}", "B2", "log", "[x]"];
const PARTS: [&str; 22] = [
    "a",
    "b",
    "*",
    "?",
    "*.o",
    "a*",
    "**",
    "lib",
    "[ab]",
    "[!a]",
    "[^b]*",
    "{a,b}",
    "\\[x\\]",
    "l?g",
    "*b",
    "[[:upper:]][0-9]",
    "x y",
    "x\\ y",
    ".env",
    ".*",
    "*b**",
    "[a-b].o",
];

fn random_rules(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..random.below(6) {
        let parts: Vec<&str> = (0..=random.below(3)).map(|_| random.pick(&PARTS)).collect();
        let (start, middle) = (random.pick(&["", "", "", "/", "!", "!", "!/", "#", "\\!"]), parts.join("/"));
        let end = random.pick(&["", "", "", "/", " ", "\r", "/**", "\\ "]);
        text.extend([start, &middle, end, "\n"]);
    }
    text
}

fn random_tree(random: &mut Random, root: &Path, folder: &str, depth: usize, found: &mut Vec<(String, bool)>) {
    if random.below(3) > 0 {
        write(root, &format!("{folder}.gitignore"), &random_rules(random));
    }
    for _ in 0..=random.below(5) {
        let name = format!("{folder}{}", random.pick(&NAMES));
        if root.join(&name).exists() {
            continue;
        }
        let is_folder = depth < 4 && random.below(2) == 0;
        found.push((name.clone(), is_folder));
        if is_folder {
            std::fs::create_dir(root.join(&name)).expect("made");
            random_tree(random, root, &format!("{name}/"), depth + 1, found);
        } else {
            write(root, &name, "");
        }
    }
}

fn git(root: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(root).env("HOME", root).env("GIT_CONFIG_NOSYSTEM", "1").env_remove("XDG_CONFIG_HOME");
    command
}

/// Returns which of the paths git ignores.
fn asked_of_git(root: &Path, paths: &[(String, bool)]) -> std::collections::BTreeSet<String> {
    let mut child = git(root)
        .args(["check-ignore", "--no-index", "--stdin", "-z"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git is installed");
    let text: String = paths.iter().flat_map(|(path, _)| [path, "\0"]).collect();
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("git reads");
    let output = child.wait_with_output().expect("git ends");
    assert!(output.status.code().is_some_and(|code| code <= 1), "git check-ignore: {output:?}");
    String::from_utf8(output.stdout).expect("our own names").split_terminator('\0').map(str::to_owned).collect()
}

#[test]
fn agrees_with_git_on_random_trees() {
    let mut ignored = 0;
    for seed in 1..=250_u64 {
        let root = tempfile::tempdir().expect("a folder");
        assert!(git(root.path()).args(["init", "-q"]).status().expect("git is installed").success());
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        write(root.path(), ".git/info/exclude", &random_rules(&mut random));
        write(root.path(), ".git/global", &random_rules(&mut random));
        let global = root.path().join(".git/global");
        assert!(git(root.path()).args(["config", "core.excludesFile"]).arg(&global).status().expect("git").success());
        let mut paths = Vec::new();
        random_tree(&mut random, root.path(), "", 0, &mut paths);
        let expected = asked_of_git(root.path(), &paths);
        ignored += expected.len();
        let rules = Rules::load(root.path(), &Options { global: Some(global), ..options(&[], &[]) });
        for (name, is_folder) in &paths {
            let found = rules.verdict(&path(name), *is_folder) == Verdict::Ignored;
            if found != expected.contains(name) {
                let verbose = git(root.path()).args(["check-ignore", "--no-index", "-v", name]).output().expect("git");
                panic!(
                    "seed {seed}: `{name}` (folder: {is_folder}): ours {found}\ngit: {}",
                    String::from_utf8_lossy(&verbose.stdout)
                );
            }
        }
    }
    assert!(ignored > 200, "the rules must match often enough to prove something: {ignored}");
}

#[test]
fn of_a_folder_that_was_listed_only_its_rule_files_are_looked_for() {
    let files = |names: &[&str]| RuleFiles::among(names.iter().map(|name| name.as_bytes()));
    assert_eq!(files(&[".gitignore", ".mltignore", "a"]), RuleFiles::ANY);
    let root = tempfile::tempdir().expect("a folder");
    write(root.path(), ".gitignore", "*.log\n");
    write(root.path(), ".mltignore", "*.tmp\n");
    let verdicts = |names: &[&str]| {
        let rules = Rules::load(root.path(), &options(&[], &[]));
        let folder = rules.folder_with(None, files(names));
        ["a.log", "a.tmp"].map(|name| rules.verdict_in(&folder, &path(name), false))
    };
    assert_eq!(verdicts(&["a"]), [Verdict::Synced, Verdict::Synced]);
    assert_eq!(verdicts(&[".gitignore"]), [Verdict::Ignored, Verdict::Synced]);
    assert_eq!(verdicts(&[".mltignore"]), [Verdict::Synced, Verdict::Ignored]);
}
