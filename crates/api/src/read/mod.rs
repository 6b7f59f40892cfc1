//! From text or JSON to objects: text -> [`tree`] with positions -> types (`decode`) -> [`documents`].

pub(crate) mod decode;
pub mod documents;
pub(crate) mod envelope;
pub mod path;
pub(crate) mod plain;
pub(crate) mod shared;
pub mod tree;
pub(crate) mod yaml;
