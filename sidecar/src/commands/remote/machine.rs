//! What a machine says of itself through its shell, where no agent of ours can be asked.

use protocol::hello::Facts;

use crate::session::command::{self, CommandError};
use crate::transport::Transport;

/// Marks our lines among what a login shell prints.
const MARK: &str = "@mltoolbox-fact";

/// Longest fact that is believed; a path is the longest there is.
const MAX_FACT: usize = 4096;

/// Asks the shell of a machine. What it does not tell stays empty; a shell that tells nothing gives `None`.
pub(super) async fn facts(transport: &dyn Transport) -> Result<Option<Facts>, CommandError> {
    let ran = command::run(transport, &format!("sh -c '{}'", script())).await?;
    Ok(told(&ran.stdout))
}

/// Returns a script without single quotes, so that every login shell passes it on as it is.
fn script() -> String {
    format!(
        "say() {{ echo \"{MARK} $1 $2\"; }}; echo; say os \"$(uname -s)\"; say arch \"$(uname -m)\"; \
         say kernel \"$(uname -r)\"; say hostname \"$(uname -n)\"; say user \"$(id -un)\"; say home \"$HOME\"; \
         say cpus \"$(getconf _NPROCESSORS_ONLN)\""
    )
}

fn told(output: &str) -> Option<Facts> {
    let mut facts = Facts::default();
    for line in output.lines().filter_map(|line| line.trim().strip_prefix(MARK)) {
        let Some((name, value)) = line.trim_start().split_once(' ') else { continue };
        if value.len() > MAX_FACT {
            continue;
        }
        match name {
            "os" => value.clone_into(&mut facts.os),
            "arch" => value.clone_into(&mut facts.arch),
            "kernel" => value.clone_into(&mut facts.kernel),
            "hostname" => value.clone_into(&mut facts.hostname),
            "user" => value.clone_into(&mut facts.user),
            "home" => value.clone_into(&mut facts.home),
            "cpus" => facts.cpus = value.parse().unwrap_or_default(),
            _ => {}
        }
    }
    (facts != Facts::default()).then_some(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chatty_shell_is_understood() {
        let output = "Welcome!\n\n@mltoolbox-fact os Linux\r\n@mltoolbox-fact home /home/a b\n@mltoolbox-fact cpus 8\n\
                      @mltoolbox-fact kernel \n@mltoolbox-fact colour blue\nBye\n";
        let facts = told(output).expect("facts");
        assert_eq!(
            (facts.os.as_str(), facts.home.as_str(), facts.cpus, facts.kernel.as_str()),
            ("Linux", "/home/a b", 8, "")
        );
        assert_eq!(told("This account is not available.\n@mltoolbox-fact"), None);
        assert_eq!(told(&format!("{MARK} os {}", "x".repeat(MAX_FACT + 1))), None);
    }

    #[test]
    fn this_machine_tells_the_same_as_its_agent() {
        let said = std::process::Command::new("sh").args(["-c", &script()]).output().expect("a shell");
        let facts = told(&String::from_utf8_lossy(&said.stdout)).expect("facts");
        let agents = agent::facts::gather();
        assert_eq!((&facts.os, &facts.arch, &facts.kernel), (&agents.os, &agents.arch, &agents.kernel));
        assert_eq!((&facts.hostname, &facts.user), (&agents.hostname, &agents.user));
        assert!(!script().contains('\'') && facts.cpus > 0);
    }
}
