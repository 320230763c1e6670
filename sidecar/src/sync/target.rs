//! A folder somewhere that can be made equal to ours.
//!
//! What a target says is data about the remote: nothing it answers names anything on this machine.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _};
use protocol::agent::{Holder, MAX_BATCH, Opened};
use protocol::error::{Code, Error, Example, Explain, word};
use protocol::listing::Listing;
use protocol::path::{RelPath, RemotePath};
use protocol::sync::{Content, Differs, Expect, Found, Known, Op, Outcome, Rejected};
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;

use super::plan::{Abilities, expect};
use super::scan::Seal;
use super::source::Source;
use crate::session::Lane;
use crate::store::Base;

#[cfg(test)]
pub(crate) mod fake;

/// Requests about the remote that are under way at a time: one is answered while the next one travels.
const REQUESTS: usize = 4;

/// What a person has to know about a sync without an agent, once.
pub const WITHOUT_AGENT: &[&str] = &[
    "The sync goes over SFTP, because no agent runs there: it is slower, and changed files travel whole.",
    "Over SFTP, an edit made there that keeps a file's length and the second of its modification time may not be noticed.",
    "Over SFTP, an edit made there in the moment in which the same file is replaced is kept, but may lose its name.",
    "Over SFTP, a power cut there may undo the newest changes: names are not flushed, and neither is a very large transfer.",
];

/// A folder somewhere that can be made equal to ours. Calls may run concurrently. After
/// [`SyncError::Lost`] every call fails until the target is opened again; what was under way then may or
/// may not have been done.
#[async_trait]
pub trait SyncTarget: Send + Sync + fmt::Debug {
    /// Opens the folder and takes its lease; again after a loss.
    async fn open(&self, open: &OpenTarget) -> Result<Opened, SyncError>;
    /// Compares paths with what they should hold and returns the differences; changes nothing.
    async fn verify(&self, entries: Vec<Known>) -> Result<Vec<Differs>, SyncError>;
    /// Compares everything that both sides held when they were last equal, and changes nothing there. A target
    /// that remembers what it was given need not be asked about each path.
    async fn compare(&self, base: Arc<BTreeMap<RelPath, Base>>) -> Result<Compared, SyncError> {
        Ok(Compared { differs: verify_all(self, about_base(base.iter())).await?, ..Compared::default() })
    }
    /// Has the target forget that it was given these paths, which are not followed any more; nothing else happens
    /// to them.
    async fn forget(&self, _: Vec<RelPath>) -> Result<(), SyncError> {
        Ok(())
    }
    /// Does the operations of batches in their order, and says of each, as it is known, what came of it; its place
    /// is counted through all of them. An error leaves the operations of which nothing was said in doubt.
    async fn apply(&self, batches: Vec<Batch>, done: mpsc::Sender<(usize, Done)>) -> Result<(), SyncError>;
    /// Copies a file's bytes to `to` and returns what the file is; the hash is that of the bytes copied. Copies
    /// nothing of a file that is longer than `most`.
    async fn read(
        &self,
        path: &RelPath,
        most: u64,
        to: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<Found, SyncError>;
    /// Returns whether [`Self::read_on`] can be asked for.
    fn reads_on(&self) -> bool {
        false
    }
    /// Does what [`Self::read`] does of a file whose beginning is here, and copies what is behind it; the hash is
    /// that of both. Fails when they do not belong together.
    async fn read_on(
        &self,
        _: &RelPath,
        _most: u64,
        _before: &Before,
        _to: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<Found, SyncError> {
        Err(SyncError::Protocol("it reads files from their beginning only".to_owned()))
    }
    /// Lists folders (`None` is the root), the first one after the name `after`; fewer listings than folders say
    /// that the rest has to be asked for again. Fails where the other end cannot list.
    async fn list(&self, _folders: Vec<Option<RelPath>>, _after: Option<String>) -> Result<Vec<Listing>, SyncError> {
        Err(no_lists())
    }
    /// Makes everything applied so far survive a power cut there, as far as it can.
    async fn flush(&self) -> Result<Flushed, SyncError>;
    /// Empties the trash.
    async fn empty_trash(&self) -> Result<(), SyncError>;
    /// Gives the lease back.
    async fn close(&self) -> Result<(), SyncError>;
    /// Returns what it can do beside the least, as it is open now.
    fn abilities(&self) -> Abilities {
        Abilities::default()
    }
    /// Returns what a person has to know of what it cannot, in full sentences.
    fn limits(&self) -> &'static [&'static str] {
        &[]
    }
}

/// The beginning of a file that is here.
#[derive(Clone, Debug, Default)]
pub struct Before {
    /// Its bytes.
    pub length: u64,
    /// The state of the hash behind them.
    pub hasher: blake3::Hasher,
}

/// What came of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// All that was applied since the opening survives a power cut.
    Durable,
    /// Some of it is left to the other machine, which writes it when it sees fit and tells nobody.
    LeftToDisk,
}

/// What a comparison with everything that is remembered found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Paths of the base where something else is.
    pub differs: Vec<Differs>,
    /// What the target was given by us and still holds, beside what the base says: we were stopped before it was
    /// written down. It is ours to replace.
    pub given: Vec<(RelPath, Found)>,
    /// Paths of which the base knows nothing and the target does.
    pub unknown: Vec<RelPath>,
}

/// Asks about many paths.
pub(super) async fn verify_all<T: SyncTarget + ?Sized>(
    target: &T,
    questions: Vec<Known>,
) -> Result<Vec<Differs>, SyncError> {
    let mut differs = Vec::new();
    let mut rest = questions.into_iter();
    let requests = std::iter::from_fn(|| {
        let request: Vec<Known> = rest.by_ref().take(MAX_BATCH).collect();
        (!request.is_empty()).then_some(request)
    });
    let mut answers = stream::iter(requests).map(|request| target.verify(request)).buffered(REQUESTS);
    while let Some(answer) = answers.next().await {
        differs.extend(answer?);
    }
    Ok(differs)
}

/// Returns the questions whether the base still holds.
pub(super) fn about_base<'a>(base: impl Iterator<Item = (&'a RelPath, &'a Base)>) -> Vec<Known> {
    base.map(|(path, base)| Known { path: path.clone(), expect: expected(base) }).collect()
}

/// Returns the precondition that says: the base still holds on the remote.
pub(super) fn expected(base: &Base) -> Expect {
    expect(&base.content, base.remote)
}

/// How to open a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTarget {
    /// The folder.
    pub path: RemotePath,
    /// Makes it when it is not there.
    pub create: bool,
    /// Who syncs here.
    pub holder: Holder,
    /// Takes the lease from another machine.
    pub take_over: bool,
}

/// Operations that travel together.
#[derive(Clone, Debug)]
pub struct Batch {
    /// What they travel on.
    pub lane: Lane,
    /// Done one after the other in their order, after everything before and before everything later.
    pub barrier: bool,
    /// Acknowledged only when they survive a power cut.
    pub durable: bool,
    /// The operations.
    pub ops: Vec<Op>,
    /// Where the bytes of files come from.
    pub bodies: Arc<dyn Source>,
}

/// What came of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// The remote's answer, and for a file what really travelled.
    Answered(Outcome, Option<Seal>),
    /// The file here could not be read, so nothing was done there.
    Unread(Unread),
    /// This was sent, and the link was lost before anything was said of it: it may stand there or not.
    InDoubt(Seal),
}

/// Why a file here could not be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It is not there any more, or is no file.
    Gone,
    /// It changes while it is read.
    Changing,
    /// The system refuses.
    Failed(String),
}

/// Why a sync cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The connection ended; it is made again.
    #[error("the connection to the remote was lost")]
    Lost(#[source] Error),
    /// The session cannot be had at all.
    #[error("{0}")]
    Session(Error),
    /// Another machine syncs here.
    #[error("the remote folder is in use")]
    Leased(#[source] Error),
    /// The remote folder cannot be used.
    #[error("the remote folder `{path}` cannot be opened")]
    Root {
        /// The folder.
        path: String,
        /// The remote's words.
        source: Error,
    },
    /// The remote refused a request as a whole.
    #[error("the remote refused")]
    Refused(#[source] Error),
    /// The agent sent something that does not answer what was asked.
    #[error("the agent's answer makes no sense: {0}")]
    Protocol(String),
    /// The bytes that came for a file could not be stored here.
    #[error("cannot keep the remote's version of `{path}`")]
    Store {
        /// The file.
        path: RelPath,
        /// The system's words.
        source: std::io::Error,
    },
}

impl SyncError {
    /// Returns whether connecting again may help.
    pub fn is_lost(&self) -> bool {
        match self {
            Self::Lost(_) => true,
            Self::Session(_)
            | Self::Leased(_)
            | Self::Root { .. }
            | Self::Refused(_)
            | Self::Protocol(_)
            | Self::Store { .. } => false,
        }
    }
}

impl Explain for SyncError {
    fn code(&self) -> Code {
        match self {
            Self::Lost(error) | Self::Session(error) | Self::Refused(error) => error.code,
            Self::Leased(_) => Code::SyncLeased,
            Self::Root { .. } => Code::SyncRoot,
            Self::Protocol(_) => Code::AgentProtocol,
            Self::Store { .. } => Code::FileFailed,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Refused(error) if error.help.is_empty() => {
                "See what it says with `mltoolbox-sidecar agent logs`, then start the sync again.".to_owned()
            }
            Self::Lost(error) | Self::Session(error) | Self::Refused(error) => error.help.clone(),
            Self::Leased(_) => {
                "Stop the sync on the other machine and run `mltoolbox-sidecar sync watch` here, or add `--take-over` to it."
                    .to_owned()
            }
            Self::Root { path, source } if source.help.is_empty() => {
                format!("Make `{path}` a folder that you may write to, or choose another one with `--to`.")
            }
            Self::Root { source, .. } => source.help.clone(),
            Self::Protocol(_) => {
                "Run `mltoolbox-sidecar agent install` to put this version's agent there, then start the sync again."
                    .to_owned()
            }
            Self::Store { path, .. } => {
                format!(
                    "Free some space on this machine, then decide again with `mltoolbox-sidecar sync resolve {} --take remote`.",
                    word(path)
                )
            }
        }
    }
}

/// Returns whether an answer to `op` can be true at all. A lying agent can only harm its own copy, and an
/// answer that cannot be true must not become our base.
pub fn plausible(op: &Op, outcome: &Outcome, sent: Option<&Seal>) -> Result<(), String> {
    use protocol::sync::Action;
    let stamp = match outcome {
        Outcome::Applied { stamp, .. } | Outcome::Already { stamp } => stamp,
        Outcome::Rejected(_) => return Ok(()),
    };
    match (&op.action, sent, stamp) {
        (Action::Put { .. }, Some(sent), Some(stamp)) if stamp.size != sent.size => {
            Err(format!("`{}` has {} bytes there instead of {}", op.path, stamp.size, sent.size))
        }
        (Action::Put { .. }, None, _) => Err(format!("`{}` was acknowledged before it was sent", op.path)),
        (Action::Put { .. }, Some(_), None)
        | (
            Action::Move { source: Expect::File { .. }, .. } | Action::Copy { source: Expect::File { .. }, .. },
            _,
            None,
        ) => Err(format!("`{}` was acknowledged without a stamp", op.path)),
        (
            Action::Put { .. }
            | Action::MakeFolder { .. }
            | Action::Link { .. }
            | Action::SetMode { .. }
            | Action::Remove
            | Action::Patch { .. }
            | Action::Move { .. }
            | Action::Copy { .. }
            | Action::Append { .. },
            _,
            _,
        ) => Ok(()),
    }
}

/// Returns the answers to a verification that are about what was asked, each path once.
pub fn about(entries: &[Known], differs: Vec<Differs>) -> Result<Vec<Differs>, SyncError> {
    let asked: std::collections::BTreeSet<&RelPath> = entries.iter().map(|known| &known.path).collect();
    let mut seen = std::collections::BTreeSet::new();
    for differ in &differs {
        if !asked.contains(&differ.path) || !seen.insert(&differ.path) {
            return Err(SyncError::Protocol(format!("it spoke of `{}`, which was not asked for", differ.path)));
        }
    }
    Ok(differs)
}

/// Returns the error of a remote whose folders cannot be listed.
pub(crate) fn no_lists() -> SyncError {
    SyncError::Refused(Error {
        code: Code::AgentProtocol,
        message: "the remote's folders cannot be listed by what runs there".to_owned(),
        help: "Run `mltoolbox-sidecar agent install` to put this version's agent there.".to_owned(),
        causes: Vec::new(),
    })
}

/// Returns what a person reads about what a path holds.
pub fn describe(content: Option<&Content>) -> String {
    match content {
        None => "nothing".to_owned(),
        Some(Content::File { size, .. }) => format!("a file of {size} bytes"),
        Some(Content::Folder) => "a folder".to_owned(),
        Some(Content::Link { target }) => format!("a link to `{target}`"),
        Some(Content::Special) => "a socket, pipe or device".to_owned(),
    }
}

/// Returns the error for a remote folder that is no path.
pub(crate) fn not_a_path(text: &str, why: &protocol::path::PathError) -> Error {
    Error {
        code: Code::ParamsInvalid,
        message: format!("`{text}` cannot be a remote folder"),
        help: "Give `--to` an absolute path or one that starts with `~/`, without `..` in it.".to_owned(),
        causes: vec![why.to_string()],
    }
}

/// Returns what a person reads about an operation that the remote did not do.
pub fn refusal(rejected: &Rejected) -> String {
    match rejected {
        Rejected::Changed { .. } => "it keeps changing on the remote".to_owned(),
        Rejected::NotEmpty { kept } => format!("kept on the remote: it holds {kept} entries that are not synced"),
        Rejected::Unsafe { reason } => format!("the remote will not write there: {reason}"),
        Rejected::Torn => "it keeps changing while it is read".to_owned(),
        Rejected::Full => "the remote's disk is full; free some space there".to_owned(),
        Rejected::TrashFull { held } => {
            format!("the remote's trash holds {held} bytes and is full; approving empties it for good")
        }
        Rejected::Failed { reason } => format!("the remote refuses: {reason}"),
    }
}

/// Returns each kind of error once, for the snapshot of all errors.
#[doc(hidden)]
pub fn examples() -> Vec<Example> {
    let cause = |code, message: &str, help: &str| Error {
        code,
        message: message.to_owned(),
        help: help.to_owned(),
        causes: Vec::new(),
    };
    let lost = || {
        cause(
            Code::SshLost,
            "the connection to `203.0.113.7` was lost: it was reset",
            "Run the command again once the machine can be reached.",
        )
    };
    let leased =
        cause(Code::SyncLeased, "the remote folder `/data/project` is in use by `ada@laptop:/home/ada/project`", "");
    let full = cause(Code::RemoteFull, "the remote's disk is full below `/data/project`", "Make room there.");
    let root = |help| cause(Code::SyncRoot, "`/data/project` on the remote is not a folder", help);
    let path = || "/data/project".to_owned();
    let stored = RelPath::new("src/train.py").expect("a path");
    let upwards = RemotePath::new("~/../project").expect_err("it leads upwards");
    let rejected = [
        Rejected::Changed { found: None },
        Rejected::NotEmpty { kept: 2 },
        Rejected::Unsafe { reason: "something is mounted there".to_owned() },
        Rejected::Torn,
        Rejected::Full,
        Rejected::TrashFull { held: 10_000_000_000 },
        Rejected::Failed { reason: "permission denied".to_owned() },
    ];
    let problems = rejected.iter().map(|rejected| {
        // As the status lists it: a path and why it cannot be synced, without a help of its own.
        Example::of(rejected, cause(Code::SyncPath, &format!("src/train.py: {}", refusal(rejected)), ""))
    });
    let own = vec![
        SyncError::Lost(lost()).into(),
        SyncError::Session(lost()).into(),
        SyncError::Leased(leased).into(),
        SyncError::Root { path: path(), source: root("Move it away.") }.into(),
        SyncError::Root { path: path(), source: root("") }.into(),
        SyncError::Refused(full).into(),
        SyncError::Protocol("it spoke of `src/a.py`, which was not asked for".to_owned()).into(),
        SyncError::Store { path: stored, source: std::io::ErrorKind::StorageFull.into() }.into(),
        Example::of(&upwards, not_a_path("~/../project", &upwards)),
    ];
    own.into_iter().chain(problems).collect()
}
