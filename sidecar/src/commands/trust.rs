//! `trust`: lets the commands that a project brings along run on this machine or get values of it, or takes that back.

use protocol::editor::{TrustCommand, TrustState, WorkspaceTrustOutput, WorkspaceTrustParams};
use protocol::error::Result;

use super::show::Text;
use super::work;
use crate::cx::Cx;
use crate::hooks;
use crate::trust;

pub(super) async fn run(cx: Cx, params: WorkspaceTrustParams) -> Result<WorkspaceTrustOutput> {
    let folder = super::sync::workspace(&cx).await?;
    let loaded = cx.config(&folder).await?;
    let project = work::project(&loaded, &folder).await;
    let hooks = hooks::of(&loaded);
    let concerned = trust::concerned(&hooks);
    if params.revoke {
        trust::forget(&cx.store, &project).await?;
    } else if !params.status {
        trust::confirm(&cx.store, &*cx.frontend, cx.scope.yes, &project, &concerned).await?;
    }
    let state = trust::state(&cx.store, &project, &concerned).await?;
    let command = |hook: &&hooks::Hook| TrustCommand {
        hook: hook.point.name().to_owned(),
        command: hook.run.clone(),
        place: hook.said.to_string(),
    };
    let workspace = project.to_string_lossy().into_owned();
    Ok(WorkspaceTrustOutput { workspace, commands: concerned.iter().map(command).collect(), state })
}

pub(super) fn show(output: &WorkspaceTrustOutput, text: &mut Text) {
    let WorkspaceTrustOutput { workspace, commands, state } = output;
    if commands.is_empty() {
        text.line(&format!(
            "`{workspace}` brings no commands along that would run on this machine or get values of it."
        ));
        return;
    }
    text.line(&format!("Commands that `{workspace}` runs on this machine, or gives values of it:"));
    for TrustCommand { hook, command, place } in commands {
        text.line("");
        text.hanging("  ", &format!("{hook}, {place}"));
        for line in command.lines() {
            text.verbatim(&format!("    {line}"));
        }
    }
    text.line("");
    text.line(match state {
        TrustState::Nothing => "There is nothing to trust.",
        TrustState::Trusted => {
            "They are trusted, until one of them is changed. `mltoolbox-sidecar trust --revoke` takes that back."
        }
        TrustState::Refused => "They were refused and are not run. `mltoolbox-sidecar trust` trusts them.",
        TrustState::Changed => {
            "They were changed since they were answered for, and are not run. `mltoolbox-sidecar trust` trusts them."
        }
        TrustState::Unknown => "They are not trusted and are not run. `mltoolbox-sidecar trust` trusts them.",
    });
}
