//! Configurations that people have and nobody would write down as an example: each host of each, by asking `ssh` and by
//! reading the files, is what `ssh -G` says it is; what `ssh` refuses, our own reader does not take for good.

use super::*;

/// A configuration and the hosts that it is about. `$HOME` is the home of the test.
const NASTY: &[(&str, &str, &[&str])] = &[
    (
        "comments, quotes and signs of equality",
        "Host=a\n\tHostName = \"q.example.org\" # there\n  Port=\"2022\"\n user bob # x\nHost \"b\" 'c'\n  User  \"al\"\"ice\"\n\
         HOST d # e\n hOsTnAmE\td.example.org\n",
        &["a", "b", "c", "d", "e", "#"],
    ),
    (
        "a file of another system",
        "Host a\r\n  HostName x.example.org\r\n  Port 2022\r\n\r\nHost *\r\n  User z\r\n",
        &["a", "b"],
    ),
    (
        "names in other letters",
        "Host GPU\n  Port 1\nHost gpu\n  Port 2\nMatch host GPU\n  User upper\n",
        &["gpu", "GPU", "Gpu"],
    ),
    (
        "negated patterns",
        "Host !a\n  User nobody\nHost * !a !b*\n  User most\nHost !c c\n  Port 5\nMatch host !d\n  Port 6\n\
         Match host *,!e\n  Port 7\nMatch originalhost !f*,*\n  IdentityFile ~/.ssh/f\n",
        &["a", "b1", "c", "d", "e", "f2", "g"],
    ),
    ("a list that is none", "Host a,b\n  User both\nMatch host a,b\n  User either\n", &["a", "b", "a,b"]),
    (
        "who logs in",
        "Match user bob\n  Port 9\nHost a\n  User bob\nMatch user bob\n  IdentityFile ~/.ssh/bob\nMatch user b*,!bill host a\n  \
         ConnectTimeout 4\nMatch localuser $USER,other user bob\n  ServerAliveInterval 5\nMatch localuser !$USER\n  Port 1\n",
        &["a", "b"],
    ),
    (
        "the last reading",
        "Match final\n  User last\nMatch !final host a\n  Port 3\nMatch canonical\n  Port 4\nMatch final host x.lab\n  \
         IdentityFile ~/.ssh/x\nHost a\n  HostName x.lab\nHost x.lab\n  ConnectTimeout 8\nMatch final all\n  BatchMode yes\n  ServerAliveInterval 9\n",
        &["a", "b", "x.lab"],
    ),
    (
        "without a last reading",
        "Match canonical all\n  User never\nMatch all\n  User all\nHost a\n  Port 2\n",
        &["a", "b"],
    ),
    (
        "the name that was found",
        "Host *.s\n  HostName %h.example.org\nMatch host *.s.example.org\n  User found\nMatch originalhost *.s\n  Port 7\n\
         Host p\n  HostName 100%%h\n",
        &["a.s", "s", "p"],
    ),
    (
        "the first word counts",
        "Host a\n  ProxyCommand none\n  ProxyJump gate\nHost b\n  ProxyJump none\n  ProxyCommand nc %h %p\nHost c\n  \
         ProxyJump NONE\nHost d\n  ProxyCommand NONE\nHost f\n  ProxyJump none\n  ProxyJump gate\nHost *\n  ProxyCommand last %h\n",
        &["a", "b", "c", "e", "f"],
    ),
    (
        "ways of a hop",
        "Host a\n  ProxyJump ssh://ada@gate:2200\nHost b\n  ProxyJump bob@[2001:db8::1]:22,c@d\nHost c\n  ProxyJump gate:2222\n\
         Host gate\n  HostName g.example.org\n  User gatekeeper\nHost d\n  ProxyJump a\n  User dora\n",
        &["a", "b", "c"],
    ),
    (
        "commands",
        "Host a\n  ProxyCommand exec ssh -W '[%h]:%p' -o \"X=1\" gate # no comment\nHost b\n  ProxyCommand=nc -x p:1 %h %p 100%% %n %r\n\
         Host c\n  ProxyCommand \"C:\\Program Files\\x\" %h\nHost d\n  ProxyCommand   two   blanks  %h\t%p  \n",
        &["a", "b", "c", "d"],
    ),
    (
        "paths",
        "Host a\n  IdentityFile \"~/a b/%h\"\n  IdentityFile ~/a\\ c\n  IdentityFile '~/q\"q'\n  IdentityFile %d/x\n  \
         IdentityFile ~/a\\ c\nHost b\n  UserKnownHostsFile ~/one /two/%p\n  GlobalKnownHostsFile none\n  RevokedHostKeys none\n\
         Host c\n  IdentityFile none\n  IdentityAgent none\n  UserKnownHostsFile none\nHost *\n  IdentityFile ~/last\n  \
         CertificateFile ~/%n-cert\n",
        &["a", "b", "c", "d"],
    ),
    (
        "words in other letters",
        "Host a\n  StrictHostKeyChecking ACCEPT-NEW\n  BatchMode YES\n  AddressFamily INET6\n  IdentitiesOnly True\n  ServerAliveInterval 9\n  \
         HashKnownHosts Yes\nHost b\n  StrictHostKeyChecking Off\n  AddressFamily Any\n  PasswordAuthentication FALSE\nHost c\n  \
         StrictHostKeyChecking ASK\n  HostKeyAlias MiXed\n",
        &["a", "b", "c"],
    ),
    (
        "times",
        "Host a\n  ConnectTimeout 1m30\n  ServerAliveInterval 1h\nHost b\n  ConnectTimeout none\nHost c\n  ConnectTimeout 0\n  \
         ServerAliveInterval 2M\n",
        &["a", "b", "c"],
    ),
    ("a port by its name", "Host a\n  Port ssh\nHost b\n  Port 65535\n", &["a", "b"]),
    (
        "files in files",
        "Include $HOME/inc/[12]*.conf\nHost a\n  Include \"$HOME/inc/with blank\" $HOME/inc/none-*\n  Port 5\nHost *\n  \
         Include $HOME/inc/?.all\n  User outer\n",
        &["a", "b", "one", "two", "three"],
    ),
    (
        "blocks that end with their file",
        "Host a\n  Include $HOME/inc/block\n  Port 6\nHost z\n  Include $HOME/inc/block\nHost *\n  ConnectTimeout 3\n",
        &["a", "z", "inner", "other"],
    ),
    (
        "the same block twice",
        "Host a\n  Port 1\n  Port 2\nHost a b\n  Port 3\n  User u\nHost a\n  User v\n",
        &["a", "b"],
    ),
    (
        "addresses",
        "Host ::1\n  User six\nHost 192.0.2.*\n  User four\nHost a\n  HostName 2001:DB8::A\n  BindAddress \"::1\"\n",
        &["::1", "192.0.2.9", "a"],
    ),
    (
        "ways to log in",
        "Host a\n  PreferredAuthentications password,publickey\n  PubkeyAuthentication no\nHost b\n  \
         ChallengeResponseAuthentication no\nHost c\n  PreferredAuthentications gssapi-with-mic,hostbased\n  NumberOfPasswordPrompts 7\n",
        &["a", "b", "c"],
    ),
    (
        "agents",
        "Host a\n  IdentityAgent \"~/a b.sock\"\nHost b\n  IdentityAgent SSH_AUTH_SOCK\nHost c\n  IdentityAgent ~/%h-%p-%r.sock\n",
        &["a", "b", "c"],
    ),
    (
        "dots and blanks",
        "   Host    a.b.c.   \n\t\tHostName\tA.B.C.\t\x0c\nHost a?b\n  User mark\nHost a**c\n  User stars\n",
        &["a.b.c.", "axb", "ab", "ac", "axxc"],
    ),
    ("what is refused: a quote", "Host a\n  User \"open\n", &["a"]),
    ("what is refused: no value", "Host a\n  HostName\n", &["a"]),
    ("what is refused: a port", "Host a\n  Port 70000\n", &["a"]),
    ("what is refused: two values", "Host a\n  HostName one two\n", &["a"]),
    ("what is refused: a switch", "Host a\n  StrictHostKeyChecking perhaps\n", &["a"]),
    ("what is refused: a time", "Host a\n  ConnectTimeout soon\n", &["a"]),
    ("what is refused: a criterion", "Match colour blue\n  User b\n", &["a"]),
    ("what is refused: all and more", "Match all host a\n  User b\n", &["a"]),
    ("what is refused: on", "Host a\n  HashKnownHosts on\n", &["a"]),
    ("what is refused: two keys in a line", "Host a\n  IdentityFile a b\n", &["a"]),
    ("what is refused: nothing to match", "Match\n  User b\n", &["a"]),
    ("what is refused: a host without a name", "Host\n  User b\n", &["a"]),
    ("what is refused: a hop", "Host a\n  ProxyJump gate,,other\n", &["a"]),
    ("what is refused: a family", "Host a\n  AddressFamily inet5\n", &["a"]),
    ("what is refused elsewhere, too", "Host a\n  User a\nHost b\n  Port x\n", &["a"]),
    ("what is refused: an include of itself", "Include $HOME/.ssh/config\n", &["a"]),
];

/// Files for the cases about `Include`.
const INCLUDED: &[(&str, &str)] = &[
    ("inc/1.conf", "Host one\n  Port 11\n"),
    ("inc/2.conf", "Host two\n  Port 12\n  Include $HOME/inc/deep\n"),
    ("inc/3.conf", "Host three\n  Port 13\n"),
    ("inc/deep", "User deep\nMatch host two\n  ConnectTimeout 2\nHost b\n  Port 14\n"),
    ("inc/with blank", "User blank\nHost a b\n  IdentityFile ~/.ssh/blank\n"),
    ("inc/x.all", "Match host three\n  User by-all\n"),
    ("inc/block", "Host inner\n  User inner\nHost *\n  IdentityFile ~/.ssh/inner\n"),
];

/// Returns the facts that differ, or what one refuses and the other does not.
fn compare(expected: Result<&Facts, &String>, found: Result<Host, ssh_config::ConfigError>) -> Vec<String> {
    match (expected, found) {
        (Ok(expected), Ok(found)) => {
            let found = facts(&found);
            let differs = |(name, value): (&&'static str, &String)| {
                (found[name] != *value).then(|| format!("{name}: {:?} and not {value:?}", found[name]))
            };
            expected.iter().filter_map(differs).collect()
        }
        (Err(_), Err(_)) => Vec::new(),
        (Ok(_), Err(error)) => vec![format!("refused: {error}")],
        (Err(error), Ok(_)) => vec![format!("taken, and ssh says: {error}")],
    }
}

#[tokio::test]
async fn nasty_configurations_are_what_ssh_says_they_are() {
    or_skip!("nasty_configurations_are_what_ssh_says_they_are", harness::skip::live(&["ssh"]));
    let mut wrong = Vec::new();
    for (what, text, aliases) in NASTY {
        let bed = Bed::of(&[&[(".ssh/config", *text)], INCLUDED].concat());
        for alias in *aliases {
            let refused = bed.refused(alias);
            let expected = refused.is_none().then(|| bed.expected(alias));
            for program in [Some("ssh".into()), None] {
                let who = if program.is_some() { "by asking ssh" } else { "by reading" };
                let settings = Settings { program, ..bed.settings() };
                let found = ssh_config::resolve(alias, &Overrides::default(), &settings).await;
                let expected = expected.as_ref().ok_or_else(|| refused.as_ref().expect("one of the two"));
                wrong.extend(
                    compare(expected, found).into_iter().map(|text| format!("{what}: `{alias}` {who}: {text}")),
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
