//! The person at a terminal, or the script in front of the pipes: shown, told and asked.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use protocol::editor::OutputStream;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::{line, terminal};
use crate::commands::show::Text;
use crate::commands::tree::Globals;
use crate::frontend::{Answer, Frontend, Progress, Question, Terminal};
use crate::secrets::Secret;

/// Without a terminal, one line of progress in this time; a log stays readable.
const LINE_EVERY: Duration = Duration::from_secs(3);

/// Where questions are asked and answers typed: standard input may be a pipe.
const TTY: (&str, &str) = if cfg!(windows) { ("CONOUT$", "CONIN$") } else { ("/dev/tty", "/dev/tty") };

#[derive(Debug)]
pub(super) struct Person {
    json: bool,
    talks: bool,
    asks: bool,
    raw: AtomicBool,
    shown: Mutex<Shown>,
    reader_gone: CancellationToken,
}

/// How progress is shown.
#[derive(Debug)]
struct Shown {
    display: Display,
    meter: line::Meter,
    last: Option<Progress>,
    /// When the last line was written without a terminal; the beginning counts, so that what is quick says nothing.
    line_at: Instant,
}

#[derive(Debug)]
enum Display {
    None,
    Lines,
    Bar(Option<ProgressBar>),
}

impl Person {
    pub(super) fn new(globals: &Globals) -> Self {
        let json = globals.json();
        let talks = !json && !globals.quiet;
        let display = match (talks, io::stderr().is_terminal()) {
            (false, _) => Display::None,
            (true, false) => Display::Lines,
            (true, true) => Display::Bar(None),
        };
        Self {
            json,
            talks,
            asks: !json && (io::stdin().is_terminal() || io::stderr().is_terminal()),
            raw: AtomicBool::new(false),
            shown: Mutex::new(Shown { display, meter: line::Meter::default(), last: None, line_at: Instant::now() }),
            reader_gone: CancellationToken::new(),
        }
    }

    /// Returns once the reader of standard output is gone.
    pub(super) async fn reader_gone(&self) {
        self.reader_gone.cancelled().await;
    }

    /// Shows the newest progress again, with the rate as it is by now.
    pub(super) fn tick(&self) {
        let mut shown = self.shown();
        if let Some(last) = shown.last.take() {
            shown.draw(last);
        }
    }

    /// Takes the progress away.
    pub(super) fn finish(&self) {
        let mut shown = self.shown();
        shown.last = None;
        shown.clear();
    }

    /// Begins a new line after the `^C` that the terminal shows, so that what follows stands alone.
    pub(super) fn interrupted(&self) {
        self.finish();
        if self.talks && io::stderr().is_terminal() {
            self.write("\n");
        }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, text: &str) {
        let text = if self.raw.load(Ordering::Relaxed) { text.replace('\n', "\r\n") } else { text.to_owned() };
        // Without a reader of standard error nobody can be told.
        drop(io::stderr().write_all(text.as_bytes()));
    }
}

impl Shown {
    fn draw(&mut self, progress: Progress) {
        let rate = self.meter.rate(Instant::now(), &progress);
        match &mut self.display {
            Display::None => {}
            Display::Lines => {
                if self.line_at.elapsed() >= LINE_EVERY {
                    self.line_at = Instant::now();
                    drop(writeln!(io::stderr(), "{}", line::line(&progress, rate, line::WIDTH)));
                }
            }
            Display::Bar(bar) => {
                bar.get_or_insert_with(new_bar).set_message(line::line(&progress, rate, terminal::columns()));
            }
        }
        self.last = Some(progress);
    }

    fn clear(&mut self) {
        if let Display::Bar(bar) = &mut self.display
            && let Some(bar) = bar.take()
        {
            bar.finish_and_clear();
        }
    }
}

fn new_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_msg}").expect("the template is a constant");
    ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style)
}

#[async_trait]
impl Frontend for Person {
    fn report(&self, progress: Progress) {
        self.shown().draw(progress);
    }

    fn tell(&self, line: String) {
        if !self.talks {
            return;
        }
        let mut text = Text::default();
        text.line(&line);
        let mut shown = self.shown();
        // What is told comes after what was under way; the next report shows the bar again.
        shown.last = None;
        shown.clear();
        self.write(text.as_str());
    }

    async fn output(&self, stream: OutputStream, bytes: Bytes) {
        self.finish();
        let written = match stream {
            OutputStream::Stdout if !self.json => {
                let mut stdout = tokio::io::stdout();
                match stdout.write_all(&bytes).await {
                    Ok(()) => stdout.flush().await,
                    Err(error) => Err(error),
                }
            }
            // With --json standard output holds the one document; a program's output goes beside it.
            OutputStream::Stdout | OutputStream::Stderr => {
                let mut stderr = tokio::io::stderr();
                stderr.write_all(&bytes).await
            }
        };
        if let Err(error) = written {
            tracing::debug!(%error, "the reader of our output is gone");
            self.reader_gone.cancel();
        }
    }

    async fn ask(&self, question: &Question) -> Option<Answer> {
        if !self.asks {
            return None;
        }
        self.finish();
        let question = question.clone();
        let answer = tokio::task::spawn_blocking(move || ask(&question)).await;
        match answer {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                tracing::info!(%error, "nobody can be asked");
                None
            }
            Err(error) => {
                tracing::error!(%error, "the prompt failed");
                None
            }
        }
    }

    fn piped(&self) -> Option<Box<dyn AsyncRead + Send + Unpin>> {
        if io::stdin().is_terminal() { None } else { Some(Box::new(tokio::io::stdin())) }
    }

    fn may_reveal(&self) -> bool {
        true
    }

    fn terminal(&self) -> Option<Terminal> {
        self.finish();
        let raw = !self.json && terminal::make_raw();
        self.raw.store(raw, Ordering::Relaxed);
        let size = if raw { terminal::size() } else { None };
        Some(Terminal { input: Box::new(tokio::io::stdin()), size })
    }
}

/// Asks on the terminal itself; blocks until something was typed.
fn ask(question: &Question) -> io::Result<Answer> {
    let mut tty = OpenOptions::new().write(true).open(TTY.0)?;
    let typing = OpenOptions::new().read(true).open(TTY.1)?;
    let mut wrapped = Text::default();
    wrapped.line(&question.text());
    let text = wrapped.as_str().trim_end();
    match question {
        Question::Passphrase { .. }
        | Question::Password { .. }
        | Question::SecretsFile { .. }
        | Question::SecretValue { .. }
        | Question::Prompt { echo: false, .. } => {
            terminal::remember();
            Ok(Answer::Secret(Secret::new(rpassword::prompt_password(format!("{text}: "))?)))
        }
        Question::Prompt { echo: true, .. } => {
            write!(tty, "{text}: ")?;
            let mut typed = String::new();
            if BufReader::new(typing).read_line(&mut typed)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(Answer::Secret(Secret::new(typed.trim_end_matches(['\n', '\r']).to_owned())))
        }
        Question::HostKey { .. }
        | Question::InstallAgent { .. }
        | Question::UnsafeWorkspace { .. }
        | Question::LargePush { .. }
        | Question::TakeOver { .. }
        | Question::Trust { .. }
        | Question::Confirm { .. } => {
            write!(tty, "{text} [y/N] ")?;
            let mut typed = String::new();
            if BufReader::new(typing).read_line(&mut typed)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let yes = matches!(typed.trim().to_ascii_lowercase().as_str(), "y" | "yes");
            Ok(if yes { Answer::Yes } else { Answer::No })
        }
    }
}
