//! What answers in the tests of SFTP, and the sessions that lead there.

use super::*;

/// Where distributions put OpenSSH's SFTP server.
const OPENSSH: &[&str] =
    &["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server"];

/// What answers.
#[derive(Clone, Copy, Debug)]
pub(in super::super::super) enum Server {
    /// OpenSSH's.
    Openssh(&'static str),
    /// The embedded one.
    Embedded,
    /// The embedded one without extensions.
    Plain,
    /// One that answers every request by a rule.
    Liar(Lie),
}

/// What a liar answers: a whole packet with its length, or `None` for the end of the conversation.
pub(in super::super::super) type Lie = fn(kind: u8, id: u32) -> Option<Vec<u8>>;

impl Server {
    /// Returns every honest server that this machine has.
    pub(in super::super::super) fn honest() -> Vec<Self> {
        let openssh = OPENSSH.iter().find(|path| Path::new(path).exists()).map(|path| Self::Openssh(path));
        if openssh.is_none() {
            std::io::Write::write_all(&mut std::io::stderr(), b"SKIPPED OpenSSH's sftp-server: it is not installed\n")
                .expect("standard error is open");
        }
        openssh.into_iter().chain([Self::Embedded, Self::Plain]).collect()
    }

    /// Returns a session with this server, whose home is `home`.
    pub(in super::super::super) fn session(self, home: &Path) -> session::Handle {
        let frontend: Arc<dyn Frontend> = Arc::new(super::super::super::agent_tests::Nobody);
        session::Handle::start(self.connector(home), &frontend)
    }

    pub(super) fn connector(self, home: &Path) -> Arc<Served> {
        Arc::new(Served { server: self, home: home.to_owned() })
    }

    pub(super) fn start(self, home: &Path) -> Process {
        let (stdin, stdout): (Box<dyn AsyncWrite + Send + Unpin>, _) = match self {
            Self::Openssh(program) => {
                let mut command = tokio::process::Command::new(program);
                command.current_dir(home).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
                let mut child = command.spawn().expect("it starts");
                let streams = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
                // It ends with its input.
                tokio::spawn(async move { child.wait().await });
                (Box::new(streams.0), Box::new(streams.1) as Box<dyn tokio::io::AsyncRead + Send + Unpin>)
            }
            Self::Embedded | Self::Plain | Self::Liar(_) => {
                let (ours, theirs) = tokio::io::duplex(64 * 1024);
                match self {
                    Self::Liar(lie) => drop(tokio::spawn(converse(theirs, lie))),
                    Self::Embedded | Self::Plain | Self::Openssh(_) => {
                        let home = home.to_owned();
                        tokio::spawn(async move { speak_sftp(theirs, &home, matches!(self, Self::Plain)).await });
                    }
                }
                let (stdout, stdin) = tokio::io::split(ours);
                (Box::new(stdin), Box::new(stdout))
            }
        };
        let (control, _) = mpsc::channel::<Control>(1);
        let exit = Box::pin(std::future::pending::<Result<Exit, TransportError>>());
        Process { stdin, stdout, stderr: Box::new(tokio::io::empty()), control, exit }
    }
}

/// Answers by a rule until the pipe is closed.
pub(super) async fn converse(mut pipe: DuplexStream, lie: Lie) {
    while let Ok(length) = pipe.read_u32().await {
        let mut packet = vec![0; usize::try_from(length).expect("our own packets are small")];
        if pipe.read_exact(&mut packet).await.is_err() {
            return;
        }
        // Kind, then an id, which stands in place of the version in the first one.
        let id = packet.get(1..5).and_then(|id| id.try_into().ok()).map_or(0, u32::from_be_bytes);
        let Some(answer) = lie(packet[0], id) else { return };
        if pipe.write_all(&answer).await.is_err() {
            return;
        }
    }
}

#[derive(Debug)]
pub(super) struct Served {
    server: Server,
    home: PathBuf,
}

#[derive(Debug)]
struct Connected {
    server: Server,
    home: PathBuf,
    wire: Transported,
}

#[async_trait]
impl Connector for Served {
    async fn connect(&self, _: Lane, _: &dyn Frontend, _: &CancellationToken) -> Result<Arc<dyn Transport>, Failed> {
        Ok(Arc::new(Connected { server: self.server, home: self.home.clone(), wire: Transported::default() }))
    }
    async fn agent(&self, _: &Arc<dyn Transport>, _: &dyn Frontend) -> Result<Link> {
        let host = "box".to_owned();
        Err(TransportError::Forbidden { host, what: "to run commands".to_owned() }.into())
    }
}

#[async_trait]
impl Transport for Connected {
    async fn exec(&self, command: &str, terminal: Option<&Pty>) -> Result<Process, TransportError> {
        self.wire.exec(command, terminal).await
    }
    async fn upload(
        &self,
        from: &Path,
        to: &RemotePath,
        mode: u32,
        sent: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), TransportError> {
        self.wire.upload(from, to, mode, sent).await
    }
    async fn remove(&self, path: &RemotePath) -> Result<(), TransportError> {
        self.wire.remove(path).await
    }
    async fn subsystem(&self, name: &str) -> Result<Process, TransportError> {
        assert_eq!(name, "sftp");
        Ok(self.server.start(&self.home))
    }
    async fn round_trip(&self) -> Result<Duration, TransportError> {
        self.wire.round_trip().await
    }
    fn about(&self) -> &About {
        self.wire.about()
    }
    async fn closed(&self) {
        self.wire.closed().await;
    }
    async fn close(&self) {
        self.wire.close().await;
    }
}
