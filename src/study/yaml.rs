//! YAML text to a tree whose every node knows its line.
//!
//! serde stops at the first error and gives no line, so the tree is built from
//! parser events. Aliases share their nodes; a tree that would be huge with
//! all aliases written out is refused, whatever its text's size.

use super::report::Report;
use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use std::{borrow::Cow, collections::HashMap, rc::Rc};

/// Text longer than this is no study, in bytes.
const MAX_TEXT: usize = 8 << 20;
/// Nodes at most, every alias counted as what it stands for.
const MAX_NODES: usize = 1_000_000;
/// Lists and mappings inside each other.
const MAX_DEPTH: usize = 64;

/// A place in the text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Place {
    fn of(span: Span) -> Self {
        Self {
            line: span.start.line().max(1),
            column: span.start.col() + 1,
        }
    }
}

/// A value of the tree.
#[derive(Debug)]
pub(super) struct Node {
    pub value: Value,
    pub place: Place,
    /// Nodes below and this one, aliases written out.
    weight: usize,
    /// Levels below and this one.
    depth: usize,
}

#[derive(Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// The number, and how it is written.
    Int(i64, String),
    /// The number, and how it is written.
    Float(f64, String),
    Text(String),
    List(Vec<Rc<Node>>),
    Map(Vec<Entry>),
}

impl Value {
    /// Weight and depth of a node with this value.
    fn size(&self) -> (usize, usize) {
        let grow = |(weight, depth): (usize, usize), child: &Node| {
            (
                weight.saturating_add(child.weight),
                depth.max(child.depth + 1),
            )
        };
        match self {
            Self::List(items) => items.iter().fold((1, 1), |size, item| grow(size, item)),
            Self::Map(entries) => entries
                .iter()
                .fold((1, 1), |size, entry| grow(size, &entry.node)),
            _ => (1, 1),
        }
    }
}

/// A key with its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub key: String,
    pub place: Place,
    pub node: Rc<Node>,
}

/// A list or mapping whose end has not come yet.
struct Open {
    place: Place,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Rc<Node>>),
    Map {
        entries: Vec<Entry>,
        seen: HashMap<String, Place>,
        merges: Vec<Rc<Node>>,
        /// The key whose value comes next; `None` inside when it was unusable.
        key: Option<Option<(String, Place)>>,
    },
}

/// Reads one YAML document. `None` when it can not be read to its end; the
/// reason is then in `report`. Lesser problems (a key given twice) are
/// reported and the tree goes on.
pub(super) fn read(source: &str, report: &Report<'_>) -> Option<Rc<Node>> {
    let start = Place { line: 1, column: 1 };
    if source.len() > MAX_TEXT {
        report.error(
            start,
            "",
            "",
            format!(
                "the file has {} MiB, and a study has at most 8",
                source.len() >> 20
            ),
            Some("generate fewer hand-written cells, or use the grid".to_owned()),
        );
        return None;
    }
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let mut builder = Builder {
        report,
        open: Vec::new(),
        anchors: HashMap::new(),
        root: None,
        merged: 0,
    };
    let mut parser = Parser::new_from_str(source);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((Event::StreamEnd, _)) => break,
            Ok((event, span)) => builder.take(event, Place::of(span)).ok()?,
            Err(error) => {
                let place = Place {
                    line: error.marker().line().max(1),
                    column: error.marker().col() + 1,
                };
                report.error(
                    place,
                    "",
                    "",
                    format!("this is not valid YAML: {}", error.info()),
                    None,
                );
                return None;
            }
        }
    }
    if builder.root.is_none() {
        report.error(
            start,
            "",
            "",
            "the file is empty".to_owned(),
            Some("a study needs at least name, datasets and direct, rag or experiments".to_owned()),
        );
    }
    builder.root
}

/// Building ended early; the reason is in the report.
struct Stopped;

struct Builder<'r, 'f> {
    report: &'r Report<'f>,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
    /// Entries copied by merge keys so far.
    merged: usize,
}

impl Builder<'_, '_> {
    fn take(&mut self, event: Event<'_>, place: Place) -> Result<(), Stopped> {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => Err(self.stop(
                place,
                "a second document begins here, and a file holds one study",
                "put it into a file of its own",
            )),
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), place, &["seq"]);
                self.begin(place, anchor, OpenKind::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), place, &["map"]);
                let kind = OpenKind::Map {
                    entries: Vec::new(),
                    seen: HashMap::new(),
                    merges: Vec::new(),
                    key: None,
                };
                self.begin(place, anchor, kind)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Scalar(text, style, anchor, tag) => {
                self.check_tag(
                    tag.as_deref(),
                    place,
                    &["str", "int", "float", "bool", "null"],
                );
                let is_merge = style == ScalarStyle::Plain && text == "<<";
                let value = scalar(text, style, tag.as_deref());
                let node = Rc::new(Node {
                    value,
                    place,
                    weight: 1,
                    depth: 1,
                });
                self.put(node, anchor, is_merge)
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(node) => {
                    let node = Rc::clone(node);
                    self.put(node, 0, false)
                }
                None => Err(self.stop(
                    place,
                    "this alias stands inside the value that it stands for",
                    "a value can not contain itself",
                )),
            },
            _ => Ok(()),
        }
    }

    fn begin(&mut self, place: Place, anchor: usize, kind: OpenKind) -> Result<(), Stopped> {
        if self.open.len() >= MAX_DEPTH {
            return Err(self.stop(
                place,
                "lists and mappings are nested more than 64 deep",
                "a study needs five levels",
            ));
        }
        self.open.push(Open {
            place,
            anchor,
            kind,
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Stopped> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let value = match open.kind {
            OpenKind::List(items) => Value::List(items),
            OpenKind::Map {
                mut entries,
                mut seen,
                merges,
                ..
            } => {
                for merge in &merges {
                    self.merge(merge, &mut entries, &mut seen)?;
                }
                Value::Map(entries)
            }
        };
        let (weight, depth) = value.size();
        if weight > MAX_NODES || depth > MAX_DEPTH {
            return Err(self.stop(
                open.place,
                "with its aliases written out this value would be enormous",
                "remove aliases of lists that hold aliases",
            ));
        }
        let node = Rc::new(Node {
            value,
            place: open.place,
            weight,
            depth,
        });
        self.put(node, open.anchor, false)
    }

    /// Copies what `<<` brings: keys that the mapping does not have itself.
    fn merge(
        &mut self,
        merge: &Node,
        entries: &mut Vec<Entry>,
        seen: &mut HashMap<String, Place>,
    ) -> Result<(), Stopped> {
        let sources: Vec<&Node> = match &merge.value {
            Value::List(items) => items.iter().map(Rc::as_ref).collect(),
            _ => vec![merge],
        };
        for source in sources {
            let Value::Map(from) = &source.value else {
                self.report.error(
                    source.place,
                    "<<",
                    "",
                    "a merge key needs a mapping, or a list of mappings".to_owned(),
                    Some("write <<: *anchor".to_owned()),
                );
                continue;
            };
            self.merged += from.len();
            if self.merged > MAX_NODES {
                return Err(self.stop(
                    merge.place,
                    "the merge keys of this file copy more than a million entries",
                    "merge smaller mappings",
                ));
            }
            for entry in from {
                if !seen.contains_key(&entry.key) {
                    seen.insert(entry.key.clone(), entry.place);
                    entries.push(entry.clone());
                }
            }
        }
        Ok(())
    }

    /// Hands a finished node to whatever is open around it.
    fn put(&mut self, node: Rc<Node>, anchor: usize, is_merge: bool) -> Result<(), Stopped> {
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.kind {
            OpenKind::List(items) => items.push(node),
            OpenKind::Map {
                entries,
                seen,
                merges,
                key,
            } => match key.take() {
                None if is_merge => *key = Some(Some(("<<".to_owned(), Place::default()))),
                None => *key = Some(self.report.key_text(&node).map(|text| (text, node.place))),
                Some(None) => {}
                // The default place marks the merge key: a quoted "<<" has its own.
                Some(Some((_, place))) if place == Place::default() => merges.push(node),
                Some(Some((text, place))) => match seen.get(&text) {
                    Some(first) => self.report.error(
                        place,
                        &text,
                        "",
                        format!("the key is given twice, first on line {}", first.line),
                        Some("keep one of them".to_owned()),
                    ),
                    None => {
                        seen.insert(text.clone(), place);
                        entries.push(Entry {
                            key: text,
                            place,
                            node,
                        });
                    }
                },
            },
        }
        Ok(())
    }

    fn check_tag(&self, tag: Option<&Tag>, place: Place, known: &[&str]) {
        let Some(tag) = tag else { return };
        let is_core = tag.is_yaml_core_schema();
        let is_plain = tag.handle.is_empty() && tag.suffix == "!";
        if is_plain || is_core && known.contains(&tag.suffix.as_str()) {
            return;
        }
        let written = match is_core {
            true => format!("!!{}", tag.suffix),
            false => tag.to_string(),
        };
        self.report.error(
            place,
            "",
            &written,
            format!("the YAML tag '{written}' means nothing here"),
            Some("remove it".to_owned()),
        );
    }

    fn stop(&self, place: Place, message: &str, fix: &str) -> Stopped {
        self.report
            .error(place, "", "", message.to_owned(), Some(fix.to_owned()));
        Stopped
    }
}

/// Resolves a scalar by the core schema of YAML 1.2, with the underscores of
/// YAML 1.1 in numbers.
fn scalar(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
    if style != ScalarStyle::Plain || is_text {
        return Value::Text(text.into_owned());
    }
    match text.as_ref() {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    if let Some(number) = integer(&text) {
        return Value::Int(number, text.into_owned());
    }
    if let Some(number) = float(&text) {
        return Value::Float(number, text.into_owned());
    }
    Value::Text(text.into_owned())
}

fn integer(text: &str) -> Option<i64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return i64::from_str_radix(digits, 16).ok();
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return i64::from_str_radix(digits, 8).ok();
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    match text.contains('_') {
        true => text.replace('_', "").parse().ok(),
        false => text.parse().ok(),
    }
}

fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    match unsigned {
        ".inf" | ".Inf" | ".INF" if text.starts_with('-') => Some(f64::NEG_INFINITY),
        ".inf" | ".Inf" | ".INF" => Some(f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" => Some(f64::NAN),
        // Else `inf` and `nan` would be numbers.
        _ if unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') => text.parse().ok(),
        _ => None,
    }
}
