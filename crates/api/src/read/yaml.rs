//! YAML to trees, one document at a time.
//!
//! Built on the parser's events, not on its serde front end, since strictness needs what that drops: where a
//! key stands, whether a scalar was quoted, which key is written twice.

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::plain;
use super::tree::{Entry, Position, Tree, Value};

/// The largest text that is read, in bytes.
const MAX_BYTES: usize = 64 << 20;
/// The deepest nesting, aliases expanded. Istio's own objects need 12.
const MAX_DEPTH: usize = 64;
/// The most nodes that one document may have.
const MAX_NODES: usize = 4_000_000;
/// The most nodes that the aliases of one document may repeat: an alias bomb ends here.
const MAX_ALIASED: usize = 100_000;
/// The most keys that the merge keys (`<<`) of one document may look at: maps that merge maps that merge maps pass the same
/// keys on again and again.
const MAX_MERGED: usize = 200_000;

/// The text is not YAML, or more than we are willing to read.
#[derive(Clone, Debug)]
pub(crate) struct SyntaxError {
    pub(crate) message: String,
    pub(crate) at: Position,
}

/// Calls `each` with every document in turn. The documents before an error were already handed over.
pub(crate) fn for_each_document(text: &str, mut each: impl FnMut(Tree)) -> Result<(), SyntaxError> {
    if text.len() > MAX_BYTES {
        return Err(error(format!("larger than {} MiB", MAX_BYTES >> 20), Position { line: 1, column: 1 }));
    }
    let options = granit_parser::options! {
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
        emit_comments: false,
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut loader = Loader::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|e| scan_error(&e))?;
        if let Some(document) = loader.take(event, &span)? {
            each(document);
        }
    }
    Ok(())
}

fn error(message: String, at: Position) -> SyntaxError {
    SyntaxError { message, at }
}

fn scan_error(error: &ScanError) -> SyntaxError {
    SyntaxError { message: error.info(), at: position(error.marker()) }
}

fn position(marker: &granit_parser::Marker) -> Position {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Position { line: number(marker.line()), column: number(marker.col()).saturating_add(1) }
}

/// What is being read, innermost last.
struct Frame {
    at: Position,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Tree>),
    Map { entries: Vec<Entry>, key: Option<(String, Position)>, merges: Vec<Tree> },
}

/// A finished node that aliases may repeat.
struct Anchored {
    tree: Tree,
    nodes: usize,
    depth: usize,
}

#[derive(Default)]
struct Loader {
    stack: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    aliased: usize,
    merged: usize,
    root: Option<Tree>,
}

impl Loader {
    /// Takes one event; returns the document that it finished.
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<Option<Tree>, SyntaxError> {
        let at = position(&span.start);
        match event {
            Event::DocumentStart(..) => *self = Loader::default(),
            Event::DocumentEnd => return Ok(self.root.take()),
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_deref().filter(|t| t.is_yaml_core_schema());
                self.scalar(&text, style, tag.map(|t| t.suffix()), anchor, at)?;
            }
            Event::SequenceStart(_, anchor, _) => self.open(Content::List(Vec::new()), anchor, at)?,
            Event::MappingStart(_, anchor, _) => {
                let content = Content::Map { entries: Vec::new(), key: None, merges: Vec::new() };
                self.open(content, anchor, at)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
            Event::Alias(id) => self.alias(id, at)?,
            _ => {}
        }
        Ok(None)
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&str>,
        anchor: usize,
        at: Position,
    ) -> Result<(), SyntaxError> {
        self.count(at)?;
        let plain = style == ScalarStyle::Plain;
        if let Some(Frame { content: Content::Map { key: key @ None, .. }, .. }) = self.stack.last_mut() {
            // A quoted "<<" is a key like any other; merging is the plain one.
            let text = if plain && text == "<<" { MERGE.to_owned() } else { text.to_owned() };
            *key = Some((text, at));
            return Ok(());
        }
        let value = match tag {
            Some("str") => Value::String(text.to_owned()),
            Some("int" | "float" | "bool" | "null") => plain::resolve(text),
            _ if plain => plain::resolve(text),
            _ => Value::String(text.to_owned()),
        };
        self.add(Tree { value, at }, anchor)
    }

    fn open(&mut self, content: Content, anchor: usize, at: Position) -> Result<(), SyntaxError> {
        self.count(at)?;
        if self.stack.len() >= MAX_DEPTH {
            return Err(error(format!("nested more than {MAX_DEPTH} levels deep"), at));
        }
        if let Some(Frame { content: Content::Map { key: None, .. }, .. }) = self.stack.last() {
            return Err(error("a list or map as a key: keys are text".to_owned(), at));
        }
        self.stack.push(Frame { at, anchor, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), SyntaxError> {
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        let value = match frame.content {
            Content::List(items) => Value::List(items),
            Content::Map { mut entries, merges, .. } => {
                if !merges.is_empty() {
                    let mut keys: HashSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
                    self.spend_merged(keys.len(), frame.at)?;
                    for merge in merges {
                        self.merge(&mut entries, &mut keys, merge)?;
                    }
                }
                Value::Map(entries)
            }
        };
        self.add(Tree { value, at: frame.at }, frame.anchor)
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, tree: Tree, anchor: usize) -> Result<(), SyntaxError> {
        if anchor != 0 {
            let (nodes, depth) = measure(&tree);
            self.spend_aliased(nodes, tree.at)?;
            self.anchors.insert(anchor, Anchored { tree: tree.clone(), nodes, depth });
        }
        match self.stack.last_mut().map(|frame| &mut frame.content) {
            None => self.root = Some(tree),
            Some(Content::List(items)) => items.push(tree),
            Some(Content::Map { entries, key, merges }) => match key.take() {
                Some((key, _)) if key == MERGE => merges.push(tree),
                Some((key, at)) => entries.push(Entry { key, at, value: tree }),
                None => return Err(error("a key is missing".to_owned(), tree.at)),
            },
        }
        Ok(())
    }

    fn alias(&mut self, id: usize, at: Position) -> Result<(), SyntaxError> {
        let Some(Anchored { nodes, depth, .. }) = self.anchors.get(&id) else {
            return Err(error("an alias inside the node that it repeats".to_owned(), at));
        };
        let (nodes, depth) = (*nodes, *depth);
        if self.stack.len() + depth > MAX_DEPTH {
            return Err(error(format!("nested more than {MAX_DEPTH} levels deep by aliases"), at));
        }
        self.spend_aliased(nodes, at)?;
        let Some(anchored) = self.anchors.get(&id) else { return Ok(()) };
        let tree = Tree { value: anchored.tree.value.clone(), at };
        if let Some(Frame { content: Content::Map { key: key @ None, .. }, .. }) = self.stack.last_mut() {
            return match tree.value {
                Value::String(text) => {
                    *key = Some((text, at));
                    Ok(())
                }
                _ => Err(error("an alias as a key must repeat a text".to_owned(), at)),
            };
        }
        self.add(tree, 0)
    }

    /// `<<: *other` and `<<: [*one, *two]`: keys that are not there yet. `keys` are those that are.
    fn merge(
        &mut self,
        entries: &mut Vec<Entry>,
        keys: &mut HashSet<String>,
        merge: Tree,
    ) -> Result<(), SyntaxError> {
        match merge.value {
            Value::Map(other) => {
                self.spend_merged(other.len(), merge.at)?;
                entries.extend(other.into_iter().filter(|entry| keys.insert(entry.key.clone())));
                Ok(())
            }
            Value::List(items) if items.iter().all(|i| matches!(i.value, Value::Map(_))) => {
                self.spend_merged(items.len(), merge.at)?;
                items.into_iter().try_for_each(|item| self.merge(entries, keys, item))
            }
            _ => Err(error("<< merges maps only".to_owned(), merge.at)),
        }
    }

    fn spend_merged(&mut self, keys: usize, at: Position) -> Result<(), SyntaxError> {
        self.merged += keys;
        if self.merged > MAX_MERGED {
            return Err(error(format!("merge keys (<<) look at more than {MAX_MERGED} keys"), at));
        }
        Ok(())
    }

    fn count(&mut self, at: Position) -> Result<(), SyntaxError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(error(format!("more than {MAX_NODES} values in one document"), at));
        }
        Ok(())
    }

    fn spend_aliased(&mut self, nodes: usize, at: Position) -> Result<(), SyntaxError> {
        self.aliased += nodes;
        if self.aliased > MAX_ALIASED {
            return Err(error(format!("anchors and aliases stand for more than {MAX_ALIASED} values"), at));
        }
        Ok(())
    }
}

/// Stands for the merge key while a map is read; no document can contain it (YAML forbids the character).
const MERGE: &str = "\u{0}<<";

/// How many nodes, how deep. Depth is bounded by [`MAX_DEPTH`], so recursion is.
fn measure(tree: &Tree) -> (usize, usize) {
    let fold = |(nodes, depth): (usize, usize), child: &Tree| {
        let (n, d) = measure(child);
        (nodes + n, depth.max(d + 1))
    };
    match &tree.value {
        Value::List(items) => items.iter().fold((1, 1), fold),
        Value::Map(entries) => entries.iter().map(|e| &e.value).fold((1, 1), fold),
        _ => (1, 0),
    }
}
