//! What is read from a secrets file, what is refused, and what stays as it was.

use super::*;

const SEALED: &str = "-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----\n";

fn name(name: &str) -> Name {
    name.parse().expect("a name")
}

fn filled() -> String {
    let empty = Document::new("age1abc", Some(SEALED));
    let one = Document::parse(&empty.with(&name("hf-token"), SEALED)).expect("we read what we write");
    one.with(&name("true"), SEALED)
}

#[test]
fn what_is_written_is_read() {
    let document = Document::parse(&filled()).expect("we read what we write");
    assert_eq!((document.recipient(), document.identity()), ("age1abc", Some(SEALED)));
    assert_eq!(document.names(), [name("hf-token"), name("true")]);
    assert_eq!(document.sealed(&name("true")), Some(SEALED));
    assert_eq!(document.sealed(&name("absent")), None);
}

#[test]
fn one_more_and_one_less_is_as_before() {
    let before = filled();
    let with = Document::parse(&before).expect("a file").with(&name("new"), SEALED);
    assert_ne!(with, before);
    assert_eq!(Document::parse(&with).expect("a file").without(&name("new")), before);
    assert_eq!(Document::parse(&before).expect("a file").with(&name("true"), SEALED), before);
}

#[test]
fn what_a_person_adds_stays_where_it_is() {
    let text = filled().replace("  \"true\": |", "\n  # my own\n  true: |").replace("version", "# mine\nversion");
    let document = Document::parse(&text).expect("comments are no secrets");
    let changed = document.without(&name("hf-token"));
    assert!(changed.contains("\n  # my own\n  true: |") && changed.contains("# mine\nversion"), "{changed}");
    assert!(!changed.contains("hf-token"));
}

#[test]
fn a_file_that_was_cut_anywhere_is_refused() {
    let text = filled();
    for length in 0..text.len() - 1 {
        let Err(_) = Document::parse(&text[..length]) else { panic!("{length} bytes were taken for the whole") };
    }
    let without_end = text.strip_suffix("...\n").expect("the end");
    let fault = Document::parse(without_end).expect_err("cut");
    assert_eq!(fault.problem, Problem::Cut);
}

#[test]
fn what_is_not_ours_is_refused_with_its_line() {
    let text = filled();
    for (changed, line, problem) in [
        (text.replace("version: 1", "version: 7"), 3, Problem::Version("7".to_owned())),
        (text.replace("recipient", "recipients"), 4, Problem::Foreign),
        (text.replace("version: 1", "version: 1\nversion: 1"), 4, Problem::Twice("version".to_owned())),
        (text.replace("\"true\"", "\"hf-token\""), 14, Problem::Twice("hf-token".to_owned())),
        (text.replace("\"true\"", "\"a b\""), 14, Problem::Name),
        (text.replace("  \"true\": |", "  plain: hunter2"), 14, Problem::Foreign),
        (
            text.replacen("    -----BEGIN", "    hunter2\n    -----BEGIN", 1),
            10,
            Problem::NotSealed("hf-token".to_owned()),
        ),
        (text.clone() + "more: 1\n", 19, Problem::Foreign),
        ("HF_TOKEN=hunter2\n".to_owned(), 1, Problem::Foreign),
    ] {
        let fault = Document::parse(&changed).expect_err(&changed);
        assert_eq!((fault.line, fault.problem), (line, problem), "{changed}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_text_is_read_or_refused(edits in proptest::collection::vec((0..700_usize, "[ -~\n\t]{0,3}"), 0..5)) {
        let mut text = filled();
        for (at, with) in edits {
            let at = at.min(text.len());
            text.replace_range(at..text.len().min(at + 1), &with);
        }
        if let Ok(document) = Document::parse(&text) {
            let again = Document::parse(&document.with(&name("new"), SEALED)).expect("what was read is still read");
            proptest::prop_assert_eq!(again.sealed(&name("new")), Some(SEALED));
        }
    }
}
