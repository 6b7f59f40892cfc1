//! What is written, and whether it is there already. No IO, no clock.

use serde_json::{Value, json};
use umbra_ir::ObjectId;

use super::{Condition, ConditionType, Observed, Reason, Said, Status};
use crate::Generations;

/// How far what is there is from what should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Difference {
    /// Not at all.
    None,
    /// Other words, such as the number of proxies.
    Words,
    /// Another version of the object, or a condition that turned.
    Turn,
}

impl Observed {
    /// Takes the status out of an Istio object: it never has to do with what the object means. Which version is in
    /// force is for others to say.
    pub(crate) fn take(value: &mut Value) -> Self {
        let text = |path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let newest = value.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default();
        let mut observed = Observed {
            api_version: text("/apiVersion"),
            resource_version: text("/metadata/resourceVersion"),
            uid: text("/metadata/uid"),
            generations: Generations { newest, in_force: 0 },
            status: Value::Null,
            atomic: is_atomic(value),
        };
        observed.status =
            value.as_object_mut().and_then(|object| object.remove("status")).unwrap_or_default();
        observed
    }

    pub(super) fn conditions(&self) -> &[Value] {
        self.status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default()
    }

    /// `True`, … and the reason of a condition.
    pub(crate) fn condition(&self, kind: ConditionType) -> Option<(&str, &str)> {
        let is = self.conditions().iter().find(|is| is["type"] == kind.as_str())?;
        Some((is["status"].as_str().unwrap_or_default(), is["reason"].as_str().unwrap_or_default()))
    }

    /// What a condition says, if it is there.
    pub fn said(&self, kind: ConditionType) -> Option<Said<'_>> {
        let is = self.conditions().iter().find(|is| is["type"] == kind.as_str())?;
        Some(Said {
            reason: is["reason"].as_str().unwrap_or_default(),
            message: is["message"].as_str().unwrap_or_default(),
            generation: number(&is["observedGeneration"]).unwrap_or_default(),
            mirrors: self.status["mirrors"].as_str().unwrap_or_default(),
        })
    }
}

/// Who owns fields of a list by type owns them one by one (`k:{"type":"Accepted"}`); of a list that is one value,
/// the whole.
fn is_atomic(value: &Value) -> bool {
    let managers = value.pointer("/metadata/managedFields").and_then(Value::as_array);
    managers.into_iter().flatten().any(|manager| {
        let owned = manager.pointer("/fieldsV1/f:status/f:conditions").and_then(Value::as_object);
        owned.is_some_and(serde_json::Map::is_empty)
    })
}

impl Status {
    /// What a condition says, if it is there.
    pub fn said(&self, kind: ConditionType) -> Option<Said<'_>> {
        let is = self.conditions.iter().find(|is| is.reason.condition == kind)?;
        Some(Said {
            reason: is.reason.word,
            message: &is.message,
            generation: self.generation,
            mirrors: &self.mirrors,
        })
    }

    /// How far `observed` is from this, apart from what others say there.
    pub(super) fn differs_from(&self, observed: &Observed) -> Difference {
        let there = observed.conditions();
        let find =
            |wanted: &Condition| there.iter().find(|is| is["type"] == wanted.reason.condition.as_str());
        let settled = |wanted: &Condition| {
            find(wanted).is_some_and(|is| {
                is["status"] == wanted.reason.holds.as_str()
                    && is["reason"] == wanted.reason.word
                    && number(&is["observedGeneration"]) == Some(self.generation)
            })
        };
        let unwanted = |is: &Value| {
            let ours = ConditionType::ALL.into_iter().find(|kind| is["type"] == kind.as_str());
            ours.is_some_and(|kind| self.conditions.iter().all(|it| it.reason.condition != kind))
        };
        let messages =
            observed.status["validationMessages"].as_array().map(Vec::as_slice).unwrap_or_default();
        if !self.conditions.iter().all(settled) || there.iter().any(unwanted) || messages != self.messages {
            return Difference::Turn;
        }
        let told = |wanted: &Condition| find(wanted).is_some_and(|is| is["message"] == wanted.message);
        let mirrors = observed.status["mirrors"].as_str().unwrap_or_default();
        if mirrors.is_empty() != self.mirrors.is_empty() {
            return Difference::Turn;
        }
        match mirrors == self.mirrors && self.conditions.iter().all(told) {
            true => Difference::None,
            false => Difference::Words,
        }
    }

    /// The text to apply; a condition that does not change keeps its time. It goes on top of exactly what was
    /// `observed`: a writer that slept through a change, of the object or of who leads, comes too late.
    pub(super) fn body(&self, id: &ObjectId, observed: &Observed, now: &str) -> Value {
        let before = observed.conditions();
        let ours = self.conditions.iter().map(|condition| {
            let Reason { condition: kind, holds, word } = condition.reason;
            let (kind, status) = (kind.as_str(), holds.as_str());
            let since = before.iter().find(|is| is["type"] == kind && is["status"] == status);
            let since = since.and_then(|is| is["lastTransitionTime"].as_str()).unwrap_or(now);
            json!({
                "type": kind,
                "status": status,
                "reason": word,
                "message": condition.message,
                "observedGeneration": self.generation,
                "lastTransitionTime": since,
            })
        });
        let mut conditions: Vec<Value> = ours.collect();
        if observed.atomic {
            let others =
                before.iter().filter(|is| ConditionType::ALL.iter().all(|kind| is["type"] != kind.as_str()));
            conditions.extend(others.cloned());
        }
        let mut status = json!({ "conditions": conditions });
        if !self.mirrors.is_empty() {
            status["mirrors"] = self.mirrors.clone().into();
        }
        if !self.messages.is_empty() {
            status["validationMessages"] = self.messages.clone().into();
        }
        let mut metadata = json!({ "name": &*id.name, "namespace": &*id.namespace });
        for (key, value) in [("resourceVersion", &observed.resource_version), ("uid", &observed.uid)] {
            if !value.is_empty() {
                metadata[key] = value.clone().into();
            }
        }
        json!({
            "apiVersion": observed.api_version,
            "kind": id.kind.as_str(),
            "metadata": metadata,
            "status": status,
        })
    }
}

/// Istio's writers send generations as text.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        let accepted = Condition { reason: Reason::ACCEPTED, message: "fine".to_owned() };
        Status {
            generation: 3,
            conditions: vec![accepted],
            mirrors: "v2 10%".to_owned(),
            messages: Vec::new(),
        }
    }

    fn observed(status: Value) -> Observed {
        let (api_version, resource_version) = ("networking.istio.io/v1".to_owned(), "12".to_owned());
        Observed { api_version, resource_version, status, ..Observed::default() }
    }

    const ID: fn() -> ObjectId = || ObjectId::new(umbra_ir::Kind::VirtualService, "shop", "a");

    fn add(value: &mut Value, condition: Value) {
        value["conditions"].as_array_mut().unwrap().push(condition);
    }

    /// What was written is not written again; what others add does not matter, what they change does.
    #[test]
    fn written_once() {
        let body = status().body(&ID(), &observed(json!({})), "T1");
        let written = body["status"].clone();
        type Edit = fn(&mut Value);
        for (what, want, edit) in [
            ("nothing", Difference::None, (|_| ()) as Edit),
            ("another's condition", Difference::None, |v| add(v, json!({"type": "Reconciled"}))),
            ("another's field", Difference::None, |v| v["observedGeneration"] = "3".into()),
            ("a generation as text", Difference::None, |v| {
                v["conditions"][0]["observedGeneration"] = "3".into();
            }),
            ("an old generation", Difference::Turn, |v| v["conditions"][0]["observedGeneration"] = 2.into()),
            ("it turned", Difference::Turn, |v| v["conditions"][0]["status"] = "False".into()),
            ("another reason", Difference::Turn, |v| v["conditions"][0]["reason"] = "x".into()),
            ("another message", Difference::Words, |v| v["conditions"][0]["message"] = "x".into()),
            ("another summary", Difference::Words, |v| v["mirrors"] = "v2 9%".into()),
            ("no summary yet", Difference::Turn, |v| v["mirrors"] = Value::Null),
            ("messages that are no more", Difference::Turn, |v| {
                v["validationMessages"] = json!([{"level": "ERROR"}]);
            }),
            ("mirrors that are no more", Difference::Turn, |v| add(v, json!({"type": "MirrorsReady"}))),
        ] {
            let mut value = written.clone();
            edit(&mut value);
            assert_eq!(status().differs_from(&observed(value)), want, "{what}");
        }
    }

    #[test]
    fn a_condition_keeps_its_time_until_it_turns() {
        let first = status().body(&ID(), &observed(json!({})), "T1")["status"].clone();
        let mut same = status();
        same.conditions[0].message = "still fine".to_owned();
        let body = same.body(&ID(), &observed(first.clone()), "T2");
        assert_eq!(body["status"]["conditions"][0]["lastTransitionTime"], "T1");
        let mut turned = status();
        turned.conditions[0].reason = Reason::code(ConditionType::Accepted, umbra_ir::Code::HostNotFound);
        let body = turned.body(&ID(), &observed(first), "T2");
        assert_eq!(body["status"]["conditions"][0]["lastTransitionTime"], "T2");
        assert_eq!(body["apiVersion"], "networking.istio.io/v1");
        assert_eq!(body["metadata"], json!({"namespace": "shop", "name": "a", "resourceVersion": "12"}));
    }

    /// Where the list of conditions is one value, those of others are written again, ours are not kept by that.
    #[test]
    fn the_conditions_of_others_stay() {
        let owned = |conditions: Value| {
            let fields = json!({"f:status": {"f:conditions": conditions}});
            json!({"metadata": {"managedFields": [{"manager": "x"}, {"fieldsV1": fields}]}, "status": {"conditions": [
                {"type": "Reconciled", "status": "True"}, {"type": "MirrorsReady"}]}})
        };
        for (what, conditions, want) in [
            ("one value", json!({}), &["Accepted", "Reconciled"][..]),
            ("a list by type", json!({"k:{\"type\":\"Reconciled\"}": {}}), &["Accepted"]),
            ("nobody's", Value::Null, &["Accepted"]),
        ] {
            let observed = Observed::take(&mut owned(conditions));
            let body = status().body(&ID(), &observed, "T1");
            let kinds = body["status"]["conditions"].as_array().unwrap().iter().map(|c| &c["type"]);
            assert_eq!(kinds.collect::<Vec<_>>(), want, "{what}");
        }
    }
}
