//! A person at a terminal: a pseudo-terminal with the sidecar in it, typed into and read as a screen shows it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::binary;
use crate::cli::Ran;
use crate::skip::Reason;
use crate::work::Work;

/// How long anything may take to appear in a debug build on a busy machine.
const SHOWN: Duration = Duration::from_mins(1);
/// What Ctrl-C sends.
const INTERRUPT: &str = "\u{3}";

/// A program that has a terminal of its own. Hung up when dropped.
#[derive(Debug)]
pub struct Terminal {
    arguments: Vec<String>,
    master: File,
    /// Kept so that the modes can still be read after the program has ended.
    line: OwnedFd,
    child: Child,
    shown: String,
    seen: usize,
}

impl Terminal {
    /// Starts the sidecar in that place on a terminal of 80 columns, or says why this machine cannot.
    pub fn start<S: AsRef<OsStr>>(work: &Work, arguments: &[S]) -> Result<Self, Reason> {
        Self::of_command(work, arguments, 80, &[])
    }

    /// Does the same on a terminal of another width.
    pub fn with_columns<S: AsRef<OsStr>>(work: &Work, arguments: &[S], columns: u16) -> Result<Self, Reason> {
        Self::of_command(work, arguments, columns, &[])
    }

    /// Does the same with more variables in its environment.
    pub fn of_command<S: AsRef<OsStr>>(
        work: &Work,
        arguments: &[S],
        columns: u16,
        variables: &[(&str, &Path)],
    ) -> Result<Self, Reason> {
        // A controlling terminal can be had without unsafe code only by a program that takes it.
        if Command::new("setsid").arg("--version").stdout(Stdio::null()).status().is_err() {
            return Err(Reason::Missing("`setsid` is missing; install util-linux".to_owned()));
        }
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&master).expect("our own terminal");
        unlockpt(&master).expect("our own terminal");
        let name = ptsname(&master, Vec::new()).expect("our own terminal").into_string().expect("a path is text");
        let open = || File::options().read(true).write(true).open(PathBuf::from(&name)).expect("our own terminal");
        let mut command = work.command("setsid");
        command.args(["--ctty", "--wait"]).arg(binary::sidecar()).args(arguments);
        command.env("TERM", "xterm").envs(variables.iter().copied()).stdin(open()).stdout(open()).stderr(open());
        let line = OwnedFd::from(open());
        tcsetwinsize(&line, size(columns)).expect("our own terminal");
        let child = command.spawn().expect("setsid starts");
        let arguments = arguments.iter().map(|argument| argument.as_ref().to_string_lossy().into_owned()).collect();
        Ok(Self { arguments, master: File::from(master), line, child, shown: String::new(), seen: 0 })
    }

    /// Waits until a text appears behind what was already waited for.
    ///
    /// # Panics
    /// When it does not come in time, or the program ends before.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        let deadline = Instant::now() + SHOWN;
        loop {
            if let Some(at) = self.shown[self.seen..].find(text) {
                self.seen += at + text.len();
                return;
            }
            let ended = self.child.try_wait().expect("our own child").is_some();
            assert!(self.read() || !ended, "it ended without {text:?}:\n{}", self.shown);
            assert!(Instant::now() < deadline, "waited for {text:?}:\n{}", self.shown);
        }
    }

    /// Types a line and Enter.
    pub fn enter(&mut self, text: &str) {
        self.keys(&format!("{text}\r"));
    }

    /// Presses Ctrl-C.
    pub fn interrupt(&mut self) {
        self.keys(INTERRUPT);
    }

    /// Waits until what is typed is no longer shown, as at a prompt for a passphrase.
    pub fn wait_for_no_echo(&mut self) {
        crate::process::wait_until("echo to be off", SHOWN, || {
            !tcgetattr(&self.line).expect("our own terminal").local_modes.contains(LocalModes::ECHO)
        });
    }

    /// Makes the terminal wider or narrower.
    pub fn resize(&mut self, columns: u16) {
        tcsetwinsize(&self.line, size(columns)).expect("our own terminal");
    }

    /// Returns whether the terminal shows what is typed, line by line, as a shell wants it back.
    pub fn is_cooked(&self) -> bool {
        let modes = tcgetattr(&self.line).expect("our own terminal").local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    }

    /// Waits for the end of the program; returns what the screen showed as its standard output.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn finish(mut self) -> (Ran, bool) {
        let deadline = Instant::now() + SHOWN;
        let status = loop {
            self.read();
            if let Some(status) = self.child.try_wait().expect("our own child") {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.shown);
        };
        while self.read() {}
        let stdout = std::mem::take(&mut self.shown).replace("\r\n", "\n");
        let code = status.code().unwrap_or(-1);
        let cooked = self.is_cooked();
        (Ran { arguments: std::mem::take(&mut self.arguments), stdout, stderr: String::new(), code }, cooked)
    }

    /// Closes the window and waits for the end of the program; returns its exit code.
    pub fn hang_up(mut self) -> Option<i32> {
        // The line stays open here, so what hangs up is the master alone.
        self.master = File::open("/dev/null").expect("every machine has it");
        crate::process::wait_until("the program to end", SHOWN, || {
            self.child.try_wait().expect("our own child").is_some()
        });
        self.child.wait().expect("our own child").code()
    }

    fn keys(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("our own terminal");
    }

    /// Reads what is shown by now; returns whether there was anything.
    fn read(&mut self) -> bool {
        let soon = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        let mut ready = [PollFd::new(&self.master, PollFlags::IN)];
        match poll(&mut ready, Some(&soon)) {
            // A child of another test ended.
            Ok(0) | Err(Errno::INTR) => return false,
            Ok(_) => {}
            Err(error) => panic!("our own terminal: {error}"),
        }
        let mut bytes = [0; 4096];
        let length = self.master.read(&mut bytes).unwrap_or(0);
        self.shown.push_str(&String::from_utf8_lossy(&bytes[..length]));
        length > 0
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail only when the process is already gone.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn size(columns: u16) -> Winsize {
    Winsize { ws_col: columns, ws_row: 24, ws_xpixel: 0, ws_ypixel: 0 }
}
