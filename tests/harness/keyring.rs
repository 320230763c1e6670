//! A real Secret Service: GNOME's keyring on a session bus of its own, whose every message is recorded.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::process::wait_until;
use crate::skip::{self, Reason};
use crate::work::Work;

/// How long a program may take to be ready on a busy machine.
const READY: Duration = Duration::from_mins(1);

/// A session bus, and a keyring on it where one was started. Both end when it is dropped.
#[derive(Debug)]
pub struct Keyring<'a> {
    work: &'a Work,
    address: String,
    bus: Child,
    recorder: Child,
    daemon: Option<Child>,
}

impl<'a> Keyring<'a> {
    /// Starts a bus without a keyring, or says why this machine cannot.
    pub fn without(work: &'a Work) -> Result<Self, Reason> {
        skip::live(&["dbus-daemon", "dbus-send", "dbus-monitor", "gnome-keyring-daemon"])?;
        let config = work.path().join("bus.conf");
        // No folder of services: nothing is started but by us.
        let text = format!(
            "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
             \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n<busconfig><type>session</type>\
             <listen>unix:dir={}</listen><auth>EXTERNAL</auth><policy context=\"default\">\
             <allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/><allow own=\"*\"/></policy></busconfig>\n",
            work.path().join("run").display()
        );
        fs::write(&config, text).expect("our own file");
        let mut bus = work
            .command("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--print-address"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon starts");
        let mut address = String::new();
        BufReader::new(bus.stdout.take().expect("a pipe")).read_line(&mut address).expect("an address");
        let address = address.trim().to_owned();
        let record = File::create(Self::record_of(work)).expect("our own file");
        let recorder = work
            .command("dbus-monitor")
            .args(["--pcap", "--address", &address])
            .stdin(Stdio::null())
            .stdout(record)
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-monitor starts");
        let keyring = Self { work, address, bus, recorder, daemon: None };
        wait_until("the bus to answer", READY, || {
            keyring.send("org.freedesktop.DBus", "/", "org.freedesktop.DBus.GetId", &[]).is_some()
        });
        Ok(keyring)
    }

    /// Starts a bus with a keyring that is open.
    pub fn open(work: &'a Work) -> Result<Self, Reason> {
        let mut keyring = Self::without(work)?;
        keyring.start("the login password");
        Ok(keyring)
    }

    /// Starts the keyring with a password; one that is not its own leaves it locked.
    pub fn start(&mut self, password: &str) {
        self.stop();
        let mut daemon = self
            .command("gnome-keyring-daemon")
            .args(["--foreground", "--components=secrets", "--unlock"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("gnome-keyring-daemon starts");
        daemon.stdin.take().expect("a pipe").write_all(password.as_bytes()).expect("the daemon reads");
        self.daemon = Some(daemon);
        wait_until("the keyring", READY, || {
            let alias = self.secrets("ReadAlias", &["string:default"]);
            alias.is_some_and(|said| said.contains("/org/freedesktop/secrets/collection/"))
        });
    }

    /// Locks it, as a screen saver does.
    pub fn lock(&self) {
        let collection = "array:objpath:/org/freedesktop/secrets/collection/login";
        self.secrets("Lock", &[collection]).expect("the keyring answers");
    }

    /// Ends the keyring; the bus stays.
    pub fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            end(&mut daemon);
        }
    }

    /// Returns a command that reaches this bus.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.work.command(program);
        command.env("DBUS_SESSION_BUS_ADDRESS", &self.address);
        command
    }

    /// Returns the address of the bus.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the file with all that went over the bus.
    pub fn record(&self) -> PathBuf {
        Self::record_of(self.work)
    }

    fn record_of(work: &Work) -> PathBuf {
        work.path().join("bus.pcap")
    }

    fn secrets(&self, method: &str, arguments: &[&str]) -> Option<String> {
        let method = format!("org.freedesktop.Secret.Service.{method}");
        self.send("org.freedesktop.secrets", "/org/freedesktop/secrets", &method, arguments)
    }

    fn send(&self, to: &str, path: &str, method: &str, arguments: &[&str]) -> Option<String> {
        let said = self
            .command("dbus-send")
            .args(["--session", "--print-reply", &format!("--dest={to}"), path, method])
            .args(arguments)
            .stderr(Stdio::null())
            .output()
            .expect("dbus-send starts");
        said.status.success().then(|| String::from_utf8_lossy(&said.stdout).into_owned())
    }
}

impl Drop for Keyring<'_> {
    fn drop(&mut self) {
        self.stop();
        end(&mut self.recorder);
        end(&mut self.bus);
    }
}

fn end(child: &mut Child) {
    // Both fail only when the process is already gone.
    child.kill().ok();
    child.wait().ok();
}
