//! Templates in commands, given to a real `sh` with values that try to be more than values.

use std::process::Command as Process;

use protocol::error::Explain as _;

use super::*;
use crate::secrets::Name;

/// Values that would do harm if a shell read them.
const HOSTILE: &[&str] = &[
    "plain",
    "two words",
    "'; touch HARM #",
    "\"; touch HARM #",
    "$(touch HARM)",
    "`touch HARM`",
    "${IFS}; touch HARM",
    "a\nb\ntouch HARM",
    "a;touch HARM",
    "&& touch HARM",
    "| touch HARM",
    "* ? [a]",
    "\\",
    "\\'",
    "}}{{ remote.name }}",
    "ä€ \t ",
    "a[$(touch HARM)]",
];

fn script(text: &str, value: &str) -> Result<Script, TemplateError> {
    let facts: Facts = Fact::ALL.into_iter().map(|fact| (fact, value.to_owned())).collect();
    let secret = |_: &Name| Some(Secret::new(value.to_owned()));
    let variable = |_: &str| Some(value.to_owned());
    Command::parse(text)?.render(&facts, &Known { home: Some("/home/ada"), variable: &variable, secret: &secret })
}

/// Runs a script and returns what it printed; nothing may have been harmed.
fn run(shell: &str, script: &Script) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let variables = script.environment.iter().map(|(name, value)| (name, value.reveal()));
    let ran = Process::new(shell)
        .arg("-c")
        .arg(&script.text)
        .envs(variables)
        .current_dir(folder.path())
        .output()
        .expect("a shell");
    assert!(ran.stderr.is_empty(), "{}\n{}", script.text, String::from_utf8_lossy(&ran.stderr));
    assert_eq!(folder.path().read_dir().expect("a folder").count(), 0, "{}", script.text);
    String::from_utf8(ran.stdout).expect("text")
}

fn shells() -> Vec<&'static str> {
    let there = |shell: &&str| Process::new(shell).args(["-c", ":"]).status().is_ok_and(|status| status.success());
    ["sh", "bash"].into_iter().filter(there).collect()
}

#[test]
fn a_value_arrives_as_it_is_wherever_its_template_stands() {
    for shell in shells() {
        for value in HOSTILE {
            for (text, expected) in [
                ("printf %s {{ remote.host }}", "V"),
                ("printf %s {{remote.host}}{{ remote.name }}", "VV"),
                ("printf %s me@{{ remote.host }}:/x", "me@V:/x"),
                ("printf %s \"it is {{ remote.host }}.\"", "it is V."),
                ("printf %s 'it is {{ remote.host }}.'", "it is V."),
                ("printf %s '{{ remote.host }}'", "V"),
                ("printf %s \"a 'b' {{ remote.host }} c\"", "a 'b' V c"),
                ("printf %s 'a \"b\" {{ remote.host }} c'", "a \"b\" V c"),
                ("printf %s \"$(printf %s {{ remote.host }}.)\"", "V."),
                ("printf %s \"$(printf %s \"{{ remote.host }}.\")\"", "V."),
                ("printf %s \"$(printf %s '({{ remote.host }})')\"", "(V)"),
                ("(printf %s {{ remote.host }}) # don't {{ remote.host }}", "V"),
                ("x={{ remote.host }}; printf %s \"$x\"", "V"),
                ("if true; then printf %s {{ remote.host }}; fi", "V"),
                ("printf %s it\\'s\\ {{ remote.host }}", "it's V"),
                ("printf %s ${secret:hf-token}", "V"),
                ("printf %s 'Bearer ${secret:hf-token}'", "Bearer V"),
                ("printf %s \"${env:REGION:x}\"", "V"),
                ("printf %s \"${HOME:+}\"{{ repo_url }}", "V"),
                ("printf %s \\{{.Names}} {{ workspace.path }}", "{{.Names}}V"),
            ] {
                let script = script(text, value).unwrap_or_else(|error| panic!("{text}: {error}"));
                assert!(!script.text.contains(value) || *value == "plain" || value.len() < 3, "{}", script.text);
                assert_eq!(run(shell, &script), expected.replace('V', value), "{shell}: {text} → {}", script.text);
            }
        }
    }
}

#[test]
fn every_fact_is_a_variable_too() {
    for value in HOSTILE {
        let script = script("sh -c 'printf %s \"$MLTOOLBOX_HOOK_SYNC_FILES_CHANGED\"'", value).expect("a script");
        assert_eq!(run("sh", &script), *value);
    }
}

#[test]
fn a_script_shows_no_value() {
    let script = script("curl -H ${secret:hf-token}", "hunter2").expect("a script");
    assert!(!format!("{script:?}").contains("hunter2"));
    assert_eq!(script.text, "curl -H \"${MLTOOLBOX_SECRET_HF_TOKEN}\"");
}

#[test]
fn secrets_that_share_a_variable_keep_their_values() {
    let secret = |name: &Name| Some(Secret::new(name.to_string()));
    let known = Known { home: None, variable: &|_| None, secret: &secret };
    let command = Command::parse("printf '%s ' ${secret:a-b} ${secret:a.b} ${secret:a-b}").expect("a command");
    assert_eq!(run("sh", &command.render(&Facts::new(), &known).expect("a script")), "a-b a.b a-b ");
}

#[test]
fn where_a_shell_reads_otherwise_a_template_is_refused() {
    for text in [
        "cat <<END\n{{ remote.host }}\nEND",
        "cat <<-'END'; echo {{ remote.host }}\nx\nEND",
        "echo `echo {{ remote.host }}`",
        "echo $(( {{ sync.files_changed }} + 1 ))",
        "echo $'it\\'s' {{ remote.host }}",
        "echo \"${x:-'}'}\" {{ remote.host }}",
        "echo ${x:-{{ remote.host }}}",
        "sh -c 'echo {{ remote.host }}'",
        "sh -c \"echo {{ remote.host }}\"",
        "sudo bash -lc 'echo {{ remote.host }}'",
        "docker exec box /bin/sh -c 'cd {{ workspace.path }}'",
        "true && eval echo {{ remote.host }}",
        "eval \"{{ remote.host }}\"",
        "python3 -c 'print(\"{{ remote.host }}\")'",
        "x=$(sh -c {{ remote.host }})",
        "if true; then eval {{ remote.host }}; fi",
        "if eval {{ remote.host }}; then :; fi",
        "X=1 Y='a b' eval {{ remote.host }}",
        ">/dev/null 2>&1 eval {{ remote.host }}",
        "! command -p eval {{ remote.host }}",
        "f() { eval {{ remote.host }}; }",
        "trap {{ remote.host }} EXIT",
        "trap -- 'rm {{ remote.host }}' EXIT",
        ". {{ workspace.path }}",
        "sh -c -- {{ remote.host }}",
        "sh -c -x {{ remote.host }}",
        "sh 2>&1 -c {{ remote.host }}",
        "bash -c -o pipefail {{ remote.host }}",
        "perl -ne'print {{ remote.host }}'",
        "node --eval={{ remote.host }}",
        "su ada --command {{ remote.host }}",
        "ssh host {{ remote.host }}",
        "ssh -p 22 -i key host cd {{ workspace.path }}",
        "sudo ssh -tt host -- 'cd {{ workspace.path }}'",
        "ssh -o ProxyCommand={{ remote.host }} host",
        "watch -n 5 ls {{ workspace.path }}",
        "sudo watch 'ls {{ workspace.path }}'",
    ] {
        let error = Command::parse(text).expect_err(text);
        assert!(error.help().contains("`MLTOOLBOX_HOOK_"), "{text}: {}", error.help());
    }
    for text in [
        "grep -c {{ remote.host }} file",
        "sh -c true; echo {{ remote.host }}",
        "sh -c 'echo \"$1\"' sh {{ remote.host }}",
        "cat <<<{{ remote.host }}",
        "echo eval {{ remote.host }}",
        "make 2>&1 >{{ workspace.path }}/log",
        ". ./lib.sh {{ remote.host }}",
        "ssh {{ remote.host }} true",
        "ssh -p {{ remote.name }} ada@{{ remote.host }}",
        "ssh -tp {{ remote.name }} -- {{ remote.host }}",
        "rsync -e ssh . {{ remote.host }}:x",
        "npm run watch {{ workspace.path }}",
    ] {
        Command::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

#[test]
fn a_value_is_not_taken_for_an_option() {
    for text in ["git clone {{ repo_url }}", "git clone '{{ repo_url }}'", "git clone \"{{ repo_url }}\""] {
        let error = script(text, "--upload-pack=touch HARM").expect_err(text);
        assert_eq!(error.problem, Problem::Dash { fact: Fact::RepoUrl }, "{text}");
    }
    for text in ["printf %s ./{{ repo_url }}", "printf %s x'{{ repo_url }}'", "curl --token ${secret:t}"] {
        script(text, "-rf").unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

#[test]
fn what_is_not_known_is_named_with_the_nearest() {
    let error = Command::parse("echo\n  {{ remote.hots }}").expect_err("unknown");
    assert_eq!(error.to_string(), "line 2, column 3: `{{ remote.hots }}` is not known");
    assert!(error.help().starts_with("Write `{{ remote.host }}`"), "{}", error.help());
    let error = Command::parse("docker ps --format {{.Names}}").expect_err("unknown");
    assert!(error.help().contains("`\\{{.Names}}`"), "{}", error.help());
    let facts = Facts::from([(Fact::RemoteHost, "h".to_owned())]);
    let known = Known { home: None, variable: &|_| None, secret: &|_| None };
    let command = Command::parse("echo {{ container.name }}").expect("a command");
    let error = command.render(&facts, &known).expect_err("no container");
    assert_eq!(error.problem, Problem::Absent { fact: Fact::ContainerName });
}
