//! Trees to types, as strict as the API server and proto JSON.
//!
//! A serde `Deserializer` of our own, because proto JSON's rules are not serde's: both spellings of a field
//! name, null means absent in a message but not in a map, integers may be written as text, an unknown field
//! is reported and not fatal. Types derive plain serde and know nothing of it.

use std::cell::RefCell;
use std::fmt;

use serde::de::{self, DeserializeSeed, IntoDeserializer, Unexpected, Visitor};

use super::path;
use super::tree::{Entry, Position, Tree, Value};

use umbra_ir::Code;

/// The fields of a message, in lowerCamelCase.
pub(crate) type Names = &'static [&'static str];

/// Whose rules hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// Istio's: proto JSON, unknown fields are reported.
    Proto,
    /// Kubernetes' own kinds: fields that we don't know are theirs and passed over.
    Core,
}

/// Something that does not fit its type.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    pub(crate) path: String,
    pub(crate) message: String,
    pub(crate) at: Position,
}

/// A key that no field has.
#[derive(Clone, Debug)]
pub(crate) struct Unknown {
    pub(crate) path: String,
    pub(crate) at: Position,
    pub(crate) key: String,
    pub(crate) fields: Names,
}

/// The most unknown fields that are reported of one object.
const MAX_UNKNOWN: usize = 50;
/// Bounds the work on one hostile object: every problem costs another pass.
const MAX_PROBLEMS: usize = 50;
/// And on a large one: passes times nodes.
const MAX_WORK: usize = 5_000_000;

/// Reads `tree` as a `T`: the value when nothing was wrong, every problem, every unknown field.
///
/// A part that is wrong is taken out of the tree and reading starts again, so that all problems are found.
pub(crate) fn decode<T: de::DeserializeOwned>(
    tree: &mut Tree,
    rules: Rules,
) -> (Option<T>, Vec<Problem>, Vec<Unknown>) {
    let mut problems: Vec<Problem> = Vec::new();
    let mut work = 0;
    loop {
        let context = Context::new(rules);
        let result = T::deserialize(Decoder { tree, context: &context });
        let unknown = context.unknown.into_inner();
        work += context.visited.into_inner();
        match result {
            Ok(value) => {
                let value = problems.is_empty().then_some(value);
                return (value, problems, unknown);
            }
            Err(error) => {
                let steps = error.steps.clone();
                problems.push(Problem {
                    code: error.code,
                    path: error.path.unwrap_or_default(),
                    message: error.message,
                    at: error.at,
                });
                let hopeless = steps.is_empty() || !tree.prune(&steps);
                if hopeless || problems.len() >= MAX_PROBLEMS || work > MAX_WORK {
                    return (None, problems, unknown);
                }
            }
        }
    }
}

struct Context {
    rules: Rules,
    unknown: RefCell<Vec<Unknown>>,
    visited: RefCell<usize>,
    path: RefCell<Vec<Step>>,
}

/// A step from a node to a child.
struct Step {
    child: usize,
    /// The field's own spelling; `None` for an item of a list.
    key: Option<String>,
    at: Position,
}

impl Context {
    fn new(rules: Rules) -> Self {
        Context { rules, unknown: RefCell::default(), visited: RefCell::default(), path: RefCell::default() }
    }

    fn path(&self) -> String {
        self.path.borrow().iter().fold(String::new(), |path, step| match &step.key {
            Some(key) => path::join(&path, key),
            None => path::item(&path, step.child),
        })
    }

    /// The field that a key of a message means, in its own spelling.
    fn field(&self, key: &str, fields: Names) -> Option<&'static str> {
        let find = |name: &str| fields.iter().find(|field| **field == name).copied();
        match self.rules {
            Rules::Proto => find(key).or_else(|| path::camel_case(key).and_then(|camel| find(&camel))),
            Rules::Core => find(key),
        }
    }

    /// Notes a key that no field has; beyond [`MAX_UNKNOWN`] the point is made.
    fn note_unknown(&self, entry: &Entry, fields: Names) {
        let mut unknown = self.unknown.borrow_mut();
        if self.rules == Rules::Proto && unknown.len() < MAX_UNKNOWN {
            let path = path::join(&self.path(), &entry.key);
            unknown.push(Unknown { path, at: entry.at, key: entry.key.clone(), fields });
        }
    }

    /// Runs `read` one step further down and, when it fails, remembers where.
    fn descend<T>(&self, step: Step, read: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        *self.visited.borrow_mut() += 1;
        self.path.borrow_mut().push(step);
        let result = read().map_err(|mut error| {
            if error.path.is_none() {
                error.path = Some(self.path());
                let path = self.path.borrow();
                error.steps = path.iter().map(|step| step.child).collect();
                error.at = path.last().map(|step| step.at).unwrap_or_default();
            }
            error
        });
        self.path.borrow_mut().pop();
        result
    }
}

/// Why a value does not fit.
#[derive(Debug)]
pub(crate) struct Error {
    code: Code,
    message: String,
    path: Option<String>,
    steps: Vec<usize>,
    at: Position,
}

impl Error {
    fn new(code: Code, message: String) -> Self {
        Error { code, message, path: None, steps: Vec::new(), at: Position::default() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Error::new(Code::WrongType, message.to_string())
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let number = match unexpected {
            Unexpected::Signed(number) => number.to_string(),
            Unexpected::Unsigned(number) => number.to_string(),
            other => other.to_string(),
        };
        let range = match expected.to_string().as_str() {
            "u32" => "0 to 4294967295".to_owned(),
            "i32" => "-2147483648 to 2147483647".to_owned(),
            "u64" => "0 to 18446744073709551615".to_owned(),
            other => other.to_owned(),
        };
        Error::new(Code::WrongType, format!("{number} is out of range, expected {range}"))
    }
}

struct Decoder<'a> {
    tree: &'a Tree,
    context: &'a Context,
}

impl<'a> Decoder<'a> {
    /// "expected X, found Y", with a hint for the usual causes.
    fn mismatch(&self, expected: &dyn de::Expected) -> Error {
        let found = match &self.tree.value {
            Value::Null => "nothing (null)".to_owned(),
            Value::Bool(value) => format!("the boolean {value}"),
            Value::Int(value) => format!("the number {value}"),
            Value::Uint(value) => format!("the number {value}"),
            Value::Float(value) => format!("the number {value}"),
            Value::String(text) => format!("the text {:?}", shorten(text)),
            Value::Ambiguous { text, boolean: Some(_) } => {
                format!("{text} without quotes, which Kubernetes reads as a boolean")
            }
            Value::Ambiguous { text, boolean: None } => {
                format!("{text}, which YAML 1.1 and 1.2 read as different numbers")
            }
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
            Value::Pruned => "nothing".to_owned(),
        };
        Error::new(Code::WrongType, format!("expected {expected}, found {found}"))
    }

    fn want(&self, expected: &'static str) -> Error {
        let mut error = self.mismatch(&expected);
        let scalar = matches!(
            self.tree.value,
            Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Float(_) | Value::Ambiguous { .. }
        );
        if expected == "text" && scalar {
            error.message.push_str("; put it in quotes");
        }
        error
    }

    /// An integer: a number without fraction and, in proto JSON, the same as text.
    fn integer(&self) -> Result<Integer, Error> {
        match &self.tree.value {
            Value::Int(value) => Ok(Integer::Signed(*value)),
            Value::Uint(value) => Ok(Integer::Unsigned(*value)),
            Value::Float(value) => whole(*value).ok_or_else(|| self.want("a whole number")),
            Value::String(text) if self.context.rules == Rules::Proto => {
                let exact =
                    text.parse().map(Integer::Signed).or_else(|_| text.parse().map(Integer::Unsigned));
                let float = || text.parse().ok().and_then(whole);
                exact.ok().or_else(float).ok_or_else(|| self.want("a whole number"))
            }
            _ => Err(self.want("a whole number")),
        }
    }

    fn entries(&self) -> Option<&'a [Entry]> {
        match &self.tree.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The first key that stands twice, in whatever spelling, as an error at its second place.
    fn no_duplicates(&self, entries: &[Entry], fields: Option<Names>) -> Result<(), Error> {
        let mut seen = std::collections::HashMap::with_capacity(entries.len());
        for (child, entry) in entries.iter().enumerate() {
            if matches!(entry.value.value, Value::Pruned) {
                continue;
            }
            let field = fields.and_then(|fields| self.context.field(&entry.key, fields));
            if let Some(first) = seen.insert(field.unwrap_or(&entry.key), entry) {
                let step = Step { child, key: Some(entry.key.clone()), at: entry.at };
                return self.context.descend(step, || {
                    let line = first.at.line;
                    let place = if line == 0 { String::new() } else { format!(" (first in line {line})") };
                    let message = if first.key == entry.key {
                        format!("the key is given twice{place}")
                    } else {
                        format!("the same field as {}{place}, in another spelling", first.key)
                    };
                    Err(Error::new(Code::DuplicateKey, message))
                });
            }
        }
        Ok(())
    }
}

enum Integer {
    Signed(i64),
    Unsigned(u64),
}

/// A float without fraction, as proto JSON takes it for an integer.
fn whole(value: f64) -> Option<Integer> {
    // Beyond 2^53 a float no longer says which integer was meant.
    (value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0).then_some(Integer::Signed(value as i64))
}

/// The beginning of a text that may be long.
fn shorten(text: &str) -> &str {
    match text.char_indices().nth(60) {
        Some((index, _)) => &text[..index],
        None => text,
    }
}

macro_rules! integers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.integer()? {
                Integer::Signed(value) => visitor.visit_i64(value),
                Integer::Unsigned(value) => visitor.visit_u64(value),
            }
        })*
    };
}

impl<'de, 'a> de::Deserializer<'de> for Decoder<'a> {
    type Error = Error;

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.tree.value {
            Value::Null | Value::Pruned => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => visitor.visit_i64(*value),
            Value::Uint(value) => visitor.visit_u64(*value),
            // An enum or a port may be written 1.0 in proto JSON.
            Value::Float(value) => match whole(*value) {
                Some(Integer::Signed(value)) => visitor.visit_i64(value),
                _ => visitor.visit_f64(*value),
            },
            Value::String(text) => visitor.visit_str(text),
            Value::Ambiguous { .. } => Err(self.mismatch(&visitor)),
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Map(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.tree.value {
            Value::Bool(value) | Value::Ambiguous { boolean: Some(value), .. } => visitor.visit_bool(*value),
            _ => Err(self.want("true or false")),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = match &self.tree.value {
            Value::Int(value) => Some(*value as f64),
            Value::Uint(value) => Some(*value as f64),
            Value::Float(value) => Some(*value),
            Value::String(text) if self.context.rules == Rules::Proto => match text.as_str() {
                "NaN" => Some(f64::NAN),
                "Infinity" => Some(f64::INFINITY),
                "-Infinity" => Some(f64::NEG_INFINITY),
                // The standard library also takes words such as inf, which proto JSON does not.
                text if text.ends_with(|c: char| c.is_ascii_digit()) => text.parse().ok(),
                _ => None,
            },
            _ => None,
        };
        visitor.visit_f64(value.ok_or_else(|| self.want("a number"))?)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.tree.value {
            Value::String(text) => visitor.visit_str(text),
            _ => Err(self.want("text")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.tree.value {
            Value::Null | Value::Pruned => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.tree.value {
            Value::List(items) => {
                visitor.visit_seq(Items { items: items.iter().enumerate(), context: self.context })
            }
            _ => Err(self.want("a list")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let entries = self.entries().ok_or_else(|| self.want("a map"))?;
        self.no_duplicates(entries, None)?;
        visitor.visit_map(Fields::new(entries, None, self.context))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: Names,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let entries = self.entries().ok_or_else(|| self.want("a map of fields"))?;
        self.no_duplicates(entries, Some(fields))?;
        visitor.visit_map(Fields::new(entries, Some(fields), self.context))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier
    }
}

struct Items<'a> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Tree>>,
    context: &'a Context,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some((child, tree)) = self.items.find(|(_, tree)| !matches!(tree.value, Value::Pruned)) else {
            return Ok(None);
        };
        let context = self.context;
        let step = Step { child, key: None, at: tree.at };
        context.descend(step, || seed.deserialize(Decoder { tree, context })).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        // A list is kept as it is read, so it should have no more room than it needs.
        Some(self.items.len())
    }
}

/// The entries of a message (`fields` are its fields) or of a map (`None`).
struct Fields<'a> {
    entries: std::iter::Enumerate<std::slice::Iter<'a, Entry>>,
    fields: Option<Names>,
    context: &'a Context,
    current: Option<(usize, &'a Entry, String)>,
}

impl<'a> Fields<'a> {
    fn new(entries: &'a [Entry], fields: Option<Names>, context: &'a Context) -> Self {
        Fields { entries: entries.iter().enumerate(), fields, context, current: None }
    }
}

impl<'de> de::MapAccess<'de> for Fields<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        loop {
            let Some((child, entry)) = self.entries.next() else { return Ok(None) };
            if matches!(entry.value.value, Value::Pruned) {
                continue;
            }
            let name = match self.fields {
                None => entry.key.clone(),
                Some(fields) => match self.context.field(&entry.key, fields) {
                    // Null is absent in a message (proto JSON, and Kubernetes alike).
                    Some(_) if matches!(entry.value.value, Value::Null) => continue,
                    Some(field) => field.to_owned(),
                    None => {
                        self.context.note_unknown(entry, fields);
                        continue;
                    }
                },
            };
            self.current = Some((child, entry, name.clone()));
            let key: de::value::StringDeserializer<Error> = name.into_deserializer();
            return seed.deserialize(key).map(Some);
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some((child, entry, name)) = self.current.take() else {
            return Err(de::Error::invalid_type(Unexpected::Other("no value"), &"a value"));
        };
        let context = self.context;
        let step = Step { child, key: Some(name), at: entry.at };
        context.descend(step, || seed.deserialize(Decoder { tree: &entry.value, context }))
    }
}
