//! Finds templates in a command and what stands around each, as far as POSIX says how a shell reads it.
//!
//! A mistake here could put a quote where the person did not mean one; it cannot make a shell parse a value, because no
//! value is ever written into the text.

use super::{Part, Quoting, What};
use crate::interpolate::{Fact, Place, Problem, TemplateError, reference};
use crate::sessions::nearest;

mod words;

use words::Words;

/// What the text is within.
#[derive(Debug)]
enum Frame {
    /// Commands: the whole text, or what `$(` encloses.
    Commands(Words),
    Double,
    Single,
    Comment,
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    frames: Vec<Frame>,
    /// What was met that is not read any further than this.
    opaque: Option<&'static str>,
    parts: Vec<Part>,
    plain: String,
}

pub(super) fn parse(text: &str) -> Result<Vec<Part>, TemplateError> {
    let frames = vec![Frame::Commands(Words::default())];
    let mut lexer = Lexer { text, at: 0, frames, opaque: None, parts: Vec::new(), plain: String::new() };
    while lexer.at < text.len() {
        lexer.step()?;
    }
    lexer.end_text();
    Ok(lexer.parts)
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn step(&mut self) -> Result<(), TemplateError> {
        if self.rest().starts_with("\\{{") {
            self.at += 1;
            self.copy(2);
            return Ok(());
        }
        if self.rest().starts_with("{{") {
            return self.template();
        }
        if ["${secret:", "${env:"].iter().any(|begin| self.rest().starts_with(begin)) {
            let (reference, length) = reference(self.text, self.at)?;
            return self.variable(What::Reference(reference), length);
        }
        match self.frames.last() {
            Some(Frame::Single) => self.until('\''),
            Some(Frame::Comment) => self.until('\n'),
            Some(Frame::Double) => self.double(),
            Some(Frame::Commands(_)) | None => self.commands(),
        }
        Ok(())
    }

    /// Copies a letter; what it is within ends with `end`.
    fn until(&mut self, end: char) {
        if self.rest().starts_with(end) {
            self.frames.pop();
            if end == '\n' {
                return self.commands();
            }
        }
        self.copy(1);
    }

    fn double(&mut self) {
        match self.rest().chars().next() {
            Some('\\') => self.copy(2),
            Some('"') => {
                self.frames.pop();
                self.copy(1);
            }
            Some('$' | '`') => self.expansion(),
            Some(_) | None => self.copy(1),
        }
    }

    fn commands(&mut self) {
        let begins_word = !self.words().begun;
        match self.rest().chars().next() {
            Some('\\') => self.copy(2),
            Some(quote @ ('\'' | '"')) => {
                self.words().begun = true;
                self.frames.push(if quote == '"' { Frame::Double } else { Frame::Single });
                self.plain.push(quote);
                self.at += 1;
            }
            Some('$' | '`') => self.expansion(),
            Some('#') if begins_word => {
                self.frames.push(Frame::Comment);
                self.plain.push('#');
                self.at += 1;
            }
            Some('<') if self.rest().starts_with("<<<") => self.redirection(3),
            Some('<') if self.rest().starts_with("<<") => {
                self.opaque = Some("a here-document");
                self.separator(2, false);
            }
            Some('(') => {
                self.words().open += 1;
                self.separator(1, true);
            }
            Some(')') => {
                let words = self.words();
                if words.open > 0 {
                    words.open -= 1;
                    self.separator(1, true);
                } else if self.frames.len() > 1 {
                    self.frames.pop();
                    self.plain.push(')');
                    self.at += 1;
                } else {
                    self.separator(1, true);
                }
            }
            Some(';' | '&' | '|' | '\n') => self.separator(1, true),
            Some('<' | '>') => {
                let is_two = [">>", ">&", ">|", "<&", "<>"].iter().any(|two| self.rest().starts_with(two));
                self.redirection(if is_two { 2 } else { 1 });
            }
            Some(' ' | '\t') => self.separator(1, false),
            Some(_) | None => self.copy(1),
        }
    }

    /// What a `$` or a backquote begins.
    fn expansion(&mut self) {
        let rest = self.rest();
        if rest.starts_with('`') {
            self.opaque = Some("backquotes");
            self.copy(1);
        } else if rest.starts_with("$((") {
            self.opaque = Some("`$((…))`");
            self.copy(3);
        } else if rest.starts_with("$(") {
            self.copy(2);
            self.frames.push(Frame::Commands(Words::default()));
        } else if rest.starts_with("${") {
            let end = rest.find('}');
            let is_plain = end.is_some_and(|end| !rest[2..end].contains(['\'', '"', '`', '$', '\\', '{']));
            if is_plain {
                self.copy(end.map_or(0, |end| rest[..=end].chars().count()));
            } else {
                self.opaque = Some("`${…}` with quotes or other expansions in it");
                self.copy(2);
            }
        } else if rest.starts_with("$'") && matches!(self.frames.last(), Some(Frame::Commands(_))) {
            // Not every shell knows it, and those that do let `\'` stand in it.
            self.opaque = Some("`$'…'`");
            self.copy(1);
        } else {
            self.copy(1);
        }
    }

    /// Copies letters that belong to a word.
    fn copy(&mut self, letters: usize) {
        for _ in 0..letters {
            let Some(letter) = self.rest().chars().next() else { return };
            self.at += letter.len_utf8();
            self.plain.push(letter);
            let is_quote = matches!(letter, '"' | '\'' | '\\');
            let words = self.words();
            words.begun = true;
            if !is_quote {
                words.current.push(letter);
            }
        }
    }

    /// Copies letters that end a word, and with `command` the simple command.
    fn separator(&mut self, letters: usize, command: bool) {
        self.plain.push_str(&self.text[self.at..self.at + letters]);
        self.at += letters;
        let words = self.words();
        words.end();
        if command {
            words.ended.clear();
            words.redirected = false;
        }
    }

    /// Copies the letters of a redirection: `2>&1` does not end the command, as `&` alone does.
    fn redirection(&mut self, letters: usize) {
        let words = self.words();
        if words.begun && words.current.chars().all(|letter| letter.is_ascii_digit()) {
            words.begun = false;
            words.current.clear();
        }
        self.separator(letters, false);
        self.words().redirected = true;
    }

    /// Returns the words of the innermost commands.
    fn words(&mut self) -> &mut Words {
        let found = self.frames.iter_mut().rev().find_map(|frame| match frame {
            Frame::Commands(words) => Some(words),
            Frame::Double | Frame::Single | Frame::Comment => None,
        });
        found.expect("the whole text is commands")
    }

    fn template(&mut self) -> Result<(), TemplateError> {
        let place = Place::of(self.text, self.at);
        let failed = |problem| TemplateError { place, problem };
        let Some(end) = self.rest().find("}}") else {
            return Err(failed(Problem::Unclosed { begin: "{{", end: "}}" }));
        };
        let text = self.rest()[2..end].trim();
        let Some(fact) = Fact::ALL.into_iter().find(|fact| fact.name() == text) else {
            let names = Fact::ALL.into_iter().map(|fact| fact.name().to_owned());
            return Err(failed(Problem::Template { nearest: nearest(text, names), text: text.to_owned() }));
        };
        self.variable(What::Fact(fact), end + 2)
    }

    /// Takes `length` bytes for a template.
    fn variable(&mut self, what: What, length: usize) -> Result<(), TemplateError> {
        let place = Place::of(self.text, self.at);
        let failed = |problem| TemplateError { place, problem };
        let quoting = match self.frames.last() {
            Some(Frame::Double) => Quoting::Double,
            Some(Frame::Single) => Quoting::Single,
            Some(Frame::Comment) => Quoting::Comment,
            Some(Frame::Commands(_)) | None => Quoting::Plain,
        };
        if quoting != Quoting::Comment {
            if let Some(opaque) = self.opaque {
                return Err(failed(Problem::Opaque { what: opaque, variable: what.variable() }));
            }
            if let Some(program) = self.words().reader() {
                return Err(failed(Problem::Program { program, variable: what.variable() }));
            }
        }
        let words = self.words();
        let begins_word = words.current.is_empty() && quoting != Quoting::Comment;
        words.begun = true;
        // Something stands there, whatever it will be.
        words.current.push('\u{fffd}');
        self.end_text();
        self.parts.push(Part::Variable { what, quoting, begins_word, place });
        self.at += length;
        Ok(())
    }

    fn end_text(&mut self) {
        if !self.plain.is_empty() {
            self.parts.push(Part::Text(std::mem::take(&mut self.plain)));
        }
    }
}
