//! Whom a session speaks to: the command that last asked for it, as long as it runs, and then nobody.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use protocol::editor::OutputStream;

use crate::frontend::{Answer, Frontend, Progress, Question, Terminal};

/// The front end of the command that last asked for the session. A command that has ended is never asked.
#[derive(Clone, Debug)]
pub(super) struct Audience(Arc<Mutex<Weak<dyn Frontend>>>);

impl Audience {
    pub(super) fn new(frontend: &Arc<dyn Frontend>) -> Self {
        Self(Arc::new(Mutex::new(Arc::downgrade(frontend))))
    }

    pub(super) fn set(&self, frontend: &Arc<dyn Frontend>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(frontend);
    }

    /// Returns whom to speak to now. To be held for one attempt only.
    pub(super) fn now(&self) -> Arc<dyn Frontend> {
        let present = self.0.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        present.unwrap_or_else(|| Arc::new(Nobody))
    }
}

/// Nobody: hears nothing, answers nothing.
#[derive(Debug)]
pub(crate) struct Nobody;

#[async_trait]
impl Frontend for Nobody {
    fn report(&self, _progress: Progress) {}

    fn tell(&self, line: String) {
        tracing::info!("{line}");
    }

    async fn output(&self, _stream: OutputStream, _bytes: Bytes) {}

    async fn ask(&self, _question: &Question) -> Option<Answer> {
        None
    }

    fn terminal(&self) -> Option<Terminal> {
        None
    }
}
