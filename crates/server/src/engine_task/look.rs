//! Looking at the engine in one piece: what is answered was true at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use umbra_engine::{Parts, ProxyId, WrittenHost};
use umbra_ir::{Diagnostic, ObjectId};
use umbra_source::Place;
use umbra_xds::Snapshot;

use super::{AllMirrors, Command, EngineHandle, Owner};

/// Looks, and tells somebody.
pub(super) type Look = Box<dyn FnOnce(&Owner) + Send>;

/// An object as `/debug/objects` lists it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Which.
    pub id: ObjectId,
    /// Where it stands.
    pub place: Option<Place>,
}

/// What a proxy should have, and where its routes are written.
pub(crate) struct ProxyConfig {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) written: Vec<WrittenHost>,
    /// Of the objects that they are written in, if these stand in files.
    pub(crate) places: BTreeMap<ObjectId, Place>,
}

/// All that the engine holds, to be played with elsewhere.
pub(crate) struct Copied {
    pub(crate) parts: Parts,
    pub(crate) places: BTreeMap<ObjectId, Place>,
    pub(crate) file_diagnostics: Vec<Diagnostic>,
}

impl EngineHandle {
    async fn look<T: Send + 'static>(&self, look: impl FnOnce(&Owner) -> T + Send + 'static) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let look = move |owner: &Owner| drop(reply.send(look(owner)));
        self.commands.send(Command::Look(Box::new(look))).await.ok()?;
        answer.await.ok()
    }

    /// The configuration of a proxy, as of the last settle; `None`: it is not there any more, or not yet.
    pub(crate) async fn proxy_config(&self, id: u64) -> Option<ProxyConfig> {
        let look = move |owner: &Owner| {
            let (snapshot, class) = (owner.engine.snapshot(ProxyId(id))?, owner.engine.class(ProxyId(id))?);
            let written = owner.engine.written(class);
            let rules = written.iter().flat_map(|host| &host.routes).flatten();
            let place = |id: &ObjectId| Some((id.clone(), owner.places.get(id)?.clone()));
            let places = rules.filter_map(|rule| place(&rule.object)).collect();
            Some(ProxyConfig { snapshot, written, places })
        };
        self.look(look).await.flatten()
    }

    /// How long a copy may take; `None` when the engine is gone.
    pub(crate) async fn copy_limit(&self) -> Option<Duration> {
        self.look(|owner: &Owner| owner.engine.max_stream_duration()).await
    }

    /// The mirrors of every VirtualService that has any, as of the last settle; none when the engine is gone.
    pub(crate) async fn mirrors(&self) -> AllMirrors {
        self.look(|owner: &Owner| owner.engine.mirrors()).await.unwrap_or_default()
    }

    /// All of it; `None` when the engine is gone.
    pub(crate) async fn copied(&self) -> Option<Copied> {
        let look = |owner: &Owner| Copied {
            parts: owner.engine.parts(),
            places: owner.places.clone(),
            file_diagnostics: owner.file_diagnostics.clone(),
        };
        self.look(look).await
    }
}
