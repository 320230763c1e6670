//! What a command that failed probably lacked, told by a look at what it wrote. Nothing of that is changed or kept.

use std::sync::atomic::{AtomicBool, Ordering};

use protocol::editor::SyncGit;

use crate::cx::Cx;

/// How git says that there is no repository.
const NO_REPOSITORY: &[u8] = b"fatal: not a git repository";

/// What was heard so far on all of a command's outputs; a terminal has but one.
#[derive(Debug, Default)]
pub(super) struct Words {
    no_repository: AtomicBool,
}

impl Words {
    /// Returns a listener for one output.
    pub(super) fn listener(&self) -> Listener<'_> {
        Listener { words: self, end: Vec::new() }
    }

    /// Returns whether something said that it wants a repository.
    pub(super) fn wants_repository(&self) -> bool {
        self.no_repository.load(Ordering::Relaxed)
    }
}

/// Listens to one output. Keeps only as much of it as a word may be cut by.
#[derive(Debug)]
pub(super) struct Listener<'w> {
    words: &'w Words,
    end: Vec<u8>,
}

impl Listener<'_> {
    /// Hears the next bytes.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        if self.words.wants_repository() {
            return;
        }
        let holds = |text: &[u8]| text.windows(NO_REPOSITORY.len()).any(|window| window == NO_REPOSITORY);
        let cut = NO_REPOSITORY.len() - 1;
        self.end.extend_from_slice(bytes.get(..cut).unwrap_or(bytes));
        if holds(&self.end) || holds(bytes) {
            self.words.no_repository.store(true, Ordering::Relaxed);
        }
        if bytes.len() >= cut {
            self.end.clear();
            self.end.extend_from_slice(bytes);
        }
        self.end.drain(..self.end.len().saturating_sub(cut));
    }
}

/// Returns what to say of a command that wants a repository, when the workspace is synced to `remote` without one.
pub(super) async fn no_repository(cx: &Cx, remote: &str) -> Option<String> {
    let named = cx.scope.workspace.as_deref().map_or_else(|| cx.folder.clone(), |named| cx.folder.join(named));
    let folder = tokio::task::spawn_blocking(move || named.canonicalize()).await.ok()?.ok()?;
    let pairs = match cx.store.pairs().await {
        Ok(pairs) => pairs,
        Err(error) => {
            tracing::info!(%error, "what is synced is not known, so nothing is said of it");
            return None;
        }
    };
    let here = |at: &std::path::Path| pairs.iter().find(|pair| pair.workspace == at && pair.remote == remote);
    let pair = folder.ancestors().find_map(here)?;
    (pair.git == SyncGit::Off).then(|| {
        let shown = protocol::error::word(pair.workspace.display());
        format!(
            "Git found no repository on `{remote}`: `.git` is not synced. Run `mltoolbox-sidecar sync watch {shown} --git push` to have it there."
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_heard_wherever_they_are_cut() {
        let text = b"some line\nfatal: not a git repository (or any of the parent directories): .git\n";
        for size in 1..text.len() {
            let words = Words::default();
            let mut listener = words.listener();
            text.chunks(size).for_each(|chunk| listener.hear(chunk));
            assert!(words.wants_repository(), "in pieces of {size}");
            assert!(listener.end.len() < NO_REPOSITORY.len());
        }
        let words = Words::default();
        let (mut one, mut other) = (words.listener(), words.listener());
        one.hear(b"fatal: not a ");
        other.hear(b"git repository");
        one.hear(b"good day");
        assert!(!words.wants_repository(), "outputs are no sentence together");
    }
}
