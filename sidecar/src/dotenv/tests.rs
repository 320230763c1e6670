//! Env files with every rule of docker compose, and what is wrong in others.

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use protocol::error::Error;

use super::*;

const HOME: &str = "/home/ada";

fn environment(name: &str) -> Option<String> {
    match name {
        "HOME" => Some(HOME.to_owned()),
        "EMPTY" => Some(String::new()),
        "SET" => Some("from the environment".to_owned()),
        _ => None,
    }
}

fn shown(text: &str) -> String {
    let path = Path::new(".env");
    let found = parse(path, text).and_then(|entries| variables(path, &entries, &environment));
    match found {
        Ok(found) => found.iter().fold(String::new(), |mut shown, variable| {
            writeln!(
                shown,
                "{}:{} {} = {:?}",
                variable.place.line, variable.place.column, variable.name, variable.value
            )
            .expect("a string takes everything");
            shown
        }),
        Err(error) => {
            let error = Error::from(error);
            format!("{}\n{}\n", error.message, error.help)
        }
    }
}

#[track_caller]
fn check(text: &str, expected: &Expect) {
    expected.assert_eq(&shown(text));
}

#[test]
fn plain_lines() {
    check(
        "# a comment\n\nA=1\n  B = two words  # why\nexport C=3#4\nD: yaml\nE=a=b\nexport\tF=\nG=h#\r\nI.J-K=x\n\tlast=end",
        &expect![[r#"
            3:1 A = "1"
            4:3 B = "two words"
            5:8 C = "3#4"
            6:1 D = "yaml"
            7:1 E = "a=b"
            8:8 F = ""
            9:1 G = "h#"
            10:1 I.J-K = "x"
            11:2 last = "end"
        "#]],
    );
}

#[test]
fn names_that_only_begin_with_export() {
    check(
        "exportFOO=1\nexport_BAR=2\nexport=3\n",
        &expect![[r#"
            1:1 exportFOO = "1"
            2:1 export_BAR = "2"
            3:1 export = "3"
        "#]],
    );
}

#[test]
fn quotes_and_escapes() {
    check(
        r##"
A="one # two" # three
B='$HOME \n it\'s'
C="tab\there \"quoted\" back\\slash \x \c \$HOME $$HOME"
D="first
second"#comment
E='
'
F="\0123 \01 \0477"
G=a\tb 'c' "d"
H="1" I="2"
"##,
        &expect![[r#"
            2:1 A = "one # two"
            3:1 B = "$HOME \\n it's"
            4:1 C = "tab\there \"quoted\" back\\slash \\x \\c $HOME $HOME"
            5:1 D = "first\nsecond"
            7:1 E = "\n"
            9:1 F = "S \\01 \\0477"
            10:1 G = "a\\tb 'c' \"d\""
            11:1 H = "1"
            11:7 I = "2"
        "#]],
    );
}

#[test]
fn variables_are_replaced_as_compose_does() {
    check(
        r#"
A=one
B=$A-${A}x${A}
C="$HOME/${A}"
D='$A'
E=${MISSING:-other} ${MISSING-other} ${EMPTY:-other} [${EMPTY-other}] $MISSING
F=${SET:+yes}${EMPTY:+no}${EMPTY+yes}${MISSING+no}
G=${MISSING:-${A:-x}}!
H=${MISSING:-{"a": {}}}
I=costs 5$ or $5 or $$A
SET=of the file
J=$SET
A=two
K=$A ${A:?why}
"#,
        &expect![[r#"
            13:1 A = "two"
            3:1 B = "one-onexone"
            4:1 C = "/home/ada/one"
            5:1 D = "$A"
            6:1 E = "other other other [] "
            7:1 F = "yesyes"
            8:1 G = "one!"
            9:1 H = "{\"a\": {}}"
            10:1 I = "costs 5$ or $5 or $A"
            11:1 SET = "of the file"
            12:1 J = "from the environment"
            14:1 K = "two two"
        "#]],
    );
}

#[test]
fn a_name_alone_takes_the_value_of_the_environment() {
    check(
        "SET\nMISSING\nexport HOME",
        &expect![[r#"
            1:1 SET = "from the environment"
            3:8 HOME = "/home/ada"
        "#]],
    );
}

#[test]
fn what_is_wrong_has_its_place_and_a_way_out() {
    let wrong = [
        "A=1\nlol$wut=2",
        "A B=1",
        "=1",
        "A=1\nB=\"never\nclosed",
        "A='it's'",
        "A=\"b\"c",
        "A=é${B",
        "A=${}",
        "A=${B:}",
        "A=${B!x}",
        "A=${B:?the team's name}",
        "A=\"${B?}\"",
        "A=\"\\0000\"",
    ];
    let shown: String = wrong.iter().map(|text| shown(text) + "\n").collect();
    expect![[r#"
        .env:2:4: the character `$` cannot stand in a variable's name
        Write `NAME=value` in line 2 of `.env`, with a name of letters, digits, `_`, `.` and `-`; a comment begins with `#`.

        .env:1:2: a variable's name has a space in it
        Write `NAME=value` in line 1 of `.env`, with a name of letters, digits, `_`, `.` and `-`; a comment begins with `#`.

        .env:1:1: no name stands before the value
        Write `NAME=value` in line 1 of `.env`, with a name of letters, digits, `_`, `.` and `-`; a comment begins with `#`.

        .env:2:3: the value's opening double quote is never closed
        Close it in line 2 of `.env`, or put the whole value into ' if the " belongs to it.

        .env:1:7: text touches the value's closing quote
        Put the whole value of line 1 of `.env` between the quotes, and a space before a comment that follows.

        .env:1:6: text touches the value's closing quote
        Put the whole value of line 1 of `.env` between the quotes, and a space before a comment that follows.

        .env:1:4: a `${` in the value is never closed
        Write `${NAME}` or `${NAME:-otherwise}` in line 1 of `.env`, or `$$` for a dollar that is only a dollar.

        .env:1:3: between the braces of a `${…}` in the value stands no variable
        Write `${NAME}` or `${NAME:-otherwise}` in line 1 of `.env`, or `$$` for a dollar that is only a dollar.

        .env:1:3: between the braces of a `${…}` in the value stands no variable
        Write `${NAME}` or `${NAME:-otherwise}` in line 1 of `.env`, or `$$` for a dollar that is only a dollar.

        .env:1:3: between the braces of a `${…}` in the value stands no variable
        Write `${NAME}` or `${NAME:-otherwise}` in line 1 of `.env`, or `$$` for a dollar that is only a dollar.

        .env:1:1: the variable `B` is needed and not set: the team's name
        Set it above line 1 of `.env`, or run `export B=VALUE` before this command.

        .env:1:1: the variable `B` is needed and not set
        Set it above line 1 of `.env`, or run `export B=VALUE` before this command.

        .env:1:3: the value has a NUL character in it
        Take the NUL out of line 1 of `.env`; keep binary data in a file and name that file.

    "#]]
    .assert_eq(&shown);
}

#[test]
fn what_doubles_with_each_line_is_bounded() {
    let mut text = "A0=aaaaaaaaaa\n".to_owned();
    for line in 1..60 {
        writeln!(text, "A{line}=$A{0}$A{0}", line - 1).expect("a string takes everything");
    }
    assert!(shown(&text).contains("longer than 4 MiB"), "{}", shown(&text));
    let deep = format!("A={}{}", "${A:-".repeat(100_000), "}".repeat(100_000));
    assert!(shown(&deep).contains("too many `${…}` stand within each other"));
}

#[test]
fn files_that_are_no_env_files() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let code = |path: &Path| Error::from(load(path, &environment).expect_err("it cannot be read")).message;
    assert!(code(folder.path()).ends_with("is no file"));
    assert!(code(&folder.path().join("missing")).ends_with("cannot be read"));
    let path = folder.path().join(".env");
    std::fs::write(&path, b"A=1\nB=\xff").expect("a file for the test");
    assert!(code(&path).ends_with("2:3: these bytes are not UTF-8"));
    std::fs::write(&path, "A=1\n".repeat(300_000)).expect("a file for the test");
    assert!(code(&path).ends_with("is larger than 1024 KiB"));
    std::fs::write(&path, "\u{feff}A=1\r\nB='2'\r\n").expect("a file for the test");
    let found = load(&path, &environment).expect("it is an env file");
    let values: Vec<_> = found.iter().map(|found| (found.name.as_str(), found.value.as_str())).collect();
    assert_eq!(values, [("A", "1"), ("B", "2")]);
}

#[test]
fn debug_shows_no_value() {
    let path = Path::new(".env");
    let entries = parse(path, "TOKEN=hunter2\nOTHER=${X:-hunter2}").expect("both lines are fine");
    let found = variables(path, &entries, &environment).expect("both lines are fine");
    assert!(!format!("{entries:?} {found:?}").contains("hunter2"));
    let Some(value) = &entries[1].value else { panic!("it has a value") };
    assert!(!format!("{value:?} {:?}", value.parts()).contains("hunter2"));
}

proptest::proptest! {
    #[test]
    fn no_text_brings_it_down(text in "(?s)[A-C=:'\"\\\\$\\{\\}\\-+?# \n\ra0é\u{0}]{0,60}") {
        drop(shown(&text));
    }
}

#[test]
fn the_largest_file_is_read_in_one_go() {
    let largest = |statement: &str| statement.repeat(usize::try_from(MAX_FILE).expect("small") / statement.len());
    for (statement, line, column) in [("A=1\n", 262_144, 1), ("A=\"1\" ", 1, 1_048_567)] {
        let entries = parse(Path::new(".env"), &largest(statement)).expect("an env file");
        let last = entries.last().expect("many");
        assert_eq!(last.place, Place { line, column }, "{statement}");
    }
}
