//! The first words between sidecar and agent: who speaks, in which version, from what kind of machine.
//!
//! A login shell may print before the agent does, so the stream opens with [`MAGIC`]; everything before
//! it is skipped by the reader. The hello itself is JSON and stays readable to every later version.

use serde::{Deserialize, Serialize};

/// The bytes after which frames begin, in both directions.
pub const MAGIC: &[u8; 8] = b"\0MLTBX1\n";

/// Most bytes of a chatty login shell that are skipped before [`MAGIC`].
pub const MAX_CHATTER: usize = 256 * 1024;

/// Newest version of the frames and messages that this program speaks.
///
/// 1: files travel whole. 2: deltas, moves, copies and appends; the mirror; listings; packed data.
pub const PROTOCOL: u32 = 2;

/// Oldest version that it still speaks. A peer that speaks none in common is refused with the way out.
pub const OLDEST: u32 = 1;

/// What each side says first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the speaker.
    pub protocol: u32,
    /// [`OLDEST`] of the speaker; absent means that it speaks one version only.
    #[serde(default)]
    pub oldest: Option<u32>,
    /// Version of the program, for people.
    pub version: String,
    /// What the agent knows of its machine; absent from the sidecar's hello.
    #[serde(default)]
    pub facts: Option<Facts>,
}

impl Hello {
    /// Returns the newest version that both this program and the speaker of this hello speak.
    pub fn common(&self) -> Option<u32> {
        let newest = self.protocol.min(PROTOCOL);
        (newest >= OLDEST.max(self.oldest.unwrap_or(self.protocol))).then_some(newest)
    }
}

/// What the agent knows of the machine where it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Facts {
    /// Operating system as `uname -s` prints it.
    pub os: String,
    /// Processor architecture as `uname -m` prints it.
    pub arch: String,
    /// Kernel release as `uname -r` prints it.
    pub kernel: String,
    /// The machine's own name.
    pub hostname: String,
    /// Name of the user the agent runs as.
    pub user: String,
    /// Home directory of that user.
    pub home: String,
    /// Number of processors the agent may use.
    pub cpus: u32,
}
