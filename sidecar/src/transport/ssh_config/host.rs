//! From the values of one host to what whoever connects needs. Pure: asks nobody and reads nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::address::{self, Address};
use super::error::ConfigError;
use super::tokens::{Tokens, Where};
use super::values::{Values, seconds};
use super::{AddressFamily, Authentication, Host, IdentityAgent, Overrides, PORT, StrictHostKey};

/// Who asks, and on which machine.
#[derive(Clone, Debug)]
pub(super) struct Person {
    /// `~`.
    pub(super) home: PathBuf,
    /// What `ssh` takes for `~` when that is another folder: it asks the accounts and not the environment.
    pub(super) account_home: Option<PathBuf>,
    /// The user's name here.
    pub(super) user: Option<String>,
    /// This machine's name.
    pub(super) machine: String,
}

/// How the values say that a host is reached; the jumps are names yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Directly.
    Direct,
    /// Over these.
    Jump(Vec<Address>),
    /// By the output of this command, whose tokens are expanded.
    Command(String),
}

/// Returns the host that `values` describe, and the way there.
pub(super) fn host(
    alias: &str,
    values: &Values,
    overrides: &Overrides,
    person: &Person,
    mut warnings: Vec<String>,
) -> Result<(Host, Route), ConfigError> {
    let answer = |what: &str| ConfigError::Answer { host: alias.to_owned(), what: what.to_owned() };
    let hostname = values.first("hostname").filter(|name| !name.is_empty());
    let hostname = hostname.ok_or_else(|| answer("there is no `hostname`"))?.to_owned();
    let port = match values.first("port") {
        Some(port) => port.parse().map_err(|_| answer("`port` is no number up to 65535"))?,
        None => PORT,
    };
    let user = values.first("user").filter(|user| !user.is_empty());
    let user = user.ok_or_else(|| ConfigError::NoUser { host: alias.to_owned() })?.to_owned();
    let host_key_alias = values.first("hostkeyalias").map(str::to_lowercase);
    let jump = values.first("proxyjump").filter(|jump| !jump.eq_ignore_ascii_case("none"));
    let tokens = Tokens {
        home: &person.home,
        alias,
        hostname: &hostname,
        key_alias: host_key_alias.as_deref().unwrap_or(alias),
        port,
        user: &user,
        local_user: person.user.as_deref().unwrap_or_default(),
        local_host: &person.machine,
        jump: jump.unwrap_or_default(),
        variable: crate::env::text,
    };
    // Who types that there are no jumps means the way there, of which the configuration may have a command.
    let is_direct = overrides.jump.as_deref().is_some_and(|jump| jump.eq_ignore_ascii_case("none"));
    let route = if is_direct { Route::Direct } else { route(values, jump, &tokens)? };
    let mut paths = |keyword: &str, name: &str| paths(values.all(keyword), name, &tokens, person, &mut warnings);
    let plain = Host::plain(&hostname, port, &user, &person.home);
    let or = |keyword: &str, found: Vec<PathBuf>, usual: &[PathBuf]| {
        if values.has(keyword) { found } else { usual.to_vec() }
    };
    let mut host = Host {
        alias: alias.to_owned(),
        key: overrides.key.clone(),
        identity_files: or("identityfile", paths("identityfile", "IdentityFile"), &plain.identity_files),
        certificate_files: paths("certificatefile", "CertificateFile"),
        user_known_hosts: or(
            "userknownhostsfile",
            paths("userknownhostsfile", "UserKnownHostsFile"),
            &plain.user_known_hosts,
        ),
        global_known_hosts: or(
            "globalknownhostsfile",
            paths("globalknownhostsfile", "GlobalKnownHostsFile"),
            &plain.global_known_hosts,
        ),
        revoked_host_keys: revoked(alias, values, &tokens, person)?,
        identities_only: values.is_on("identitiesonly").unwrap_or(false),
        identity_agent: agent(values, &tokens, person, &mut warnings),
        strict_host_key: strict(values, overrides),
        hash_known_hosts: values.is_on("hashknownhosts").unwrap_or(false),
        connect_timeout: duration(values, "connecttimeout"),
        keepalive: duration(values, "serveraliveinterval"),
        authentications: authentications(values),
        password_prompts: values
            .first("numberofpasswordprompts")
            .and_then(|text| text.parse().ok())
            .unwrap_or(Host::PASSWORD_PROMPTS),
        may_ask: !values.is_on("batchmode").unwrap_or(false),
        address_family: match values.first("addressfamily").map(str::to_ascii_lowercase).as_deref() {
            Some("inet") => AddressFamily::V4,
            Some("inet6") => AddressFamily::V6,
            Some(_) | None => AddressFamily::Any,
        },
        bind_address: values.first("bindaddress").map(str::to_owned),
        host_key_alias: host_key_alias.clone(),
        ..plain
    };
    warnings.extend(not_honoured(values));
    host.warnings = warnings;
    Ok((host, route))
}

fn route(values: &Values, jump: Option<&str>, tokens: &Tokens<'_>) -> Result<Route, ConfigError> {
    if let Some(jump) = jump {
        let hops = Address::parse_jumps(jump).map_err(|entry| ConfigError::jump(tokens.alias, entry))?;
        return Ok(if hops.is_empty() { Route::Direct } else { Route::Jump(hops) });
    }
    let Some(command) = values.first("proxycommand").filter(|command| !command.eq_ignore_ascii_case("none")) else {
        return Ok(Route::Direct);
    };
    let unusable = |reason: String| ConfigError::Command { host: tokens.alias.to_owned(), reason };
    if values.is_on("proxyusefdpass") == Some(true) {
        return Err(unusable("`ProxyUseFdpass` is not supported".to_owned()));
    }
    // The shell would run what a name or a user that came from elsewhere holds.
    if !address::is_host(tokens.hostname) {
        return Err(ConfigError::Host { host: tokens.hostname.to_owned() });
    }
    if !address::is_user(tokens.user) {
        return Err(ConfigError::User { user: tokens.user.to_owned() });
    }
    tokens.expand(command, Where::Command).map(Route::Command).map_err(unusable)
}

/// Returns the paths that values stand for; one that cannot be told is left out with a warning.
fn paths(
    values: &[String],
    name: &str,
    tokens: &Tokens<'_>,
    person: &Person,
    warnings: &mut Vec<String>,
) -> Vec<PathBuf> {
    let given = values.iter().filter(|value| !value.eq_ignore_ascii_case("none"));
    let path = |value: &String| match tokens.path(value) {
        Ok(path) => Some(at_home(path, person)),
        Err(reason) => {
            warnings.push(format!("`{name} {value}` is left out: {reason}."));
            None
        }
    };
    given.filter_map(path).collect()
}

/// Returns the lists of revoked host keys. One that cannot be told is an error: left out, what it revokes would be
/// trusted again.
fn revoked(alias: &str, values: &Values, tokens: &Tokens<'_>, person: &Person) -> Result<Vec<PathBuf>, ConfigError> {
    let unusable =
        |value: &String, reason| ConfigError::Revoked { host: alias.to_owned(), value: value.clone(), reason };
    let given = values.all("revokedhostkeys").iter().filter(|value| !value.eq_ignore_ascii_case("none"));
    given
        .map(|value| tokens.path(value).map(|path| at_home(path, person)).map_err(|reason| unusable(value, reason)))
        .collect()
}

/// Returns a path below the account's home as the one below that of the environment: `ssh` has expanded some paths by
/// then, and by another home than ours.
fn at_home(path: PathBuf, person: &Person) -> PathBuf {
    let below = |account: &Path| path.strip_prefix(account).map(Path::to_owned);
    match person.account_home.as_deref().map(below) {
        Some(Ok(rest)) if !path.starts_with(&person.home) => person.home.join(rest),
        Some(Ok(_) | Err(_)) | None => path,
    }
}

fn agent(values: &Values, tokens: &Tokens<'_>, person: &Person, warnings: &mut Vec<String>) -> IdentityAgent {
    let Some(value) = values.first("identityagent") else { return IdentityAgent::Environment };
    if value.eq_ignore_ascii_case("none") {
        return IdentityAgent::None;
    }
    if value == crate::env::SSH_AUTH_SOCK {
        return IdentityAgent::Environment;
    }
    let socket = match value.strip_prefix('$') {
        Some(name) if !name.starts_with('{') => {
            (tokens.variable)(name).map(PathBuf::from).ok_or_else(|| format!("the variable `{name}` is not set"))
        }
        Some(_) | None => tokens.path(value).map(|path| at_home(path, person)),
    };
    match socket {
        Ok(socket) => IdentityAgent::Socket(socket),
        Err(reason) => {
            warnings.push(format!("`IdentityAgent {value}` is left out: {reason}."));
            IdentityAgent::None
        }
    }
}

fn strict(values: &Values, overrides: &Overrides) -> StrictHostKey {
    if overrides.accept_new {
        return StrictHostKey::AcceptNew;
    }
    match (values.first("stricthostkeychecking"), values.is_on("stricthostkeychecking")) {
        (_, Some(true)) => StrictHostKey::Yes,
        (_, Some(false)) => StrictHostKey::No,
        (Some(value), None) if value.eq_ignore_ascii_case("accept-new") => StrictHostKey::AcceptNew,
        (Some(_) | None, None) => StrictHostKey::Ask,
    }
}

/// `0` and `none` mean that nothing is set.
fn duration(values: &Values, keyword: &str) -> Option<Duration> {
    let seconds = seconds(values.first(keyword)?)?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

fn authentications(values: &Values) -> Vec<Authentication> {
    let wanted = |one: &Authentication| {
        let keyword = match one {
            Authentication::PublicKey => "pubkeyauthentication",
            Authentication::KeyboardInteractive => "kbdinteractiveauthentication",
            Authentication::Password => "passwordauthentication",
        };
        // Versions before 8.7 print the older name.
        let older =
            || (keyword == "kbdinteractiveauthentication").then(|| values.is_on("challengeresponseauthentication"));
        values.is_on(keyword).or_else(|| older().flatten()).unwrap_or(true)
    };
    let preferred: Vec<Authentication> = match values.first("preferredauthentications") {
        None => Authentication::ALL.to_vec(),
        Some(list) => list.split(',').filter_map(|name| Authentication::named(name.trim())).collect(),
    };
    preferred.into_iter().filter(wanted).collect()
}

/// Returns what the values ask for and we do not do.
fn not_honoured(values: &Values) -> Vec<String> {
    let set = |keyword: &str| values.first(keyword).is_some_and(|value| !value.eq_ignore_ascii_case("none"));
    let known = [
        ("knownhostscommand", "`KnownHostsCommand` is not run: only files of known hosts count."),
        ("pkcs11provider", "`PKCS11Provider` is not used: load the key into the SSH agent with `ssh-add -s`."),
        ("bindinterface", "`BindInterface` is not honoured: name an address with `BindAddress`."),
    ];
    known.into_iter().filter(|(keyword, _)| set(keyword)).map(|(_, warning)| warning.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person() -> Person {
        Person {
            home: "/home/ada".into(),
            account_home: Some("/root".into()),
            user: Some("ada".to_owned()),
            machine: "desk.lab".to_owned(),
        }
    }

    fn of(output: &str) -> Result<(Host, Route), ConfigError> {
        let values = Values::parse(&format!("hostname gpu.lab\nport 2222\nuser root\n{output}"));
        host("gpu", &values, &Overrides::default(), &person(), Vec::new())
    }

    #[test]
    fn what_ssh_says_is_understood() {
        let (host, route) = of("identityfile ~/.ssh/%n_%r\nidentityfile none\ncertificatefile /c-cert.pub\n\
             identitiesonly yes\nidentityagent /run/%u/agent\nuserknownhostsfile /root/.ssh/known_hosts /k/%h\n\
             globalknownhostsfile none\nhostkeyalias GPU-Key\nstricthostkeychecking true\nhashknownhosts yes\n\
             connecttimeout 7\nserveraliveinterval 0\npreferredauthentications password,gssapi,publickey\n\
             numberofpasswordprompts 1\nbatchmode yes\naddressfamily inet6\nbindaddress ::1\npkcs11provider /lib/x.so\n")
        .expect("a host");
        assert_eq!((host.hostname.as_str(), host.port, host.user.as_str()), ("gpu.lab", 2222, "root"));
        assert_eq!(host.identity_files, [PathBuf::from("/home/ada/.ssh/gpu_root")]);
        assert_eq!(host.certificate_files, [PathBuf::from("/c-cert.pub")]);
        assert_eq!(host.identity_agent, IdentityAgent::Socket("/run/ada/agent".into()));
        // `ssh` expanded the first by the account's home; another `HOME` is meant.
        assert_eq!(host.user_known_hosts, [PathBuf::from("/home/ada/.ssh/known_hosts"), "/k/gpu.lab".into()]);
        assert_eq!(host.global_known_hosts, [] as [PathBuf; 0]);
        assert_eq!(host.host_key_alias.as_deref(), Some("gpu-key"));
        assert_eq!((host.strict_host_key, host.hash_known_hosts), (StrictHostKey::Yes, true));
        assert_eq!((host.connect_timeout, host.keepalive), (Some(Duration::from_secs(7)), None));
        assert_eq!(host.authentications, [Authentication::Password, Authentication::PublicKey]);
        assert_eq!((host.password_prompts, host.may_ask, host.identities_only), (1, false, true));
        assert_eq!((host.address_family, host.bind_address.as_deref()), (AddressFamily::V6, Some("::1")));
        assert_eq!((route, host.warnings.len()), (Route::Direct, 1));
    }

    #[test]
    fn switched_off_ways_to_log_in_are_not_tried() {
        let (host, _) = of("pubkeyauthentication true\npasswordauthentication no\nkbdinteractiveauthentication no\n")
            .expect("a host");
        assert_eq!(host.authentications, [Authentication::PublicKey]);
        let (host, _) = of("challengeresponseauthentication no\n").expect("a host");
        assert_eq!(host.authentications, [Authentication::PublicKey, Authentication::Password]);
    }

    #[test]
    fn the_way_there_is_direct_by_jumps_or_by_a_command() {
        let route = |output| of(output).map(|(_, route)| route);
        assert_eq!(route("proxyjump none\n").expect("none"), Route::Direct);
        assert_eq!(route("proxycommand none\n").expect("none"), Route::Direct);
        let Ok(Route::Jump(hops)) = route("proxyjump ada@a:1,b\n") else { panic!("jumps") };
        assert_eq!(hops.iter().map(Address::to_jump).collect::<Vec<_>>(), ["ada@a:1", "b"]);
        assert_eq!(route("proxycommand nc  %h %p\n").expect("one"), Route::Command("nc  gpu.lab 2222".to_owned()));
        assert!(matches!(route("proxyjump a,,b\n"), Err(ConfigError::Jump { .. })));
        assert!(matches!(route("proxycommand nc %Z\n"), Err(ConfigError::Command { .. })));
        assert!(matches!(route("proxyusefdpass yes\nproxycommand nc\n"), Err(ConfigError::Command { .. })));
    }

    #[test]
    fn nothing_foreign_gets_to_the_shell() {
        let of = |user: &str, name: &str| {
            let values = Values::parse(&format!("hostname {name}\nuser {user}\nproxycommand nc %h %r\n"));
            host("gpu", &values, &Overrides::default(), &person(), Vec::new())
        };
        assert!(matches!(of("$(touch /x)", "gpu"), Err(ConfigError::User { .. })));
        assert!(matches!(of("ada", "`touch /x`"), Err(ConfigError::Host { .. })));
        assert!(of("ada", "gpu").is_ok());
    }

    #[test]
    fn what_is_missing_or_garbage_is_an_error() {
        let of = |output| host("gpu", &Values::parse(output), &Overrides::default(), &person(), Vec::new());
        assert!(matches!(of("user a\n"), Err(ConfigError::Answer { .. })));
        assert!(matches!(of("hostname a\nuser a\nport 70000\n"), Err(ConfigError::Answer { .. })));
        assert!(matches!(of("hostname a\n"), Err(ConfigError::NoUser { .. })));
    }

    #[test]
    fn a_list_of_revoked_keys_that_cannot_be_told_is_an_error() {
        for value in ["~/%Z", "/etc/ssh/revoked %", "${MLTOOLBOX_NOT_SET}/revoked", "/a ${HOME"] {
            let error = of(&format!("revokedhostkeys {value}\n")).map(drop).expect_err(value);
            assert!(matches!(error, ConfigError::Revoked { .. }), "{value}: {error:?}");
        }
        let (host, _) = of("revokedhostkeys ~/%h /etc/%n\n").expect("a host");
        assert_eq!(host.revoked_host_keys, [PathBuf::from("/home/ada/gpu.lab"), "/etc/gpu".into()]);
        assert_eq!(of("revokedhostkeys none\n").expect("a host").0.revoked_host_keys, [] as [PathBuf; 0]);
    }

    #[test]
    fn paths_that_cannot_be_told_are_left_out_and_named() {
        let (host, _) = of("identityfile ~/%Z\nidentityfile ~/b\nidentityagent $MLTOOLBOX_NOT_SET\n").expect("a host");
        assert_eq!(host.identity_files, [PathBuf::from("/home/ada/b")]);
        assert_eq!(host.identity_agent, IdentityAgent::None);
        assert_eq!(host.warnings.len(), 2, "{:?}", host.warnings);
    }
}
