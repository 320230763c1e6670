//! `~/.ssh/config` as we read it, judged by OpenSSH's own client host by host, and a remote that is an alias.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::cli;
use harness::host::{Host as Server, Options};
use harness::or_skip;
use harness::work::Work;
use protocol::editor::{RemoteImportOutput, RemoteShowOutput, RemoteTestOutput};
use sidecar::transport::ssh_config::{
    self, AddressFamily, Authentication, Host, IdentityAgent, Overrides, Proxy, Settings, StrictHostKey,
};

mod nasty;

/// What every host is asked about, beside those that only patterns name.
const CONFIG: &str = include_str!("ssh_config/thirty.conf");
/// Hosts that no `Host` line names in full.
const UNNAMED: [&str; 6] = ["third-and-more", "x.lab", "worse.lab", "nowhere", "192.0.2.1", "included-by-pattern"];
/// Included by a pattern, and in turn including another one.
const CONF_D: &str =
    "Host included\n  HostName included.example.org\n  Include $HOME/nested\nHost included-*\n  Port 2401\n";
/// Included within a block, so that it counts for that block alone.
const NESTED: &str = "User nested\nHost *\n  IdentityFile ~/.ssh/nested\n";
/// Another file of the pattern, after the first.
const CONF_D_LAST: &str = "Host included plain-too\n  Port 2402\n  ProxyJump gate\n";
const OFFICE_FIRST: &str = "Match originalhost office\n  HostName office.example.org\n  Include $HOME/office/second\n";
const OFFICE_SECOND: &str = "Port 2403\nHost office\n  ProxyCommand connect %r@%h:%p\n";

/// What a host has, keyword by keyword, in words of the test.
type Facts = BTreeMap<&'static str, String>;

/// A home with the configuration.
struct Bed {
    work: Work,
}

impl Bed {
    fn new() -> Self {
        Self::of(&[
            (".ssh/config", CONFIG),
            ("conf.d/10.conf", CONF_D),
            ("conf.d/20.conf", CONF_D_LAST),
            ("conf.d/30.disabled", "Host included\n  User wrong\n"),
            ("nested", NESTED),
            ("office/first", OFFICE_FIRST),
            ("office/second", OFFICE_SECOND),
        ])
    }

    fn of(files: &[(&str, &str)]) -> Self {
        let bed = Self { work: Work::new() };
        for (name, text) in files {
            let path = bed.work.home().join(name);
            fs::create_dir_all(path.parent().expect("it is in a folder")).expect("our own folder");
            let home = bed.work.home().display().to_string();
            fs::write(path, text.replace("$HOME", &home).replace("$USER", &Server::user())).expect("our own folder");
        }
        bed
    }

    fn config(&self) -> PathBuf {
        self.work.home().join(".ssh/config")
    }

    fn settings(&self) -> Settings {
        Settings::new(&self.work.home())
    }

    /// Returns what `ssh -G` prints, keyword by keyword.
    fn asked(&self, arguments: &[&str]) -> BTreeMap<String, Vec<String>> {
        let mut ssh = Command::new("ssh");
        let output = ssh.arg("-GTF").arg(self.config()).args(arguments).output().expect("ssh starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        let mut asked: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in String::from_utf8(output.stdout).expect("text").lines() {
            let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
            asked.entry(keyword.to_owned()).or_default().push(value.to_owned());
        }
        asked
    }

    /// Returns what `ssh -G` says when it refuses.
    fn refused(&self, alias: &str) -> Option<String> {
        let output = Command::new("ssh").arg("-GTF").arg(self.config()).args(["--", alias]).output();
        let output = output.expect("ssh starts");
        (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Returns the facts that `ssh -G` tells of a host.
    fn expected(&self, alias: &str) -> Facts {
        let asked = self.asked(&[alias]);
        let first = |keyword: &str| asked.get(keyword).map(|values| values[0].clone());
        let on = |keyword: &str| matches!(first(keyword).as_deref(), Some("yes" | "true"));
        let must = |keyword: &str| first(keyword).unwrap_or_else(|| panic!("{alias}: no {keyword}"));
        let expand = |text: &str| self.expand(text, alias, &asked);
        let list = |values: Vec<String>| {
            let real = values.into_iter().filter(|value| value != "none");
            real.map(|value| expand(&value)).collect::<Vec<_>>().join(" | ")
        };
        let lines = |keyword: &str| list(asked.get(keyword).cloned().unwrap_or_default());
        let words = |keyword: &str| list(must(keyword).split(' ').map(str::to_owned).collect());
        let seconds = |keyword: &str| must(keyword).parse::<u64>().ok().filter(|seconds| *seconds > 0);
        let methods = first("preferredauthentications").unwrap_or("publickey,keyboard-interactive,password".to_owned());
        let wanted = |method: &&str| match *method {
            "publickey" => on("pubkeyauthentication"),
            "keyboard-interactive" => on("kbdinteractiveauthentication"),
            "password" => on("passwordauthentication"),
            // Of no use to us.
            _ => false,
        };
        let command = first("proxycommand").filter(|command| command != "none");
        Facts::from([
            ("hostname", must("hostname")),
            ("port", must("port")),
            ("user", must("user")),
            ("identity files", without_antiques(&lines("identityfile"))),
            ("certificate files", lines("certificatefile")),
            ("user known hosts", words("userknownhostsfile")),
            ("global known hosts", words("globalknownhostsfile")),
            (
                "revoked",
                first("revokedhostkeys").filter(|file| file != "none").map(|file| expand(&file)).unwrap_or_default(),
            ),
            ("identities only", on("identitiesonly").to_string()),
            ("agent", first("identityagent").map_or("SSH_AUTH_SOCK".to_owned(), |agent| expand(&agent))),
            ("host key alias", first("hostkeyalias").unwrap_or_default()),
            ("strict", must("stricthostkeychecking")),
            ("hash", on("hashknownhosts").to_string()),
            ("connect timeout", format!("{:?}", seconds("connecttimeout"))),
            ("keepalive", format!("{:?}", seconds("serveraliveinterval"))),
            ("methods", methods.split(',').filter(wanted).collect::<Vec<_>>().join(",")),
            ("prompts", must("numberofpasswordprompts")),
            ("asks", (!on("batchmode")).to_string()),
            ("family", must("addressfamily")),
            ("bind", first("bindaddress").unwrap_or_default()),
            ("jumps", self.jumps(&asked).join(" → ")),
            ("command", command.map(|command| expand(&command)).unwrap_or_default()),
        ])
    }

    /// Returns the way over all jumps, first hop first, as `ssh` would go it.
    fn jumps(&self, asked: &BTreeMap<String, Vec<String>>) -> Vec<String> {
        let Some(list) = asked.get("proxyjump") else { return Vec::new() };
        let mut way = Vec::new();
        for (index, hop) in list[0].split(',').enumerate() {
            let (user, rest) = hop.split_once('@').map_or((None, hop), |(user, rest)| (Some(user), rest));
            let (name, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                Some((name, port)) => (name, port.strip_prefix(':')),
                None => rest.split_once(':').map_or((rest, None), |(name, port)| (name, Some(port))),
            };
            let mut arguments = Vec::new();
            arguments.extend(user.iter().flat_map(|user| ["-l", user]));
            arguments.extend(port.iter().flat_map(|port| ["-p", port]));
            arguments.push(name);
            let asked = self.asked(&arguments);
            if index == 0 {
                way.extend(self.jumps(&asked));
                if let Some(command) = asked.get("proxycommand") {
                    way.push(self.expand(&command[0], name, &asked));
                }
            }
            way.push(format!("{}@{} {}", asked["user"][0], asked["hostname"][0], asked["port"][0]));
        }
        way
    }

    /// Expands what `ssh -G` leaves for later, by plain replacement. The user of all tests has another home than the
    /// test, which `ssh` cannot be told.
    fn expand(&self, text: &str, alias: &str, asked: &BTreeMap<String, Vec<String>>) -> String {
        let home = self.work.home().display().to_string();
        let account = agent::facts::own_home().expect("an account").display().to_string();
        let text = match (text.strip_prefix("~/"), text.strip_prefix(&format!("{account}/"))) {
            (Some(rest), _) | (None, Some(rest)) => format!("{home}/{rest}"),
            (None, None) => text.to_owned(),
        };
        text.replace("%%", "\0")
            .replace("%h", &asked["hostname"][0])
            .replace("%n", alias)
            .replace("%p", &asked["port"][0])
            .replace("%r", &asked["user"][0])
            .replace("%d", &home)
            .replace("%u", &Server::user())
            .replace('\0', "%")
    }
}

/// Returns the facts of a host as we read it.
fn facts(host: &Host) -> Facts {
    let list = |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" | ");
    let seconds = |duration: Option<std::time::Duration>| format!("{:?}", duration.map(|duration| duration.as_secs()));
    let method = |method: &Authentication| match method {
        Authentication::PublicKey => "publickey",
        Authentication::KeyboardInteractive => "keyboard-interactive",
        Authentication::Password => "password",
    };
    let name = |host: &Host| format!("{}@{} {}", host.user, host.hostname, host.port);
    let (jumps, command) = match &host.proxy {
        Proxy::Direct => (Vec::new(), String::new()),
        Proxy::Command(command) => (Vec::new(), command.clone()),
        Proxy::Jump(hops) => {
            let way = hops.iter().flat_map(|hop| match &hop.proxy {
                Proxy::Command(command) => vec![command.clone(), name(hop)],
                Proxy::Direct => vec![name(hop)],
                Proxy::Jump(_) => panic!("a hop has jumps of its own: {hop:?}"),
            });
            (way.collect(), String::new())
        }
    };
    Facts::from([
        ("hostname", host.hostname.clone()),
        ("port", host.port.to_string()),
        ("user", host.user.clone()),
        ("identity files", without_antiques(&list(&host.identity_files))),
        ("certificate files", list(&host.certificate_files)),
        ("user known hosts", list(&host.user_known_hosts)),
        ("global known hosts", list(&host.global_known_hosts)),
        ("revoked", list(&host.revoked_host_keys)),
        ("identities only", host.identities_only.to_string()),
        (
            "agent",
            match &host.identity_agent {
                IdentityAgent::Environment => "SSH_AUTH_SOCK".to_owned(),
                IdentityAgent::Socket(path) => path.display().to_string(),
                IdentityAgent::None => "none".to_owned(),
            },
        ),
        ("host key alias", host.host_key_alias.clone().unwrap_or_default()),
        (
            "strict",
            match host.strict_host_key {
                StrictHostKey::Ask => "ask",
                StrictHostKey::Yes => "true",
                StrictHostKey::AcceptNew => "accept-new",
                StrictHostKey::No => "false",
            }
            .to_owned(),
        ),
        ("hash", host.hash_known_hosts.to_string()),
        ("connect timeout", seconds(host.connect_timeout)),
        ("keepalive", seconds(host.keepalive)),
        ("methods", host.authentications.iter().map(method).collect::<Vec<_>>().join(",")),
        ("prompts", host.password_prompts.to_string()),
        ("asks", host.may_ask.to_string()),
        (
            "family",
            match host.address_family {
                AddressFamily::Any => "any",
                AddressFamily::V4 => "inet",
                AddressFamily::V6 => "inet6",
            }
            .to_owned(),
        ),
        ("bind", host.bind_address.clone().unwrap_or_default()),
        ("jumps", jumps.join(" → ")),
        ("command", command),
    ])
}

/// Leaves out the usual keys of kinds that newer versions of `ssh` no longer list.
fn without_antiques(list: &str) -> String {
    let keys = list.split(" | ").filter(|key| !key.ends_with("/id_dsa") && !key.ends_with("/id_xmss"));
    keys.collect::<Vec<_>>().join(" | ")
}

#[tokio::test]
async fn thirty_hosts_are_what_ssh_says_they_are() {
    or_skip!("thirty_hosts_are_what_ssh_says_they_are", harness::skip::live(&["ssh"]));
    let bed = Bed::new();
    let mut hosts = ssh_config::aliases(&bed.settings()).await.expect("a good configuration");
    assert!(hosts.len() >= 30, "{hosts:?}");
    hosts.extend(UNNAMED.map(str::to_owned));
    let alone = Settings { program: None, ..bed.settings() };
    for alias in &hosts {
        let expected = bed.expected(alias);
        let asked = ssh_config::resolve(alias, &Overrides::default(), &bed.settings()).await.expect("a host");
        assert_eq!(facts(&asked), expected, "{alias}, by asking ssh");
        let read = ssh_config::resolve(alias, &Overrides::default(), &alone).await.expect("a host");
        assert!(read.warnings.iter().any(|warning| warning.contains("Match exec")), "{alias}: {:?}", read.warnings);
        // The commands of a configuration are run by `ssh` only.
        if alias != "executed" {
            assert_eq!(facts(&read), expected, "{alias}, by reading the files");
        }
    }
    // The same once more as a person sees it.
    let listed = cli::run(&bed.work, &["remote", "import", "--json"]).json::<RemoteImportOutput>();
    assert_eq!(listed.hosts.len(), hosts.len() - UNNAMED.len());
    for host in listed.hosts {
        let (way, expected) = (host.way.expect("a way"), bed.expected(&host.alias));
        let shown = (way.host, way.port.to_string(), way.user, way.command.unwrap_or_default());
        let command = match expected["jumps"].split_once(" → ") {
            Some((first, _)) if !first.contains('@') => first.to_owned(),
            Some(_) | None => expected["command"].clone(),
        };
        let same = (expected["hostname"].clone(), expected["port"].clone(), expected["user"].clone(), command);
        assert_eq!(shown, same, "{}", host.alias);
    }
}

#[tokio::test]
async fn what_is_typed_changes_what_ssh_says_in_the_same_way() {
    or_skip!("what_is_typed_changes_what_ssh_says_in_the_same_way", harness::skip::live(&["ssh"]));
    let bed = Bed::new();
    for alias in ["tokens", "matched", "inner", "bynetcat", "x.lab"] {
        let overrides = Overrides {
            user: Some("tok".to_owned()),
            port: Some(77),
            jump: Some("ada@gate".to_owned()),
            ..Overrides::default()
        };
        let asked = bed.asked(&["-l", "tok", "-p", "77", "-J", "ada@gate", alias]);
        for program in [Some("ssh".into()), None] {
            let settings = Settings { program, ..bed.settings() };
            let host = ssh_config::resolve(alias, &overrides, &settings).await.expect("a host");
            let facts = facts(&host);
            let keys = asked["identityfile"].iter().map(|key| bed.expand(key, alias, &asked)).collect::<Vec<_>>();
            let expected =
                (&asked["hostname"][0], "77", "tok", "ada@gate.example.org 2022", without_antiques(&keys.join(" | ")));
            let shown = (
                &facts["hostname"],
                facts["port"].as_str(),
                facts["user"].as_str(),
                facts["jumps"].as_str(),
                facts["identity files"].clone(),
            );
            assert_eq!(shown, expected, "{alias} {settings:?}");
        }
    }
}

#[test]
fn a_mistake_in_the_configuration_is_told_with_its_place() {
    or_skip!("a_mistake_in_the_configuration_is_told_with_its_place", harness::skip::live(&["ssh"]));
    let work = Work::new();
    let config = |text: &str| {
        fs::create_dir_all(work.home().join(".ssh")).expect("our own folder");
        fs::write(work.home().join(".ssh/config"), text).expect("our own folder");
    };
    config("Host gpu\n  Colour blue\n");
    assert_eq!(cli::run(&work, &["remote", "add", "gpu", "--host", "gpu"]).code, 0);
    let ran = cli::run(&work, &["remote", "test", "gpu"]);
    let text = work.redact(&ran.text());
    assert!(ran.code != 0 && text.contains("line 2 of `$WORK/home/.ssh/config`"), "{text}");
    let shown = cli::run(&work, &["remote", "show", "gpu", "--json"]).json::<RemoteShowOutput>();
    assert!(shown.way.is_none() && shown.problem.is_some_and(|problem| problem.message.contains("line 2")));

    config("Host gpu\n  ProxyJump gate\nHost gate\n  ProxyJump gpu\n");
    let ran = cli::run(&work, &["remote", "test", "gpu"]);
    assert!(ran.stderr.contains("lead in a circle: gpu → gate → gpu"), "{}", ran.text());
    config("Host *\n  ProxyJump gate\n");
    let ran = cli::run(&work, &["remote", "test", "gpu"]);
    assert!(ran.stderr.contains("lead in a circle: gpu → gate → gate"), "{}", ran.text());
}

/// Writes a configuration in which the server is called `lab-gpu`.
fn write_config(work: &Work, server: &Server, more: &str) {
    let ssh = work.home().join(".ssh");
    fs::create_dir_all(&ssh).expect("our own folder");
    fs::write(ssh.join("known_hosts"), server.known_hosts(server.port())).expect("our own folder");
    fs::copy(server.key(), ssh.join("lab key")).expect("our own folder");
    let text = format!(
        "{more}Host lab-gpu\n  HostName 127.0.0.1\n  Port {}\n  User {}\n  IdentityFile \"~/.ssh/lab key\"\n  \
         IdentitiesOnly yes\n",
        server.port(),
        Server::user()
    );
    fs::write(ssh.join("config"), text).expect("our own folder");
}

#[test]
fn a_remote_is_an_alias() {
    let server = or_skip!("a_remote_is_an_alias", Server::with(&Options::default()));
    let work = Work::new();
    write_config(&work, &server, "");
    let added = cli::run(&work, &["remote", "add", "gpu", "--host", "lab-gpu"]);
    assert_eq!(added.code, 0, "{}", added.text());
    let tested = cli::run(&work, &["remote", "test", "gpu", "--json"]).json::<RemoteTestOutput>();
    assert_eq!(
        (tested.way.host.as_str(), tested.way.port, tested.way.user),
        ("127.0.0.1", server.port(), Server::user())
    );
    assert!(tested.authentication.contains("lab key"), "{}", tested.authentication);
    let ran = cli::run(&work, &["--remote", "gpu", "exec", "--host", "--", "echo", "there"]);
    assert_eq!((ran.code, ran.stdout.trim()), (0, "there"), "{}", ran.text());

    // A change of the configuration counts at the next connection; what is typed wins over it.
    write_config(&work, &server, "Host lab-gpu\n  Port 1\n");
    let ran = cli::run(&work, &["remote", "test", "gpu"]);
    assert!(ran.code != 0 && ran.stderr.contains("port 1"), "{}", ran.text());
    let typed = format!("lab-gpu:{}", server.port());
    assert_eq!(cli::run(&work, &["remote", "add", "typed", "--host", &typed]).code, 0);
    let tested = cli::run(&work, &["remote", "test", "typed", "--json"]).json::<RemoteTestOutput>();
    assert_eq!(tested.way.port, server.port());
    let again = cli::run(&work, &["remote", "add", "gpu", "--host", "lab-gpu"]);
    assert_eq!(again.code, 0, "the same once more changes nothing: {}", again.text());
}

#[test]
fn the_way_of_the_configuration_is_gone() {
    let server = or_skip!("the_way_of_the_configuration_is_gone", Server::start());
    let work = Work::new();
    let home = work.home().display().to_string();
    let more = format!(
        "Host behind\n  ProxyJump lab-gpu\nHost piped\n  ProxyCommand ssh -F {home}/.ssh/config -i '{home}/.ssh/lab key' \
         -o UserKnownHostsFile={home}/.ssh/known_hosts -o BatchMode=yes -W %h:%p lab-gpu\nHost behind piped\n  \
         HostName 127.0.0.1\n  Port {}\n  User {}\n  IdentityFile \"~/.ssh/lab key\"\n",
        server.port(),
        Server::user()
    );
    write_config(&work, &server, &more);
    for alias in ["behind", "piped"] {
        let added = cli::run(&work, &["remote", "import", alias]);
        assert_eq!(added.code, 0, "{}", added.text());
        let way = cli::run(&work, &["remote", "test", alias, "--json"]).json::<RemoteTestOutput>().way;
        let hop = format!("{}@127.0.0.1:{}", Server::user(), server.port());
        assert_eq!((way.jumps == [hop], way.command.is_some()), (alias == "behind", alias == "piped"), "{way:?}");
    }
}

#[test]
fn hosts_are_imported_and_another_file_can_be_named() {
    let server = or_skip!("hosts_are_imported_and_another_file_can_be_named", Server::start());
    let work = Work::new();
    write_config(&work, &server, "Host other *.lab !x\n  HostName 127.0.0.1\n  Port 5\nHost a/b\n");
    let import = |arguments: &[&str]| {
        let arguments: Vec<&str> = ["remote", "import", "--json"].iter().chain(arguments).copied().collect();
        cli::run(&work, &arguments)
    };
    let state = |output: RemoteImportOutput| -> Vec<(String, Option<String>, bool)> {
        output.hosts.into_iter().map(|host| (host.alias, host.remote, host.added)).collect()
    };
    let row = |alias: &str, remote: Option<&str>, added| (alias.to_owned(), remote.map(str::to_owned), added);
    let listed = state(import(&[]).json());
    assert_eq!(listed, [row("other", None, false), row("a/b", None, false), row("lab-gpu", None, false)]);
    let unknown = import(&["lab-gpo"]);
    assert!(unknown.code != 0 && unknown.stdout.contains("Did you mean `lab-gpu`?"), "{}", unknown.text());
    assert_eq!(state(import(&["lab-gpu"]).json()), [row("lab-gpu", Some("lab-gpu"), true)]);
    assert_eq!(state(import(&["lab-gpu"]).json()), [row("lab-gpu", Some("lab-gpu"), false)]);
    let all = state(import(&["--all"]).json());
    assert_eq!(
        all,
        [row("other", Some("other"), true), row("a/b", None, false), row("lab-gpu", Some("lab-gpu"), false)]
    );
    assert_eq!(cli::run(&work, &["remote", "test", "lab-gpu"]).code, 0);
    // A bare word that is an alias is one to connect to as well; what cannot be reached is not kept.
    assert_eq!(cli::run(&work, &["remote", "remove", "other"]).code, 0);
    let ran = cli::run(&work, &["remote", "connect", "other", "--yes"]);
    assert!(ran.code != 0 && ran.stderr.contains("port 5"), "{}", ran.text());
    let ran = cli::run(&work, &["remote", "show", "other"]);
    assert!(ran.code != 0 && ran.stderr.contains("there is no remote `other`"), "{}", ran.text());

    let named = named_file(&work, "Host lab-gpu\n  HostName 192.0.2.7\n");
    let shown = |config: &Path| {
        let mut command = cli::command(&work, &["remote", "show", "lab-gpu", "--json"]);
        cli::finish(command.env("MLTOOLBOX_SSH_CONFIG", config)).json::<RemoteShowOutput>().way.expect("a way")
    };
    assert_eq!((shown(&named).host.as_str(), shown(&named).port), ("192.0.2.7", 22));
    assert_eq!(shown(Path::new("none")).host, "lab-gpu");
}

fn named_file(work: &Work, text: &str) -> PathBuf {
    let path = work.home().join("other_config");
    fs::write(&path, text).expect("our own folder");
    path
}
