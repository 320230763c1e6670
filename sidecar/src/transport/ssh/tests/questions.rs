//! What a person types to log in: when it is asked for, how often, and what is said when nobody is there.

use std::borrow::Cow;
use std::sync::Arc;

use protocol::error::{Code, Explain as _};
use russh::keys::{Algorithm, PrivateKey};
use russh::server::{self, Auth, PublicKeyOffer, Response, VerifiedPublicKey};
use russh::{MethodKind, MethodSet};

use super::*;
use crate::transport::ssh_config::Authentication;

/// What a server wants before it lets anybody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    /// The password `sesame`.
    Password,
    /// A name that may be seen, a secret that may not, then a code, in two rounds.
    Answers,
    /// A key, and the password after it.
    KeyAndPassword,
    /// A key or the password.
    KeyOrPassword,
    /// Nothing.
    Nothing,
    /// More and more parts, without an end.
    Everything,
}

struct Guard {
    wants: Wants,
    rounds: u32,
    passed: bool,
}

fn rest(methods: &[MethodKind], partial: bool) -> Auth {
    Auth::Reject { proceed_with_methods: Some(MethodSet::from(methods)), partial_success: partial }
}

impl server::Handler for Guard {
    type Error = russh::Error;

    async fn auth_none(&mut self, _user: &str) -> Result<Auth, Self::Error> {
        Ok(match self.wants {
            Wants::Nothing => Auth::Accept,
            Wants::Password | Wants::Everything => rest(&[MethodKind::Password], false),
            Wants::Answers => rest(&[MethodKind::KeyboardInteractive], false),
            Wants::KeyAndPassword => rest(&[MethodKind::PublicKey], false),
            Wants::KeyOrPassword => rest(&[MethodKind::PublicKey, MethodKind::Password], false),
        })
    }

    async fn auth_publickey_offered(&mut self, _user: &str, _offer: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        let takes_keys = matches!(self.wants, Wants::KeyAndPassword | Wants::KeyOrPassword);
        Ok(if takes_keys { Auth::Accept } else { self.auth_none("").await? })
    }

    async fn auth_publickey(&mut self, _user: &str, _key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        self.passed = true;
        Ok(rest(&[MethodKind::Password], true))
    }

    async fn auth_password(&mut self, _user: &str, password: &str) -> Result<Auth, Self::Error> {
        if self.wants == Wants::Everything {
            return Ok(rest(&[MethodKind::Password], true));
        }
        let may = self.passed || self.wants == Wants::Password;
        Ok(if may && password == "sesame" { Auth::Accept } else { rest(&[MethodKind::Password], false) })
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        let round = |name: &'static str, prompts: &[(&'static str, bool)]| Auth::Partial {
            name: name.into(),
            instructions: "Look at\u{1b}[2J your device.".into(),
            prompts: Cow::Owned(prompts.iter().map(|(prompt, echo)| ((*prompt).into(), *echo)).collect()),
        };
        let said: Vec<String> =
            response.into_iter().flatten().map(|answer| String::from_utf8_lossy(&answer).into_owned()).collect();
        self.rounds += 1;
        Ok(match (self.rounds % 4, said.as_slice()) {
            (1, []) => round("Who are you?", &[("Name: ", true), ("Secret: ", false)]),
            (2, [name, secret]) if name == "ada" && secret == "sesame" => round("", &[("Code\u{7}: ", true)]),
            // A round without a question only tells something.
            (3, [code]) if code == "123456" => round("Nearly there.", &[]),
            (0, []) => Auth::Accept,
            _ => {
                self.rounds = 0;
                rest(&[MethodKind::KeyboardInteractive], false)
            }
        })
    }
}

/// Starts a server; it ends with the test's runtime.
async fn guard(wants: Wants) -> SocketAddr {
    let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).expect("a key can be made");
    let config = Arc::new(server::Config {
        keys: vec![key],
        auth_rejection_time: std::time::Duration::ZERO,
        max_auth_attempts: 100,
        ..server::Config::default()
    });
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let session = server::run_stream(Arc::clone(&config), stream, Guard { wants, rounds: 0, passed: false });
            tokio::spawn(async move { if let Ok(session) = session.await { session.await.is_ok() } else { false } });
        }
    });
    address
}

async fn meet(host: &Host, home: &Home, person: &Person) -> Result<Ssh, TransportError> {
    super::super::connect(host, &home.options(), person, &CancellationToken::new()).await
}

fn password(host: &Host) -> Question {
    Question::Password { user: host.user.clone(), host: host.alias.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_asked_for_after_the_keys_and_three_times() {
    let home = Home::with_key();
    let host = home.trusting(guard(Wants::Password).await);
    let person = Person::who_answers([secret("wrong"), secret("sesame")]);
    let ssh = meet(&host, &home, &person).await.expect("the second is right");
    assert_eq!((ssh.about().authentication.as_str(), ssh.about().interactive), ("a password", true));
    assert_eq!(person.asked(), [password(&host), password(&host)]);
    assert!(person.told().iter().any(|line| line == "That password was not accepted."), "{:?}", person.told());

    let forgetful = Person::who_answers((0..9).map(|_| secret("wrong")));
    let error = meet(&host, &home, &forgetful).await.expect_err("three are wrong");
    assert_eq!((error.code(), forgetful.asked().len()), (Code::SshAuthRefused, 3));
    let TransportError::Refused { tried, accepted, .. } = &error else { panic!("{error:?}") };
    assert_eq!((tried.len(), accepted.as_str()), (4, "password"), "{tried:?}");
    for text in [format!("{error:?}"), format!("{:?}", forgetful.told()), error.to_string(), error.help()] {
        assert!(!text.contains("wrong\""), "{text}");
    }
    let once = Host { password_prompts: 1, ..host };
    let hasty = Person::who_answers((0..9).map(|_| secret("wrong")));
    meet(&once, &home, &hasty).await.expect_err("one is wrong");
    assert_eq!(hasty.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_to_ask_is_told_with_the_way_out() {
    let home = Home::with_key();
    for wants in [Wants::Password, Wants::Answers] {
        let host = home.trusting(guard(wants).await);
        let person = Person::default();
        let error = meet(&host, &home, &person).await.expect_err("nobody is there");
        assert!(matches!(error, TransportError::LoginUnanswered(_)), "{error:?}");
        assert_eq!((error.code(), error.is_transient(), person.asked().len()), (Code::SshAuthRefused, false, 1));
        assert!(error.help().contains("terminal") && error.help().contains("key"), "{}", error.help());
        // `BatchMode` is as nobody.
        let batch = Host { may_ask: false, ..host.clone() };
        let person = Person::who_answers([secret("sesame")]);
        meet(&batch, &home, &person).await.expect_err("nobody may be asked");
        assert_eq!(person.asked(), []);
        // A way that the configuration switches off is not taken.
        let keys = Host { authentications: vec![Authentication::PublicKey], ..host };
        let error = meet(&keys, &home, &person).await.expect_err("no key is let in");
        assert!(matches!(error, TransportError::Refused { .. }) && person.asked().is_empty(), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_key_comes_before_the_password_that_nobody_typed() {
    let home = Home::new();
    home.make_key("id_ed25519", &["-t", "ed25519"], "open sesame");
    let host = home.trusting(guard(Wants::KeyOrPassword).await);
    let person = Person::default();
    let error = meet(&host, &home, &person).await.expect_err("nobody is there");
    assert!(matches!(error, TransportError::KeyEncrypted(_)), "{error:?}");
    assert_eq!(error.code(), Code::SshKeyEncrypted);
    // Both were asked for: had there been somebody, either would have done.
    assert_eq!(person.asked().len(), 2, "{:?}", person.asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_servers_own_questions_are_asked_round_after_round() {
    let home = Home::new();
    let host = home.trusting(guard(Wants::Answers).await);
    let question = |text: &str, echo| Question::Prompt {
        user: host.user.clone(),
        host: host.alias.clone(),
        text: text.to_owned(),
        echo,
    };
    let answers = ["ada", "wrong", "ada", "sesame", "123456"].map(secret);
    let person = Person::who_answers(answers);
    let ssh = meet(&host, &home, &person).await.expect("the second time is right");
    assert_eq!((ssh.about().authentication.as_str(), ssh.about().interactive), ("answers to its questions", true));
    let first = [question("Name: ", true), question("Secret: ", false)];
    let asked = person.asked();
    assert_eq!((&asked[..2], &asked[2..4], &asked[4..]), (&first[..], &first[..], &[question("Code: ", true)][..]));
    let told = person.told();
    for line in ["Who are you?", "Look at[2J your device.", "Nearly there.", "That was not accepted."] {
        assert!(told.iter().any(|told| told == line), "{line}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_want_a_key_and_a_password() {
    let home = Home::with_key();
    let host = home.trusting(guard(Wants::KeyAndPassword).await);
    let person = Person::who_answers([secret("wrong"), secret("sesame")]);
    let ssh = meet(&host, &home, &person).await.expect("both are right");
    let expected = format!("key `{}` and a password", home.key("id_ed25519").display());
    assert_eq!(ssh.about().authentication, expected);
    let error =
        meet(&host, &home, &Person::who_answers((0..3).map(|_| secret("wrong")))).await.expect_err("not let in");
    let TransportError::Refused { tried, .. } = &error else { panic!("{error:?}") };
    assert!(tried[0].ends_with("id_ed25519` alone"), "{tried:?}");
    let error = meet(&host, &home, &Person::default()).await.expect_err("nobody knows the password");
    assert!(matches!(error, TransportError::LoginUnanswered(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_wants_nothing_or_everything() {
    let home = Home::new();
    let open = home.trusting(guard(Wants::Nothing).await);
    let ssh = meet(&open, &home, &Person::default()).await.expect("it lets everybody in");
    assert_eq!((ssh.about().authentication.as_str(), ssh.about().interactive), ("no key at all", false));
    let greedy = home.trusting(guard(Wants::Everything).await);
    let person = Person::who_answers((0..100).map(|_| secret("sesame")));
    meet(&greedy, &home, &person).await.expect_err("it never has enough");
    assert!(person.asked().len() <= 8, "{}", person.asked().len());
}
