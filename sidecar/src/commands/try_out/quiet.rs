//! The front end of the commands inside the tour: the tour tells its story itself, in one voice.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::editor::OutputStream;

use crate::frontend::{Answer, Frontend, Progress, Question, Terminal};

/// Passes progress and output on, and keeps back what the commands would say about themselves.
#[derive(Debug)]
pub(super) struct Quiet(pub(super) Arc<dyn Frontend>);

#[async_trait]
impl Frontend for Quiet {
    fn report(&self, progress: Progress) {
        self.0.report(progress);
    }

    fn tell(&self, line: String) {
        tracing::debug!(line, "not told");
    }

    async fn output(&self, stream: OutputStream, bytes: Bytes) {
        self.0.output(stream, bytes).await;
    }

    async fn ask(&self, _: &Question) -> Option<Answer> {
        None
    }

    fn terminal(&self) -> Option<Terminal> {
        None
    }
}
