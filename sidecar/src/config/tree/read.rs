//! From text to tree: the only door to the YAML parser. Bounded whatever the text: its depth, its values, and what
//! its anchors grow to.

use std::collections::HashMap;
use std::ops::Range;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput, Tag};

use super::super::place::{Place, Source};
use super::super::problem::Problem;
use super::{Entry, Node, Parsed, Value, hints, scalar};

/// Deepest nesting; the schema's own is six.
const MAX_DEPTH: usize = 32;
/// Most values in one file, anchors put in: a thousand keys have a tenth of it.
const MAX_VALUES: usize = 20_000;

/// Reads a text. Empty or all comments is an empty map.
pub fn parse(text: &str, source: &Source) -> Parsed {
    let mut reader = Reader {
        events: Parser::new_from_str(text),
        text,
        source,
        anchors: HashMap::new(),
        values: 0,
        problems: Vec::new(),
    };
    match reader.document() {
        Ok(root) => Parsed { root: Some(root), problems: reader.problems },
        Err(fatal) => {
            reader.problems.push(*fatal);
            Parsed { root: None, problems: reader.problems }
        }
    }
}

struct Reader<'t> {
    events: Parser<'t, StrInput<'t>>,
    text: &'t str,
    source: &'t Source,
    /// What each anchor stands for and how many values that is; `None` while it is being read.
    anchors: HashMap<usize, Option<(Node, usize)>>,
    values: usize,
    problems: Vec<Problem>,
}

/// What ends the reading. Boxed, as it is rare and large.
type Fatal = Box<Problem>;

impl<'t> Reader<'t> {
    fn document(&mut self) -> Result<Node, Fatal> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                // The ends of lists and maps are taken with them.
                Event::StreamStart
                | Event::DocumentStart(_)
                | Event::DocumentEnd
                | Event::Nothing
                | Event::SequenceEnd
                | Event::MappingEnd => {}
                Event::Alias(_) | Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..)
                    if root.is_some() =>
                {
                    let fix = "Remove the line `---` and what follows it, or move that to a file of its own.";
                    return Err(self.fatal(span.start, "a second document begins here, and only one is read", fix));
                }
                event => root = Some(self.node(event, span, 0)?),
            }
        }
        let empty = || Node::new(Value::Map(Vec::new()), Place { source: self.source.clone(), line: 1, column: 1 });
        let root = root.unwrap_or_else(empty);
        match root.value {
            Value::Null => Ok(Node { value: Value::Map(Vec::new()), ..root }),
            Value::Map(_) => Ok(root),
            Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => {
                let reason = format!("the file holds {} where keys and their values belong", root.described());
                let fix = "Write each key as `key: value` on a line of its own, as in `version: \"3.0\"`.".to_owned();
                Err(Box::new(Problem::of_file(root.place, reason, fix)))
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Fatal> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(event),
            None => Ok((Event::StreamEnd, Span::default())),
            Some(Err(error)) => {
                let place = self.place(*error.marker());
                Err(Box::new(hints::of_syntax(self.text, place, error.info())))
            }
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, Fatal> {
        self.count(1, span.start)?;
        if depth > MAX_DEPTH {
            let reason = format!("values are nested more than {MAX_DEPTH} deep");
            return Err(self.fatal(
                span.start,
                &reason,
                "Remove brackets or indentation: no key needs more than six levels.",
            ));
        }
        let before = self.values;
        let (anchor, value, end) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.scalar(&text, style, tag.as_deref(), span.start);
                (anchor, value, span.end)
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(anchor, tag.as_deref(), span.start);
                let (items, end) = self.items(depth)?;
                (anchor, Value::List(items), end)
            }
            Event::MappingStart(anchor, tag) => {
                self.begin(anchor, tag.as_deref(), span.start);
                let (entries, end) = self.entries(depth)?;
                (anchor, Value::Map(entries), end)
            }
            Event::Alias(anchor) => return self.alias(anchor, span),
            // The parser pairs them itself.
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => (0, Value::Null, span.end),
        };
        let node = Node { value, place: self.place(span.start), span: range(span.start, end) };
        if anchor != 0 {
            self.anchors.insert(anchor, Some((node.clone(), self.values - before + 1)));
        }
        Ok(node)
    }

    fn begin(&mut self, anchor: usize, tag: Option<&Tag>, at: Marker) {
        if anchor != 0 {
            self.anchors.insert(anchor, None);
        }
        self.tag(tag.filter(|tag| !matches!(core(tag), Some("map" | "seq"))), at);
    }

    fn items(&mut self, depth: usize) -> Result<(Vec<Node>, Marker), Fatal> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd | Event::StreamEnd, span) => return Ok((items, span.end)),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn entries(&mut self, depth: usize) -> Result<(Vec<Entry>, Marker), Fatal> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merged: Vec<Entry> = Vec::new();
        loop {
            let (name, place, named) = match self.next()? {
                (Event::MappingEnd | Event::StreamEnd, span) => {
                    // What stands here itself wins over what is merged into it.
                    for entry in merged {
                        if entries.iter().all(|own| own.name != entry.name) {
                            entries.push(entry);
                        }
                    }
                    return Ok((entries, span.end));
                }
                (Event::Scalar(text, ..), span) => {
                    (text.into_owned(), self.place(span.start), range(span.start, span.end))
                }
                (event, span) => {
                    let shown = self.node(event, span, depth + 1)?;
                    let reason = format!("{} stands where the name of a key belongs", shown.described());
                    return Err(Box::new(hints::of_name(self.text, shown.place, reason)));
                }
            };
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            if name == "<<" {
                self.merge(node, &mut merged);
                continue;
            }
            match entries.iter().find(|entry| entry.name == name) {
                Some(first) => {
                    let reason = format!("`{name}` stands here for a second time; first in line {}", first.place.line);
                    let fix = format!("Move what is below this `{name}` to the first one, then remove this one.");
                    self.problems.push(Problem { place, key: name, reason, fix });
                }
                None => entries.push(Entry { name, place, span: named, node }),
            }
        }
    }

    /// Takes the entries of a `<<`: of maps that stand first before those of later ones.
    fn merge(&mut self, node: Node, merged: &mut Vec<Entry>) {
        let maps = match node.value {
            Value::List(items) => items,
            _ => vec![node],
        };
        for map in maps {
            let Value::Map(entries) = map.value else {
                let reason = format!("`<<` takes a map or a list of maps, not {}", map.described());
                let fix = "Name an anchor that stands at a map, as in `<<: *common`.".to_owned();
                self.problems.push(Problem { place: map.place, key: "<<".to_owned(), reason, fix });
                continue;
            };
            for entry in entries {
                if merged.iter().all(|earlier| earlier.name != entry.name) {
                    merged.push(entry);
                }
            }
        }
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<Node, Fatal> {
        let Some(Some((node, values))) = self.anchors.get(&anchor) else {
            let fix = "Write the values themselves in place of this `*` reference.";
            return Err(self.fatal(span.start, "this refers to a value that it is a part of, without end", fix));
        };
        let (node, values) = (node.clone(), *values);
        self.count(values, span.start)?;
        Ok(Node { place: self.place(span.start), span: range(span.start, span.end), ..node })
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, at: Marker) -> Value {
        match tag.and_then(core) {
            Some("str") => return Value::Text(text.to_owned()),
            // These say what the plain word is anyway; another word stays what it looks like.
            Some("int" | "float" | "bool" | "null") => {}
            Some(_) | None => self.tag(tag, at),
        }
        match style {
            ScalarStyle::Plain => scalar::resolve(text),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted | ScalarStyle::Literal | ScalarStyle::Folded => {
                Value::Text(text.to_owned())
            }
        }
    }

    fn tag(&mut self, tag: Option<&Tag>, at: Marker) {
        if let Some(tag) = tag {
            let reason = format!("the tag `{}{}` means nothing here", tag.handle, tag.suffix);
            let fix =
                "Remove the word that begins with `!`; put the value in quotes if `!` is a part of it.".to_owned();
            self.problems.push(Problem::of_file(self.place(at), reason, fix));
        }
    }

    fn count(&mut self, values: usize, at: Marker) -> Result<(), Fatal> {
        self.values = self.values.saturating_add(values);
        if self.values <= MAX_VALUES {
            return Ok(());
        }
        let reason = format!("with its anchors put in, the file holds more than {MAX_VALUES} values");
        Err(self.fatal(at, &reason, "Remove `*` references here: each stands for all of what its anchor holds."))
    }

    #[expect(clippy::unnecessary_box_returns, reason = "it is the error of every function here")]
    fn fatal(&self, at: Marker, reason: &str, fix: &str) -> Fatal {
        Box::new(Problem::of_file(self.place(at), reason, fix))
    }

    fn place(&self, at: Marker) -> Place {
        Place { source: self.source.clone(), line: at.line(), column: at.col() + 1 }
    }
}

fn range(start: Marker, end: Marker) -> Range<usize> {
    start.index()..end.index().max(start.index())
}

/// Returns the name of a tag of the core schema: `str` for `!!str`.
fn core(tag: &Tag) -> Option<&str> {
    tag.is_yaml_core_schema().then_some(tag.suffix.as_str())
}
