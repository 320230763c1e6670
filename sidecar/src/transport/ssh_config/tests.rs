//! The way to a host over its jumps, from a file of the test's own, with and without an `ssh` to ask.

use super::{ConfigError, Host, Overrides, Proxy, Settings, StrictHostKey, aliases, resolve};

/// A home with a configuration in it.
struct Home(tempfile::TempDir);

impl Home {
    fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join(".ssh")).expect("a folder");
        std::fs::write(folder.path().join(".ssh/config"), config).expect("a file");
        Self(folder)
    }

    /// Returns what our own reader says; what `ssh` says is compared with it in the live tests.
    async fn resolve(&self, alias: &str, overrides: &Overrides) -> Result<Host, ConfigError> {
        resolve(alias, overrides, &self.settings()).await
    }

    async fn plainly(&self, alias: &str) -> Result<Host, ConfigError> {
        self.resolve(alias, &Overrides::default()).await
    }

    fn settings(&self) -> Settings {
        Settings { program: None, ..Settings::new(self.0.path()) }
    }
}

/// Returns the way there: `user@name:port` of each hop and the host itself.
fn way(host: &Host) -> String {
    let name = |host: &Host| format!("{}@{}:{}", host.user, host.hostname, host.port);
    let command = |host: &Host| match &host.proxy {
        Proxy::Command(command) => format!("`{command}` "),
        Proxy::Direct | Proxy::Jump(_) => String::new(),
    };
    match &host.proxy {
        Proxy::Jump(hops) => {
            let hops: Vec<String> = hops.iter().map(|hop| command(hop) + &name(hop)).collect();
            format!("{} {}", hops.join(" "), name(host))
        }
        Proxy::Direct | Proxy::Command(_) => command(host) + &name(host),
    }
}

#[tokio::test]
async fn hops_stand_in_order_and_only_the_firsts_own_way_counts() {
    let home = Home::new(
        "Host *\nUser ada\nHost in\nProxyJump bob@mid:7,last\nHost mid\nHostName mid.lab\nProxyJump edge\n\
         Host last\nProxyJump elsewhere\nPort 9\nHost edge\nProxyCommand nc %h %p\n",
    );
    let host = home.plainly("in").await.expect("a way");
    assert_eq!(way(&host), "`nc edge 22` ada@edge:22 bob@mid.lab:7 ada@last:9 ada@in:22");
    // A later block fills in what the list of jumps leaves open.
    let home = Home::new("Host in\nProxyJump bob@mid:7\nHost *\nUser ada\nPort 3\n");
    assert_eq!(way(&home.plainly("in").await.expect("a way")), "bob@mid:7 ada@in:3");
}

#[tokio::test]
async fn what_the_user_says_wins() {
    let home = Home::new("Host in\nHostName in.lab\nUser ada\nPort 5\nProxyCommand nc\nStrictHostKeyChecking yes\n");
    let overrides = Overrides {
        user: Some("bob".to_owned()),
        port: Some(6),
        jump: Some("gate:8".to_owned()),
        key: Some("/k".into()),
        accept_new: true,
    };
    let host = home.resolve("in", &overrides).await.expect("a way");
    let Proxy::Jump(hops) = &host.proxy else { panic!("{host:?}") };
    assert_eq!((host.user.as_str(), host.port, host.hostname.as_str()), ("bob", 6, "in.lab"));
    assert_eq!((hops[0].hostname.as_str(), hops[0].port), ("gate", 8));
    assert_eq!((hops[0].strict_host_key, host.strict_host_key), (StrictHostKey::AcceptNew, StrictHostKey::AcceptNew));
    assert_eq!((hops[0].key.as_ref(), host.key.as_deref()), (None, Some("/k".as_ref())));
    let direct = Overrides { jump: Some("none".to_owned()), ..Overrides::default() };
    assert_eq!(home.resolve("in", &direct).await.expect("a way").proxy, Proxy::Direct);
}

#[tokio::test]
async fn a_circle_is_told_with_its_way() {
    let home = Home::new("Host a\nProxyJump b\nHost b\nProxyJump c\nHost c\nProxyJump b\nHost self\nProxyJump self\n");
    let error = home.plainly("a").await.expect_err("a circle");
    assert_eq!(error.to_string(), "the jumps to `a` lead in a circle: a → b → c → b");
    let error = home.plainly("self").await.expect_err("a circle");
    assert_eq!(error.to_string(), "the jumps to `self` lead in a circle: self → self");
    let every = Home::new("Host *\nProxyJump gate\n");
    assert!(matches!(every.plainly("a").await, Err(ConfigError::Circle { .. })));
    let every = Home::new("Host * !gate\nProxyJump gate\n");
    assert!(every.plainly("a").await.is_ok());
}

#[tokio::test]
async fn a_way_that_grows_without_end_ends() {
    let list = (0..40).map(|number| format!("h{number}")).collect::<Vec<_>>().join(",");
    let home = Home::new(&format!("Host a\nProxyJump {list}\n"));
    assert!(matches!(home.plainly("a").await, Err(ConfigError::Far { .. })));
    let chain: String = (0..40).map(|number| format!("Host h{number}\nProxyJump h{}\n", number + 1)).collect();
    assert!(matches!(Home::new(&chain).plainly("h0").await, Err(ConfigError::Far { .. })));
}

#[tokio::test]
async fn what_could_be_an_option_or_a_command_is_refused() {
    let home = Home::new("");
    for alias in ["-oProxyCommand=touch /x", "", "a b", "$(x)", "a;b"] {
        assert!(matches!(home.plainly(alias).await, Err(ConfigError::Host { .. })), "{alias}");
    }
    let user = Overrides { user: Some("-oProxyCommand=x".to_owned()), ..Overrides::default() };
    assert!(matches!(home.resolve("a", &user).await, Err(ConfigError::User { .. })));
    let jump = Overrides { jump: Some("-oProxyCommand=x".to_owned()), ..Overrides::default() };
    assert!(matches!(home.resolve("a", &jump).await, Err(ConfigError::Jump { .. })));
}

#[tokio::test]
async fn a_named_file_must_be_there() {
    let home = Home::new("Host a b*\nHost c\n");
    assert_eq!(aliases(&home.settings()).await.expect("a file"), ["a", "c"]);
    let missing = Settings { file: Some("/no/such/file".into()), ..home.settings() };
    assert!(matches!(resolve("a", &Overrides::default(), &missing).await, Err(ConfigError::File { .. })));
}

#[tokio::test]
async fn without_any_configuration_the_usual_counts() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = Settings { program: None, ..Settings::new(folder.path()) };
    let user = Overrides { user: Some("ada".to_owned()), ..Overrides::default() };
    let host = resolve("GPU", &user, &settings).await.expect("a host");
    let plain = Host { alias: "GPU".to_owned(), ..Host::plain("gpu", 22, "ada", folder.path()) };
    assert_eq!(host, plain);
}
