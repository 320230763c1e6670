//! A remote machine: a real OpenSSH server on this one, with its own keys, port and home folder.
//!
//! The server runs every command in a temporary home through a forced command, because `sshd` itself
//! takes the home from the user database. Nothing of the real user's account is read or changed, with one
//! exception that cannot be avoided: the user's login shell may read its own start-up files.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use rustix::process::Signal;

use crate::process;
use crate::skip::Reason;
use crate::work::Work;

/// How long `sshd` may take until it listens; it takes about 20 ms.
const START: Duration = Duration::from_secs(10);
/// How long sessions may take to end after their processes were killed.
const END: Duration = Duration::from_secs(10);
/// Ports to try: another program may take a free one between our look and `sshd`'s.
const PORTS: usize = 5;

/// Where distributions put the SSH server.
const SERVERS: &[&str] = &["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd"];
/// Where distributions put the SFTP server.
const SFTP_SERVERS: &[&str] =
    &["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server"];

/// How a host differs from the usual one.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What its login shell prints before every command, as badly kept machines do.
    pub chatter: String,
    /// More lines for its configuration, before the usual ones, so that they win.
    pub config: String,
    /// Whether its files are kept in memory.
    pub in_memory: bool,
    /// A folder that its commands see as the root of everything, with a shell in it; needs root. Its home lies there.
    pub root: Option<PathBuf>,
}

/// A running SSH server with a home of its own. Ends with everything it started when dropped.
#[derive(Debug)]
pub struct Host {
    work: Work,
    port: u16,
    server: PathBuf,
    listener: Mutex<Option<Child>>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Host {
    /// Starts the usual host, or says why this machine cannot.
    pub fn start() -> Result<Self, Reason> {
        Self::with(&Options::default())
    }

    /// Starts a host.
    pub fn with(options: &Options) -> Result<Self, Reason> {
        crate::skip::live(&["ssh", "ssh-keygen"])?;
        let missing = |what: &str| Reason::Missing(format!("`{what}` is missing; install openssh-server"));
        let server = first(SERVERS).ok_or_else(|| missing("sshd"))?;
        let sftp = first(SFTP_SERVERS).ok_or_else(|| missing("sftp-server"))?;
        if rustix::process::geteuid().is_root() {
            // Privilege separation wants this folder; only the service's start script makes it.
            fs::create_dir_all("/run/sshd").expect("root may write to /run");
        }
        let work = if options.in_memory { Work::in_memory() } else { Work::new() };
        if let Some(root) = &options.root {
            // SFTP, which sees everything, finds the home under the same name.
            let home = work.home();
            let there = root.join(home.strip_prefix("/").expect("an absolute path"));
            fs::create_dir_all(&there).expect("a folder of the test");
            fs::remove_dir(&home).expect("it is empty");
            std::os::unix::fs::symlink(there, home).expect("a folder of the test");
        }
        let mut host =
            Self { work, port: 0, server, listener: Mutex::new(None), log: Arc::new(Mutex::new(Vec::new())) };
        host.make_keys();
        host.write_shell(options, &sftp);
        for _ in 0..PORTS {
            host.port = free_port();
            host.write_config(options);
            if host.launch() {
                return Ok(host);
            }
        }
        panic!("sshd did not start:\n{}", host.log());
    }

    /// Returns the home of the user on this host.
    pub fn home(&self) -> PathBuf {
        self.work.home()
    }

    /// Returns the folder that holds the host's keys, configuration and home.
    pub fn path(&self) -> &Path {
        self.work.path()
    }

    /// Returns the port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the name of the user that may log in: the one who runs the tests.
    pub fn user() -> String {
        let output = Command::new("id").arg("-un").output().expect("`id` starts");
        String::from_utf8(output.stdout).expect("a user name is text").trim().to_owned()
    }

    /// Returns the private key that opens the host.
    pub fn key(&self) -> PathBuf {
        self.path().join("client")
    }

    /// Returns the public host key of a kind: `ed25519`, `rsa` or `ecdsa`.
    pub fn host_key(&self, kind: &str) -> String {
        fs::read_to_string(self.path().join(format!("host_{kind}.pub"))).expect("a host key that we made")
    }

    /// Makes other host keys; they count from the next [`Host::restart`] on.
    pub fn change_host_keys(&self) {
        for kind in ["ed25519", "rsa", "ecdsa"] {
            for suffix in ["", ".pub"] {
                fs::remove_file(self.path().join(format!("host_{kind}{suffix}"))).expect("a host key that we made");
            }
        }
        self.make_host_keys();
    }

    /// Returns lines for a `known_hosts` file that hold all keys of this host, as seen through `port`.
    pub fn known_hosts(&self, port: u16) -> String {
        ["ed25519", "rsa", "ecdsa"].map(|kind| format!("[127.0.0.1]:{port} {}", self.host_key(kind))).concat()
    }

    /// Returns a client configuration file for OpenSSH's own programs; the host is called `bench` in it.
    pub fn client_config(&self, port: u16) -> PathBuf {
        let known = self.path().join(format!("known_hosts.{port}"));
        fs::write(&known, self.known_hosts(port)).expect("our own folder");
        let config = self.path().join(format!("ssh_config.{port}"));
        let text = format!(
            "Host bench\n  HostName 127.0.0.1\n  Port {port}\n  User {user}\n  IdentityFile {key}\n  IdentitiesOnly yes\n  \
             UserKnownHostsFile {known}\n  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n  \
             BatchMode yes\n  LogLevel ERROR\n",
            user = Self::user(),
            key = self.key().display(),
            known = known.display(),
        );
        fs::write(&config, text).expect("our own folder");
        config
    }

    /// Returns OpenSSH's client, ready to run `command` on this host.
    pub fn ssh(&self, command: &str) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(self.client_config(self.port)).args(["bench", command]).stdin(Stdio::null());
        ssh
    }

    /// Ends the server and its sessions; what the sessions left in the background lives on.
    pub fn stop(&self) {
        let Some(mut listener) = self.listener.lock().expect("no test panics here").take() else { return };
        end_connections(listener.id());
        listener.kill().expect("our own child");
        listener.wait().expect("our own child");
    }

    /// Starts the server again on the same port.
    pub fn restart(&self) {
        self.stop();
        assert!(self.launch(), "sshd did not start again:\n{}", self.log());
    }

    /// Ends every connection at once, as a firewall would; new ones are welcome.
    pub fn cut(&self) {
        end_connections(self.listener_id());
    }

    /// Freezes the server and its connections: nothing is closed and nothing answers.
    pub fn pause(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Ends [`Host::pause`].
    pub fn resume(&self) {
        self.signal_all(Signal::CONT);
    }

    /// Returns the number of connections that are open now.
    pub fn connections(&self) -> usize {
        let listener = self.listener_id();
        process::all().iter().filter(|stat| stat.parent.unsigned_abs() == listener && stat.state != 'Z').count()
    }

    /// Returns the id of the listening process.
    pub fn listener_id(&self) -> u32 {
        self.listener.lock().expect("no test panics here").as_ref().map(Child::id).expect("the host runs")
    }

    /// Returns what the server wrote to its log.
    pub fn log(&self) -> String {
        self.log.lock().expect("no test panics here").join("\n")
    }

    /// Returns `text` with what differs from run to run as `$HOST`, `$PORT` and `$USER`.
    pub fn redact(&self, text: &str) -> String {
        text.replace(&self.path().display().to_string(), "$HOST")
            .replace(&format!(":{}", self.port), ":$PORT")
            .replace(&format!("port {}", self.port), "port $PORT")
            .replace(&format!("-p {}", self.port), "-p $PORT")
    }

    fn make_keys(&self) {
        self.make_host_keys();
        keygen("ed25519", &self.key());
        fs::copy(self.path().join("client.pub"), self.path().join("authorized_keys")).expect("our own folder");
    }

    fn make_host_keys(&self) {
        for kind in ["ed25519", "rsa", "ecdsa"] {
            keygen(kind, &self.path().join(format!("host_{kind}")));
        }
    }

    /// Writes the forced command: it gives each session this host's home and nothing of the real one.
    fn write_shell(&self, options: &Options, sftp: &Path) {
        fs::write(self.path().join("chatter"), &options.chatter).expect("our own folder");
        // So that what the agent does there counts for the coverage, too.
        let profile = std::env::var("LLVM_PROFILE_FILE");
        let profile = profile.map_or_else(|_| ":".to_owned(), |file| format!("export LLVM_PROFILE_FILE='{file}'"));
        let root =
            options.root.as_ref().map_or_else(String::new, |root| format!("unshare '--root={}' ", root.display()));
        let text = format!(
            "#!/bin/sh\n\
             home='{home}'\n\
             cd \"$home\" || exit 255\n\
             unset XDG_CONFIG_HOME XDG_DATA_HOME XDG_STATE_HOME XDG_CACHE_HOME\n\
             export HOME=\"$home\" XDG_RUNTIME_DIR='{run}'\n\
             {profile}\n\
             case \"$SSH_ORIGINAL_COMMAND\" in\n\
             internal-sftp) exec '{sftp}' ;;\n\
             esac\n\
             cat '{chatter}'\n\
             case \"$SSH_ORIGINAL_COMMAND\" in\n\
             '') exec {root}/bin/sh -i ;;\n\
             *) exec {root}/bin/sh -c \"$SSH_ORIGINAL_COMMAND\" ;;\n\
             esac\n",
            home = self.home().display(),
            run = self.path().join("run").display(),
            sftp = sftp.display(),
            chatter = self.path().join("chatter").display(),
        );
        let path = self.path().join("shell");
        fs::write(&path, text).expect("our own folder");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own file");
    }

    fn write_config(&self, options: &Options) {
        let path = self.path().display();
        let keys = ["ed25519", "rsa", "ecdsa"].map(|kind| format!("HostKey {path}/host_{kind}\n")).concat();
        let text = format!(
            "{extra}\nListenAddress 127.0.0.1\nPort {port}\n{keys}PidFile none\nUsePAM no\nStrictModes no\n\
             PermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             AuthorizedKeysFile {path}/authorized_keys\nSubsystem sftp internal-sftp\nForceCommand {path}/shell\n\
             PrintMotd no\nPrintLastLog no\nMaxStartups 100\nMaxSessions 100\nAcceptEnv LANG LC_*\nLogLevel VERBOSE\n",
            extra = options.config,
            port = self.port,
        );
        fs::write(self.path().join("sshd_config"), text).expect("our own folder");
    }

    /// Starts `sshd` and returns whether it came to listen.
    fn launch(&self) -> bool {
        let mut command = Command::new(&self.server);
        command.args(["-D", "-e", "-f"]).arg(self.path().join("sshd_config"));
        // An answer to `SIGHUP` or a terminal's Ctrl-C is not wanted: the test ends the server.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("sshd starts");
        let lines = BufReader::new(child.stderr.take().expect("standard error is a pipe"));
        let (listens, listening) = mpsc::channel();
        let log = Arc::clone(&self.log);
        std::thread::spawn(move || {
            for line in lines.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                if line.contains("Server listening on") && listens.send(()).is_err() {
                    break;
                }
                log.lock().expect("no test panics here").push(line);
            }
        });
        if listening.recv_timeout(START).is_ok() {
            *self.listener.lock().expect("no test panics here") = Some(child);
            return true;
        }
        child.kill().expect("our own child");
        child.wait().expect("our own child");
        false
    }

    fn signal_all(&self, signal: Signal) {
        let listener = i32::try_from(self.listener_id()).expect("process ids are positive");
        process::signal(listener, signal);
        for stat in process::descendants(listener) {
            process::signal(stat.pid, signal);
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.listener.lock().is_ok_and(|listener| listener.is_some()) {
            self.resume();
            self.stop();
        }
    }
}

/// Kills the processes that hold connections; their commands see their streams end.
fn end_connections(listener: u32) {
    let listener = i32::try_from(listener).expect("process ids are positive");
    let sessions = || -> Vec<i32> {
        let ours = |stat: &process::Stat| process::name(stat.pid).is_some_and(|name| name.starts_with("sshd"));
        process::descendants(listener).into_iter().filter(ours).map(|stat| stat.pid).collect()
    };
    process::wait_until("connections to end", END, || {
        let sessions = sessions();
        for pid in &sessions {
            process::signal(*pid, Signal::KILL);
        }
        sessions.is_empty()
    });
}

fn first(paths: &[&str]) -> Option<PathBuf> {
    paths.iter().map(PathBuf::from).find(|path| path.exists())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Makes a key pair at `path` without a passphrase.
pub fn keygen(kind: &str, path: &Path) {
    let output = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-N", "", "-C", "test", "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .expect("ssh-keygen starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
