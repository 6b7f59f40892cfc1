//! Manifests: documents in, objects and diagnostics out.

use std::sync::Arc;

use umbra_ir::{Code, Diagnostic, Kind, ObjectId, Severity};

use super::envelope;
use super::tree::{Position, Positions, Tree, Value};
use super::yaml;
use crate::kinds::{Class, classify};
use crate::suggest::did_you_mean;
use crate::types::object::Object;

/// Nested `kind: List`s beyond this are nonsense.
const MAX_LIST_DEPTH: usize = 4;

/// What a text holds.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// The objects that fit their types, in the order written.
    pub objects: Vec<Located<Object>>,
    /// Objects that are written here but don't fit their types. Whoever holds an earlier version keeps it.
    pub refused: Vec<ObjectId>,
    /// Everything that is wrong with the text, not only the first thing.
    pub diagnostics: Vec<Diagnostic>,
    /// False when the text as a whole could not be read: then there are no objects, and whoever read this
    /// file before keeps what it held.
    pub ok: bool,
}

/// Something read from a file, with the places of its fields.
#[derive(Clone, Debug)]
pub struct Located<T> {
    /// What was read.
    pub value: T,
    /// The file's name; empty for what came from an API server.
    pub file: Arc<str>,
    positions: Arc<Positions>,
}

impl<T> Located<T> {
    /// The same, with a value that others hold too.
    pub fn shared(self) -> Located<Arc<T>> {
        Located { value: Arc::new(self.value), file: self.file, positions: self.positions }
    }

    /// Line and column (from 1) of a field such as `spec.http[0].mirror`, or of its nearest ancestor that is
    /// written down. `None` for what came from an API server.
    ///
    /// Of Pods, EndpointSlices, Namespaces and Nodes only the object's own place is kept, for memory's sake.
    pub fn locate(&self, field_path: &str) -> Option<(u32, u32)> {
        self.positions.locate(field_path).map(|at| (at.line, at.column))
    }

    /// Fills in where the diagnostic's field stands.
    pub fn place(&self, mut diagnostic: Diagnostic) -> Diagnostic {
        if let Some((line, column)) = self.locate(&diagnostic.field) {
            diagnostic.file = Some(self.file.clone());
            diagnostic.line = Some(line);
            diagnostic.column = Some(column);
        }
        diagnostic
    }
}

/// Reads YAML or JSON with any number of documents; `file` is the name that diagnostics carry.
///
/// Lists (`kind: List` and `VirtualServiceList` and the like) are unpacked. Kinds that umbra doesn't read,
/// documents that are empty and documents of somebody else's group are passed over. Objects are not
/// validated: that is [`crate::validate`].
pub fn parse_documents(text: &str, file: &str) -> Parsed {
    let mut reader = Reader::new(file.into());
    if let Err(error) = yaml::for_each_document(text, |tree| reader.document(tree)) {
        // JSON is nearly a part of YAML; for the rest, do without positions.
        if let Some(json) = json_of(text) {
            let mut reader = Reader::new(file.into());
            reader.document(Tree::from_json(json));
            return reader.parsed;
        }
        let message = format!("{}; nothing in this file is read, what it held before stays", error.message);
        return Parsed {
            diagnostics: vec![reader.free(Severity::Error, Code::SyntaxError, message, error.at)],
            ..Parsed::default()
        };
    }
    reader.parsed
}

/// Reads one object that an API server sent. Its diagnostics carry no places.
pub fn parse_value(value: serde_json::Value) -> Parsed {
    let mut reader = Reader::new("".into());
    reader.document(Tree::from_json(value));
    reader.parsed
}

fn json_of(text: &str) -> Option<serde_json::Value> {
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with(['{', '[']) { serde_json::from_str(text).ok() } else { None }
}

struct Reader {
    file: Arc<str>,
    parsed: Parsed,
}

impl Reader {
    fn new(file: Arc<str>) -> Self {
        Reader { file, parsed: Parsed { ok: true, ..Parsed::default() } }
    }

    fn document(&mut self, tree: Tree) {
        match &tree.value {
            Value::Null => {}
            Value::Map(entries) if entries.is_empty() => {}
            Value::Map(_) => self.item(tree, "", "", 0),
            _ => {
                let message = "a document that is not an object: it has no kind; passed over".to_owned();
                self.report(Severity::Warning, Code::NotAnObject, message, tree.at);
            }
        }
    }

    /// One object or list. The items of a typed list may leave out what the list's own kind implies.
    fn item(&mut self, mut tree: Tree, version: &str, kind: &str, depth: usize) {
        let text = |key: &str| tree.get(key).and_then(Tree::as_str).map(str::to_owned);
        let kind = text("kind").unwrap_or_else(|| kind.to_owned());
        let version = text("apiVersion").unwrap_or_else(|| version.to_owned());
        if kind.is_empty() {
            let message = "a document without a kind; passed over".to_owned();
            return self.report(Severity::Warning, Code::NotAnObject, message, tree.at);
        }
        if let Some(element) = kind.strip_suffix("List") {
            return self.list(tree, &version, element, depth);
        }
        match classify(&version, &kind) {
            Class::Foreign => {}
            Class::Read(kind) => self.object(&mut tree, kind),
            Class::Refused(kind, message) => {
                let at = place_of(&tree, "apiVersion");
                let mut diagnostic = self.free(Severity::Error, Code::UnknownVersion, message, at);
                diagnostic.field = "apiVersion".to_owned();
                diagnostic.object = identity(&tree, kind);
                self.parsed.refused.extend(diagnostic.object.clone());
                self.parsed.diagnostics.push(diagnostic);
            }
            Class::Noted(code, message) => {
                let name = tree.get("metadata").and_then(|m| m.get("name")).and_then(Tree::as_str);
                let message = format!("{kind} {}: {message}", name.unwrap_or("without a name"));
                self.report(Severity::Warning, code, message, place_of(&tree, "kind"));
            }
        }
    }

    fn list(&mut self, tree: Tree, version: &str, element: &str, depth: usize) {
        let at = tree.at;
        let Value::Map(entries) = tree.value else { return };
        let items = entries.into_iter().find(|e| e.key == "items").map(|e| e.value.value);
        match items {
            // A List may hold anything, a PodList only Pods.
            Some(Value::List(items)) if depth < MAX_LIST_DEPTH => {
                let version = if element.is_empty() { "" } else { version };
                for item in items {
                    self.item(item, version, element, depth + 1);
                }
            }
            None | Some(Value::Null | Value::List(_)) => {}
            Some(_) if element.is_empty() || classify(version, element).is_ours() => {
                let message = "items is not a list; passed over".to_owned();
                self.report(Severity::Error, Code::WrongType, message, at);
            }
            Some(_) => {}
        }
    }

    fn object(&mut self, tree: &mut Tree, kind: Kind) {
        let Some(id) = identity(tree, kind) else {
            return self.unnamed(tree, kind);
        };
        let depth = match kind {
            Kind::Pod | Kind::Secret | Kind::EndpointSlice | Kind::Namespace | Kind::Node => 0,
            _ => usize::MAX,
        };
        let positions = tree.positions(depth);
        let read = envelope::read(tree, &id);
        for unknown in read.unknown {
            let hint = did_you_mean(&unknown.key, unknown.fields);
            let of_bytes = unknown.path.starts_with("spec.tls[") || unknown.path.starts_with("spec.tcp[");
            let message = match kind == Kind::VirtualService && of_bytes && unknown.key.starts_with("mirror")
            {
                true => "no such field: Envoy copies requests, not connections; nothing is mirrored here"
                    .to_owned(),
                false => format!("unknown field, ignored{hint}"),
            };
            let diagnostic = Diagnostic::new(Code::UnknownField, &id, unknown.path, message);
            self.push(diagnostic, unknown.at);
        }
        for problem in read.problems {
            let message = format!("{}; {NOT_ACCEPTED}", problem.message);
            let diagnostic = Diagnostic::new(problem.code, &id, problem.path, message);
            self.push(diagnostic, problem.at);
        }
        match read.object {
            Some(value) => self.parsed.objects.push(Located {
                value,
                file: self.file.clone(),
                positions: Arc::new(positions),
            }),
            None => self.parsed.refused.push(id),
        }
    }

    /// An object that cannot be told from others: say which part of its identity is missing.
    fn unnamed(&mut self, tree: &Tree, kind: Kind) {
        let metadata = tree.get("metadata");
        let part = |key: &str| metadata.and_then(|m| m.get(key)).map(|t| &t.value);
        let (field, problem) = match (metadata.map(|m| &m.value), part("name")) {
            (Some(Value::Map(_)), None | Some(Value::Null)) => ("metadata.name", "is missing"),
            (Some(Value::Map(_)), Some(Value::String(name))) if name.is_empty() => {
                ("metadata.name", "is empty")
            }
            (Some(Value::Map(_)), Some(Value::String(_))) => {
                ("metadata.namespace", "is not text; put it in quotes")
            }
            (Some(Value::Map(_)), Some(_)) => ("metadata.name", "is not text; put it in quotes"),
            (None | Some(Value::Null), _) => ("metadata.name", "is missing"),
            (Some(_), _) => ("metadata", "is not a map of fields"),
        };
        let at = tree.positions(3).locate(field).unwrap_or(tree.at);
        let message = format!("{kind}: {field} {problem}; the object is not accepted");
        let mut diagnostic = self.free(Severity::Error, Code::NoIdentity, message, at);
        diagnostic.field = field.to_owned();
        self.parsed.diagnostics.push(diagnostic);
    }

    fn push(&mut self, mut diagnostic: Diagnostic, at: Position) {
        if at.line != 0 {
            diagnostic.file = Some(self.file.clone());
            diagnostic.line = Some(at.line);
            diagnostic.column = Some(at.column);
        }
        self.parsed.diagnostics.push(diagnostic);
    }

    fn report(&mut self, severity: Severity, code: Code, message: String, at: Position) {
        let diagnostic = self.free(severity, code, message, at);
        self.parsed.diagnostics.push(diagnostic);
    }

    /// A diagnostic about a place, not about an object.
    fn free(&self, severity: Severity, code: Code, message: String, at: Position) -> Diagnostic {
        let known = at.line != 0;
        Diagnostic {
            file: (!self.file.is_empty()).then(|| self.file.clone()),
            line: known.then_some(at.line),
            column: known.then_some(at.column),
            ..Diagnostic::of_file(code, "", message).with_severity(severity)
        }
    }
}

/// What happens to an object that does not fit its type.
const NOT_ACCEPTED: &str = "the object is not accepted, its last good version (if any) stays";

/// Where the value of a top-level key stands.
fn place_of(tree: &Tree, key: &str) -> Position {
    tree.get(key).map_or(tree.at, |value| value.at)
}

/// What an object calls itself. `None` when its name or namespace is missing or is not text.
fn identity(tree: &Tree, kind: Kind) -> Option<ObjectId> {
    let metadata = tree.get("metadata")?;
    let name = metadata.get("name")?.as_str().filter(|name| !name.is_empty())?;
    if !kind.is_namespaced() {
        return Some(ObjectId::new(kind, "", name));
    }
    let namespace = match metadata.get("namespace").map(|t| &t.value) {
        None | Some(Value::Null) => "default",
        Some(Value::String(namespace)) if namespace.is_empty() => "default",
        Some(Value::String(namespace)) => namespace,
        Some(_) => return None,
    };
    Some(ObjectId::new(kind, namespace, name))
}
