//! Asks the running daemon one question, as a sidecar would.

use std::time::Duration;

use bytes::Bytes;
use protocol::agent::{Health, Reply, Request};
use protocol::frame::Kind;
use protocol::hello::PROTOCOL;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use crate::daemon::error::DaemonError;
use crate::daemon::place::Place;
use crate::daemon::start;
use crate::facts;
use crate::wire::{self, FrameReader, WireError};

/// A daemon that is well answers within milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Between two looks whether the daemon is gone.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Returns how the daemon is; it is not started for that.
pub(super) fn health(place: &Place) -> Result<Value, DaemonError> {
    match ask(place, &Request::Health)? {
        Reply::Health(Health { version, hostname, pid, uptime_seconds, links, roots }) => Ok(json!({
            "version": version,
            "protocol": PROTOCOL,
            "hostname": hostname,
            "pid": pid,
            "uptimeSeconds": uptime_seconds,
            // Not counting the one that asked.
            "links": links.saturating_sub(1),
            "roots": roots,
            "startedBy": started_by(place),
            "facts": facts::gather(),
            "log": place.log(),
        })),
        other => Err(unexpected(other)),
    }
}

/// Stops the daemons of every build; each is tried, and the first failure is told.
pub(super) fn stop_all(place: &Place) -> Result<(), DaemonError> {
    let others = place.others();
    let stopped = [place].into_iter().chain(&others).map(stop).collect::<Vec<_>>();
    stopped.into_iter().collect()
}

/// Stops the daemons of other builds that have no link. One that cannot be asked is left alone.
pub(super) fn retire_others(place: &Place) {
    for other in place.others() {
        match ask(&other, &Request::Health) {
            // The one link is ours.
            Ok(Reply::Health(health)) if health.links <= 1 => {
                if let Err(error) = stop(&other) {
                    tracing::debug!(%error, build = other.build(), "an idle agent could not be stopped");
                }
            }
            Ok(_) | Err(DaemonError::NotRunning) => {}
            Err(error) => tracing::debug!(%error, build = other.build(), "another agent could not be asked"),
        }
    }
}

/// Stops the daemon and waits until its lock is free; none running is success.
pub(super) fn stop(place: &Place) -> Result<(), DaemonError> {
    match ask(place, &Request::Stop) {
        Ok(Reply::Done) | Err(DaemonError::NotRunning) => {}
        Ok(other) => return Err(unexpected(other)),
        Err(error) => return Err(error),
    }
    if !place.lock().exists() {
        return Ok(());
    }
    let began = std::time::Instant::now();
    while crate::daemon::try_lock(place)?.is_none() {
        if began.elapsed() > ANSWER_WITHIN {
            return Err(DaemonError::NoAnswer(WireError::Silent));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

fn ask(place: &Place, request: &Request) -> Result<Reply, DaemonError> {
    let stream = start::find(place).ok_or(DaemonError::NotRunning)?;
    stream.set_nonblocking(true).map_err(DaemonError::Pipe)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(DaemonError::Runtime)?;
    let answer = runtime.block_on(async {
        let conversation = async { converse(UnixStream::from_std(stream).map_err(WireError::Broken)?, request).await };
        tokio::time::timeout(ANSWER_WITHIN, conversation).await.unwrap_or(Err(WireError::Silent))
    });
    answer.map_err(DaemonError::NoAnswer)
}

async fn converse(stream: UnixStream, request: &Request) -> Result<Reply, WireError> {
    let (reader, mut writer) = stream.into_split();
    let ours = wire::own_hello();
    wire::send_hello(&mut writer, &ours).await?;
    let mut reader = FrameReader::new(reader);
    if reader.hello().await?.common().is_none() {
        return Err(WireError::Nonsense("the running agent is of another protocol version"));
    }
    let payload: Bytes = postcard::to_stdvec(request).expect("requests are plain data").into();
    let header = protocol::frame::Header { kind: Kind::Request, stream: 1, length: payload.len() }.encode();
    writer.write_all(&[header.as_slice(), &payload].concat()).await.map_err(WireError::Broken)?;
    loop {
        let frame = reader.next().await?;
        if frame.kind == Kind::Reply {
            return postcard::from_bytes(&frame.payload).map_err(|_| WireError::Nonsense("a reply cannot be read"));
        }
    }
}

/// Returns what the daemon wrote into its lock file about its start.
fn started_by(place: &Place) -> Option<String> {
    let words = std::fs::read_to_string(place.lock()).ok()?;
    serde_json::from_str::<Value>(&words).ok()?.get("startedBy")?.as_str().map(str::to_owned)
}

fn unexpected(reply: Reply) -> DaemonError {
    match reply {
        Reply::Failed(error) => DaemonError::Refused(error),
        _ => DaemonError::NoAnswer(WireError::Nonsense("the answer does not fit the question")),
    }
}
