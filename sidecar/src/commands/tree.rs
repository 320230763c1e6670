//! The command line as a tree of nouns and verbs, made from the table; parses, and never runs anything.

use std::ffi::OsString;

use clap::{Args, FromArgMatches};
use protocol::editor::Scope;
use serde_json::Value;

use super::{Command, table};

/// Name of the program, in help and examples.
pub const PROGRAM: &str = "mltoolbox-sidecar";

/// Help is made for this width: a split terminal still shows it whole.
const WIDTH: usize = 80;

/// What may be given before or after any command.
#[derive(Clone, Debug, Default, Args)]
pub struct Globals {
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Print `text` or `json`
    #[arg(long, global = true, value_name = "FORMAT", value_parser = ["text", "json"])]
    pub format: Option<String>,
    /// Show no progress
    #[arg(long, short = 'q', global = true)]
    pub quiet: bool,
    /// Show log lines; twice for more
    #[arg(long, short = 'v', global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

impl Globals {
    /// Returns whether the answer is printed as JSON.
    pub fn json(&self) -> bool {
        self.json || self.format.as_deref() == Some("json")
    }
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Asked {
    /// A row of the table.
    Run(Box<Invocation>),
    /// The language server on standard input and output.
    Serve(Globals),
    /// The background process of a workspace.
    Own {
        /// The workspace.
        workspace: OsString,
        /// Its remote.
        remote: String,
    },
}

/// A command with its parameters.
#[derive(Debug)]
pub struct Invocation {
    /// The row.
    pub command: &'static Command,
    /// Its parameters.
    pub params: Value,
    /// What it applies to.
    pub scope: Scope,
    /// How it is shown.
    pub globals: Globals,
}

/// Reads a command line (the program's name first).
pub fn parse(arguments: Vec<OsString>) -> Result<Asked, clap::Error> {
    let matches = root().try_get_matches_from(arguments)?;
    if matches.get_flag(STDIO) {
        return Ok(Asked::Serve(Globals::from_arg_matches(&matches)?));
    }
    let mut words: Vec<&str> = Vec::new();
    let mut leaf = &matches;
    while let Some((word, below)) = leaf.subcommand() {
        words.push(word);
        leaf = below;
    }
    let globals = Globals::from_arg_matches(leaf)?;
    match words.as_slice() {
        ["lsp"] => return Ok(Asked::Serve(globals)),
        ["owner"] => {
            let workspace = leaf.get_one::<OsString>("folder").expect("clap checked the arguments").clone();
            let remote = leaf.get_one::<String>("name").cloned().unwrap_or_default();
            return Ok(Asked::Own { workspace, remote });
        }
        [] => return Err(root().error(clap::error::ErrorKind::MissingSubcommand, "no command was given")),
        _ => {}
    }
    let command = table().iter().find(|command| command.cli == words).expect("clap knows only the rows of the table");
    let scope = Scope::from_arg_matches(leaf)?;
    Ok(Asked::Run(Box::new(Invocation { command, params: (command.parse)(leaf), scope, globals })))
}

const STDIO: &str = "stdio";

/// Returns the tree of all commands.
pub fn root() -> clap::Command {
    let mut root = clap::Command::new(PROGRAM)
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(format!(
            "Start with: {PROGRAM} try\nWithout a command: this help on a terminal, the language server on a pipe."
        ))
        .max_term_width(WIDTH)
        .disable_help_subcommand(false)
        .arg(
            clap::Arg::new(STDIO)
                .long(STDIO)
                .action(clap::ArgAction::SetTrue)
                .help("Be the language server (as `lsp`)"),
        );
    root = Globals::augment_args(Scope::augment_args(root.next_help_heading("For every command")));
    // Set last: the argument groups bring doc comments of their own.
    root = root.about("Keeps a project here equal to its copy on a remote machine, and runs commands there");
    for command in table() {
        root = match command.cli {
            [verb] => root.subcommand(leaf(verb, command)),
            [noun, verb] => add_verb(root, noun, leaf(verb, command)),
            _ => unreachable!("the table has one or two words per row"),
        };
    }
    root.subcommand(clap::Command::new("lsp").about("Be the language server on standard input and output"))
        .subcommand(owner())
}

fn add_verb(root: clap::Command, noun: &'static str, verb: clap::Command) -> clap::Command {
    if root.find_subcommand(noun).is_some() {
        return root.mut_subcommand(noun, |tree| tree.subcommand(verb));
    }
    let tree = clap::Command::new(noun)
        .about(noun_about(noun))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(verb);
    root.subcommand(tree)
}

fn noun_about(noun: &str) -> &'static str {
    match noun {
        "remote" => "Remotes: the machines we reach",
        "agent" => "The agent: our helper on a remote",
        "sync" => "Sync: keep a remote folder equal to this one",
        "secret" => "Secrets: tokens and passwords, kept where nobody reads them",
        "config" => "The configuration: what holds, and why",
        _ => unreachable!("every noun of the table has a line here; a unit test builds the tree"),
    }
}

fn leaf(word: &'static str, command: &Command) -> clap::Command {
    let mut leaf = (command.arguments)(clap::Command::new(word)).about(command.about);
    if !command.examples.is_empty() {
        let lines: Vec<_> = command.examples.iter().map(|example| format!("  {PROGRAM} {example}")).collect();
        leaf = leaf.after_help(format!("Examples:\n{}", lines.join("\n")));
    }
    leaf
}

/// The verb by which `sync watch` starts its background process; nobody types it.
fn owner() -> clap::Command {
    clap::Command::new("owner")
        .hide(true)
        .arg(clap::Arg::new("folder").required(true).value_parser(clap::value_parser!(OsString)))
        .arg(clap::Arg::new("name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Invocation {
        match parse(line.split(' ').map(OsString::from).collect()) {
            Ok(Asked::Run(invocation)) => *invocation,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_tree_is_sound() {
        root().debug_assert();
    }

    #[test]
    fn global_flags_stand_anywhere() {
        let before = run("x --remote gpu1 --json sync status");
        let after = run("x sync status --remote gpu1 --format json");
        for invocation in [before, after] {
            assert_eq!(invocation.command.name, "sync/status");
            assert_eq!(invocation.scope.remote.as_deref(), Some("gpu1"));
            assert!(invocation.globals.json());
        }
    }

    #[test]
    fn a_commands_own_flags_are_its_own() {
        let invocation = run("x exec --host -- ls --json");
        assert_eq!(invocation.params["command"], serde_json::json!(["ls", "--json"]));
        assert!(!invocation.globals.json());
    }

    #[test]
    fn a_typo_is_a_usage_error_with_a_suggestion() {
        let error = parse(vec!["x".into(), "snyc".into()]).expect_err("no such command");
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("'sync'"), "{error}");
    }
}
