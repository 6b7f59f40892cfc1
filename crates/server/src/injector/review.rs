//! What the webhook answers to an AdmissionReview (`admission.k8s.io/v1`).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use umbra_inject::pod::{Context, Outcome, inject, json_patch};
use umbra_inject::settings::Settings;

/// An answer, and how it is counted.
#[derive(Debug)]
pub(super) struct Answer {
    /// `injected`, `unchanged`, `refused`, `invalid` or `failed`.
    pub(super) result: &'static str,
    /// The AdmissionReview; what is wrong with the question otherwise.
    pub(super) body: Result<Value, String>,
}

/// No Pod is ever denied: one that cannot have a sidecar starts without, and its author is told.
pub(super) fn answer(question: &[u8], settings: &Settings) -> Answer {
    let invalid = |why: &str| Answer { result: "invalid", body: Err(why.to_owned()) };
    let Ok(review) = serde_json::from_slice::<Value>(question) else { return invalid("no JSON") };
    let request = &review["request"];
    let Some(uid) = request["uid"].as_str() else {
        return invalid("no AdmissionReview: it has no request.uid");
    };
    if review["apiVersion"] != "admission.k8s.io/v1" {
        return invalid("its apiVersion is not admission.k8s.io/v1");
    }
    let mut response = json!({"uid": uid, "allowed": true});
    let pod = &request["object"];
    let result = if request["kind"]["kind"] == "Pod" && request["operation"] == "CREATE" {
        match inject(pod, &context(request), settings) {
            Outcome::Unchanged => "unchanged",
            Outcome::Refused(why) => {
                response["warnings"] = json!([format!("no sidecar: {why}")]);
                "refused"
            }
            Outcome::Injected { pod: new, warnings } => {
                let patch = Value::from(json_patch(pod, &new)).to_string();
                response["patchType"] = json!("JSONPatch");
                response["patch"] = json!(BASE64_STANDARD.encode(patch));
                if !warnings.is_empty() {
                    response["warnings"] = json!(warnings);
                }
                "injected"
            }
        }
    } else {
        "unchanged"
    };
    let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    Answer { result, body: Ok(body) }
}

/// What the question says beside the Pod. The Pod's own name is often yet to be made.
fn context(request: &Value) -> Context {
    let pod = &request["object"]["metadata"];
    let owner =
        pod["ownerReferences"].as_array().and_then(|all| all.iter().find(|it| it["controller"] == true));
    let owner_kind = owner.and_then(|it| it["kind"].as_str()).unwrap_or_default();
    let name = owner.and_then(|it| it["name"].as_str()).or(pod["name"].as_str()).unwrap_or_default();
    // A Deployment's ReplicaSet has its name and a hash.
    let hash = pod["labels"]["pod-template-hash"].as_str().unwrap_or_default();
    let workload = match owner_kind {
        "ReplicaSet" => name.strip_suffix(hash).and_then(|name| name.strip_suffix('-')).unwrap_or(name),
        _ => name,
    };
    Context {
        namespace: request["namespace"].as_str().unwrap_or_default().to_owned(),
        workload: workload.to_owned(),
        ends: owner_kind == "Job",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(pod: Value) -> Answer {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": "u", "operation": "CREATE", "namespace": "shop", "kind": {"kind": "Pod"}, "object": pod},
        });
        answer(review.to_string().as_bytes(), &Settings::default())
    }

    #[test]
    fn what_is_answered() {
        let containers = json!([{"name": "a", "securityContext": {"runAsUser": 1337}}]);
        for (pod, result, patched, warned) in [
            (json!({"metadata": {}, "spec": {"containers": [{"name": "a"}]}}), "injected", true, ""),
            (
                json!({"metadata": {}, "spec": {"hostNetwork": true, "containers": [{"name": "a"}]}}),
                "refused",
                false,
                "hostNetwork",
            ),
            (json!({"metadata": {}, "spec": {"containers": containers}}), "refused", false, "1337"),
            (json!({"metadata": {"labels": {"sidecar.istio.io/inject": "false"}}}), "unchanged", false, ""),
            (
                json!({"metadata": {"annotations": {"inject.istio.io/templates": "x"}}, "spec": {"containers": [{"name": "a"}]}}),
                "injected",
                true,
                "templates",
            ),
        ] {
            let answer = ask(pod.clone());
            let response = answer.body.unwrap()["response"].clone();
            assert_eq!(answer.result, result, "{pod}");
            assert_eq!((&response["uid"], &response["allowed"]), (&json!("u"), &json!(true)), "{pod}");
            assert_eq!(response["patch"].is_string(), patched, "{pod}");
            assert!(response["warnings"].to_string().contains(warned), "{pod}: {response}");
        }
    }

    #[test]
    fn whose_pod_it_is() {
        let pod = |kind: &str, name: &str| {
            json!({
                "generateName": "x-", "labels": {"pod-template-hash": "7f9"},
                "ownerReferences": [{"kind": kind, "name": name, "controller": true}],
            })
        };
        for (metadata, workload, ends) in [
            (pod("ReplicaSet", "web-7f9"), "web", false),
            (pod("ReplicaSet", "web"), "web", false),
            (pod("Job", "once"), "once", true),
            (json!({"name": "lone"}), "lone", false),
            (json!({}), "", false),
        ] {
            let request = json!({"namespace": "shop", "object": {"metadata": metadata}});
            let context = context(&request);
            let got = (context.namespace.as_str(), context.workload.as_str(), context.ends);
            assert_eq!(got, ("shop", workload, ends), "{request}");
        }
    }

    #[test]
    fn what_is_no_question() {
        for text in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"request": {}}"#,
            r#"{"apiVersion": "admission.k8s.io/v1beta1", "request": {"uid": "u"}}"#,
        ] {
            let answer = answer(text.as_bytes(), &Settings::default());
            assert!(answer.result == "invalid" && answer.body.is_err(), "{text}");
        }
    }
}
