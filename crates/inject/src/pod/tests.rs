use serde_json::json;

use super::*;

fn pod(text: &str) -> Value {
    crate::yaml::read(text).unwrap()
}

fn context(namespace: &str) -> Context {
    Context { namespace: namespace.to_owned(), workload: "sleep".to_owned(), ends: false }
}

fn injected(text: &str) -> (Value, Vec<String>) {
    match inject(&pod(text), &context("default"), &Settings::default()) {
        Outcome::Injected { pod, warnings } => (pod, warnings),
        other => panic!("{text}: {other:?}"),
    }
}

const SLEEP: &str =
    "metadata: {labels: {app: sleep, version: v1}}\nspec: {containers: [{name: sleep, image: curl}]}\n";

/// A Pod with this annotation.
fn annotated(name: &str, value: &str) -> String {
    format!(
        "metadata: {{annotations: {{{}: {}}}}}\nspec: {{containers: [{{name: a}}]}}\n",
        json!(name),
        json!(value)
    )
}

fn names(pod: &Value, pointer: &str) -> Vec<String> {
    let list = pod.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|it| it["name"].as_str()).map(str::to_owned).collect()
}

#[test]
fn a_native_sidecar() {
    let (pod, warnings) = injected(SLEEP);
    assert_eq!(warnings, [""; 0]);
    assert_eq!(names(&pod, "/spec/initContainers"), ["istio-init", "istio-proxy"]);
    assert_eq!(names(&pod, "/spec/containers"), ["sleep"]);
    assert_eq!(names(&pod, "/spec/volumes"), ["umbra-envoy", "umbra-pod", "umbra-token"]);
    let init = &pod["spec"]["initContainers"][0];
    let capabilities = json!({"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]});
    assert_eq!(init["securityContext"]["capabilities"], capabilities);
    assert_eq!(init["securityContext"]["runAsUser"], 0);
    assert!(init["args"].as_array().unwrap().contains(&json!("--interception-mode=REDIRECT")), "{init:#}");
    let proxy = &pod["spec"]["initContainers"][1];
    for (pointer, want) in [
        ("/restartPolicy", json!("Always")),
        ("/startupProbe/httpGet", json!({"path": "/healthz/ready", "port": 15021})),
        ("/securityContext/runAsUser", json!(1337)),
        ("/securityContext/runAsGroup", json!(1337)),
        ("/securityContext/runAsNonRoot", json!(true)),
        ("/securityContext/readOnlyRootFilesystem", json!(true)),
        ("/securityContext/capabilities", json!({"drop": ["ALL"]})),
        ("/resources", json!({"requests": {"cpu": "100m", "memory": "128Mi"}})),
        ("/lifecycle", json!(null)),
    ] {
        assert_eq!(proxy.pointer(pointer).unwrap_or(&Value::Null), &want, "{pointer}: {proxy:#}");
    }
    let token = &pod["spec"]["volumes"][2]["projected"]["sources"][0]["serviceAccountToken"];
    assert_eq!(token, &json!({"audience": "umbra", "expirationSeconds": 43200, "path": "token"}));
    let labels = json!({
        "app": "sleep", "version": "v1",
        "service.istio.io/canonical-name": "sleep", "service.istio.io/canonical-revision": "v1",
    });
    assert_eq!(pod["metadata"]["labels"], labels);
    let status = pod["metadata"]["annotations"][words::STATUS].as_str().unwrap();
    let status: Value = serde_json::from_str(status).unwrap();
    assert_eq!(status["initContainers"], json!(["istio-init", "istio-proxy"]));
    assert_eq!(inject(&pod, &context("default"), &Settings::default()), Outcome::Unchanged);
}

#[test]
fn a_classic_one() {
    let text = "metadata: {annotations: {sidecar.istio.io/nativeSidecar: \"false\", proxy.istio.io/config: 'holdApplicationUntilProxyStarts: true'}}
spec: {initContainers: [{name: first}], containers: [{name: sleep}]}\n";
    let (pod, warnings) = injected(text);
    assert_eq!(names(&pod, "/spec/initContainers"), ["first", "istio-init"]);
    assert_eq!(names(&pod, "/spec/containers"), ["istio-proxy", "sleep"]);
    assert_eq!(pod["metadata"]["annotations"][words::DEFAULT_CONTAINER], "sleep");
    assert_eq!(pod["spec"]["containers"][0]["restartPolicy"], json!(null));
    assert_eq!(pod["spec"]["containers"][0]["lifecycle"], json!({"preStop": {"sleep": {"seconds": 5}}}));
    assert!(warnings[0].contains("holdApplicationUntilProxyStarts"), "{warnings:?}");
    let job = Context { ends: true, ..context("default") };
    let Outcome::Refused(why) = inject(&self::pod(text), &job, &Settings::default()) else { panic!("a Job") };
    assert!(why.contains("Job"), "{why}");
}

#[test]
fn without_capture_nobody_needs_rights() {
    let (pod, _) = injected(&annotated(words::INTERCEPTION_MODE, "NONE"));
    for container in pod["spec"]["initContainers"].as_array().unwrap() {
        assert_eq!(container["securityContext"]["runAsUser"], 1337);
        assert_eq!(container["securityContext"]["capabilities"], json!({"drop": ["ALL"]}));
    }
    let args = pod["spec"]["initContainers"][0]["args"].to_string();
    assert!(args.contains("--interception-mode=NONE"), "{args}");
}

#[test]
fn sidecars_can_tell_of_judged_requests_where_the_settings_say_so() {
    for verdicts in [false, true] {
        let judge = Some("umbra-judge.umbra-system.svc:15016".to_owned());
        let settings = Settings { verdicts, judge, ..Settings::default() };
        let Outcome::Injected { pod, .. } = inject(&pod(SLEEP), &context("default"), &settings) else {
            panic!("{verdicts}");
        };
        let args = pod["spec"]["initContainers"][0]["args"].as_array().unwrap();
        assert_eq!(args.contains(&json!("--verdicts")), verdicts, "{args:?}");
        let judge = json!("--judge=umbra-judge.umbra-system.svc:15016");
        assert_eq!(args.contains(&judge), verdicts, "{args:?}");
    }
}

#[test]
fn what_annotations_say() {
    for (name, value, pointer, want) in [
        (words::PROXY_IMAGE, "envoy:v2", "/image", json!("envoy:v2")),
        (words::PROXY_CPU, "250m", "/resources", json!({"requests": {"cpu": "250m", "memory": "128Mi"}})),
        (
            words::PROXY_CPU_LIMIT,
            "50m",
            "/resources",
            json!({"requests": {"memory": "128Mi"}, "limits": {"cpu": "50m"}}),
        ),
        (words::PROXY_MEMORY, "1Gi", "/resources/requests/memory", json!("1Gi")),
        (words::PROXY_MEMORY_LIMIT, "2Gi", "/resources/limits/memory", json!("2Gi")),
        (words::LOG_LEVEL, "debug", "/args/6", json!("debug")),
        (words::COMPONENT_LOG_LEVEL, "http:trace", "/args/8", json!("http:trace")),
        (words::PROXY_CONFIG, "concurrency: 4\n", "/args/8", json!("4")),
        (words::PROXY_CONFIG, "{concurrency: 0}", "/args/8", json!(null)),
    ] {
        let (pod, warnings) = injected(&annotated(name, value));
        assert_eq!(warnings, [""; 0], "{name}");
        let proxy = &pod["spec"]["initContainers"][1];
        assert_eq!(proxy.pointer(pointer).unwrap_or(&Value::Null), &want, "{name}: {value}: {proxy:#}");
    }
    for (name, value, part) in [
        ("traffic.sidecar.istio.io/includeInboundPorts", "", "includeInboundPorts"),
        ("inject.istio.io/templates", "x", "templates"),
        (words::PROXY_CONFIG, "tracing: {}", "tracing"),
    ] {
        let (_, warnings) = injected(&annotated(name, value));
        assert!(warnings.len() == 1 && warnings[0].contains(part), "{name}: {warnings:?}");
    }
    let (_, warnings) = injected(&annotated("sidecar.istio.io/rewriteAppHTTPProbers", "true"));
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn who_gets_none() {
    const AUTHOR: &str = "it has a container";
    for (text, namespace, want) in [
        ("spec: {containers: [{name: a}], hostNetwork: true}", "default", Some("hostNetwork")),
        ("spec: {containers: [{name: a}]}", "kube-system", Some("kube-system")),
        ("spec: {containers: [{name: istio-proxy}]}", "default", Some(AUTHOR)),
        ("spec: {containers: [{name: a}], initContainers: [{name: istio-init}]}", "default", Some(AUTHOR)),
        ("spec: {containers: [{name: a, securityContext: {runAsUser: 1337}}]}", "default", Some("1337")),
        ("spec: {securityContext: {runAsGroup: 1337}, containers: [{name: a}]}", "default", Some("1337")),
        ("spec: {containers: []}", "default", Some("no containers")),
        ("spec: {containers: [{name: a}], volumes: 5}", "default", Some("volumes is no list")),
        ("metadata: 5\nspec: {containers: [{name: a}]}", "default", Some("metadata is no map")),
        ("spec: {containers: [{name: a}], os: {name: windows}}", "default", Some("Windows")),
        ("5", "default", Some("no spec")),
        (&annotated(words::PROXY_CPU, "much"), "default", Some("proxyCPU: \"much\"")),
        (&annotated(words::PROXY_IMAGE, "a\nb"), "default", Some("proxyImage")),
        (&annotated(words::LOG_LEVEL, "x --config-yaml y"), "default", Some("logLevel")),
        (&annotated(words::EXCLUDE_PORTS, "all"), "default", Some("excludeOutboundPorts")),
        (&annotated(words::INTERCEPTION_MODE, "TPROXY"), "default", Some("TPROXY")),
        (&annotated(words::NATIVE_SIDECAR, "maybe"), "default", Some("maybe")),
        (&annotated(words::PROXY_CONFIG, "concurrency: many"), "default", Some("concurrency")),
        (&annotated(words::PROXY_CONFIG, "["), "default", Some("config")),
        (
            "metadata: {labels: {sidecar.istio.io/inject: \"false\"}}\nspec: {containers: [{name: a}]}",
            "default",
            None,
        ),
        (
            "metadata: {annotations: {sidecar.istio.io/inject: false}}\nspec: {hostNetwork: true}",
            "default",
            None,
        ),
    ] {
        match (inject(&pod(text), &context(namespace), &Settings::default()), want) {
            (Outcome::Unchanged, None) => {}
            (Outcome::Refused(why), Some(part)) => assert!(why.contains(part), "{text}: {why}"),
            (other, _) => panic!("{text}: {other:?}"),
        }
    }
    // The label has the last word.
    injected(
        "metadata: {labels: {sidecar.istio.io/inject: \"true\"}, annotations: {sidecar.istio.io/inject: \"false\"}}\nspec: {containers: [{name: a}]}",
    );
}

#[test]
fn who_should_have_one() {
    for (namespace, label, annotation, want) in [
        (&[("istio-injection", "enabled")][..], None, "", true),
        (&[("istio-injection", "enabled")], Some("false"), "", false),
        (&[("istio-injection", "enabled")], None, "false", false),
        (&[("istio-injection", "enabled")], Some("true"), "false", true),
        (&[("istio-injection", "enabled"), ("istio.io/rev", "other")], None, "", true),
        (&[("istio.io/rev", "umbra")], None, "", true),
        (&[("istio.io/rev", "other")], Some("true"), "", false),
        (&[], None, "", false),
        (&[], Some("true"), "", true),
        (&[], None, "true", false),
        (&[("istio-injection", "disabled")], Some("true"), "", false),
    ] {
        let labels = namespace.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let got = wants_sidecar(namespace_asks(&labels), label, annotation);
        assert_eq!(got, want, "{namespace:?} {label:?} {annotation:?}");
    }
}

/// A patch does what injection does: applied here by the few rules that it uses.
#[test]
fn as_a_patch() {
    for text in [
        SLEEP,
        "spec: {containers: [{name: a}], initContainers: [{name: b}], volumes: [{name: c}]}",
        "metadata: {annotations: {sidecar.istio.io/nativeSidecar: \"false\"}}\nspec: {containers: [{name: a}], initContainers: [{name: b}], volumes: []}",
    ] {
        let old = pod(text);
        let (new, _) = injected(text);
        let mut patched = old.clone();
        for operation in json_patch(&old, &new) {
            assert_eq!(operation["op"], "add", "{operation}");
            let (path, value) = (operation["path"].as_str().unwrap(), operation["value"].clone());
            let (parent, key) = path.rsplit_once('/').unwrap();
            match patched.pointer_mut(parent).unwrap() {
                Value::Array(items) => items.insert(key.parse().unwrap(), value),
                Value::Object(map) => drop(map.insert(key.replace("~1", "/").replace("~0", "~"), value)),
                other => panic!("{path}: {other}"),
            }
        }
        assert_eq!(patched, new);
    }
}

#[test]
fn canonical_names_are_labels() {
    for (name, want) in [
        ("a", "a"),
        (&"x".repeat(70), &*"x".repeat(63)),
        (&format!("{}-.y", "x".repeat(61)), &*"x".repeat(61)),
    ] {
        assert_eq!(label_value(name), want);
    }
}

#[test]
fn settings_that_cannot_be() {
    type Change = fn(&mut Settings);
    let all: [(Change, &str); 7] = [
        (|it| it.server = "umbra".to_owned(), "server"),
        (|it| it.server = ":15010".to_owned(), "server"),
        (|it| it.image = String::new(), "image"),
        (|it| it.cpu_limit = Some("x".to_owned()), "cpuLimit"),
        (|it| it.interception_mode = "TPROXY".to_owned(), "interceptionMode"),
        (|it| it.exclude_outbound_ports = Some("x".to_owned()), "excludeOutboundPorts"),
        (|it| it.log_level = "loud".to_owned(), "logLevel"),
    ];
    for (change, part) in all {
        let mut settings = Settings::default();
        assert_eq!(settings.check(), Ok(()));
        change(&mut settings);
        assert!(settings.check().unwrap_err().contains(part), "{part}");
    }
}
