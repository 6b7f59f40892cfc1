//! The annotation on the objects of a cluster, with the rights of whoever `annotations` writes for.

use futures::stream::{self, StreamExt};
use serde_json::Value;
use umbra_ir::{Kind, ObjectId};
use umbra_istio::STOP;
use umbra_source::kubernetes::Annotations;

use super::{AllWritten, Verb, Wanted, Written, annotation};

/// Objects that are written at once.
const AT_ONCE: usize = 16;

/// Writes it.
pub(crate) async fn write(verb: Verb, annotations: &Annotations, wanted: Wanted) -> AllWritten {
    let each = wanted.into_iter().map(|(id, names)| {
        let annotations = annotations.clone();
        async move {
            let written = annotations.change(&id, STOP, |before| annotation(verb, before, &names)).await;
            let written = written.map(|(before, now)| Written { changed: before != now, annotation: now });
            (id, written.map_err(|error| error.to_string()))
        }
    });
    stream::iter(each).buffer_unordered(AT_ONCE).collect().await
}

/// Those that may have mirrors; to be resumed, those that say that any are stopped.
pub(crate) fn everything(verb: Verb, objects: &[Value]) -> Wanted {
    let text = |object: &Value, path: &str| {
        object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let meant = objects.iter().filter(|object| match verb {
        Verb::Stop => has_mirrors(object),
        Verb::Resume => object.pointer("/metadata/annotations").is_some_and(|all| all.get(STOP).is_some()),
    });
    let id = |object: &Value| {
        let (namespace, name) = (text(object, "/metadata/namespace"), text(object, "/metadata/name"));
        ObjectId::new(Kind::VirtualService, namespace, name)
    };
    meant.map(|object| (id(object), Vec::new())).collect()
}

/// Whether a rule has mirrors, or hands on to another VirtualService, which may.
fn has_mirrors(object: &Value) -> bool {
    let rules = object.pointer("/spec/http").and_then(Value::as_array);
    let names = ["mirror", "mirrors", "delegate"];
    rules
        .into_iter()
        .flatten()
        .any(|rule| names.iter().any(|name| rule.get(name).is_some_and(|it| !it.is_null())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_is_meant_by_all() {
        let object = |name: &str, stop: Option<&str>, rule: Value| {
            let annotations = stop.map_or(json!({}), |stop| json!({ STOP: stop }));
            json!({
                "metadata": {"namespace": "shop", "name": name, "annotations": annotations},
                "spec": {"http": [{"route": []}, rule]},
            })
        };
        let all = [
            object("plain", None, json!({})),
            object("one", None, json!({"mirror": {"host": "a"}})),
            object("more", Some("all"), json!({"mirrors": []})),
            object("hands-on", None, json!({"delegate": {"name": "b"}})),
            object("null", Some(""), json!({"mirror": null})),
        ];
        for (verb, want) in
            [(Verb::Stop, &["hands-on", "more", "one"][..]), (Verb::Resume, &["more", "null"])]
        {
            let names: Vec<String> = everything(verb, &all).keys().map(|id| id.name.to_string()).collect();
            assert_eq!(names, want, "{verb:?}");
        }
    }
}
