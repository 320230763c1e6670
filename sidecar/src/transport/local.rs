//! The agent inside this process, over a pipe in memory, for tests.

use std::sync::Arc;

use agent::serve::{Agent, serve};
use tokio::io::DuplexStream;

/// Bytes that each direction of the pipe holds, about what a socket does.
const PIPE: usize = 256 * 1024;

/// Starts a conversation with `agent` and returns the sidecar's end. The conversation ends when that end
/// is dropped.
pub fn dial(agent: &Arc<Agent>) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(PIPE);
    let agent = Arc::clone(agent);
    tokio::spawn(async move {
        if let Err(error) = serve(theirs, agent).await {
            tracing::debug!(%error, "the agent in this process ended a conversation");
        }
    });
    ours
}
