//! What a person types to log in: a password, or answers to the server's own questions.

use russh::client::{AuthResult, KeyboardInteractiveAuthResponse, Prompt};
use tokio::sync::watch;

use super::{Attempt, OFFER_TIMEOUT, Part, answered, show, silent};
use crate::frontend::{Answer, Question};
use crate::secrets::Secret;
use crate::transport::TransportError;
use crate::transport::ssh::connect::printable;
use crate::transport::ssh_config::Authentication;

/// A server that asks more often than this within one login makes no sense.
const MAX_ROUNDS: usize = 16;
/// More questions than these at once make no sense.
const MAX_PROMPTS: usize = 16;

impl Attempt<'_> {
    /// Logs in by the password, asked for as often as the configuration allows.
    pub(super) async fn by_password(&mut self) -> Result<Part, TransportError> {
        let question = Question::Password { user: self.host.user.clone(), host: self.host.alias.clone() };
        while self.wrong < self.host.password_prompts && self.may(Authentication::Password) {
            let Some(password) = self.asked(&question).await else { return Ok(Part::None) };
            let sent = self.connection.handle.authenticate_password(&self.host.user, password.reveal());
            let (_typing, never) = watch::channel(false);
            let sent = answered(sent, never, self.banners, &mut self.lines, self.frontend, OFFER_TIMEOUT).await;
            let result = match sent {
                Some(result) => result.map_err(|error| self.connection.failed(&error))?,
                None => return Err(self.after_silence().await),
            };
            match self.judge(result, "a password".to_owned())? {
                Part::None => self.was_wrong("That password was not accepted."),
                part => return Ok(part),
            }
        }
        Ok(Part::None)
    }

    /// Returns what the server's silence after a password means: a wish for a new one, which the library passes
    /// over, leaves the server waiting for the next request.
    async fn after_silence(&mut self) -> TransportError {
        let request = self.connection.handle.authenticate_none(&self.host.user);
        match tokio::time::timeout(OFFER_TIMEOUT, request).await {
            Ok(Ok(AuthResult::Failure { .. })) if !self.connection.is_closed() => TransportError::PasswordChange {
                host: self.host.alias.clone(),
                port: self.host.port,
                user: self.host.user.clone(),
            },
            Ok(_) | Err(_) => silent(self.connection),
        }
    }

    /// Logs in by answering the server's questions, round after round.
    pub(super) async fn by_answers(&mut self) -> Result<Part, TransportError> {
        while self.wrong < self.host.password_prompts && self.may(Authentication::KeyboardInteractive) {
            let mut asked = false;
            let started = self.connection.handle.authenticate_keyboard_interactive_start(&self.host.user, None);
            let (_typing, never) = watch::channel(false);
            let mut said = answered(started, never, self.banners, &mut self.lines, self.frontend, OFFER_TIMEOUT).await;
            let mut rounds = 0;
            let part = loop {
                let response = said.ok_or_else(|| silent(self.connection))?;
                let (name, instructions, prompts) = match response.map_err(|error| self.connection.failed(&error))? {
                    KeyboardInteractiveAuthResponse::Success => {
                        break self.judge(AuthResult::Success, ANSWERS.into())?;
                    }
                    KeyboardInteractiveAuthResponse::Failure { remaining_methods, partial_success } => {
                        let failure = AuthResult::Failure { remaining_methods, partial_success };
                        break self.judge(failure, ANSWERS.into())?;
                    }
                    KeyboardInteractiveAuthResponse::InfoRequest { name, instructions, prompts } => {
                        (name, instructions, prompts)
                    }
                };
                rounds += 1;
                if rounds > MAX_ROUNDS || prompts.len() > MAX_PROMPTS {
                    return Err(self.connection.lost(Some("the server asks more than anybody could answer")));
                }
                show(&name, &mut self.lines, self.frontend);
                show(&instructions, &mut self.lines, self.frontend);
                asked |= !prompts.is_empty();
                let Some(answers) = self.answers(&prompts).await else { return Ok(Part::None) };
                let answers = answers.iter().map(|answer| answer.reveal().to_owned()).collect();
                let sent = self.connection.handle.authenticate_keyboard_interactive_respond(answers);
                let (_typing, never) = watch::channel(false);
                said = answered(sent, never, self.banners, &mut self.lines, self.frontend, OFFER_TIMEOUT).await;
            };
            if part != Part::None {
                return Ok(part);
            }
            if !asked {
                // The server has nothing to ask; it would say no again.
                self.tried.pop();
                return Ok(Part::None);
            }
            self.was_wrong("That was not accepted.");
        }
        Ok(Part::None)
    }

    /// Returns the answers to all questions of a round, or `None` when nobody can be asked.
    async fn answers(&mut self, prompts: &[Prompt]) -> Option<Vec<Secret>> {
        let mut answers = Vec::with_capacity(prompts.len());
        for Prompt { prompt, echo } in prompts {
            let (user, host) = (self.host.user.clone(), self.host.alias.clone());
            let question = Question::Prompt { user, host, text: printable(prompt), echo: *echo };
            answers.push(self.asked(&question).await?);
        }
        Some(answers)
    }

    /// Asks, unless nobody was there the last time.
    async fn asked(&mut self, question: &Question) -> Option<Secret> {
        if self.unanswered.is_some() {
            return None;
        }
        if let Some(Answer::Secret(secret)) = self.frontend.ask(question).await {
            self.interactive = true;
            return Some(secret);
        }
        self.unanswered = Some(question.unanswered());
        None
    }

    fn was_wrong(&mut self, line: &str) {
        self.wrong += 1;
        if self.wrong < self.host.password_prompts {
            self.frontend.tell(line.to_owned());
        }
    }
}

/// What answers to the server's questions are called.
const ANSWERS: &str = "answers to its questions";
