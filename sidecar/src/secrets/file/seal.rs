//! The door to age: makes and opens the key of a secrets file, seals and unseals values. Reads and writes no file.

use std::fmt;
use std::io::Read as _;

use age::secrecy::{ExposeSecret as _, SecretString};
use age::{DecryptError, scrypt, x25519};

use crate::secrets::Secret;

/// Work of a passphrase, as a power of two: 128 MiB and about half a second for each guess.
const WORK: u8 = 17;
/// Most work that a file may ask for: 256 MiB. What `age -p` asks for is within it.
const MOST_WORK: u8 = 18;
/// What an identity of age begins with.
const IDENTITY: &str = "AGE-SECRET-KEY-1";

/// An identity that opens what was sealed for its recipient.
#[derive(Clone)]
pub(super) struct Identity(x25519::Identity);

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Identity").field(&self.recipient()).finish()
    }
}

/// Why something stays sealed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SealError {
    /// The passphrase is another.
    #[error("the passphrase does not open it")]
    Passphrase,
    /// It is sealed for somebody else.
    #[error("it is sealed for another key")]
    Stranger,
    /// A passphrase would have to be tried with more work than is done here.
    #[error("it asks for more work than is done for a passphrase")]
    Work,
    /// It was changed or cut.
    #[error("it was changed or cut off: {0}")]
    Damaged(String),
}

impl Identity {
    /// Makes a new one.
    pub(super) fn generate() -> Self {
        Self(x25519::Identity::generate())
    }

    /// Returns the identities of a key file as `age-keygen` writes it; none of a text that is no such file.
    pub(super) fn of_key_file(text: &str) -> Vec<Self> {
        let lines = text.lines().map(str::trim).filter(|line| line.starts_with(IDENTITY));
        lines.filter_map(|line| line.parse().ok().map(Self)).collect()
    }

    /// Returns what values are sealed for: `age1…`. It is no secret.
    pub(super) fn recipient(&self) -> String {
        self.0.to_public().to_string()
    }

    /// Returns this identity, sealed with a passphrase.
    pub(super) fn sealed(&self, passphrase: &Secret) -> Result<String, SealError> {
        let mut recipient = scrypt::Recipient::new(secrecy(passphrase));
        recipient.set_work_factor(WORK);
        let text = self.0.to_string();
        age::encrypt_and_armor(&recipient, text.expose_secret().as_bytes())
            .map_err(|error| SealError::Damaged(error.to_string()))
    }

    /// Returns the identity that was sealed with a passphrase.
    pub(super) fn unsealed(sealed: &str, passphrase: &Secret) -> Result<Self, SealError> {
        let mut identity = scrypt::Identity::new(secrecy(passphrase));
        identity.set_max_work_factor(MOST_WORK);
        let text = decrypt(&identity, sealed).map_err(|error| match error {
            // What scrypt makes of another passphrase opens nothing.
            SealError::Stranger => SealError::Passphrase,
            error => error,
        })?;
        text.reveal().trim().parse().map(Self).map_err(|error: &str| SealError::Damaged(error.to_owned()))
    }

    /// Returns the value that was sealed for this identity.
    pub(super) fn open(&self, sealed: &str) -> Result<Secret, SealError> {
        decrypt(&self.0, sealed)
    }
}

/// Seals a value for a recipient.
pub(super) fn seal(recipient: &str, value: &Secret) -> Result<String, SealError> {
    let recipient: x25519::Recipient = recipient.parse().map_err(|error: &str| SealError::Damaged(error.to_owned()))?;
    age::encrypt_and_armor(&recipient, value.reveal().as_bytes()).map_err(|error| SealError::Damaged(error.to_string()))
}

fn decrypt(identity: &impl age::Identity, sealed: &str) -> Result<Secret, SealError> {
    let armored = age::armor::ArmoredReader::new(sealed.as_bytes());
    let decryptor = age::Decryptor::new_buffered(armored).map_err(refused)?;
    let is_passphrase = decryptor.is_scrypt();
    let mut reader =
        decryptor.decrypt(std::iter::once(identity as &dyn age::Identity)).map_err(|error| match error {
            DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed if is_passphrase => SealError::Stranger,
            error => refused(error),
        })?;
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(sealed.len()));
    reader.read_to_end(&mut bytes).map_err(|error| SealError::Damaged(error.to_string()))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| SealError::Damaged("it holds no text".to_owned()))?;
    Ok(Secret::new(text.to_owned()))
}

fn refused(error: DecryptError) -> SealError {
    match error {
        DecryptError::NoMatchingKeys => SealError::Stranger,
        DecryptError::ExcessiveWork { .. } => SealError::Work,
        DecryptError::DecryptionFailed
        | DecryptError::InvalidHeader
        | DecryptError::InvalidMac
        | DecryptError::Io(_)
        | DecryptError::KeyDecryptionFailed
        | DecryptError::UnknownFormat => SealError::Damaged(error.to_string()),
    }
}

fn secrecy(passphrase: &Secret) -> SecretString {
    SecretString::from(passphrase.reveal().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn a_value_comes_back_only_with_its_own_identity() {
        let identity = Identity::generate();
        let sealed = seal(&identity.recipient(), &secret("hunter2\n")).expect("sealed");
        assert!(!sealed.contains("hunter2"));
        assert_eq!(identity.open(&sealed).expect("opened"), secret("hunter2\n"));
        assert_eq!(Identity::generate().open(&sealed), Err(SealError::Stranger));
    }

    #[test]
    fn an_identity_comes_back_only_with_its_own_passphrase() {
        let identity = Identity::generate();
        let sealed = identity.sealed(&secret("correct horse")).expect("sealed");
        let opened = Identity::unsealed(&sealed, &secret("correct horse")).expect("opened");
        assert_eq!(opened.recipient(), identity.recipient());
        assert_eq!(Identity::unsealed(&sealed, &secret("wrong")).expect_err("another"), SealError::Passphrase);
    }

    #[test]
    fn what_asks_for_too_much_work_is_not_tried() {
        let mut recipient = scrypt::Recipient::new(secrecy(&secret("x")));
        recipient.set_work_factor(2);
        let small = age::encrypt_and_armor(&recipient, b"text").expect("sealed");
        let bytes = {
            let mut bytes = Vec::new();
            age::armor::ArmoredReader::new(small.as_bytes()).read_to_end(&mut bytes).expect("armor");
            bytes
        };
        // The work stands in the clear: `-> scrypt SALT 2`.
        let at = bytes.windows(10).position(|window| window == b"-> scrypt ").expect("a stanza");
        let end = at + bytes[at..].iter().position(|byte| *byte == b'\n').expect("a line");
        let claimed = [&bytes[..end - 1], b"30", &bytes[end..]].concat();
        let mut armored = Vec::new();
        let mut writer =
            age::armor::ArmoredWriter::wrap_output(&mut armored, age::armor::Format::AsciiArmor).expect("armor");
        std::io::Write::write_all(&mut writer, &claimed).expect("memory");
        writer.finish().expect("memory");
        let armored = String::from_utf8(armored).expect("armor is text");
        assert_eq!(Identity::unsealed(&armored, &secret("x")).expect_err("too much"), SealError::Work);
    }

    #[test]
    fn what_was_changed_anywhere_stays_sealed() {
        let identity = Identity::generate();
        let sealed = seal(&identity.recipient(), &secret("hunter2")).expect("sealed");
        let lines: Vec<&str> = sealed.lines().collect();
        for line in 1..lines.len() - 1 {
            let mut lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
            let first = if lines[line].starts_with('A') { "B" } else { "A" };
            lines[line].replace_range(0..1, first);
            assert!(identity.open(&lines.join("\n")).is_err(), "line {line}");
        }
        for length in 0..sealed.len() - 1 {
            assert!(identity.open(&sealed[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_key_file_is_read_as_age_writes_it() {
        let identity = Identity::generate();
        let text = identity.0.to_string();
        let file = format!("# created: today\n# public key: {}\n{}\n", identity.recipient(), text.expose_secret());
        let read = Identity::of_key_file(&file);
        assert_eq!(read.iter().map(Identity::recipient).collect::<Vec<_>>(), [identity.recipient()]);
        assert!(Identity::of_key_file("a passphrase").is_empty());
    }
}
