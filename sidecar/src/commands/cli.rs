//! Commands about the command line itself: completion scripts and the manual page.

use clap_complete::aot::{self, Generator};
use protocol::editor::{CliCompletionsParams, NoParams, Shell, TextOutput};
use protocol::error::Result;

use super::tree;
use crate::cx::Cx;

#[allow(clippy::unused_async)] // Every row has the same shape.
pub(super) async fn completions(_: Cx, params: CliCompletionsParams) -> Result<TextOutput> {
    let text = match params.shell {
        Shell::Bash => script(aot::Bash),
        Shell::Zsh => script(aot::Zsh),
        Shell::Fish => script(aot::Fish),
        Shell::Powershell => script(aot::PowerShell),
        Shell::Elvish => script(aot::Elvish),
    };
    Ok(TextOutput { text })
}

#[allow(clippy::unused_async)] // Every row has the same shape.
pub(super) async fn man(_: Cx, _: NoParams) -> Result<TextOutput> {
    let mut root = tree::root();
    root.build();
    let mut page = Vec::new();
    render(&root, &mut page);
    Ok(TextOutput { text: String::from_utf8_lossy(&page).into_owned() })
}

fn script(shell: impl Generator) -> String {
    let mut script = Vec::new();
    aot::generate(shell, &mut tree::root(), tree::PROGRAM, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Writes the pages of a command and of all below it, one after the other.
fn render(command: &clap::Command, page: &mut Vec<u8>) {
    clap_mangen::Man::new(command.clone()).render(page).expect("memory takes every write");
    for below in command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help") {
        render(below, page);
    }
}
