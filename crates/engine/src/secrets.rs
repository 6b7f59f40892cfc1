//! What stays in force of a Secret that was deleted or came out broken: a handshake must not fail because of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use umbra_api::{Change, Object, Secret};
use umbra_ir::{Kind, ObjectId};
use umbra_mesh::Index;

use crate::input::{Input, InputId};
use crate::memo::Memo;
use crate::view::Mesh;

/// The Secrets that were deleted and stay as long as a Gateway names them.
#[derive(Default)]
pub(crate) struct Secrets {
    gone: BTreeSet<ObjectId>,
}

impl Secrets {
    /// An object as it is taken in: of a Secret with what stays of its version before.
    pub(crate) fn follow(&mut self, memo: &Memo<Mesh>, object: Arc<Object>) -> Arc<Object> {
        let Object::Secret(next) = &*object else { return object };
        let id = object.id();
        if next.gone {
            self.gone.insert(id.clone());
        } else {
            self.gone.remove(&id);
        }
        match umbra_core::succeed_secret(known(memo, &id).as_deref(), Some(next)) {
            Some(secret) => Arc::new(Object::Secret(Box::new(secret))),
            None => object,
        }
    }

    /// What a deletion comes to: a Secret that a Gateway names stays as it was.
    pub(crate) fn keep(&mut self, memo: &Memo<Mesh>, id: ObjectId) -> Change {
        if id.kind != Kind::Secret || !is_named(memo, &id) {
            self.gone.remove(&id);
            return Change::Delete(id);
        }
        match umbra_core::succeed_secret(known(memo, &id).as_deref(), None) {
            Some(secret) => {
                self.gone.insert(id);
                Change::Upsert(Arc::new(Object::Secret(Box::new(secret))))
            }
            None => Change::Delete(id),
        }
    }

    /// Those that no Gateway names any more.
    pub(crate) fn forgotten(&mut self, memo: &Memo<Mesh>) -> Vec<ObjectId> {
        let forgotten: Vec<ObjectId> = self.gone.iter().filter(|id| !is_named(memo, id)).cloned().collect();
        self.gone.retain(|id| !forgotten.contains(id));
        forgotten
    }
}

fn is_named(memo: &Memo<Mesh>, id: &ObjectId) -> bool {
    memo.store().members(&Index::NamesSecret(id.clone())).next().is_some()
}

fn known(memo: &Memo<Mesh>, id: &ObjectId) -> Option<Box<Secret>> {
    match memo.store().get(&InputId::Object(id.clone())).map(|input| &**input) {
        Some(Input::Object(object)) => match &**object {
            Object::Secret(secret) => Some(secret.clone()),
            _ => None,
        },
        _ => None,
    }
}
