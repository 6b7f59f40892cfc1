//! The places of a text where it has to change, and what has to stand there.

use std::collections::HashSet;
use std::ops::Range;

use serde_json::{Map, Value};

use super::emit;
use super::node::{Content, Document, Key, Node, key_text};

/// `text` with what `new` has more than `document`.
pub(super) fn edit(text: &str, document: &Document, new: &Value) -> String {
    let mut editor = Editor { text, document, edits: Vec::new(), changed: HashSet::new() };
    editor.node(&document.root, &document.value(), new);
    editor.keep_aliases(&document.root);
    editor.finish()
}

struct Editor<'a> {
    text: &'a str,
    document: &'a Document,
    edits: Vec<(Range<usize>, String)>,
    /// Anchors of nodes that mean something else now.
    changed: HashSet<usize>,
}

impl Editor<'_> {
    /// Makes a node that means `old` mean `new`.
    fn node(&mut self, node: &Node, old: &Value, new: &Value) {
        if old == new {
            return;
        }
        if node.anchor != 0 {
            self.changed.insert(node.anchor);
        }
        let done = match (&node.content, old, new) {
            (Content::Map { entries, flow }, Value::Object(old), Value::Object(new)) => {
                self.map(node, entries, *flow, old, new)
            }
            (Content::List { items, flow }, Value::Array(old), Value::Array(new)) => {
                self.list(node, items, *flow, old, new)
            }
            _ => false,
        };
        if !done {
            self.replace(node, new);
        }
    }

    /// False when it cannot be done in place.
    fn map(
        &mut self,
        node: &Node,
        entries: &[(Node, Node)],
        flow: bool,
        old: &Map<String, Value>,
        new: &Map<String, Value>,
    ) -> bool {
        for key in old.keys().filter(|key| !new.contains_key(*key)) {
            if flow || new.is_empty() || !self.remove(entries, key) {
                return false;
            }
        }
        let anchors = &self.document.anchors;
        let written = |key: &str| {
            let found =
                entries.iter().find(|(it, _)| key_text(it, anchors) == Some(Key::Text(key.to_owned())));
            found.map(|(_, value)| value)
        };
        let mut added = Map::new();
        for (key, value) in new {
            match (written(key), old.get(key)) {
                (Some(node), Some(old)) => self.node(node, old, value),
                // What only `<<` says is said again in full, and wins.
                (_, old) if old != Some(value) => drop(added.insert(key.clone(), value.clone())),
                _ => {}
            }
        }
        if added.is_empty() {
            return true;
        }
        if flow {
            let mut inside: Vec<String> =
                added.iter().map(|(key, value)| format!("{}: {value}", Value::from(key.as_str()))).collect();
            if !entries.is_empty() {
                // For the comma.
                inside.push(String::new());
            }
            let at = node.span.start + 1;
            let blank = if self.text[at..].starts_with([' ', '\n', '\r']) { "" } else { " " };
            let text = inside.join(", ");
            self.insert(at, if entries.is_empty() { text } else { format!("{}{blank}", text.trim_end()) });
            return true;
        }
        let Some(first) = entries.first() else { return false };
        self.insert_block(first.0.span.start, |indent| emit::block(&Value::Object(added.clone()), indent))
    }

    /// Takes an entry of a block out, with what stands behind it on its line. False when something else than blanks stands
    /// before it.
    fn remove(&mut self, entries: &[(Node, Node)], key: &str) -> bool {
        let anchors = &self.document.anchors;
        let is = |(it, _): &&(Node, Node)| key_text(it, anchors) == Some(Key::Text(key.to_owned()));
        let Some((key, value)) = entries.iter().find(is) else { return false };
        let start = self.line(key.span.start);
        if !self.text[start..key.span.start].bytes().all(|b| b == b' ') {
            return false;
        }
        let last = value.span.end.max(key.span.end);
        let end = match self.text[..last].ends_with('\n') {
            true => last,
            false => self.text[last..].find('\n').map_or(self.text.len(), |end| last + end + 1),
        };
        self.edits.push((start..end, String::new()));
        true
    }

    /// False when it cannot be done in place.
    fn list(&mut self, node: &Node, items: &[Node], flow: bool, old: &[Value], new: &[Value]) -> bool {
        if old.len() == new.len() {
            items.iter().zip(old.iter().zip(new)).for_each(|(node, (old, new))| self.node(node, old, new));
            return true;
        }
        let start = new.windows(old.len().max(1)).position(|part| part == old);
        let (Some(start), Some(last)) = (start, items.last()) else { return false };
        let (before, after) = (&new[..start], &new[start + old.len()..]);
        if flow {
            let json = |items: &[Value]| items.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
            if !before.is_empty() {
                self.insert(node.span.start + 1, format!("{}, ", json(before)));
            }
            if !after.is_empty() {
                self.insert(last.span.end, format!(", {}", json(after)));
            }
            return true;
        }
        let Some(dash) = items.first().and_then(|first| self.dash(first.span.start)) else { return false };
        let list = |items: &[Value], indent| emit::block(&Value::Array(items.to_vec()), indent);
        if !before.is_empty() && !self.insert_block(dash, |indent| list(before, indent)) {
            return false;
        }
        if !after.is_empty() {
            let mut text = list(after, self.column(dash));
            let mut at = last.span.end;
            if !self.text[..at].ends_with('\n') {
                // What stands behind the last item on its line is a comment.
                match self.text[at..].find('\n') {
                    Some(end) => at += end + 1,
                    None => {
                        at = self.text.len();
                        text.insert(0, '\n');
                    }
                }
            }
            self.insert(at, text);
        }
        true
    }

    /// Where the dash stands before an item of a list in block style, which begins at `item`. (The parser's place of such
    /// a list is that of its first dash, or what stands behind it.)
    fn dash(&self, item: usize) -> Option<usize> {
        let before = &self.text[..item];
        before
            .rmatch_indices('-')
            .map(|(at, _)| at)
            .find(|at| before[at + 1..].starts_with([' ', '\n', '\r', '\t']))
    }

    /// Inserts what `make` makes for a column before a block that begins at `at`, and before the comments above it. False
    /// when something else than blanks and dashes stands before it on its line.
    fn insert_block(&mut self, at: usize, make: impl Fn(usize) -> String) -> bool {
        let line = self.line(at);
        let before = &self.text[line..at];
        let column = self.column(at);
        if before.bytes().all(|b| b == b' ') {
            let mut start = line;
            while start > 0 {
                let above = self.line(start - 1);
                let text = self.text[above..start].trim();
                if !(text.is_empty() || text.starts_with('#')) {
                    break;
                }
                start = above;
            }
            self.insert(start, make(column));
            return true;
        }
        if before.bytes().all(|b| b == b' ' || b == b'-') && before.ends_with(' ') {
            let text = make(column);
            self.insert(at, format!("{}{}", text.trim_start_matches(' '), " ".repeat(column)));
            return true;
        }
        false
    }

    /// Puts a value in the place of a node, on one line.
    fn replace(&mut self, node: &Node, new: &Value) {
        let span = node.span.clone();
        if !span.is_empty() {
            self.edits.push((span, new.to_string()));
            return;
        }
        // Nothing at all, behind a key and its colon.
        let at = self.text[span.start..].find(':').map_or(span.start, |colon| span.start + colon + 1);
        self.insert(at, format!(" {new}"));
    }

    /// What repeats a node that has changed goes on to mean what it meant.
    fn keep_aliases(&mut self, node: &Node) {
        match &node.content {
            Content::Alias(id) if self.changed.contains(id) => {
                let edited = self.edits.iter().any(|(range, _)| *range == node.span);
                if let (false, Some(value)) = (edited, self.document.anchors.get(id)) {
                    self.edits.push((node.span.clone(), value.to_string()));
                }
            }
            Content::List { items, .. } => items.iter().for_each(|item| self.keep_aliases(item)),
            Content::Map { entries, .. } => entries.iter().for_each(|(key, value)| {
                self.keep_aliases(key);
                self.keep_aliases(value);
            }),
            Content::Scalar(_) | Content::Alias(_) => {}
        }
    }

    fn insert(&mut self, at: usize, text: String) {
        self.edits.push((at..at, text));
    }

    /// Where the line begins that `at` is on.
    fn line(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |end| end + 1)
    }

    /// How many characters stand before `at` on its line.
    fn column(&self, at: usize) -> usize {
        self.text[self.line(at)..at].chars().count()
    }

    fn finish(mut self) -> String {
        self.edits.sort_by_key(|(range, _)| (range.start, range.end));
        let windows = self.text.contains("\r\n");
        let mut out = String::with_capacity(self.text.len() + 4096);
        let mut at = 0;
        for (range, text) in &self.edits {
            // One inside of another that was replaced as a whole.
            if range.start < at {
                continue;
            }
            out.push_str(&self.text[at..range.start]);
            out.push_str(&if windows { text.replace('\n', "\r\n") } else { text.clone() });
            at = range.end;
        }
        out.push_str(&self.text[at..]);
        out
    }
}
