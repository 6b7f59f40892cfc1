//! The annotation that stops mirrors, written for whoever asks, and who has taken it.
//!
//! Start reading at: `target.rs` (what is named, pure), `cluster.rs` and `files.rs` (where it is written), `confirm.rs`, then
//! `within.rs` (asked of a running umbra).

pub(crate) mod cluster;
pub(crate) mod confirm;
pub(crate) mod files;
pub(crate) mod target;
mod within;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use umbra_ir::ObjectId;
use umbra_istio::Stop;

pub(crate) use confirm::Confirmed;
pub(crate) use target::Target;
pub(crate) use within::Stops;

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verb {
    Stop,
    Resume,
}

/// What became of the annotation of one VirtualService.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Written {
    /// What it says now; `None`: it is not there.
    pub(crate) annotation: Option<String>,
    /// It said something else before.
    pub(crate) changed: bool,
}

/// By VirtualService what became of it, or why nothing did.
pub(crate) type AllWritten = BTreeMap<ObjectId, Result<Written, String>>;

/// Which names are meant of each VirtualService; none: everything.
pub(crate) type Wanted = BTreeMap<ObjectId, Vec<String>>;

/// What the annotation says of each VirtualService.
pub(crate) type Annotations = BTreeMap<ObjectId, Option<String>>;

/// The annotation that comes of what was there.
fn annotation(verb: Verb, before: Option<&str>, names: &[String]) -> Result<Option<String>, String> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let stop = Stop::parse(before);
    match verb {
        Verb::Stop => Ok(Some(stop.and(&names))),
        Verb::Resume => stop.but(&names).map_err(|_| {
            "all of its mirrors are stopped together: resume the VirtualService, and stop what should not go on"
                .to_owned()
        }),
    }
}

/// What is to be confirmed.
pub(crate) fn annotations(written: &AllWritten) -> Annotations {
    let each = written.iter().filter_map(|(id, written)| Some((id, written.as_ref().ok()?)));
    each.map(|(id, written)| (id.clone(), written.annotation.clone())).collect()
}

/// Whether everything was written, and, if that was asked, every proxy has taken it.
pub(crate) fn is_done(written: &AllWritten, confirmed: Option<&BTreeMap<ObjectId, Confirmed>>) -> bool {
    written.iter().all(|(id, result)| {
        let taken = |all: &BTreeMap<ObjectId, Confirmed>| all.get(id).is_some_and(|it| it.why_not.is_none());
        result.is_ok() && confirmed.is_none_or(taken)
    })
}

/// What became of it all, as JSON.
pub(crate) fn told(written: &AllWritten, confirmed: Option<&BTreeMap<ObjectId, Confirmed>>) -> Value {
    let each = written.iter().map(|(id, result)| {
        let confirmed = confirmed.map(|all| all.get(id).cloned().unwrap_or_default());
        value(id, result, confirmed.as_ref())
    });
    json!({ "done": is_done(written, confirmed), "virtualServices": each.collect::<Vec<_>>() })
}

fn value(id: &ObjectId, result: &Result<Written, String>, confirmed: Option<&Confirmed>) -> Value {
    let mut value = json!({ "namespace": &*id.namespace, "name": &*id.name });
    match result {
        Ok(written) => {
            value["annotation"] = written.annotation.clone().into();
            value["changed"] = written.changed.into();
        }
        Err(why) => value["error"] = why.clone().into(),
    }
    if let (Ok(_), Some(it)) = (result, confirmed) {
        value["confirmed"] = it.why_not.is_none().into();
        value["live"] = it.live.into();
        value["total"] = it.total.into();
        value["stopped"] = it.stopped.clone().into();
        value["laggards"] = it.laggards.clone().into();
        value["why"] = it.why_not.clone().into();
    }
    value
}
