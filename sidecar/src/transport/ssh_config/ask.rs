//! Asks the user's own `ssh` what it would do: `ssh -G`, which connects nowhere.
//!
//! It runs the commands of `Match exec` lines, as every `ssh` of the user does; nothing else is run, and no shell.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use super::Overrides;
use super::error::ConfigError;

/// `ssh -G` takes 8 ms; a command after `Match exec` may look for a network first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// What is read of an answer: a hundred times the longest that is usual.
const MAX_ANSWER: u64 = 1024 * 1024;

/// Returns what `program` says of a host by `file`, or by the usual files without one; `None` when there is no such
/// program or it is not OpenSSH.
pub(super) async fn ask(
    program: &Path,
    file: Option<&Path>,
    alias: &str,
    overrides: &Overrides,
) -> Result<Option<String>, ConfigError> {
    let mut command = Command::new(program);
    command.args(arguments(file, alias, overrides));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let run = |source| ConfigError::Run { host: alias.to_owned(), source };
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(run(error)),
    };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let answer = async { tokio::try_join!(text(stdout), text(stderr), child.wait()) };
    let slow = ConfigError::Slow { host: alias.to_owned(), seconds: ANSWER_TIMEOUT.as_secs() };
    let (stdout, stderr, status) = timeout(ANSWER_TIMEOUT, answer).await.map_err(|_| slow)?.map_err(run)?;
    if status.success() {
        return Ok(Some(stdout));
    }
    if is_another_program(&stderr) {
        return Ok(None);
    }
    Err(refusal(alias, &stderr))
}

fn arguments(file: Option<&Path>, alias: &str, overrides: &Overrides) -> Vec<OsString> {
    // Without `-T` it complains that there is no terminal.
    let mut arguments: Vec<OsString> = vec!["-G".into(), "-T".into()];
    let mut option = |name: &str, value: &OsStr| arguments.extend([name.into(), value.to_owned()]);
    if let Some(file) = file {
        option("-F", file.as_os_str());
    }
    if let Some(user) = &overrides.user {
        option("-l", OsStr::new(user));
    }
    if let Some(port) = overrides.port {
        option("-p", OsStr::new(&port.to_string()));
    }
    if let Some(jump) = &overrides.jump {
        option("-J", OsStr::new(jump));
    }
    arguments.extend(["--".into(), alias.into()]);
    arguments
}

async fn text(stream: Option<impl AsyncRead + Unpin>) -> io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        stream.take(MAX_ANSWER).read_to_end(&mut bytes).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns whether what is called `ssh` here does not know `-G`: another program, or OpenSSH before 6.8.
fn is_another_program(stderr: &str) -> bool {
    let said = stderr.to_ascii_lowercase();
    ["unknown option", "illegal option", "invalid option", "unrecognized option", "usage:"]
        .iter()
        .any(|words| said.contains(words))
        && !said.contains("terminating,")
}

/// Returns the error for the words of a failed `ssh`, with file and line when it named them.
fn refusal(alias: &str, stderr: &str) -> ConfigError {
    let lines = || stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    if let Some(error) = lines().find_map(located) {
        return error;
    }
    let message = lines().next().unwrap_or("it gives no reason").trim_end_matches('.').to_owned();
    ConfigError::Refused { host: alias.to_owned(), message }
}

/// Reads `FILE: line 3: what` and `FILE line 3: what`.
fn located(text: &str) -> Option<ConfigError> {
    text.match_indices("line ").find_map(|(at, word)| {
        let file = text[..at].strip_suffix(' ')?;
        let (line, message) = text[at + word.len()..].split_once(": ")?;
        let file = file.strip_suffix(':').unwrap_or(file);
        let message = message.trim_end_matches('.').to_owned();
        Some(ConfigError::Line { file: file.into(), line: line.parse().ok()?, message })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_was_typed_becomes_an_option() {
        let overrides = Overrides {
            user: Some("ada".to_owned()),
            port: Some(7),
            jump: Some("gate".to_owned()),
            ..Overrides::default()
        };
        let line = |file: Option<&str>, overrides: &Overrides| {
            arguments(file.map(Path::new), "gpu", overrides).join(OsStr::new(" "))
        };
        assert_eq!(line(Some("/c d"), &overrides), "-G -T -F /c d -l ada -p 7 -J gate -- gpu");
        assert_eq!(line(None, &Overrides::default()), "-G -T -- gpu");
    }

    #[test]
    fn a_refusal_names_file_and_line() {
        for text in [
            "/home/a b/.ssh/config: line 12: Bad configuration option: foo\r\n/c: terminating, 1 bad configuration options\n",
            "/home/a b/.ssh/config line 12: Bad configuration option: foo.\n",
        ] {
            match refusal("gpu", text) {
                ConfigError::Line { file, line, message } => {
                    assert_eq!((file, line), ("/home/a b/.ssh/config".into(), 12));
                    assert_eq!(message, "Bad configuration option: foo");
                }
                other => panic!("{other}"),
            }
        }
        let text = refusal("gpu", "jumphost loop via gpu\n").to_string();
        assert_eq!(text, "`ssh -G gpu` fails: jumphost loop via gpu");
        assert_eq!(refusal("gpu", "").to_string(), "`ssh -G gpu` fails: it gives no reason");
    }

    #[tokio::test]
    async fn no_ssh_and_another_ssh_are_no_answer() {
        let ask =
            |program: &'static str| async move { ask(Path::new(program), None, "gpu", &Overrides::default()).await };
        assert!(matches!(ask("/no/such/ssh").await, Ok(None)));
        assert!(is_another_program("Unknown option -G\nDropbear SSH client v2022.83"));
        assert!(!is_another_program("/c: line 1: Bad configuration option: usage:\n/c: terminating, 1 bad"));
    }
}
