//! `sync push --mirror`: what is on the remote and not here goes to its trash, once a person said so.

use std::collections::HashSet;

use protocol::editor::{SyncAction, SyncChange, SyncPushOutput};
use protocol::error::{Code, Error, Result};
use protocol::path::RelPath;

use crate::commands::show::text::{count, one_line};
use crate::cx::Cx;
use crate::frontend::{Question, confirm};
use crate::store::Pair;
use crate::sync::pull::{Access, Extra, extras, remove};

/// Extras that are named in the question.
const NAMED: usize = 20;
/// Most changes that are listed.
const LISTED: usize = 1000;

/// Adds to a dry run what would be removed as extra.
pub(super) async fn preview(cx: &Cx, pair: Pair, output: &mut SyncPushOutput) -> Result<()> {
    let access = match Access::open(cx, pair, true).await {
        Ok(access) => access,
        // A folder that is not there yet holds nothing.
        Err(error) if error.code == Code::SyncRoot => return Ok(()),
        Err(error) => return Err(error),
    };
    let found = extras(&access.sides).await;
    access.close().await;
    let found = found?;
    output.removed += found.len() as u64;
    list(output, found.iter());
    Ok(())
}

/// Lists what is extra, asks, and removes it.
pub(super) async fn run(cx: &Cx, access: &Access, output: &mut SyncPushOutput) -> Result<()> {
    let found = extras(&access.sides).await?;
    if found.is_empty() {
        return Ok(());
    }
    let names: Vec<String> =
        found.iter().take(NAMED).map(|extra| format!("  {}", one_line(extra.path.as_str()))).collect();
    let more = match found.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("\n  … and {more} more"),
    };
    let count = count(found.len() as u64, "path");
    let text = format!(
        "{count} on the remote {} not in the workspace:\n{}{more}\nMove to the remote's trash?",
        if found.len() == 1 { "is" } else { "are" },
        names.join("\n")
    );
    if !confirm(&*cx.frontend, cx.scope.yes, &Question::Confirm { text }).await? {
        return Err(Error {
            code: Code::QuestionUnanswered,
            message: format!("{count} stay on the remote that are not in the workspace"),
            help: "Everything else was pushed; run `mltoolbox-sidecar sync push --mirror --yes` to remove them."
                .to_owned(),
            causes: Vec::new(),
        });
    }
    let mirrored = remove(&access.sides, &found).await?;
    output.removed += mirrored.removed.len() as u64;
    output.kept = mirrored.problems;
    let removed: HashSet<&RelPath> = mirrored.removed.iter().collect();
    list(output, found.iter().filter(|extra| removed.contains(&extra.path)));
    Ok(())
}

fn list<'a>(output: &mut SyncPushOutput, extras: impl Iterator<Item = &'a Extra>) {
    let change = |extra: &Extra| SyncChange { path: extra.path.to_string(), action: SyncAction::Remove, bytes: 0 };
    let room = LISTED.saturating_sub(output.changes.len());
    output.changes.extend(extras.take(room).map(change));
}
