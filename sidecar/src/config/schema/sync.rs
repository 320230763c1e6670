//! The keys of `sync`.

use super::super::setting::{choice, section};
use super::super::units::{Interval, Pattern};

section! {
    /// What is synced to the remote, and how.
    Sync {
        /// Patterns of what is left out, as in `.gitignore`, beside what `.gitignore` and `.mltignore` leave out.
        exclude: Vec<Pattern>, "[\"*.pyc\", __pycache__/, data/raw/, \"checkpoints/*.pth\"]";
        /// Patterns of what is synced even when it is left out otherwise.
        include_overrides: Vec<Pattern>, "[\"configs/*.yaml\"]";
        /// How changes of files travel.
        strategy: Strategy = "rsync", "rsync";
        /// Whether `sync watch` may keep the remote up to date; with `false` only `sync push` sends.
        watch: bool = "true", "false";
        /// How long a file has to be quiet before it is sent. Without it a file is sent when it is closed, which takes milliseconds.
        debounce: Option<Interval>, "2s";
        /// Whether the project's `.git` folder is sent.
        git: Git = "off", "push";
        /// Patterns of what is brought home by itself while a sync watches.
        pull: Vec<Pattern>, "[\"*.log\", runs/]";
        /// Patterns of files that only grow and are written in place on the remote: logs.
        append: Vec<Pattern>, "[\"*.log\"]";
    }
}

choice! {
    /// How changes of files travel.
    Strategy {
        /// What differs travels, found by rolling checksums as rsync does it.
        Rsync = "rsync" | "delta";
    }
    not yet {
        /// Through the object stores that rclone knows.
        "rclone": "this version sends files over SSH only";
        /// By `git push` and `git pull`.
        "git": "this version sends files, not commits; `sync.git: push` sends the repository beside them";
    }
}

choice! {
    /// Whether the `.git` folder is sent.
    Git {
        /// It stays here.
        Off = "off";
        /// It is sent as a whole whenever git is quiet.
        Push = "push";
    }
}
