//! From what a person typed to the host and all hops on the way there.

use std::path::{Path, PathBuf};

use super::address::{self, Address};
use super::ask;
use super::error::ConfigError;
use super::evaluate::{self, Question, evaluate};
use super::file::{self, Parsed, Place};
use super::host::{Person, Route, host};
use super::values::Values;
use super::{Host, Overrides, Proxy, Settings};

/// More hops than any network needs; what leads further is a mistake.
const MAX_HOPS: usize = 16;
/// The name that stands for no configuration, as with `ssh -F none`.
const NO_FILE: &str = "none";
/// The words with which `ssh -G` refuses a host that is its own jump.
const LOOP: &str = "jumphost loop via ";
/// The configuration of the whole machine.
#[cfg(unix)]
const SYSTEM_FOLDER: &str = "/etc/ssh";

/// Returns how `alias` is reached. Asks `ssh` for it and for each hop; the jumps of the first hop are followed in
/// turn, as `ssh` follows them.
pub async fn resolve(alias: &str, overrides: &Overrides, settings: &Settings) -> Result<Host, ConfigError> {
    let place = Scene::look(settings).await;
    let start = Address { user: overrides.user.clone(), host: alias.to_owned(), port: overrides.port };
    let (mut host, route) = place.one(&start, overrides).await?;
    host.proxy = match route {
        Route::Direct => Proxy::Direct,
        Route::Command(command) => Proxy::Command(command),
        Route::Jump(hops) => Proxy::Jump(place.jumps(start, hops, overrides.accept_new).await?),
    };
    Ok(host)
}

/// Returns the names that the configuration has for hosts, without patterns, in order and once each.
pub async fn aliases(settings: &Settings) -> Result<Vec<String>, ConfigError> {
    let place = Scene::look(settings).await;
    let files = place.files().await?;
    Ok(evaluate::aliases(&files))
}

/// Which configuration is read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Config {
    /// The user's and then the machine's.
    Usual,
    /// This file alone.
    File(PathBuf),
    /// None; there is nothing to ask `ssh` about.
    Absent,
}

/// What is the same for every hop.
struct Scene {
    program: Option<PathBuf>,
    config: Config,
    person: Person,
}

impl Scene {
    async fn look(settings: &Settings) -> Self {
        let settings = settings.clone();
        let looked = tokio::task::spawn_blocking(move || Self::look_now(settings)).await;
        looked.expect("looking at files does not panic")
    }

    /// Blocks.
    fn look_now(settings: Settings) -> Self {
        let Settings { home, file, program } = settings;
        let same = |one: &Path| {
            one == home || one.canonicalize().is_ok_and(|one| home.canonicalize().is_ok_and(|home| one == home))
        };
        let account_home = agent::facts::own_home().filter(|account| !same(account));
        let own = home.join(".ssh").join("config");
        let config = match file {
            Some(file) if file.as_os_str() == NO_FILE => Config::Absent,
            Some(file) => Config::File(file),
            None if account_home.is_none() => Config::Usual,
            // `ssh` would read the account's, which is another person's as far as the environment says.
            None if own.is_file() => Config::File(own),
            None => Config::Absent,
        };
        let machine = agent::facts::gather().hostname;
        Self { program, config, person: Person { home, account_home, user: crate::env::user(), machine } }
    }

    /// Returns one host and the way there, whose hops are names yet.
    async fn one(&self, address: &Address, overrides: &Overrides) -> Result<(Host, Route), ConfigError> {
        let alias = &address.host;
        if !address::is_host(alias) {
            return Err(ConfigError::Host { host: alias.clone() });
        }
        if let Some(user) = overrides.user.as_ref().filter(|user| !address::is_user(user)) {
            return Err(ConfigError::User { user: user.clone() });
        }
        if let Some(jump) = &overrides.jump {
            Address::parse_jumps(jump).map_err(|entry| ConfigError::jump(alias, entry))?;
        }
        let said = match (&self.program, &self.config) {
            (Some(program), Config::Usual) => ask::ask(program, None, alias, overrides).await,
            (Some(program), Config::File(file)) => ask::ask(program, Some(file), alias, overrides).await,
            (Some(_), Config::Absent) | (None, _) => Ok(None),
        };
        let mut warnings = Vec::new();
        let values = match said {
            Ok(Some(output)) => Values::parse(&output),
            Ok(None) => self.read(alias, overrides, &mut warnings).await?,
            Err(ConfigError::Refused { message, .. }) if message.starts_with(LOOP) => {
                return Err(ConfigError::circle(std::slice::from_ref(address), address));
            }
            Err(error) => return Err(error),
        };
        host(alias, &values, overrides, &self.person, warnings)
    }

    /// Returns the hosts to jump over on the way to `start`, in the order of hops.
    async fn jumps(&self, start: Address, mut hops: Vec<Address>, accept_new: bool) -> Result<Vec<Host>, ConfigError> {
        let target = start.host.clone();
        let mut way = vec![start];
        let mut chain: Vec<Host> = Vec::new();
        loop {
            let mut route = Route::Direct;
            let mut segment = Vec::with_capacity(hops.len());
            if chain.len() + hops.len() > MAX_HOPS {
                return Err(ConfigError::Far { host: target, limit: MAX_HOPS });
            }
            for (index, hop) in hops.into_iter().enumerate() {
                // Only the first hop's own way counts: each later one is reached over the one before.
                let is_first = index == 0;
                if is_first && way.contains(&hop) {
                    return Err(ConfigError::circle(&way, &hop));
                }
                let overrides = Overrides {
                    user: hop.user.clone(),
                    port: hop.port,
                    jump: (!is_first).then(|| "none".to_owned()),
                    key: None,
                    accept_new,
                };
                let (host, own) = self.one(&hop, &overrides).await?;
                segment.push(host);
                if is_first {
                    route = own;
                    way.push(hop);
                }
            }
            chain.splice(0..0, segment);
            match route {
                Route::Direct => return Ok(chain),
                Route::Command(command) => {
                    if let Some(first) = chain.first_mut() {
                        first.proxy = Proxy::Command(command);
                    }
                    return Ok(chain);
                }
                Route::Jump(next) => hops = next,
            }
        }
    }

    async fn read(
        &self,
        alias: &str,
        overrides: &Overrides,
        warnings: &mut Vec<String>,
    ) -> Result<Values, ConfigError> {
        let files = self.files().await?;
        let mut given = Values::default();
        let said = [
            ("user", overrides.user.clone()),
            ("port", overrides.port.map(|port| port.to_string())),
            ("proxyjump", overrides.jump.clone()),
        ];
        for (keyword, value) in said {
            if let Some(value) = value {
                given.set(keyword, vec![value]);
            }
        }
        let question = Question { alias, local_user: self.person.user.as_deref().unwrap_or_default() };
        evaluate(&files, question, given, warnings)
    }

    async fn files(&self) -> Result<Vec<Parsed>, ConfigError> {
        let (config, home) = (self.config.clone(), self.person.home.clone());
        let read = tokio::task::spawn_blocking(move || read_files(&config, &home)).await;
        read.expect("reading files does not panic")
    }
}

/// Blocks.
fn read_files(config: &Config, home: &Path) -> Result<Vec<Parsed>, ConfigError> {
    let own = home.join(".ssh");
    let place = Place { home, folder: &own };
    match config {
        Config::Absent => Ok(Vec::new()),
        Config::File(path) => match std::fs::metadata(path) {
            Ok(_) => Ok(vec![file::read(path, place)?]),
            // The user named it, so that it is missed.
            Err(source) => Err(ConfigError::File { file: path.clone(), source }),
        },
        #[cfg(unix)]
        Config::Usual => {
            let system = Path::new(SYSTEM_FOLDER);
            let systems = file::read(&system.join("ssh_config"), Place { home, folder: system })?;
            Ok(vec![file::read(&own.join("config"), place)?, systems])
        }
        #[cfg(not(unix))]
        Config::Usual => Ok(vec![file::read(&own.join("config"), place)?]),
    }
}
