//! What the sidecar asks of an agent, and what it answers. Both enums are closed; postcard carries them,
//! so variants and fields are only ever added together with a new [`crate::hello::PROTOCOL`].

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::delta::{Chunks, Partial};
use crate::error::Error;
use crate::listing::{List, Listing};
use crate::mirror::{Summarise, Summary};
use crate::path::{RelPath, RemotePath};
use crate::sync::{Differs, Found, Hash, Known, Op, Outcome};

/// A root that was opened on this link.
pub type RootId = u32;

/// Most operations in one [`Request::Apply`], and most entries in one [`Request::Verify`].
pub const MAX_BATCH: usize = 4096;

/// Most streams of one link that may be open at a time. A stream ends with the agent's reply, or with the
/// end of the data that follow a [`Reply::Reading`]; that holds for a cancelled one too.
pub const MAX_STREAMS: usize = 256;

/// Reads a list and stops at one entry more than [`MAX_BATCH`]: an entry takes a hundred times as much memory as
/// the shortest bytes that announce it.
pub(crate) fn bounded<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    at_most::<MAX_BATCH, D, T>(deserializer)
}

/// Reads a list as [`bounded`] does, of at most `MOST` entries.
pub(crate) fn at_most<'de, const MOST: usize, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct Bounded<const MOST: usize, T>(PhantomData<T>);

    impl<'de, const MOST: usize, T: Deserialize<'de>> Visitor<'de> for Bounded<MOST, T> {
        type Value = Vec<T>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(formatter, "at most {MOST} entries")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Vec<T>, A::Error> {
            let announced = entries.size_hint().unwrap_or_default();
            if announced > MOST {
                return Err(A::Error::invalid_length(announced, &self));
            }
            let mut list = Vec::with_capacity(announced);
            while let Some(entry) = entries.next_element()? {
                if list.len() == MOST {
                    return Err(A::Error::invalid_length(MOST + 1, &self));
                }
                list.push(entry);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_seq(Bounded::<MOST, T>(PhantomData))
}

/// What the sidecar asks. Each opens a stream; requests of one link may overlap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Says how the agent is.
    Health,
    /// Ends the agent once its streams are done.
    Stop,
    /// Opens a root and takes its lease.
    Open(Open),
    /// Compares paths with what they should hold; answers only the differences.
    Verify {
        /// The root.
        root: RootId,
        /// At most [`MAX_BATCH`] paths.
        #[serde(deserialize_with = "bounded")]
        entries: Vec<Known>,
    },
    /// Changes paths. The bytes of every `Put` follow as data, then the end. Operations are done in any
    /// order unless `barrier` is set; batches of one link are.
    Apply(Apply),
    /// Sends the bytes of a file as data, then the end with its hash.
    Read {
        /// The root.
        root: RootId,
        /// The file.
        path: RelPath,
    },
    /// Makes everything that was applied so far survive a power cut.
    Flush {
        /// The root.
        root: RootId,
    },
    /// Empties the root's trash.
    EmptyTrash {
        /// The root.
        root: RootId,
    },
    /// Gives back the lease and forgets the root.
    Close {
        /// The root.
        root: RootId,
    },
    /// Sends the last lines of the agent's own log.
    Log {
        /// How many.
        lines: u32,
    },
    /// Sends the chunks of a file. Since protocol 2, as all that follow.
    Chunks(Chunks),
    /// Says what is left of transfers that were cut off.
    Partials {
        /// The root.
        root: RootId,
    },
    /// Compares the mirror with what the sidecar believes.
    Summarise(Summarise),
    /// Lists folders.
    List(List),
    /// Sends the bytes of a file behind its first `after` ones as data, then the end without a hash; what is answered
    /// is about the whole file. Of a shorter file nothing is sent.
    ReadOn {
        /// The root.
        root: RootId,
        /// The file.
        path: RelPath,
        /// Bytes that are left out.
        after: u64,
    },
}

impl Request {
    /// Returns the first version of the protocol that has this request with all that is in it.
    pub fn since(&self) -> u32 {
        match self {
            Self::Health
            | Self::Stop
            | Self::Open(_)
            | Self::Verify { .. }
            | Self::Read { .. }
            | Self::Flush { .. }
            | Self::EmptyTrash { .. }
            | Self::Close { .. }
            | Self::Log { .. } => 1,
            Self::Apply(apply) => apply.ops.iter().map(|op| op.action.since()).max().unwrap_or(1),
            Self::Chunks(_) | Self::Partials { .. } | Self::Summarise(_) | Self::List(_) | Self::ReadOn { .. } => 2,
        }
    }
}

/// A root to open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Where; `~` is the agent's user's home.
    pub path: RemotePath,
    /// Makes the folder (and its parents) when it is not there.
    pub create: bool,
    /// Who syncs here: one lease per root.
    pub holder: Holder,
    /// Takes the lease from another holder.
    pub take_over: bool,
}

/// Who holds the lease of a root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Random id of the sidecar's machine and workspace, made once.
    pub id: String,
    /// For people: `user@machine:/folder`.
    pub label: String,
}

/// Operations to apply to one root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Apply {
    /// The root.
    pub root: RootId,
    /// Waits for every earlier batch of this link, and holds back every later one.
    pub barrier: bool,
    /// Answers only when the result survives a power cut.
    pub durable: bool,
    /// At most [`MAX_BATCH`] operations.
    #[serde(deserialize_with = "bounded")]
    pub ops: Vec<Op>,
}

/// What ends a direction of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trailer {
    /// Hash of the last body, when it was not known at the beginning.
    pub hash: Option<Hash>,
    /// Why the bytes end early.
    pub error: Option<Error>,
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Health`].
    Health(Health),
    /// To [`Request::Open`].
    Opened(Opened),
    /// To [`Request::Verify`].
    Verified(#[serde(deserialize_with = "bounded")] Vec<Differs>),
    /// To [`Request::Apply`]: one outcome per operation, in their order.
    Applied(#[serde(deserialize_with = "bounded")] Vec<Outcome>),
    /// To [`Request::Read`] and [`Request::ReadOn`]; data and the end follow.
    Reading(Found),
    /// To [`Request::Log`].
    Log(#[serde(deserialize_with = "bounded")] Vec<String>),
    /// To everything else.
    Done,
    /// The request failed as a whole and changed nothing more.
    Failed(Error),
    /// To [`Request::Chunks`]; data and the end follow. `None` when there is no such file.
    Chunking(Option<Found>),
    /// To [`Request::Partials`].
    Partials(#[serde(deserialize_with = "bounded")] Vec<Partial>),
    /// To [`Request::Summarise`]: one summary per folder, in their order.
    Summarised(#[serde(deserialize_with = "bounded")] Vec<Summary>),
    /// To [`Request::List`]: one listing per folder, in their order; fewer when they are long.
    Listed(#[serde(deserialize_with = "bounded")] Vec<Listing>),
}

/// How an agent is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Version of the agent program.
    pub version: String,
    /// The machine's own name.
    pub hostname: String,
    /// Process id of `mlt serve`.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// Links that are open now.
    pub links: u32,
    /// Roots whose lease is held now.
    pub roots: Vec<String>,
}

/// A root that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// Names the root on this link.
    pub root: RootId,
    /// Absolute path after resolving `~`.
    pub path: String,
    /// Random id of this copy; another id means that the folder was replaced since.
    pub copy: String,
    /// Whether the folder was made just now.
    pub created: bool,
    /// Whether it holds nothing at all.
    pub empty: bool,
    /// Bytes free for this user on its file system.
    pub free_bytes: u64,
    /// Whether names that differ only in case, or in how Unicode composes them, are one file there.
    pub ignores_case: bool,
}
