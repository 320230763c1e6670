//! References in values: what they come to, and what is refused where.

use super::*;

fn known<'a>(variable: &'a dyn Fn(&str) -> Option<String>, secret: &'a dyn Fn(&Name) -> Option<Secret>) -> Known<'a> {
    Known { home: Some("/home/ada"), variable, secret }
}

fn render(text: &str) -> Result<Rendered, TemplateError> {
    let variable = |name: &str| match name {
        "REGION" => Some("eu-west-1".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    let secret = |name: &Name| (name.as_str() == "hf-token").then(|| Secret::new("hf_${env:REGION}".to_owned()));
    Template::parse(text)?.render(&known(&variable, &secret))
}

#[test]
fn references_are_replaced_once() {
    for (text, expected) in [
        ("plain", "plain"),
        ("", ""),
        ("~", "/home/ada"),
        ("~/data", "/home/ada/data"),
        ("a~/b", "a~/b"),
        ("~ada/b", "~ada/b"),
        ("${HOME}/x", "/home/ada/x"),
        ("${env:REGION}", "eu-west-1"),
        ("${env:EMPTY:b:c}", "b:c"),
        ("${env:ABSENT:}", ""),
        ("$5 $ $$ ${HOME}$", "$5 $ $$ /home/ada$"),
        ("$${HOME}", "${HOME}"),
        ("ä${env:REGION}ö", "äeu-west-1ö"),
    ] {
        assert_eq!(render(text), Ok(Rendered::Plain(expected.to_owned())), "{text}");
    }
    // What a value holds is no reference.
    let rendered = render("Bearer ${secret:hf-token}").expect("rendered");
    assert_eq!(rendered, Rendered::Secret(Secret::new("Bearer hf_${env:REGION}".to_owned())));
    assert!(!format!("{rendered:?}").contains("hf_"));
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (text, line, column, help) in [
        ("${secret:hf", 1, 1, "Write `}` behind it, or `$${` where a plain `${` is meant."),
        ("a\nää ${HOM}", 2, 4, "Write `${HOME}`, or `$${HOM}` where the text itself is meant."),
        ("${secrets:x}", 1, 1, "Write `${secret:x}`, or `$${secrets:x}` where the text itself is meant."),
        ("x ${HF_HOME}", 1, 3, "Write `${env:HF_HOME}`, or `$${HF_HOME}` where the text itself is meant."),
        ("${}", 1, 1, "Write `${env:NAME}`, or `$${}` where the text itself is meant."),
        ("${env:A B}", 1, 1, "Use letters, digits and `_`: `${env:HF_HOME}`."),
        ("${env:ABSENT}", 1, 1, "Set `ABSENT`, or write what stands in for it: `${env:ABSENT:otherwise}`."),
        ("${secret:absent}", 1, 1, "Run `mltoolbox-sidecar secret set absent`, or set `MLTOOLBOX_SECRET_ABSENT`."),
        ("${secret:a b}", 1, 1, "Use letters, digits, `-`, `_` and `.`: `${secret:hf-token}`."),
    ] {
        let error = render(text).expect_err(text);
        assert_eq!(
            (error.place, protocol::error::Explain::help(&error).as_str()),
            (Place { line, column }, help),
            "{text}"
        );
    }
}

#[test]
fn secrets_are_known_before_they_are_needed() {
    let template = Template::parse("${secret:a}${HOME}${secret:b}").expect("a template");
    assert_eq!(template.secrets().map(Name::as_str).collect::<Vec<_>>(), ["a", "b"]);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_text_is_parsed_or_refused(text in "[~$${}:a-zA-Z \\\\\n{ä'\"`()#<;.-]{0,40}") {
        let parsed = Template::parse(&text);
        if !text.contains('$') && !text.starts_with('~') {
            proptest::prop_assert_eq!(render(&text), Ok(Rendered::Plain(text.clone())));
        }
        drop(parsed);
        drop(Command::parse(&text));
    }
}
