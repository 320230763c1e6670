//! Answers as a person reads them: one function per answer, 80 columns, no colour.

use protocol::editor::{
    AgentLogsOutput, AgentProgram, AgentState, AgentStatus, DoctorLevel, DoctorOutput, RemoteImportOutput,
    RemoteListOutput, RemoteRow, RemoteShowOutput, RemoteTestOutput, RemoteWay, SyncAction, SyncConflictsOutput,
    SyncListOutput, SyncPullOutput, SyncPushOutput, SyncResolveOutput, SyncState, SyncStatus, SyncStopOutput,
    TextOutput, TryOutput,
};
use protocol::error::Error;
use protocol::hello::Facts;

use super::remote::address::typed;

pub mod config;
pub mod text;

use crate::session::install;
pub use text::{Text, one_line};
use text::{ago, bytes, count, milliseconds};

/// At most this many lines of one list are shown; `--json` has them all.
const LISTED: usize = 20;

pub(super) fn text(output: &TextOutput, text: &mut Text) {
    text.verbatim(&output.text);
}

pub(super) fn nothing<T>(_: &T, _: &mut Text) {}

pub(super) fn tried(output: &TryOutput, text: &mut Text) {
    text.line("");
    text.pair("connected in", &milliseconds(output.connect_ms));
    text.pair("agent there in", &milliseconds(output.install_ms));
    let first = [count(output.files, "file"), bytes(output.bytes), milliseconds(output.first_sync_ms)];
    text.pair("first sync", &first.join(", "));
    let mut edits = output.edits_ms.clone();
    edits.sort_by(f64::total_cmp);
    if let (Some(median), Some(slowest)) = (edits.get(edits.len() / 2), edits.last()) {
        let edits = format!("{} after the save, {} at most", milliseconds(*median), milliseconds(*slowest));
        text.pair("an edit is there", &edits);
    }
    text.line("");
    text.line("All that was made for this is removed again. With a machine of yours:");
    text.line("");
    for next in ["remote add gpu1 --host HOST --user USER", "sync watch --remote gpu1"] {
        text.line(&format!("  mltoolbox-sidecar {next}"));
    }
}

pub(super) fn remote(remote: &RemoteRow, text: &mut Text) {
    text.pair("name", &remote.name);
    text.pair("address", &typed(remote));
    if let Some(jump) = &remote.jump {
        text.pair("jump", jump);
    }
    text.pair("key", remote.key.as_deref().unwrap_or("as ~/.ssh/config says, the SSH agent's, the usual files"));
    text.pair("unseen host key", if remote.accept_new { "accepted" } else { "asked about" });
    match remote.no_agent {
        Some(why) => text.pair("agent", &format!("none: {why}")),
        None if remote.agent_allowed => text.pair("agent", "may be installed"),
        None => text.pair("agent", "asks before it is installed"),
    }
    if let Some(facts) = &remote.facts {
        text.pair("machine", &machine(facts));
    }
    text.pair("last reached", &remote.last_reached.map_or_else(|| "never".to_owned(), ago));
}

pub(super) fn shown(output: &RemoteShowOutput, text: &mut Text) {
    remote(&output.remote, text);
    if let Some(known) = &output.way {
        way(known, text);
    }
    if let Some(problem) = &output.problem {
        error(problem, text);
    }
}

pub(super) fn imported(output: &RemoteImportOutput, text: &mut Text) {
    if output.hosts.is_empty() {
        text.line("`~/.ssh/config` names no host. Add one with `mltoolbox-sidecar remote add NAME --host HOST`.");
        return;
    }
    let rows = output.hosts.iter().map(|host| {
        let state = match (&host.remote, host.added, &host.problem) {
            (Some(remote), true, _) => format!("added as `{remote}`"),
            (Some(remote), false, _) => format!("is `{remote}`"),
            (None, _, Some(_)) => "see below".to_owned(),
            (None, _, None) => "not added".to_owned(),
        };
        let over = host.way.as_ref().map(|way| way.command.iter().chain(&way.jumps).cloned().collect::<Vec<_>>());
        let reached = host.way.as_ref().map(reached_as).unwrap_or_default();
        vec![host.alias.clone(), reached, over.unwrap_or_default().join(" → "), state]
    });
    text.table(&["HOST", "REACHED AS", "OVER", "REMOTE"], rows.collect());
    for host in &output.hosts {
        if let Some(problem) = &host.problem {
            text.line("");
            text.line(&format!("`{}`:", host.alias));
            error_below(problem, "  ", text);
        }
    }
    if output.hosts.iter().any(|host| host.remote.is_none() && host.problem.is_none()) {
        text.line("");
        text.line("Add some with `mltoolbox-sidecar remote import HOST...`, all with `--all`.");
    }
}

pub(super) fn remotes(output: &RemoteListOutput, text: &mut Text) {
    if output.remotes.is_empty() {
        text.line("No remotes yet. Add one with `mltoolbox-sidecar remote add NAME --host HOST`.");
        return;
    }
    let rows = output.remotes.iter().map(|remote| {
        let mark = if output.chosen.as_ref() == Some(&remote.name) { "*" } else { "" };
        let reached = remote.last_reached.map_or_else(|| "never".to_owned(), ago);
        vec![mark.to_owned(), remote.name.clone(), typed(remote), reached]
    });
    text.table(&["", "NAME", "ADDRESS", "LAST REACHED"], rows.collect());
}

pub(super) fn tested(output: &RemoteTestOutput, text: &mut Text) {
    text.pair("remote", &output.name);
    way(&output.way, text);
    text.pair("connect", &milliseconds(output.connect_ms));
    text.pair("round trip", &milliseconds(output.round_trip_ms));
    text.pair("signed in with", &output.authentication);
    text.pair("host key", &output.host_key);
    text.pair("cipher", &output.cipher);
    if let Some(facts) = &output.facts {
        text.pair("machine", &machine(facts));
    }
    text.pair("agent", agent_state(output.agent));
    for limit in &output.limits {
        text.pair("limit", limit);
    }
}

pub(super) fn removed(remote: &RemoteRow, text: &mut Text) {
    text.line(&format!("Removed `{}` ({}).", remote.name, typed(remote)));
}

pub(super) fn agent(status: &AgentStatus, text: &mut Text) {
    text.pair("remote", &status.remote);
    text.pair("agent", agent_state(status.state));
    let pid = status.pid.map(|pid| pid.to_string());
    let uptime = status.uptime_seconds.map(text::seconds);
    let start = status.start_ms.map(milliseconds);
    let program = status.program.as_ref().map(program);
    let known = [
        ("version", &status.version),
        ("path", &status.path),
        ("program", &program),
        ("machine", &status.hostname),
        ("process", &pid),
        ("running for", &uptime),
        ("started by", &status.started_by),
        ("start took", &start),
    ];
    for (name, value) in known {
        if let Some(value) = value {
            text.pair(name, value);
        }
    }
    for root in &status.roots {
        text.pair("syncs", root);
    }
    if let Some(problem) = &status.problem {
        error(problem, text);
    }
}

pub(super) fn agent_logs(output: &AgentLogsOutput, text: &mut Text) {
    for line in &output.lines {
        text.verbatim(line);
    }
}

pub(super) fn pushed(output: &SyncPushOutput, text: &mut Text) {
    if output.dry_run {
        for change in output.changes.iter().take(LISTED) {
            text.verbatim(&format!("{:8} {}", action(change.action), one_line(&change.path)));
        }
        text.more(output.changes.len(), LISTED);
        text.line(&format!(
            "Would write {} ({}) and remove {}. Nothing was done.",
            count(output.files, "file"),
            bytes(output.bytes),
            count(output.removed, "path")
        ));
        return;
    }
    text.line(&format!(
        "Wrote {} ({}), removed {}, in {}.",
        count(output.files, "file"),
        bytes(output.bytes),
        count(output.removed, "path"),
        milliseconds(output.milliseconds)
    ));
    for problem in output.kept.iter().take(LISTED) {
        text.pair("stays", &format!("{}: {}", problem.path, problem.reason));
    }
    // Limits are for who asks how it stands, and not for each push.
    status(&SyncStatus { limits: Vec::new(), ..output.status.clone() }, text);
    if !output.status.problems.is_empty() {
        let paths = count(output.status.problems.len() as u64, "path");
        text.line(&format!("Not synced: {paths}, for the reasons above. All else is on the remote."));
    }
}

pub(super) fn status(status: &SyncStatus, text: &mut Text) {
    for change in status.changes.iter().take(LISTED) {
        text.verbatim(&format!("{:8} {}", action(change.action), one_line(&change.path)));
    }
    text.more(status.changes.len(), LISTED);
    text.pair("workspace", &status.workspace);
    text.pair("remote", &format!("{}:{}", status.remote, status.remote_dir));
    text.pair("state", sync_state(status.state));
    text.pair("synced", &count(status.synced, "path"));
    if status.pending > 0 {
        text.pair("pending", &format!("{} ({})", count(status.pending, "path"), bytes(status.pending_bytes)));
    }
    if let Some(latency) = status.last_latency_ms {
        text.pair("last save", &format!("visible after {}", milliseconds(latency)));
    }
    if let Some(visible) = status.last_visible {
        text.pair("up to date", &ago(visible));
    }
    if let Some(durable) = status.last_durable {
        text.pair("safe on disk", &ago(durable));
    }
    if let Some(owner) = status.owner {
        text.pair("process", &owner.to_string());
    }
    if status.conflicts > 0 {
        text.pair("conflicts", &format!("{}; see `mltoolbox-sidecar sync conflicts`", status.conflicts));
    }
    for path in status.drift.iter().take(LISTED) {
        text.pair("remote edit", path);
    }
    text.more(status.drift.len(), LISTED);
    if !status.drift.is_empty() {
        text.pair("", "To bring it home: mltoolbox-sidecar sync pull [PATH]");
    }
    for problem in status.problems.iter().take(LISTED) {
        // What is about no path keeps nothing from being synced.
        if problem.path.is_empty() {
            text.pair("note", &problem.reason);
        } else {
            text.pair("cannot sync", &format!("{}: {}", problem.path, problem.reason));
        }
    }
    text.more(status.problems.len(), LISTED);
    for limit in &status.limits {
        text.pair("limit", limit);
    }
    if let Some(brake) = &status.brake {
        text.pair("brake", &brake.reason);
        for example in brake.examples.iter().take(LISTED) {
            text.pair("", example);
        }
        text.pair("", &format!("To allow it: mltoolbox-sidecar sync approve {}", brake.plan));
    }
    if let Some(reason) = &status.error {
        error(reason, text);
    }
}

pub(super) fn syncs(output: &SyncListOutput, text: &mut Text) {
    if output.syncs.is_empty() {
        text.line("Nothing is synced yet. Start with `mltoolbox-sidecar sync watch` in a project folder.");
        return;
    }
    let rows = output.syncs.iter().map(|status| {
        vec![
            status.workspace.clone(),
            format!("{}:{}", status.remote, status.remote_dir),
            sync_state(status.state).to_owned(),
            status.pending.to_string(),
        ]
    });
    text.table(&["WORKSPACE", "REMOTE", "STATE", "PENDING"], rows.collect());
}

pub(super) fn stopped(output: &SyncStopOutput, text: &mut Text) {
    for workspace in &output.stopped {
        text.line(&format!("Stopped the sync of `{workspace}`."));
    }
    if output.stopped.is_empty() {
        text.line("No sync was running.");
    }
}

pub(super) fn pulled(output: &SyncPullOutput, text: &mut Text) {
    let listed = if output.dry_run { output.changes.len() } else { 0 };
    for change in output.changes.iter().take(listed.min(LISTED)) {
        text.verbatim(&format!("{:8} {}", action(change.action), one_line(&change.path)));
    }
    text.more(listed, LISTED);
    let (files, size, removed) = (count(output.files, "file"), bytes(output.bytes), count(output.removed, "path"));
    text.line(&if output.dry_run {
        format!("Would bring home {files} ({size}) and remove {removed} here. Nothing was done.")
    } else {
        format!("Brought home {files} ({size}), removed {removed} here, in {}.", milliseconds(output.milliseconds))
    });
    if let Some(kept) = &output.kept {
        text.pair("kept", kept);
    }
    if output.conflicts > 0 {
        text.pair("conflicts", &format!("{}; see `mltoolbox-sidecar sync conflicts`", output.conflicts));
    }
    for problem in output.problems.iter().take(LISTED) {
        text.pair("cannot pull", &format!("{}: {}", problem.path, problem.reason));
    }
    text.more(output.problems.len(), LISTED);
    if let Some(brake) = &output.brake {
        text.pair("brake", &brake.reason);
    }
}

pub(super) fn conflicts(output: &SyncConflictsOutput, text: &mut Text) {
    if output.conflicts.is_empty() {
        text.line("No conflicts.");
        return;
    }
    let rows = output.conflicts.iter().map(|conflict| {
        vec![conflict.path.clone(), conflict.local.clone(), conflict.remote.clone(), ago(conflict.since)]
    });
    text.table(&["PATH", "HERE", "REMOTE", "SINCE"], rows.collect());
}

pub(super) fn resolved(output: &SyncResolveOutput, text: &mut Text) {
    for path in &output.resolved {
        text.line(&format!("Resolved {path}"));
    }
    for path in &output.kept_as {
        text.line(&format!("Kept the other version as {path}"));
    }
    text.line(&format!("{} left.", count(output.left, "conflict")));
}

pub(super) fn doctor(output: &DoctorOutput, text: &mut Text) {
    for check in &output.checks {
        let mark = match check.level {
            DoctorLevel::Good => "ok",
            DoctorLevel::Limited => "limit",
            DoctorLevel::Bad => "BAD",
        };
        text.hanging(&format!("{mark:6}"), &format!("{}: {}", check.name, check.found));
        if let Some(reason) = &check.error {
            error_below(reason, "      ", text);
        }
    }
}

/// Writes an error: what failed, why, and what to do next.
pub fn error(error: &Error, text: &mut Text) {
    error_below(error, "", text);
}

/// Writes an error as [`error`] does, indented.
fn error_below(error: &Error, indent: &str, text: &mut Text) {
    text.hanging(&format!("{indent}error: "), &error.message);
    for cause in &error.causes {
        text.hanging(&format!("{indent}  caused by: "), cause);
    }
    if !error.help.is_empty() {
        text.hanging(&format!("{indent}  help: "), &error.help);
    }
}

/// Writes how a remote is reached, below what was typed for it.
fn way(way: &RemoteWay, text: &mut Text) {
    text.pair("reached as", &reached_as(way));
    if !way.jumps.is_empty() {
        text.pair("over", &way.jumps.join(" → "));
    }
    if let Some(command) = &way.command {
        text.pair("by command", command);
    }
    for warning in &way.warnings {
        text.pair("note", warning);
    }
}

fn reached_as(way: &RemoteWay) -> String {
    let host = if way.host.contains(':') { format!("[{}]", way.host) } else { way.host.clone() };
    format!("{}@{host}:{}", way.user, way.port)
}

fn machine(facts: &Facts) -> String {
    let Facts { hostname, os, kernel, arch, user, cpus, home: _ } = facts;
    format!("{hostname}, {os} {kernel} {arch}, {}, as {user}", count((*cpus).into(), "CPU"))
}

fn program(program: &AgentProgram) -> String {
    let needs = if program.needs_libc { ", which needs the remote's C library" } else { "" };
    format!("{}, for {}{needs}", install::whence(program), program.platform)
}

fn agent_state(state: AgentState) -> &'static str {
    match state {
        AgentState::Missing => "not installed",
        AgentState::Outdated => "installed, of another version",
        AgentState::Stopped => "installed, not running",
        AgentState::Running => "running",
    }
}

fn sync_state(state: SyncState) -> &'static str {
    match state {
        SyncState::Stopped => "stopped",
        SyncState::Connecting => "connecting",
        SyncState::Scanning => "scanning",
        SyncState::Syncing => "syncing",
        SyncState::Synced => "synced",
        SyncState::Waiting => "waiting",
        SyncState::Paused => "paused",
        SyncState::Halted => "halted by a brake",
    }
}

pub(super) fn action(action: SyncAction) -> &'static str {
    match action {
        SyncAction::Create => "create",
        SyncAction::Update => "update",
        SyncAction::Remove => "remove",
        SyncAction::Conflict => "conflict",
    }
}
