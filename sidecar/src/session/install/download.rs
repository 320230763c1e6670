//! Downloads the agent of a platform from where a person said that releases are, once, and believes nothing that has
//! not the published checksum.
//!
//! `<base>/v<version>/mlt-<os>-<arch>` is the program, the same with `.sha256` its checksum as `sha256sum` prints it.
//! The checksum finds what was damaged on the way; who may say what the right program is, HTTPS decides.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use ureq::http::Uri;

mod error;

pub use error::DownloadError;
#[doc(hidden)]
pub(super) use error::examples;

use super::error::InstallError;
use super::platform::{HEAD, Platform, Program};

/// Longest time for name, connection and handshake together; a far server on a bad line needs a second or two.
const CONNECTED_WITHIN: Duration = Duration::from_secs(15);

/// A server that sends nothing for this long will not.
const SILENT_FOR: Duration = Duration::from_secs(30);

/// Longest time for one file: 5 MB at 10 kB/s.
const WHOLE_WITHIN: Duration = Duration::from_mins(10);

/// Most bytes of an agent; one has some five million.
const MAX_PROGRAM: u64 = 64 * 1024 * 1024;

/// Most bytes of a checksum file; one line has some ninety.
const MAX_SUM: u64 = 4096;

/// Forges send downloads on to a storage of theirs, in one or two steps.
const MAX_REDIRECTS: u32 = 5;

/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;

/// Where releases can be downloaded from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Without a `/` at its end.
    address: String,
    /// Whether it is this machine, over plain HTTP.
    is_local: bool,
}

/// One agent to download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    base: Base,
    platform: Platform,
    /// Where downloads are kept.
    cache: PathBuf,
}

/// A SHA-256 checksum.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sum([u8; 32]);

impl fmt::Display for Sum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl Base {
    /// Accepts `https://…`, and `http://…` on this machine itself.
    pub fn parse(text: &str) -> Result<Self, DownloadError> {
        let refused = || DownloadError::Base { base: text.to_owned() };
        let uri: Uri = text.parse().map_err(|_| refused())?;
        let authority = uri.authority().ok_or_else(refused)?;
        if authority.as_str().contains('@') || uri.query().is_some() || text.contains('#') {
            return Err(refused());
        }
        let is_local = match uri.scheme_str() {
            Some("https") => false,
            Some("http") if matches!(authority.host(), "127.0.0.1" | "[::1]" | "localhost") => true,
            Some(_) | None => return Err(refused()),
        };
        Ok(Self { address: text.trim_end_matches('/').to_owned(), is_local })
    }

    /// Returns the order for the agent of a platform, to be kept below `cache`.
    pub fn order(&self, platform: Platform, cache: &Path) -> Order {
        Order { base: self.clone(), platform, cache: cache.to_owned() }
    }
}

impl Order {
    /// Returns where the program is.
    pub fn url(&self) -> String {
        format!("{}/v{}/{}", self.base.address, env!("CARGO_PKG_VERSION"), self.platform.file_name())
    }

    /// Returns where the program is kept once it was downloaded.
    fn kept(&self) -> PathBuf {
        self.cache.join("agents").join(format!("v{}", env!("CARGO_PKG_VERSION"))).join(self.platform.file_name())
    }

    /// Returns whether the program was downloaded already and is still whole. Blocks.
    pub fn is_kept(&self) -> bool {
        let kept = self.kept();
        let sum = std::fs::read_to_string(sum_file(&kept)).ok().and_then(|text| parse(&text, self.platform));
        sum.is_some_and(|sum| File::open(kept).and_then(of_file).is_ok_and(|found| found == sum))
    }
}

/// Returns the file of the program, downloaded now or before. Blocks.
pub(super) fn fetch(order: &Order) -> Result<PathBuf, InstallError> {
    let kept = order.kept();
    if order.is_kept() {
        return Ok(kept);
    }
    let agent = agent(&order.base);
    let sum_url = format!("{}.sha256", order.url());
    let mut text = Vec::new();
    get(&agent, order, &sum_url, MAX_SUM, &mut |bytes| {
        text.extend_from_slice(bytes);
        Ok(())
    })?;
    let sum = std::str::from_utf8(&text).ok().and_then(|text| parse(text, order.platform));
    let sum = sum.ok_or(DownloadError::NoSum { url: sum_url })?;

    let folder = kept.parent().expect("a file of ours has a folder");
    let unkept = |source| DownloadError::Cache { path: kept.clone(), source };
    std::fs::create_dir_all(folder).map_err(unkept)?;
    let mut file = NamedTempFile::new_in(folder).map_err(unkept)?;
    let (mut hasher, mut head) = (Sha256::new(), Vec::new());
    get(&agent, order, &order.url(), MAX_PROGRAM, &mut |bytes| {
        hasher.update(bytes);
        head.extend_from_slice(&bytes[..bytes.len().min(HEAD.saturating_sub(head.len()))]);
        file.write_all(bytes)
    })?;
    let found = Sum(hasher.finalize().into());
    if found != sum {
        return Err(DownloadError::Damaged { url: order.url(), expected: sum, found }.into());
    }
    match Program::of(&head) {
        Program::For { platform, .. } if platform == order.platform => {}
        wrong @ (Program::For { .. } | Program::Foreign | Program::Other) => {
            let (file, found) = (order.url(), wrong.describe());
            return Err(InstallError::WrongProgram { file, found, platform: order.platform });
        }
    }
    file.persist(&kept).map_err(|error| unkept(error.error))?;
    let line = format!("{sum}  {}\n", order.platform.file_name());
    let mut file = NamedTempFile::new_in(folder).map_err(unkept)?;
    file.write_all(line.as_bytes()).map_err(unkept)?;
    file.persist(sum_file(&kept)).map_err(|error| unkept(error.error))?;
    Ok(kept)
}

fn agent(base: &Base) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .https_only(!base.is_local)
        .max_redirects(if base.is_local { 0 } else { MAX_REDIRECTS })
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECTED_WITHIN))
        .timeout_per_read(Some(SILENT_FOR))
        .timeout_global(Some(WHOLE_WITHIN))
        .user_agent(concat!("mltoolbox-sidecar/", env!("CARGO_PKG_VERSION")));
    // A proxy of the environment is for other machines than this one.
    if base.is_local { config.proxy(None).build() } else { config.build() }.into()
}

/// Gives the bytes of `url` to `take`, at most `limit` of them.
fn get(
    agent: &ureq::Agent,
    order: &Order,
    url: &str,
    limit: u64,
    take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), DownloadError> {
    let file = order.platform.file_name();
    let mut response = agent.get(url).call().map_err(|error| DownloadError::Unreachable {
        url: url.to_owned(),
        file,
        source: io::Error::other(error),
    })?;
    if !response.status().is_success() {
        return Err(DownloadError::Status { url: url.to_owned(), file, status: response.status().as_u16() });
    }
    let mut body = response.body_mut().as_reader();
    let (mut chunk, mut length) = (vec![0; CHUNK], 0);
    loop {
        let read = body.read(&mut chunk).map_err(|source| DownloadError::Broken { url: url.to_owned(), source })?;
        if read == 0 {
            return Ok(());
        }
        length += read as u64;
        if length > limit {
            return Err(DownloadError::TooLong { url: url.to_owned(), limit });
        }
        take(&chunk[..read]).map_err(|source| DownloadError::Cache { path: order.kept(), source })?;
    }
}

fn sum_file(program: &Path) -> PathBuf {
    let mut name = program.as_os_str().to_owned();
    name.push(".sha256");
    name.into()
}

/// Reads the one line that `sha256sum` prints, or the checksum alone.
fn parse(text: &str, platform: Platform) -> Option<Sum> {
    let mut words = text.split_ascii_whitespace();
    let digits = words.next().filter(|word| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let name = words.next().map_or(platform.file_name(), |name| name.trim_start_matches('*'));
    if name != platform.file_name() || words.next().is_some() {
        return None;
    }
    let mut sum = [0; 32];
    for (byte, digits) in sum.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(Sum(sum))
}

fn of_file(mut file: File) -> io::Result<Sum> {
    let (mut hasher, mut chunk) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(Sum(hasher.finalize().into())),
            length => hasher.update(&chunk[..length]),
        }
    }
}

#[cfg(test)]
mod tests;
