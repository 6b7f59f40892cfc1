//! Reading objects by identity.

use std::sync::Arc;

use umbra_ir::ObjectId;

use crate::Object;

/// Where a front end reads objects; the engine implements it and records every read.
pub trait Objects {
    /// One object.
    fn object(&self, id: &ObjectId) -> Option<Arc<Object>>;
}
