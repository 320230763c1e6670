//! Commands about the agent.

use protocol::editor::{AgentLogsOutput, AgentLogsParams, AgentStatus, NoParams};
use protocol::error::Result;

use crate::cx::Cx;

pub(super) async fn install(cx: Cx, params: NoParams) -> Result<AgentStatus> {
    drop((cx, params));
    todo!("placeholder: the merge takes the other builder's file")
}

pub(super) async fn status(cx: Cx, params: NoParams) -> Result<AgentStatus> {
    drop((cx, params));
    todo!("placeholder: the merge takes the other builder's file")
}

pub(super) async fn logs(cx: Cx, params: AgentLogsParams) -> Result<AgentLogsOutput> {
    drop((cx, params));
    todo!("placeholder: the merge takes the other builder's file")
}

pub(super) async fn restart(cx: Cx, params: NoParams) -> Result<AgentStatus> {
    drop((cx, params));
    todo!("placeholder: the merge takes the other builder's file")
}

pub(super) async fn stop(cx: Cx, params: NoParams) -> Result<AgentStatus> {
    drop((cx, params));
    todo!("placeholder: the merge takes the other builder's file")
}

pub(super) async fn uninstall(cx: Cx, params: NoParams) -> Result<AgentStatus> {
    drop((cx, params));
    todo!("placeholder: the merge takes the other builder's file")
}
