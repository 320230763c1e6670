//! For which machines this installation has an agent, and where it would come from. Downloads nothing.

use protocol::editor::{DoctorCheck, DoctorLevel};
use protocol::error::Error;

use super::{good, not_well};
use crate::session::install::{Choice, InstallError, Platform, Sources, whence};

const NAME: &str = "agent programs";

/// Looks for the agents of every platform that is published.
pub(super) async fn programs() -> DoctorCheck {
    let looked = tokio::task::spawn_blocking(|| {
        let sources = Sources::ours()?;
        Platform::PUBLISHED.into_iter().map(|platform| found(&sources, platform)).collect::<Result<Vec<_>, _>>()
    });
    match looked.await.unwrap_or_else(|failed| Err(InstallError::Own(failed.into()))) {
        Ok(found) => good(NAME, found.join("; ")),
        Err(error) => not_well(NAME, DoctorLevel::Bad, "cannot be used", Error::from(error)),
    }
}

/// Says where the agent of a platform comes from. To have none is no defect: most people need one platform.
fn found(sources: &Sources, platform: Platform) -> Result<String, InstallError> {
    let place = match sources.choose(platform) {
        Ok(Choice::Have(build)) => whence(&build.about()),
        Ok(Choice::Fetch(order)) if order.is_kept() => format!("downloaded from {}", order.url()),
        Ok(Choice::Fetch(order)) => format!("to be downloaded from {}", order.url()),
        Err(InstallError::NoBuild { .. }) => "none here".to_owned(),
        Err(error) => return Err(error),
    };
    Ok(format!("{platform}: {place}"))
}
