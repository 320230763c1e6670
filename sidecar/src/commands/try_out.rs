//! The first tour.

use protocol::editor::{TryOutput, TryParams};
use protocol::error::Result;

use crate::cx::Cx;

pub(super) async fn run(cx: Cx, params: TryParams) -> Result<TryOutput> {
    drop((cx, params));
    todo!("placeholder: the merge takes the other builder's file")
}
