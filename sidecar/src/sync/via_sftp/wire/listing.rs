//! What is in a folder, within a bound whatever the server answers.

use futures_util::future::join;
use futures_util::stream::{self, StreamExt as _};
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{Status, StatusCode};

use super::fault::fault;
use super::{DEPTH, Fault, Wire};
use crate::sync::via_sftp::seen::Seen;

/// Longest name of an entry: 255 characters of the longest UTF-8, and a little.
const MAX_NAME: usize = 1024;
/// Bytes of names that a folder may have: 200 000 names of the usual length and more.
const MAX_NAMES: usize = 48 * 1024 * 1024;

impl Wire {
    /// Returns the entries of a folder, without `.` and `..`; an error when there are more than `most`.
    pub(in super::super) async fn list(&self, path: &str, most: usize) -> Result<Vec<(String, Seen)>, Fault> {
        let _place = self.files.acquire().await.expect("the places are never closed");
        let handle = self.ask(self.sftp.opendir(path)).await?.handle;
        let listed = self.entries(path, &handle, most).await;
        let closed = self.ask(self.sftp.close(handle)).await;
        let entries = listed?;
        closed?;
        Ok(entries)
    }

    async fn entries(&self, path: &str, handle: &str, most: usize) -> Result<Vec<(String, Seen)>, Fault> {
        let mut entries = Vec::new();
        let mut untold = Vec::new();
        let mut bytes = 0;
        loop {
            // Mostly the first says all, and the second that it was all.
            let two = join(self.raw(self.sftp.readdir(handle)), self.raw(self.sftp.readdir(handle))).await;
            let mut files = Vec::new();
            let mut is_end = false;
            for answer in [two.0, two.1] {
                match answer {
                    // Whatever comes behind the end.
                    _ if is_end => {}
                    Ok(name) if name.files.is_empty() => {
                        return Err(Fault::Nonsense("a folder goes on without entries"));
                    }
                    Ok(name) => files.extend(name.files),
                    Err(SftpError::Status(Status { status_code: StatusCode::Eof, .. })) => is_end = true,
                    Err(error) => return Err(fault(error, self.begun)),
                }
            }
            for file in files {
                match file.filename.as_str() {
                    "." | ".." => {}
                    name if name.is_empty() || name.contains(['/', '\0']) || name.len() > MAX_NAME => {
                        return Err(Fault::Nonsense("an entry of a folder has no name"));
                    }
                    name if bytes + name.len() > MAX_NAMES => return Err(Fault::Nonsense("a folder has no end")),
                    _ if entries.len() + untold.len() >= most => return Err(Fault::Nonsense("a folder has no end")),
                    name => {
                        bytes += name.len();
                        match Seen::of(&file.attrs) {
                            Ok(seen) => entries.push((file.filename, seen)),
                            Err(_) => untold.push(file.filename),
                        }
                    }
                }
            }
            if is_end {
                break;
            }
        }
        // A server need not say more than names.
        let looks = untold.into_iter().map(|name| async move {
            let seen = self.look(&format!("{path}/{name}")).await?;
            Ok(seen.map(|seen| (name, seen)))
        });
        let mut looks = stream::iter(looks).buffered(DEPTH);
        while let Some(looked) = looks.next().await {
            entries.extend(looked?);
        }
        Ok(entries)
    }
}
