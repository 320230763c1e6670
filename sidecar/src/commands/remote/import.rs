//! The hosts of `~/.ssh/config`, listed or added as remotes. Only their names are stored: how they are reached stays
//! written where it is.

use futures_util::StreamExt as _;
use protocol::editor::{RemoteImportOutput, RemoteImportParams, RemoteImportRow, RemoteRow, RemoteWay};
use protocol::error::{Code, Example, Explain, Result};

use super::address::{self, RemoteError};
use super::way;
use crate::cx::Cx;
use crate::sessions;
use crate::transport::ssh_config::{self, Address, PORT};

/// How many hosts are asked about at once: `ssh -G` takes 8 ms, the commands of `Match exec` any time.
const AT_ONCE: usize = 4;

/// Why a host is not imported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    /// The configuration has no such host.
    #[error("the SSH configuration names no host `{host}`")]
    Unknown {
        /// The host.
        host: String,
        /// The one that looks most like it.
        nearest: Option<String>,
    },
    /// The name is that of another remote.
    #[error("`{host}` cannot be added: the remote `{name}` is another one, {there}")]
    Taken {
        /// The host.
        host: String,
        /// The remote.
        name: String,
        /// How that one was typed.
        there: String,
    },
}

impl Explain for ImportError {
    fn code(&self) -> Code {
        match self {
            Self::Unknown { .. } => Code::RemoteUnknown,
            Self::Taken { .. } => Code::RemoteExists,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Unknown { nearest: Some(nearest), .. } => {
                format!("Did you mean `{nearest}`? `mltoolbox-sidecar remote import` lists all.")
            }
            Self::Unknown { nearest: None, .. } => {
                "Run `mltoolbox-sidecar remote import` to see which hosts there are.".to_owned()
            }
            Self::Taken { host, name, .. } => format!(
                "Add it under another name, `mltoolbox-sidecar remote add NAME --host {host}`, or run \
                 `mltoolbox-sidecar remote remove {name}` first."
            ),
        }
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
pub(crate) fn examples() -> Vec<Example> {
    let host = || "gpu1".to_owned();
    vec![
        ImportError::Unknown { host: "gpu2".to_owned(), nearest: Some(host()) }.into(),
        ImportError::Unknown { host: "gpu2".to_owned(), nearest: None }.into(),
        ImportError::Taken { host: host(), name: host(), there: "ubuntu@203.0.113.7".to_owned() }.into(),
    ]
}

/// Lists the hosts of the configuration, or adds those that were named, or all.
pub(in crate::commands) async fn import(cx: Cx, params: RemoteImportParams) -> Result<RemoteImportOutput> {
    let settings = cx.sessions.identity().settings();
    let mut aliases = ssh_config::aliases(&settings).await?;
    if let Some(unknown) = params.hosts.iter().find(|host| !aliases.contains(host)) {
        let nearest = sessions::nearest(unknown, aliases.into_iter());
        return Err(ImportError::Unknown { host: unknown.clone(), nearest }.into());
    }
    if !params.hosts.is_empty() {
        aliases.retain(|alias| params.hosts.contains(alias));
    }
    let remotes = cx.store.remotes().await?;
    let rows = futures_util::stream::iter(aliases).map(|alias| row(&cx, &remotes, alias)).buffered(AT_ONCE);
    let mut output = RemoteImportOutput { hosts: rows.collect().await };
    if !params.hosts.is_empty()
        && let Some(problem) = output.hosts.iter().find_map(|host| host.problem.clone())
    {
        // Who names hosts wants these and no others, so that none is added.
        return Err(problem);
    }
    if params.all || !params.hosts.is_empty() {
        for host in output.hosts.iter_mut().filter(|host| host.remote.is_none() && host.problem.is_none()) {
            add(&cx, host).await?;
        }
    }
    Ok(output)
}

/// Returns what is known of one host, which is not added yet.
async fn row(cx: &Cx, remotes: &[RemoteRow], alias: String) -> RemoteImportRow {
    let wanted = RemoteRow { name: address::name(&alias), host: alias.clone(), ..RemoteRow::default() };
    let (way, problem) = match cx.sessions.identity().resolve(&wanted).await {
        Ok(host) => (Some(way::of(&host)), None),
        Err(error) => (None, Some(error.into())),
    };
    let there = remotes.iter().find(|remote| is_same(remote, &alias, way.as_ref()));
    let taken = remotes.iter().find(|remote| remote.name == wanted.name && there.is_none());
    let problem = problem.or_else(|| {
        let taken = taken?;
        let there = address::typed(taken);
        Some(ImportError::Taken { host: alias.clone(), name: taken.name.clone(), there }.into())
    });
    RemoteImportRow { alias, way, remote: there.map(|remote| remote.name.clone()), added: false, problem }
}

/// Returns whether a remote is that host: by its alias, or by the account that the alias stands for.
fn is_same(remote: &RemoteRow, alias: &str, way: Option<&RemoteWay>) -> bool {
    let plain = remote.user.is_none() && remote.port.is_none();
    let account = |way: &RemoteWay| {
        remote.host.eq_ignore_ascii_case(&way.host)
            && remote.port.unwrap_or(PORT) == way.port
            && remote.user.as_ref() == Some(&way.user)
    };
    plain && remote.host == alias || way.is_some_and(account)
}

/// Adds a host under its own name. One that cannot be named gets that as its problem.
async fn add(cx: &Cx, host: &mut RemoteImportRow) -> Result<()> {
    let params = address::params(Address { host: host.alias.clone(), ..Address::default() });
    let name = params.name.clone();
    if name.is_empty() {
        host.problem = Some(RemoteError::Name { name: host.alias.clone() }.into());
        return Ok(());
    }
    match super::put(cx, address::row(cx, params).await?).await {
        Ok(row) => (host.remote, host.added) = (Some(row.name), true),
        // Two aliases may be told apart by a letter that names of remotes do not have.
        Err(error) if error.code == Code::RemoteExists => host.problem = Some(error),
        Err(error) => return Err(error),
    }
    Ok(())
}
