//! Resources with a time to live, which only layers of the runtime have: a proxy drops them when nobody repeats them
//! (xDS protocol, "Time to live (TTL)"), so a server that is gone, or cut off, takes them away by its silence.
//!
//! On delta streams alone: in state-of-the-world Envoy 1.40 tells each layer of all that have run out, which none expects, and ends
//! itself (docs/decisions/0066).

use std::sync::Arc;
use std::time::Duration;

use crate::flight::{Flight, Load};
use crate::lasting::rests;
use crate::message::Output;
use crate::resource::{Resource, ResourceType};
use crate::response::{NO_VERSION, Response};
use crate::session::Session;
use crate::snapshot::Snapshot;
use crate::variant::Variant;

const TYPE: ResourceType = ResourceType::Runtime;
impl Session {
    /// When resources are to be repeated next, if nothing holds that up.
    pub(crate) fn next_heartbeat(&self) -> Option<Duration> {
        self.heartbeats.due.filter(|_| rests(self.held(TYPE)))
    }

    /// Repeats what lives only for some time and is due.
    pub(crate) fn beat(&mut self, snapshot: &Snapshot, now: Duration, output: &mut Output) {
        if self.variant == Variant::Sotw {
            return;
        }
        let held = self.held(TYPE);
        if self.heartbeats.due.is_some_and(|due| now < due) || !rests(held) {
            return;
        }
        // The settings say of all layers or of none how long they live.
        let Some(ttl) = held.confirmed().find_map(|it| it.ttl) else {
            self.heartbeats.due = None;
            return;
        };
        let all: Vec<Arc<Resource>> = held.confirmed().filter(|it| it.ttl.is_some()).cloned().collect();
        let first = self.heartbeats.due.is_none();
        self.heartbeats.put_off(ttl, now);
        if first {
            // They have just been sent.
            return;
        }
        let nonce = self.next_nonce();
        let entries: Vec<_> = all.iter().filter_map(|it| it.heartbeat()).collect();
        let count = entries.len();
        let url = TYPE.type_url();
        let response = Response::with(self.variant, url, NO_VERSION, nonce, (entries, count), &[]);
        output.responses.push(response);
        let generation = snapshot.generation();
        // It tells nothing that the proxy lacks.
        let since = generation + 1;
        let flight = Flight::new(nonce, (since, generation), now, Arc::default(), Load::default());
        self.types[TYPE.index()].send(Flight { is_heartbeat: true, ..flight });
    }
}
