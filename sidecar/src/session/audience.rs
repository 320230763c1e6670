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

/// The front end of a command, as long as it runs, and then nobody; does not keep it.
#[derive(Clone, Debug)]
pub(crate) struct Present(Weak<dyn Frontend>);

impl Present {
    pub(crate) fn new(frontend: &Arc<dyn Frontend>) -> Self {
        Self(Arc::downgrade(frontend))
    }

    fn now(&self) -> Arc<dyn Frontend> {
        self.0.upgrade().unwrap_or_else(|| Arc::new(Nobody))
    }
}

#[async_trait]
impl Frontend for Present {
    fn report(&self, progress: Progress) {
        self.now().report(progress);
    }

    fn tell(&self, line: String) {
        self.now().tell(line);
    }

    async fn output(&self, stream: OutputStream, bytes: Bytes) {
        self.now().output(stream, bytes).await;
    }

    async fn ask(&self, question: &Question) -> Option<Answer> {
        self.now().ask(question).await
    }

    fn terminal(&self) -> Option<Terminal> {
        self.now().terminal()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Says yes.
    #[derive(Debug)]
    struct Person;

    #[async_trait]
    impl Frontend for Person {
        fn report(&self, _: Progress) {}

        fn tell(&self, _: String) {}

        async fn output(&self, _: OutputStream, _: Bytes) {}

        async fn ask(&self, _: &Question) -> Option<Answer> {
            Some(Answer::Yes)
        }

        fn terminal(&self) -> Option<Terminal> {
            None
        }
    }

    #[tokio::test]
    async fn a_person_is_asked_while_present_and_not_kept() {
        let person: Arc<dyn Frontend> = Arc::new(Person);
        let present = Present::new(&person);
        let question = Question::Confirm { text: "Go on?".to_owned() };
        assert_eq!(present.ask(&question).await, Some(Answer::Yes));
        drop(person);
        assert_eq!(present.ask(&question).await, None);
    }
}
