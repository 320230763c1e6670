//! Pure: the text of the new file, each value with the place it comes from.

use std::fmt::Write as _;

use super::{Image, Project, Said, USUAL_IMAGE};
use crate::config::write::quoted;

/// Width of a comment.
const WIDTH: usize = 100;

/// Returns the text of the new file for `project`, which was read from `files`.
pub(super) fn text(project: &Project, files: &[String]) -> String {
    let mut text = Text::default();
    text.comment(&format!(
        "Written by `mltoolbox-sidecar migrate` from {}; what it was made from stays as it is. Look it through: \
         `mltoolbox-sidecar config validate` checks it, and `mltoolbox-sidecar config show --origin` shows what counts.",
        listed(files)
    ));
    text.line(0, "version: \"3.0\"");
    if let Some(name) = &project.name {
        text.blank();
        text.line(0, "project:");
        text.said(1, "name", name);
    }
    text.blank();
    environment(&mut text, project);
    if let Some(Said { value: ray, origin }) = &project.ray {
        text.blank();
        text.line(0, "ray:");
        text.line(1, &format!("enabled: true  # {origin}"));
        if let Some(port) = ray.port {
            text.line(1, &format!("port: {port}"));
        }
        if let Some(port) = ray.dashboard_port {
            text.line(1, &format!("dashboard_port: {port}"));
        }
    }
    text.blank();
    text.comment(
        "What `.gitignore` and `.mltignore` leave out is not synced; more is left out, or synced all the same, by:",
    );
    text.lines(&["# sync:", "#   exclude: [\"*.pth\", data/raw/]", "#   include_overrides: [\"configs/*.yaml\"]"]);
    if !project.secrets.is_empty() {
        let names: Vec<String> = project.secrets.iter().map(|secret| secret.name.clone()).collect();
        text.blank();
        text.comment(&format!(
            "Their values are in the secret store, or go there with `mltoolbox-sidecar secret set NAME`: {}.",
            listed(&names)
        ));
    }
    if !project.left.is_empty() {
        text.blank();
        text.comment("Not carried over:");
        for left in &project.left {
            text.hanging("# - ", &format!("{} {}: {}.", left.origin, left.what, left.why));
        }
    }
    text.0
}

fn environment(text: &mut Text, project: &Project) {
    text.line(0, "environment:");
    match &project.image {
        Some(Said { value: Image::Base(image), origin }) => text.value(1, "base_image", image, &origin.to_string()),
        Some(Said { value: Image::Dockerfile(path), origin }) => text.value(1, "dockerfile", path, &origin.to_string()),
        Some(Said { value: Image::Devcontainer(path), origin }) => {
            text.value(1, "devcontainer", path, &origin.to_string());
        }
        None => text.value(1, "base_image", USUAL_IMAGE, "no file names an image; this is the usual one"),
    }
    if !project.env.is_empty() {
        text.blank();
        text.line(1, "env:");
        for (name, said) in &project.env {
            text.said(2, &scalar(name), said);
        }
    }
    list(text, "env_file", &project.env_files);
    list(text, "volumes", &project.volumes);
    list(text, "ports", &project.ports);
    if let Some(gpus) = &project.gpus {
        text.blank();
        text.line(1, "gpu:");
        let why = if gpus.value == 0 { "gives it none" } else { "" };
        text.line(2, format!("count: {}  # {} {why}", gpus.value, gpus.origin).trim_end());
    }
    if let Some(network) = &project.host_network {
        text.blank();
        text.line(1, &format!("network_mode: host  # {}", network.origin));
    }
}

fn list(text: &mut Text, key: &str, values: &[Said<String>]) {
    if values.is_empty() {
        return;
    }
    text.blank();
    text.line(1, &format!("{key}:"));
    for said in values {
        text.line(2, &format!("- {}  # {}", quoted(&said.value), said.origin));
    }
}

/// Returns names as a sentence has them.
pub(super) fn listed(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, level: usize, line: &str) {
        writeln!(self.0, "{}{line}", "  ".repeat(level)).expect("a string takes everything");
    }

    fn lines(&mut self, lines: &[&str]) {
        for line in lines {
            self.line(0, line);
        }
    }

    fn blank(&mut self) {
        self.0.push('\n');
    }

    fn said(&mut self, level: usize, key: &str, said: &Said<String>) {
        self.value(level, key, &said.value, &said.origin.to_string());
    }

    fn value(&mut self, level: usize, key: &str, value: &str, origin: &str) {
        self.line(level, &format!("{key}: {}  # {}", scalar(value), harmless(origin)));
    }

    fn comment(&mut self, text: &str) {
        self.hanging("# ", text);
    }

    /// Adds a wrapped comment; its further lines are indented like the first.
    fn hanging(&mut self, first: &str, text: &str) {
        let indent = format!("#{}", " ".repeat(first.len() - 1));
        let mut line = first.trim_end().to_owned();
        for word in harmless(text).split(' ') {
            if line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.line(0, &line);
                line = format!("{indent}{word}");
            } else {
                line.push(' ');
                line.push_str(word);
            }
        }
        self.line(0, &line);
    }
}

/// Returns a text that can stand in a comment: in one line, and nothing in it that YAML forbids.
fn harmless(text: &str) -> String {
    text.chars().map(|letter| if is_printable(letter) { letter } else { '\u{fffd}' }).collect()
}

fn is_printable(letter: char) -> bool {
    !letter.is_control() && !matches!(letter, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// Returns `text` as a YAML value that is read as just that text.
pub(super) fn scalar(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { quoted(text) }
}

/// Whether every reader of YAML, of either version, reads it unquoted as a text.
fn is_plain(text: &str) -> bool {
    let begins = text.starts_with(|letter: char| letter.is_ascii_alphabetic() || matches!(letter, '/' | '.' | '_'));
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._/-+@".contains(letter);
    let colons = text
        .split(':')
        .skip(1)
        .all(|rest| rest.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '/'));
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" | "null" | ".nan" | ".inf"
    );
    let is_number = text.starts_with('.') && text[1..].starts_with(|letter: char| letter.is_ascii_digit());
    begins && text.chars().all(|letter| plain(letter) || letter == ':') && colons && !word && !is_number && text != "."
}
