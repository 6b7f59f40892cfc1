//! Events (`events.k8s.io/v1`) for what turned in a status and somebody acts on. The same news about the same
//! object is one Event that counts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::timeout;
use tracing::{debug, warn};
use umbra_ir::ObjectId;

use super::lease::{Leadership, NAME};
use super::status::{Condition, EventReason, Observed, Status};

/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(2);
/// News of this age count as new again; the API server forgets Events after an hour.
const MEMORY: Duration = Duration::from_secs(1800);
/// How often the same Event counts up at most.
const SERIES_GAP: Duration = Duration::from_secs(10);
/// How many pieces of news are remembered; beyond that the oldest is forgotten.
const REMEMBERED: usize = 1000;
/// The longest note that the API server takes, in bytes.
const MAX_NOTE: usize = 1024;
/// What the name of an Event may begin with, so that it is not too long.
const MAX_NAME: usize = 200;

/// A piece of news.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct News {
    reason: EventReason,
    note: String,
}

/// What a person should hear when `status` takes the place of what was `before`.
fn news(before: &Observed, status: &Status) -> Vec<News> {
    let one = |condition: &Condition| {
        let reason = EventReason::of(before.condition(condition.reason.condition), condition.reason)?;
        Some(News { reason, note: cut(&condition.message, MAX_NOTE).to_owned() })
    };
    status.conditions.iter().filter_map(one).collect()
}

/// As many bytes of `text` as fit, between two characters.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or_default()]
}

/// An Event that was sent.
#[derive(Debug)]
struct Sent {
    name: String,
    count: i32,
    first: Instant,
    last: Instant,
}

/// Sends Events.
pub(crate) struct Events {
    client: Client,
    me: String,
    /// By uid of the object.
    sent: BTreeMap<(String, News), Sent>,
    complained: bool,
}

impl Events {
    /// `me`: who sends them, among the replicas.
    pub(crate) fn new(client: Client, me: &str) -> Self {
        Events { client, me: cut(me, 128).to_owned(), sent: BTreeMap::new(), complained: false }
    }

    /// Tells what is new in `status`, which was written on top of `before`; how many Events that took. One that
    /// cannot be sent is lost: the status says it all.
    pub(crate) async fn tell(
        &mut self,
        id: &ObjectId,
        before: &Observed,
        status: &Status,
        leadership: &Leadership,
    ) -> u64 {
        let mut count = 0;
        for news in news(before, status) {
            if !leadership.holds() {
                break;
            }
            match timeout(REQUEST, self.send(id, before, news)).await {
                Ok(Ok(sent)) => count += u64::from(sent),
                Ok(Err(error)) => self.complain(id, &error),
                Err(_) => debug!(object = %id, "Event not sent: no answer in time"),
            }
        }
        count
    }

    async fn send(&mut self, id: &ObjectId, before: &Observed, news: News) -> Result<bool, kube::Error> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &id.namespace);
        let now = Instant::now();
        self.sent.retain(|_, sent| now.duration_since(sent.first) < MEMORY);
        let key = (before.uid.clone(), news);
        let time = MicroTime(k8s_openapi::jiff::Timestamp::now());
        if let Some(sent) = self.sent.get_mut(&key) {
            sent.count += 1;
            if now.duration_since(sent.last) < SERIES_GAP {
                return Ok(false);
            }
            sent.last = now;
            let series = EventSeries { count: sent.count, last_observed_time: time };
            let patch = Patch::Merge(json!({ "series": series }));
            return api.patch(&sent.name, &PatchParams::default(), &patch).await.map(|_| true);
        }
        let event = self.event(id, before, &key.1, time);
        let name = event.metadata.name.clone().unwrap_or_default();
        api.create(&PostParams::default(), &event).await?;
        if self.sent.len() >= REMEMBERED {
            let oldest = self.sent.iter().min_by_key(|(_, sent)| sent.first).map(|(key, _)| key.clone());
            oldest.map(|key| self.sent.remove(&key));
        }
        self.sent.insert(key, Sent { name, count: 1, first: now, last: now });
        Ok(true)
    }

    fn event(&self, id: &ObjectId, before: &Observed, news: &News, time: MicroTime) -> Event {
        let mut event = Event::default();
        let name = cut(&id.name, MAX_NAME).trim_end_matches(['.', '-']);
        event.metadata.name = Some(format!("{name}.{:016x}", fastrand::u64(..)));
        event.metadata.namespace = Some(id.namespace.to_string());
        event.event_time = Some(time);
        event.regarding = Some(ObjectReference {
            api_version: Some(before.api_version.clone()),
            kind: Some(id.kind.as_str().to_owned()),
            namespace: Some(id.namespace.to_string()),
            name: Some(id.name.to_string()),
            uid: Some(before.uid.clone()),
            ..ObjectReference::default()
        });
        event.reporting_controller = Some(NAME.to_owned());
        event.reporting_instance = Some(self.me.clone());
        event.action = Some("Translate".to_owned());
        event.type_ = Some(news.reason.severity().to_owned());
        event.reason = Some(news.reason.word.to_owned());
        event.note = Some(news.note.clone());
        event
    }

    fn complain(&mut self, id: &ObjectId, error: &kube::Error) {
        let forbidden = matches!(error, kube::Error::Api(status) if status.code == 403);
        if forbidden && !self.complained {
            self.complained = true;
            warn!(
                "no Events: umbra's role lacks verbs create and patch on resource \"events\" of apiGroup \
                 \"events.k8s.io\""
            );
        }
        debug!(object = %id, reason = %error, "Event not sent");
    }
}

#[cfg(test)]
mod tests {
    use super::super::status::Reason;
    use super::*;

    #[test]
    fn a_turn_is_news_with_its_message() {
        let was = json!({"conditions": [{"type": "Programmed", "status": "False", "reason": "Rejected"}]});
        let observed = Observed { status: was, ..Observed::default() };
        let all = [(Reason::ACCEPTED, "in force"), (Reason::LIVE, "live on 2 of 2")];
        let conditions = all.map(|(reason, words)| Condition { reason, message: words.to_owned() }).to_vec();
        let status = Status { generation: 1, conditions, mirrors: String::new(), messages: Vec::new() };
        let told = News { reason: EventReason::PROGRAMMED, note: "live on 2 of 2".to_owned() };
        assert_eq!(news(&observed, &status), [told]);
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("äö", 3), "ä");
        assert_eq!(cut("ab", 3), "ab");
    }
}
