//! A document as a tree of nodes with their places.

use std::collections::HashMap;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};
use serde_json::{Map, Value};

use super::plain;

/// The deepest nesting. A List of CronJobs needs 16.
const MAX_DEPTH: usize = 64;
/// The most nodes that a document may have, those that aliases repeat included: an alias bomb ends here.
const MAX_NODES: usize = 500_000;

/// A text is no YAML, or more than we are willing to read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct SyntaxError {
    /// What is wrong.
    pub message: String,
    /// Where, from 1.
    pub line: usize,
}

/// A node and where it stands, in bytes of the document's text.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) content: Content,
    pub(super) span: Range<usize>,
    /// 0: it has none.
    pub(super) anchor: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Scalar(Value),
    List { items: Vec<Node>, flow: bool },
    Map { entries: Vec<(Node, Node)>, flow: bool },
    Alias(usize),
}

/// A document.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) root: Node,
    /// What each anchor stands for.
    pub(super) anchors: HashMap<usize, Value>,
}

impl Document {
    /// What it means.
    pub(super) fn value(&self) -> Value {
        self.resolve(&self.root)
    }

    /// What a node means.
    pub(super) fn resolve(&self, node: &Node) -> Value {
        resolve(node, &self.anchors)
    }
}

fn resolve(node: &Node, anchors: &HashMap<usize, Value>) -> Value {
    match &node.content {
        Content::Scalar(value) => value.clone(),
        Content::Alias(id) => anchors.get(id).cloned().unwrap_or_default(),
        Content::List { items, .. } => items.iter().map(|item| resolve(item, anchors)).collect(),
        Content::Map { entries, .. } => {
            let mut map = Map::new();
            let mut merged = Vec::new();
            for (key, value) in entries {
                match key_text(key, anchors) {
                    Some(Key::Merge) => merged.push(resolve(value, anchors)),
                    Some(Key::Text(text)) => drop(map.insert(text, resolve(value, anchors))),
                    None => {}
                }
            }
            for value in merged {
                let values = if let Value::Array(list) = value { list } else { vec![value] };
                for value in values {
                    let Value::Object(other) = value else { continue };
                    for (key, value) in other {
                        map.entry(key).or_insert(value);
                    }
                }
            }
            Value::Object(map)
        }
    }
}

/// A key of a map.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Key {
    Text(String),
    /// `<<`
    Merge,
}

/// The text of a key; `None` for what cannot be one in JSON.
pub(super) fn key_text(key: &Node, anchors: &HashMap<usize, Value>) -> Option<Key> {
    match resolve(key, anchors) {
        Value::String(text) if text == MERGE => Some(Key::Merge),
        Value::String(text) => Some(Key::Text(text)),
        Value::Bool(flag) => Some(Key::Text(flag.to_string())),
        Value::Number(number) => Some(Key::Text(number.to_string())),
        Value::Null => Some(Key::Text("null".to_owned())),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// Stands for a `<<` without quotes; no document can contain it (YAML forbids the character).
const MERGE: &str = "\u{0}<<";

/// Reads one document; `None` when the text holds none.
pub(super) fn parse(text: &str) -> Result<Option<Document>, SyntaxError> {
    let options = granit_parser::options! {
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
        emit_comments: false,
    };
    let mut loader = Loader { text, stack: Vec::new(), anchors: HashMap::new(), nodes: 0, root: None };
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let offset = text.len() - body.len();
    for event in Parser::new_from_str_with_options(body, options) {
        let (event, span) =
            event.map_err(|error| SyntaxError { message: error.info(), line: error.marker().line() })?;
        loader.take(event, &span, offset)?;
    }
    Ok(loader.root.map(|root| Document { root, anchors: loader.anchors }))
}

struct Frame {
    node: Node,
    /// A key that waits for its value.
    key: Option<Node>,
}

struct Loader<'a> {
    text: &'a str,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Value>,
    nodes: usize,
    root: Option<Node>,
}

impl Loader<'_> {
    fn take(&mut self, event: Event<'_>, span: &Span, offset: usize) -> Result<(), SyntaxError> {
        let place = |byte: Option<usize>| (byte.unwrap_or_default() + offset).min(self.text.len());
        let range = place(span.start.byte_offset())..place(span.end.byte_offset());
        let line = span.start.line();
        let (content, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_deref().filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix());
                let value = match tag {
                    Some("str") => Value::String(text.into_owned()),
                    _ if style != ScalarStyle::Plain => Value::String(text.into_owned()),
                    _ if text == "<<" => Value::String(MERGE.to_owned()),
                    _ => plain::resolve(&text),
                };
                (Content::Scalar(value), anchor)
            }
            Event::SequenceStart(style, anchor, _) => {
                let content = Content::List { items: Vec::new(), flow: style == StructureStyle::Flow };
                return self.open(Node { content, span: range, anchor }, line);
            }
            Event::MappingStart(style, anchor, _) => {
                let content = Content::Map { entries: Vec::new(), flow: style == StructureStyle::Flow };
                return self.open(Node { content, span: range, anchor }, line);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Frame { mut node, .. }) = self.stack.pop() else { return Ok(()) };
                node.span.end = match &node.content {
                    // Behind the bracket.
                    Content::List { flow: true, .. } | Content::Map { flow: true, .. } => range.end,
                    Content::List { items, .. } => items.last().map_or(node.span.start, |last| last.span.end),
                    Content::Map { entries, .. } => entries
                        .last()
                        .map_or(node.span.start, |(key, value)| value.span.end.max(key.span.end)),
                    Content::Scalar(_) | Content::Alias(_) => node.span.end,
                };
                return self.add(node, line);
            }
            Event::Alias(id) if self.anchors.contains_key(&id) => (Content::Alias(id), 0),
            Event::Alias(_) => return Err(error("an alias inside the node that it repeats", line)),
            _ => return Ok(()),
        };
        self.add(Node { content, span: range, anchor }, line)
    }

    fn open(&mut self, node: Node, line: usize) -> Result<(), SyntaxError> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(error("nested too deep", line));
        }
        self.stack.push(Frame { node, key: None });
        Ok(())
    }

    fn add(&mut self, mut node: Node, line: usize) -> Result<(), SyntaxError> {
        self.nodes += match &node.content {
            Content::Alias(id) => self.anchors.get(id).map_or(1, size),
            _ => 1,
        };
        if self.nodes > MAX_NODES {
            return Err(error("more values than a manifest has", line));
        }
        if node.anchor != 0 {
            let value = resolve(&node, &self.anchors);
            self.nodes += size(&value);
            self.anchors.insert(node.anchor, value);
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut frame.node.content {
            Content::List { items, .. } => items.push(node),
            Content::Map { entries, .. } => match frame.key.take() {
                None => frame.key = Some(node),
                Some(key) => {
                    // Nothing at all stands somewhere behind its key; for us, at its end.
                    if node.span.is_empty() {
                        node.span = key.span.end..key.span.end;
                    }
                    entries.push((key, node));
                }
            },
            Content::Scalar(_) | Content::Alias(_) => {}
        }
        Ok(())
    }
}

fn error(message: &str, line: usize) -> SyntaxError {
    SyntaxError { message: message.to_owned(), line }
}

/// How many values a value is. Depth is bounded, so recursion is.
fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(size).sum::<usize>(),
        _ => 1,
    }
}
