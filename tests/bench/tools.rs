//! How each tool is asked to make a remote folder equal to a local one.

use std::path::Path;
use std::process::Command;

use harness::skip::has;

use crate::bed::{Bed, REMOTE};
use crate::data::Kind;

/// A tool that copies a tree once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    /// Ours on a machine that has never heard of us: connect, install the agent, start it, copy.
    OursCold,
    /// Ours with the agent installed.
    Ours,
    /// Ours with a background process that is connected already.
    OursOpen,
    /// `rsync -a` over a new connection.
    Rsync,
    /// `rsync -az`; only where the wire is slow.
    RsyncZ,
    /// `rsync -a` over a connection that is open already.
    RsyncMux,
    /// `tar | ssh tar`.
    Tar,
    /// `tar | zstd -1 | ssh tar`.
    TarZstd,
    /// `mutagen sync create` and `flush`.
    Mutagen,
    /// `unison -batch`.
    Unison,
}

impl Tool {
    /// Those that are measured over a slow wire.
    pub(crate) const SLOW: [Self; 4] = [Self::Ours, Self::RsyncZ, Self::TarZstd, Self::Rsync];

    /// Every tool, ours first.
    pub(crate) const ALL: [Self; 9] = [
        Self::OursCold,
        Self::Ours,
        Self::OursOpen,
        Self::Rsync,
        Self::RsyncMux,
        Self::Tar,
        Self::TarZstd,
        Self::Mutagen,
        Self::Unison,
    ];

    /// Returns its name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OursCold => "ours, cold",
            Self::Ours => "ours",
            Self::OursOpen => "ours, open connection",
            Self::Rsync => "rsync -a",
            Self::RsyncZ => "rsync -az",
            Self::RsyncMux => "rsync -a, open connection",
            Self::Tar => "tar \\| ssh tar",
            Self::TarZstd => "tar \\| zstd -1 \\| ssh",
            Self::Mutagen => "mutagen",
            Self::Unison => "unison",
        }
    }

    /// Returns whether it is on this machine.
    pub(crate) fn is_here(self) -> bool {
        match self {
            Self::OursCold | Self::Ours | Self::OursOpen | Self::Tar => true,
            Self::Rsync | Self::RsyncZ | Self::RsyncMux => has("rsync"),
            Self::TarZstd => has("zstd"),
            Self::Mutagen => has("mutagen"),
            Self::Unison => has("unison"),
        }
    }

    /// Returns whether it copies that tree in the time of a run; unison needs minutes for many files.
    pub(crate) fn takes(self, kind: Kind) -> bool {
        self != Self::Unison || kind != Kind::Many
    }

    /// Returns whether it is one of ours.
    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::OursCold | Self::Ours | Self::OursOpen)
    }

    /// Returns whether its connection is open before the clock runs; `again` when it copied before.
    pub(crate) fn is_open(self, again: bool) -> bool {
        match self {
            Self::OursOpen | Self::RsyncMux => true,
            Self::Mutagen => again,
            Self::OursCold | Self::Ours | Self::Rsync | Self::RsyncZ | Self::Tar | Self::TarZstd | Self::Unison => {
                false
            }
        }
    }

    /// Returns whether it compares with what is there instead of copying all.
    pub(crate) fn compares(self) -> bool {
        match self {
            Self::Ours
            | Self::OursOpen
            | Self::Rsync
            | Self::RsyncZ
            | Self::RsyncMux
            | Self::Mutagen
            | Self::Unison => true,
            Self::OursCold | Self::Tar | Self::TarZstd => false,
        }
    }

    /// Does what is not timed: makes the target empty and opens what is meant to be open.
    pub(crate) fn prepare(self, bed: &Bed, source: &Path, target: &str, port: u16) -> Result<(), String> {
        crate::bed::remove(&bed.remote(target));
        // What ours keeps beside a folder: an earlier run is not to be remembered.
        crate::bed::remove(&bed.remote(&format!(".{target}.mltoolbox")));
        match self {
            Self::OursCold => {
                bed.forget();
                bed.add_remote(REMOTE, port)
            }
            Self::Ours => {
                // The agent is installed and runs; this workspace was never pushed.
                bed.forget_here();
                installed(bed, port)
            }
            Self::OursOpen => {
                installed(bed, port)?;
                connected(bed, source, target)
            }
            Self::RsyncMux => open_master(bed, port),
            Self::Mutagen => {
                // There is nothing to end before the first run.
                bed.shell("mutagen sync terminate bench >/dev/null 2>&1")
                    .status()
                    .map_err(|error| error.to_string())?;
                Ok(())
            }
            Self::Unison => {
                // Its memory of earlier runs, at both ends.
                crate::bed::remove(&bed.work.home().join(".unison"));
                crate::bed::remove(&bed.remote(".unison"));
                Ok(())
            }
            Self::Rsync | Self::RsyncZ | Self::Tar | Self::TarZstd => Ok(()),
        }
    }

    /// Returns the command that copies `source` to the folder `target` of the remote home.
    pub(crate) fn command(self, bed: &Bed, source: &Path, target: &str, port: u16) -> Command {
        let config = bed.host.client_config(port).display().to_string();
        let from = source.display();
        let to = bed.remote(target).display().to_string();
        let line = match self {
            Self::OursOpen => {
                let from = from.to_string();
                let resume = bed.ours_line(&["sync", "resume", "--workspace", &from, "--json"]);
                let push = bed.ours_line(&["sync", "push", &from, "--remote", REMOTE, "--yes", "--json"]);
                format!("{resume} >/dev/null && {push}")
            }
            Self::OursCold | Self::Ours => {
                let from = from.to_string();
                return bed.ours(&["sync", "push", &from, "--to", &to, "--remote", REMOTE, "--yes", "--json"]);
            }
            Self::Rsync => format!("rsync -a -e 'ssh -F {config}' {from}/ bench:{to}/"),
            Self::RsyncZ => format!("rsync -az -e 'ssh -F {config}' {from}/ bench:{to}/"),
            Self::RsyncMux => format!("rsync -a -e 'ssh -F {config} -S {}' {from}/ bench:{to}/", master(bed, port)),
            Self::Tar => format!("tar -C {from} -cf - . | ssh -F {config} bench 'mkdir -p {to} && tar -C {to} -xf -'"),
            Self::TarZstd => format!(
                "tar -C {from} -cf - . | zstd -1 -q -c | ssh -F {config} bench 'mkdir -p {to} && zstd -dqc | tar -C {to} -xf -'"
            ),
            Self::Mutagen => format!(
                "mutagen sync list bench >/dev/null 2>&1 || mutagen sync create --name=bench --mode=one-way-replica \
                 --stage-mode-beta=neighboring {MUTAGEN} {from} bench:{to} && mutagen sync flush bench"
            ),
            Self::Unison => format!(
                "unison {from} ssh://bench/{to} -batch -auto -silent -perms -1 -confirmbigdel=false -force {from} \
                 -sshargs '-F {config}'"
            ),
        };
        bed.shell(&line)
    }
}

/// Adds the remote and sees to it that the agent is installed and runs.
fn installed(bed: &Bed, port: u16) -> Result<(), String> {
    bed.add_remote(REMOTE, port)?;
    let mut install = bed.ours(&["agent", "install", "--remote", REMOTE, "--yes", "--json"]);
    crate::measure::run(bed, &mut install)?;
    let mut start = bed.ours(&["remote", "test", REMOTE, "--yes", "--json"]);
    crate::measure::run(bed, &mut start).map(|_| ())
}

/// Starts the background process on an empty workspace and pauses it, then puts the files back.
fn connected(bed: &Bed, source: &Path, target: &str) -> Result<(), String> {
    let aside = bed.work.path().join("aside");
    let text = |error: std::io::Error| error.to_string();
    let carry = |from: &Path, to: &Path| -> std::io::Result<()> {
        for entry in std::fs::read_dir(from)?.flatten() {
            std::fs::rename(entry.path(), to.join(entry.file_name()))?;
        }
        Ok(())
    };
    std::fs::create_dir_all(&aside).map_err(text)?;
    carry(source, &aside).map_err(text)?;
    let (from, to) = (source.display().to_string(), bed.remote(target).display().to_string());
    let mut watch = bed.ours(&["sync", "watch", &from, "--to", &to, "--remote", REMOTE, "--yes", "--json"]);
    let mut flush = bed.ours(&["sync", "flush", "--workspace", &from, "--json"]);
    let mut pause = bed.ours(&["sync", "pause", "--workspace", &from, "--json"]);
    let began = [&mut watch, &mut flush, &mut pause]
        .into_iter()
        .try_for_each(|command| crate::measure::run(bed, command).map(drop));
    carry(&aside, source).map_err(text)?;
    began
}

/// Keeps links and permissions as the others do.
pub(crate) const MUTAGEN: &str =
    "--symlink-mode=posix-raw --default-file-mode-beta=0644 --default-directory-mode-beta=0755";

/// Returns the socket of the open connection.
pub(crate) fn master(bed: &Bed, port: u16) -> String {
    bed.work.path().join(format!("run/mux.{port}")).display().to_string()
}

/// Opens a connection for others to use, unless it is open.
pub(crate) fn open_master(bed: &Bed, port: u16) -> Result<(), String> {
    let (config, socket) = (bed.host.client_config(port).display().to_string(), master(bed, port));
    let line = format!(
        "ssh -F {config} -S {socket} -O check bench 2>/dev/null || {{ rm -f {socket}; \
         ssh -F {config} -M -S {socket} -N -f bench </dev/null >/dev/null 2>&1; }}"
    );
    let status = bed.shell(&line).status().map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err("ssh cannot open a shared connection".to_owned()) }
}
