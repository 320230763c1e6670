//! Plain text at 80 columns: wrapped lines, aligned tables, and figures a person can read.

use std::time::{SystemTime, UNIX_EPOCH};

/// Width that is never passed, except by a single word that is longer.
pub const WIDTH: usize = 80;

/// Column at which the values of [`Text::pair`] begin.
const VALUE_COLUMN: usize = 17;

/// Text under construction.
#[derive(Clone, Debug, Default)]
pub struct Text {
    text: String,
}

impl Text {
    /// Returns the text, each line ended.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Adds a sentence, wrapped.
    pub fn line(&mut self, line: &str) {
        self.hanging("", line);
    }

    /// Adds a text as it is, unwrapped.
    pub fn verbatim(&mut self, text: &str) {
        self.text
            .extend(text.chars().map(|letter| if matches!(letter, '\n' | '\t') { letter } else { harmless(letter) }));
        if !text.ends_with('\n') {
            self.text.push('\n');
        }
    }

    /// Adds a text byte for byte, control characters too: for what a person asked to have as it is.
    pub fn exact(&mut self, text: &str) {
        self.text.push_str(text);
        if !text.ends_with('\n') {
            self.text.push('\n');
        }
    }

    /// Adds a name and its value.
    pub fn pair(&mut self, name: &str, value: &str) {
        self.hanging(&format!("{name:VALUE_COLUMN$}"), value);
    }

    /// Adds a wrapped text after `first`; its further lines are indented by as much.
    pub fn hanging(&mut self, first: &str, text: &str) {
        let indent = first.chars().count();
        let mut column = indent;
        self.text.extend(first.chars().map(harmless));
        let mut begun = false;
        for (number, line) in text.lines().enumerate() {
            if number > 0 {
                self.break_line(indent);
                (column, begun) = (indent, false);
            }
            for word in line.split(' ') {
                let length = word.chars().count();
                if begun && column + 1 + length > WIDTH {
                    self.break_line(indent);
                    (column, begun) = (indent, false);
                }
                if begun {
                    self.text.push(' ');
                    column += 1;
                }
                self.text.extend(word.chars().map(harmless));
                column += length;
                begun = true;
            }
        }
        self.end_line();
    }

    /// Adds a table; its columns are as wide as needed, and the widest gives way beyond 80 columns.
    pub fn table(&mut self, head: &[&str], rows: Vec<Vec<String>>) {
        let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let gaps = 2 * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > WIDTH {
            let Some(widest) = widths.iter_mut().max() else { break };
            *widest -= 1;
        }
        let head = head.iter().map(ToString::to_string).collect();
        for row in std::iter::once(head).chain(rows) {
            let cells: Vec<_> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{:width$}", fit(cell, *width))).collect();
            self.text.push_str(&cells.join("  "));
            self.end_line();
        }
    }

    /// Says that a list of `all` was cut after `shown`.
    pub fn more(&mut self, all: usize, shown: usize) {
        if all > shown {
            self.line(&format!("… and {} more; `--json` lists them.", all - shown));
        }
    }

    fn break_line(&mut self, indent: usize) {
        self.end_line();
        self.text.extend(std::iter::repeat_n(' ', indent));
    }

    fn end_line(&mut self) {
        self.text.truncate(self.text.trim_end_matches(' ').len());
        self.text.push('\n');
    }
}

/// Replaces what could steer a terminal, or show letters in another order than they have: names of files and words
/// of remotes are not ours. Whatever this program itself says on a terminal goes through here.
pub fn harmless(character: char) -> char {
    let reorders = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if character.is_control() || reorders { '\u{fffd}' } else { character }
}

/// Returns a name as it can stand in a line: one with a line break in it could pass for two.
pub fn one_line(name: &str) -> String {
    name.chars().map(harmless).collect()
}

/// Cuts the middle out of a cell that is too long: the ends of a path tell the most.
fn fit(cell: &str, width: usize) -> String {
    let characters: Vec<char> = cell.chars().map(harmless).collect();
    if characters.len() <= width {
        return characters.into_iter().collect();
    }
    let tail = width.saturating_sub(1) * 2 / 3;
    let head = width.saturating_sub(1) - tail;
    let cut = characters.len() - tail;
    characters.iter().take(head).chain(['…'].iter()).chain(characters.iter().skip(cut)).collect()
}

/// Returns a number of bytes in the unit that fits.
#[allow(clippy::cast_precision_loss)] // One decimal is shown.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return count(bytes, "byte");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would be printed as 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Returns a number with its noun, in the plural where it belongs.
pub fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Returns a duration given in milliseconds.
pub fn milliseconds(milliseconds: f64) -> String {
    if milliseconds < 10.0 {
        format!("{milliseconds:.1} ms")
    } else if milliseconds < 1000.0 {
        format!("{milliseconds:.0} ms")
    } else {
        format!("{:.1} s", milliseconds / 1000.0)
    }
}

/// Returns a duration given in whole seconds.
pub fn seconds(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Returns how long ago a moment was, given in seconds since the Unix epoch.
pub fn ago(moment: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let moment = u64::try_from(moment).unwrap_or(0);
    match now.saturating_sub(moment) {
        0 | 1 => "just now".to_owned(),
        passed => format!("{} ago", seconds(passed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_under_its_first_word() {
        let mut text = Text::default();
        text.hanging("  help: ", &"word ".repeat(20));
        let lines: Vec<_> = text.as_str().lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{lines:#?}");
        assert!(lines[1].starts_with("        word"), "{lines:#?}");
    }

    #[test]
    fn a_wide_table_gives_way_in_its_widest_column() {
        let mut text = Text::default();
        text.table(&["PATH", "STATE"], vec![vec!["/long".repeat(40), "synced".to_owned()]]);
        let lines: Vec<_> = text.as_str().lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{lines:#?}");
        assert!(lines[1].ends_with("synced") && lines[1].contains('…'), "{lines:#?}");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut text = Text::default();
        text.line("a\u{1b}[31mb");
        text.table(&["X"], vec![vec!["\u{7}".to_owned()]]);
        text.pair("a\u{9b}31m", "\u{1b}]0;title\u{7}");
        text.verbatim("of\ttwo\nlines \u{1b}[2J\r");
        text.line("txt.\u{202e}exe");
        assert!(text.as_str().contains("of\ttwo\nlines ") && !text.as_str().contains('\u{202e}'));
        let text = text.as_str().replace(['\n', '\t'], "");
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(
            [bytes(0), bytes(1), bytes(1536), bytes(1024 * 1024 - 1)].join(", "),
            "0 bytes, 1 byte, 1.5 KiB, 1.0 MiB"
        );
        assert_eq!([milliseconds(3.25), milliseconds(15.2), milliseconds(2500.0)].join(", "), "3.2 ms, 15 ms, 2.5 s");
    }
}
