//! A value with the position of every part of it.

use super::path::{self, Segment};

/// A place in a file, both counted from 1; 0 means unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column, in characters.
    pub column: u32,
}

/// A node of a document.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) value: Value,
    pub(crate) at: Position,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    /// Above `i64::MAX`.
    Uint(u64),
    Float(f64),
    String(String),
    /// Plain text that Kubernetes' YAML 1.1 reader and YAML 1.2 take for different things: `yes`, `010`.
    Ambiguous {
        text: String,
        boolean: Option<bool>,
    },
    List(Vec<Tree>),
    /// In the order written; a key can occur twice, which reading reports.
    Map(Vec<Entry>),
    /// Taken out because it was wrong, after saying so.
    Pruned,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// Where the key stands.
    pub(crate) at: Position,
    pub(crate) value: Tree,
}

impl Tree {
    /// The value of a key of a map.
    pub(crate) fn get(&self, key: &str) -> Option<&Tree> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|e| e.key == key).map(|e| &e.value),
            _ => None,
        }
    }

    /// The text, when it is one.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Takes out the part that `steps` (child indexes, outermost first) lead to. False when there is none.
    pub(crate) fn prune(&mut self, steps: &[usize]) -> bool {
        let mut node = self;
        for step in steps {
            let child = match &mut node.value {
                Value::List(items) => items.get_mut(*step),
                Value::Map(entries) => entries.get_mut(*step).map(|e| &mut e.value),
                _ => None,
            };
            match child {
                Some(child) => node = child,
                None => return false,
            }
        }
        node.value = Value::Pruned;
        true
    }

    /// From JSON, without positions.
    pub(crate) fn from_json(json: serde_json::Value) -> Tree {
        use serde_json::Value as Json;
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(value),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => Value::Int(number),
                (None, Some(number)) => Value::Uint(number),
                (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::String(text),
            Json::Array(items) => Value::List(items.into_iter().map(Tree::from_json).collect()),
            Json::Object(map) => Value::Map(
                map.into_iter()
                    .map(|(key, value)| Entry { key, at: Position::default(), value: Tree::from_json(value) })
                    .collect(),
            ),
        };
        Tree { value, at: Position::default() }
    }

    /// The shape and positions alone, `depth` levels deep.
    pub(crate) fn positions(&self, depth: usize) -> Positions {
        let children = match &self.value {
            _ if depth == 0 => Children::None,
            Value::List(items) => Children::List(items.iter().map(|i| i.positions(depth - 1)).collect()),
            Value::Map(entries) => {
                let mut children: Vec<(Box<str>, Positions)> = entries
                    .iter()
                    .map(|e| {
                        let mut positions = e.value.positions(depth - 1);
                        positions.at = e.at;
                        (e.key.as_str().into(), positions)
                    })
                    .collect();
                children.sort_by(|a, b| a.0.cmp(&b.0));
                Children::Map(children.into())
            }
            _ => Children::None,
        };
        Positions { at: self.at, children }
    }
}

/// Where the fields of one object stand in its file.
#[derive(Clone, Debug, Default)]
pub struct Positions {
    at: Position,
    children: Children,
}

#[derive(Clone, Debug, Default)]
enum Children {
    #[default]
    None,
    List(Box<[Positions]>),
    /// Sorted by key.
    Map(Box<[(Box<str>, Positions)]>),
}

/// Messages have fewer fields; larger maps are maps, whose keys have one spelling.
const MAX_FIELDS: usize = 64;

/// The entry of a map or of a message, which may spell its fields in snake_case.
fn find<'a>(entries: &'a [(Box<str>, Positions)], key: &str) -> Option<&'a Positions> {
    let exact = entries.binary_search_by(|(k, _)| (**k).cmp(key)).ok().map(|index| &entries[index].1);
    exact.or_else(|| {
        let few = entries.get(..MAX_FIELDS.min(entries.len()))?;
        few.iter().find(|(k, _)| path::same_field(k, key)).map(|(_, positions)| positions)
    })
}

impl Positions {
    /// The position of the field at `field_path` (such as `spec.http[0].mirror`), or of its nearest ancestor
    /// that is written down; a field stands where its key stands. `None` when positions are unknown, as for
    /// objects from the API server.
    pub fn locate(&self, field_path: &str) -> Option<Position> {
        let mut node = self;
        for segment in path::parse(field_path) {
            let child = match (&node.children, &segment) {
                (Children::List(items), Segment::Index(index)) => items.get(*index),
                (Children::Map(entries), Segment::Key(key)) => find(entries, key),
                _ => None,
            };
            match child {
                Some(child) => node = child,
                None => break,
            }
        }
        (node.at.line != 0).then_some(node.at)
    }
}
