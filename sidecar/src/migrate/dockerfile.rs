//! What a Dockerfile says that the new file has to know. The Dockerfile itself goes on being used.

use std::io::Read as _;
use std::path::Path;

use super::compose::Ray;
use super::{Image, Left, MigrateError, Origin, Project, Said, value};

/// Largest Dockerfile that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// One instruction, its continued lines put together.
#[derive(Debug, PartialEq, Eq)]
struct Instruction {
    /// In capitals.
    name: String,
    words: String,
    line: usize,
}

/// What a Dockerfile says.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Its path as it is shown.
    file: String,
    ports: Vec<Said<String>>,
    ray: Option<Said<Ray>>,
    left: Vec<Left>,
    is_empty: bool,
}

impl Facts {
    /// Adds to `project` what nothing else said.
    pub(super) fn lay_under(self, project: &mut Project, path: &str) {
        let origin = Origin::new(&self.file, 0);
        project.image.get_or_insert_with(|| Said::new(Image::Dockerfile(path.to_owned()), &origin));
        for port in self.ports {
            let container = |port: &str| port.rsplit(':').next().map(str::to_owned);
            if project.ports.iter().all(|known| container(&known.value) != container(&port.value)) {
                project.ports.push(port);
            }
        }
        if project.ray.is_none() {
            project.ray = self.ray;
        }
        project.left.extend(self.left);
        if self.is_empty {
            project.left.push(Left::new(
                &origin,
                "the Dockerfile",
                "it has no `FROM` line, so that nothing can be built from it",
            ));
        }
    }
}

/// Reads the Dockerfile at `path`, relative to `folder`; one that is missing says nothing. Blocks.
pub(super) fn read(folder: &Path, path: &str) -> Result<Facts, MigrateError> {
    let file = path.strip_prefix("./").unwrap_or(path).to_owned();
    let full = folder.join(&file);
    match std::fs::metadata(&full) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let why = "there is no such file; name the one that is meant in `environment.dockerfile`";
            let left = vec![Left::new(&Origin::new(&file, 0), "the Dockerfile", why)];
            return Ok(Facts { file, left, ..Facts::default() });
        }
        Err(source) => return Err(MigrateError::Unreadable { path: full, source }),
        Ok(facts) if !facts.is_file() => return Err(MigrateError::Odd { path: full, what: "no plain file" }),
        Ok(_) => {}
    }
    let mut bytes = Vec::new();
    let read = std::fs::File::open(&full).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    read.map_err(|source| MigrateError::Unreadable { path: full.clone(), source })?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(MigrateError::Odd { path: full, what: "larger than any Dockerfile" });
    }
    let text = String::from_utf8(bytes).map_err(|_| MigrateError::Odd { path: full, what: "no UTF-8 text" })?;
    Ok(facts(&file, &text))
}

fn facts(file: &str, text: &str) -> Facts {
    let instructions = instructions(text);
    let mut facts = Facts { file: file.to_owned(), is_empty: true, ..Facts::default() };
    for instruction in &instructions {
        let origin = Origin::new(file, instruction.line);
        match instruction.name.as_str() {
            "FROM" => {
                facts.is_empty = false;
                // What earlier stages say is not in the image.
                facts.ports.clear();
                facts.ray = None;
            }
            "EXPOSE" => facts.ports.extend(ports(&instruction.words, &origin, &mut facts.left)),
            "ENV" | "ARG" => facts.left.extend(secrets(instruction, &origin)),
            _ => {}
        }
        if matches!(instruction.name.as_str(), "CMD" | "ENTRYPOINT" | "RUN") {
            facts.ray = facts.ray.or_else(|| Ray::of_command(&instruction.words).map(|ray| Said::new(ray, &origin)));
        }
    }
    facts
}

fn ports(words: &str, origin: &Origin, left: &mut Vec<Left>) -> Vec<Said<String>> {
    let mut ports = Vec::new();
    for word in words.split_whitespace() {
        let (number, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
        match number.parse::<u16>() {
            Ok(number) if number > 0 && matches!(protocol, "tcp" | "udp") => {
                let protocol = if protocol == "udp" { "/udp" } else { "" };
                ports.push(Said::new(format!("{number}:{number}{protocol}"), origin));
            }
            Ok(_) | Err(_) => {
                left.push(Left::new(
                    origin,
                    "a port of `EXPOSE`",
                    "it is no single number; name it in `environment.ports`",
                ));
            }
        }
    }
    ports
}

/// Returns what of an `ENV` or `ARG` looks like a secret that is built into the image.
fn secrets(instruction: &Instruction, origin: &Origin) -> Vec<Left> {
    let words = shell_words::split(&instruction.words).unwrap_or_default();
    let pairs: Vec<(String, String)> = match words.first().map(|word| word.contains('=')) {
        Some(true) => words
            .iter()
            .filter_map(|word| word.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        // The older form, `ENV NAME value`.
        Some(false) if instruction.name == "ENV" => vec![(words[0].clone(), words[1..].join(" "))],
        Some(false) | None => Vec::new(),
    };
    let secret = pairs.into_iter().filter(|(name, value)| !value.contains('$') && value::looks_secret(name, value));
    secret
        .map(|(name, _)| {
            let secret = value::secret_name(&name);
            let why = format!(
                "it looks like a secret, and everybody who has the image has it; remove it there, and write \
                 `{name}: ${{secret:{secret}}}` in `environment.env`"
            );
            Left::new(origin, format!("`{name}`"), why)
        })
        .collect()
}

/// Splits a Dockerfile into instructions: comments and heredocs are left out, continued lines are one.
fn instructions(text: &str) -> Vec<Instruction> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let escape = escape_of(text);
    let mut instructions: Vec<Instruction> = Vec::new();
    let mut open: Option<Instruction> = None;
    let mut heredocs: Vec<String> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(end) = heredocs.first() {
            if line.trim_start_matches('\t') == end {
                heredocs.remove(0);
            }
            continue;
        }
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let (words, continues) = match trimmed.strip_suffix(escape) {
            Some(words) => (words, true),
            None => (trimmed, false),
        };
        let instruction = if let Some(begun) = open.take() {
            Instruction { words: format!("{} {}", begun.words, words.trim()), ..begun }
        } else {
            let (name, words) = words.split_once(char::is_whitespace).unwrap_or((words, ""));
            Instruction { name: name.to_ascii_uppercase(), words: words.trim().to_owned(), line: number + 1 }
        };
        if continues {
            open = Some(instruction);
        } else {
            if matches!(instruction.name.as_str(), "RUN" | "COPY" | "ADD") {
                heredocs = ends_of_heredocs(&instruction.words);
            }
            instructions.push(instruction);
        }
    }
    instructions.extend(open);
    instructions
}

/// Returns the letter that continues lines: that of a `# escape=` line at the top, else a backslash.
fn escape_of(text: &str) -> char {
    let directives = text.lines().map_while(|line| line.trim().strip_prefix('#'));
    let named =
        directives.filter_map(|line| line.split_once('=')).find(|(name, _)| name.trim().eq_ignore_ascii_case("escape"));
    if named.is_some_and(|(_, letter)| letter.trim() == "`") { '`' } else { '\\' }
}

/// Returns the words that end the heredocs of a line: `<<EOF`, `<<-EOF`, `<<"EOF"`.
fn ends_of_heredocs(words: &str) -> Vec<String> {
    let after = words.split("<<").skip(1).map(|rest| rest.trim_start_matches('-').trim_start_matches(['"', '\'']));
    let end = |rest: &str| rest.chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect();
    after
        .map(end)
        .filter(|end: &String| end.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        instructions(text).iter().map(|found| format!("{} {} {}", found.line, found.name, found.words)).collect()
    }

    #[test]
    fn continued_lines_comments_and_heredocs() {
        let text = "# syntax=docker/dockerfile:1\nfrom python:3.12 AS base\nRUN apt-get update && \\\n  # why\n\n  apt-get install -y git\nRUN <<EOF\nEXPOSE 1\nEOF\nEXPOSE 8888 6006/tcp\\\n 5000/udp";
        let expected = [
            "2 FROM python:3.12 AS base",
            "3 RUN apt-get update && apt-get install -y git",
            "7 RUN <<EOF",
            "10 EXPOSE 8888 6006/tcp 5000/udp",
        ];
        assert_eq!(shown(text), expected.map(|line| line.replace("&& apt", "&&  apt").replace("&&  apt", "&& apt")));
        assert_eq!(shown("# escape=`\nFROM a`\n b\nRUN dir C:\\"), ["2 FROM a b", "4 RUN dir C:\\"]);
        assert_eq!(shown("\u{feff}FROM a\r\nRUN b \\"), ["1 FROM a", "2 RUN b "].map(str::trim_end));
    }

    #[test]
    fn only_the_last_stage_counts() {
        let facts = facts("Dockerfile", "FROM a\nEXPOSE 1\nFROM b\nEXPOSE 8888 9000-9001 0 53/udp x\n");
        let ports: Vec<_> = facts.ports.iter().map(|port| port.value.as_str()).collect();
        assert_eq!(ports, ["8888:8888", "53:53/udp"]);
        assert_eq!(facts.left.len(), 3);
    }

    #[test]
    fn a_secret_in_the_image_is_said_without_its_value() {
        let facts = facts(
            "Dockerfile",
            "FROM a\nENV A=1 HF_TOKEN=hunter2hunter2\nENV WANDB_API_KEY hunter2\nARG NPM_TOKEN\nENV T_TOKEN=$NPM_TOKEN",
        );
        let shown = format!("{facts:?}");
        assert_eq!(facts.left.len(), 2, "{shown}");
        assert!(!shown.contains("hunter2") && shown.contains("${secret:hf_token}"), "{shown}");
    }
}
