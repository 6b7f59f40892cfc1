//! One step of the world: what sources send and the engine takes.

use std::sync::Arc;

use umbra_ir::ObjectId;

use crate::Object;

/// A change of one object.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The object is there, with this content.
    Upsert(Arc<Object>),
    /// The object is gone.
    Delete(ObjectId),
}
