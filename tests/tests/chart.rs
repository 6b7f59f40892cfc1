//! The Helm chart without a cluster: what it renders, what it refuses, and that its copies are copies.

#![allow(clippy::expect_used, clippy::panic, reason = "a test")]

use std::collections::BTreeSet;
use std::process::{Command, Output};

use serde_json::Value;
use umbra_testkit::cluster::assets;
use umbra_testkit::{paths, umbra};

/// `helm template` without a cluster takes this for the cluster's version.
const KUBERNETES: &str = "1.33.0";

/// What stands before the chart's objects in `deploy/install.yaml`.
const PREFACE: &str = "\
# umbra with the chart's own values, for
#   kubectl apply -f deploy/install.yaml
# Where Istio's own CRDs are installed, leave those in here out:
#   kubectl apply -f deploy/install.yaml -l app.kubernetes.io/name
# Made by `make golden`; a test compares it with the chart.
apiVersion: v1
kind: Namespace
metadata:
  name: umbra-system
  labels:
    app.kubernetes.io/name: umbra
    app.kubernetes.io/part-of: umbra
    pod-security.kubernetes.io/enforce: restricted
    pod-security.kubernetes.io/warn: restricted
";

/// Runs helm on the chart in the namespace `umbra-system`; `None` after a loud line.
fn helm(verb: &[&str], settings: &[&str]) -> Option<Output> {
    helm_in("umbra-system", verb, settings)
}

/// The same in another namespace.
fn helm_in(namespace: &str, verb: &[&str], settings: &[&str]) -> Option<Output> {
    let helm = assets::require_tool(assets::kubernetes("helm"))?;
    let chart = paths::workspace().join("deploy/chart");
    let home = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(helm);
    command.args(verb).arg(chart).args(["--namespace", namespace, "--kube-version", KUBERNETES]);
    for setting in settings {
        command.args(["--set-json", setting]);
    }
    Some(command.env("HOME", home.path()).output().expect("helm runs"))
}

/// The objects that the chart renders with these values.
fn render(settings: &[&str]) -> Option<Vec<Value>> {
    let out = helm(&["template", "umbra"], settings)?;
    Some(objects(settings, out))
}

fn objects(settings: &[&str], out: Output) -> Vec<Value> {
    assert!(out.status.success(), "{settings:?}: {}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).expect("text");
    serde_saphyr::from_multiple(&text).unwrap_or_else(|e| panic!("{settings:?}: {e}"))
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = objects.iter().find(|o| o["kind"] == kind && o["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

#[test]
fn the_rendered_manifests_are_those_of_the_chart() {
    let Some(out) = helm(&["template", "umbra", "--include-crds"], &[]) else { return };
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).expect("text");
    let lines = text.lines().map(|line| format!("{}\n", line.trim_end()));
    let want = PREFACE.to_owned() + &lines.collect::<String>();
    let file = paths::workspace().join("deploy/install.yaml");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &want).expect("deploy/install.yaml");
    }
    let have = std::fs::read_to_string(&file).unwrap_or_default();
    let first = have.lines().zip(want.lines()).position(|(have, want)| have != want);
    assert!(have == want, "deploy/install.yaml differs from line {first:?} on; `make golden` writes it");
}

#[test]
fn the_chart_has_a_copy_of_the_crds() {
    let read = |path: &str| std::fs::read_to_string(paths::workspace().join(path)).expect(path);
    for file in ["crds/networking.istio.io.yaml", "crds/umbra.io.yaml"] {
        let equal = read(&format!("deploy/{file}")) == read(&format!("deploy/chart/{file}"));
        assert!(equal, "copy deploy/{file} to deploy/chart/{file}");
    }
}

#[test]
fn the_gateway_has_the_bootstrap_that_umbra_prints() {
    let none = "identity=\"none\"";
    let tls = "tls.secretName=\"umbra-tls\"";
    let client = "gateway.tls.secretName=\"gateway-tls\"";
    let ca = ["--tls-ca", "/etc/umbra-tls/ca.crt"];
    let mutual = ["--tls-cert", "/etc/umbra-tls/tls.crt", "--tls-key", "/etc/umbra-tls/tls.key"];
    let token = ["--token", "/var/run/secrets/umbra/token"];
    let mut seen = BTreeSet::new();
    let labels = "gateway.labels={\"istio\": \"edge\", \"tier\": \"one\"}";
    let istios = "gateway.labels={\"app\": \"istio-ingressgateway\", \"istio\": \"ingressgateway\"}";
    for (settings, labels, port, flags) in [
        (&[none][..], "app=umbra-gateway,istio=ingressgateway", 15010, vec![]),
        (&[tls, none], "app=umbra-gateway,istio=ingressgateway", 15012, ca.to_vec()),
        (
            &[tls, none, "tls.mutual=true", client],
            "app=umbra-gateway,istio=ingressgateway",
            15012,
            [&ca[..], &mutual].concat(),
        ),
        (&[], "app=umbra-gateway,istio=ingressgateway", 15012, [&ca[..], &token].concat()),
        (&[labels, none], "app=umbra-gateway,istio=edge,tier=one", 15010, vec![]),
        (&[istios, none], "app=istio-ingressgateway,istio=ingressgateway", 15010, vec![]),
    ] {
        let Some(objects) = render(settings) else { return };
        let proxy = format!("router/umbra-system/{labels}");
        let server = format!("umbra.umbra-system.svc:{port}");
        let args = ["bootstrap", "--proxy", &proxy, "--server", &server, "--envoy-ready", "0.0.0.0:15021"];
        let out = umbra::run(&[&args[..], &flags].concat()).expect("umbra runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let map = find(&objects, "ConfigMap", "umbra-gateway");
        let shown = map["data"]["bootstrap.yaml"].as_str().expect("a bootstrap");
        assert_eq!(shown, String::from_utf8_lossy(&out.stdout), "{settings:?}");
        if flags.contains(&"--token") {
            let out =
                umbra::run(&[&args[..], &flags, &["--print-token-secret"]].concat()).expect("umbra runs");
            let shown = map["data"]["token-secret.json"].as_str().expect("the file that leads to the token");
            assert_eq!(shown, String::from_utf8_lossy(&out.stdout));
        }
        // Envoy reads it once: another one must replace the Pods.
        let template = &find(&objects, "Deployment", "umbra-gateway")["spec"]["template"];
        assert!(seen.insert(template["metadata"]["annotations"].to_string()), "{settings:?}: {seen:?}");
    }
}

/// Values, and a word of the refusal; none where they are accepted.
const VALUES: &[(&[&str], &str)] = &[
    (&[], ""),
    (&["replicas=3", "watchNamespaces=[\"shop\",\"pay\"]", "watchSelector=\"team=shop\""], ""),
    (&["tls.secretName=\"a\"", "tls.only=true"], ""),
    (&["tls.secretName=\"a\"", "identity=\"token\""], ""),
    (&["identity=\"none\""], ""),
    (&["identity=\"certificate\""], "identity"),
    (&["tls.secretName=\"a\"", "tls.mutual=true", "gateway.enabled=false"], ""),
    (
        &[
            "autoscaling.enabled=true",
            "serviceMonitor.enabled=true",
            "podDisruptionBudget.maxUnavailable=\"50%\"",
        ],
        "",
    ),
    (&["config={\"mirror\": {\"shadowSuffix\": false, \"maxStreamDuration\": \"1m30s\"}}"], ""),
    (&["injector.enabled=true", "config={\"injection\": {\"cpu\": \"50m\"}}"], ""),
    (&["injector.enabled=true", "watchNamespaces=[\"shop\"]", "injector.failurePolicy=\"Fail\""], ""),
    (&["injector.enabled=true", "injector.timeoutSeconds=60"], "timeoutSeconds"),
    (&["injector.enabled=true", "injector.revision=\"a b\""], "revision"),
    (&["injector.enabled=true", "injector.failurePolicy=\"Panic\""], "failurePolicy"),
    (&["config={\"injection\": {\"sidecar\": true}}"], "sidecar"),
    (
        &["injector.enabled=true", "tls.secretName=\"a\"", "tls.mutual=true", "gateway.enabled=false"],
        "injector.enabled=false",
    ),
    (&["resources=null", "gateway.resources=null", "config=null"], ""),
    (&["gatewaySecrets={\"shop\": [\"cert\", \"cert-cacert\"]}"], ""),
    (&["gatewaySecrets={\"shop\": []}"], "gatewaySecrets"),
    (&["networkPolicy.xdsFrom=[{\"namespaceSelector\": {}}, {\"ipBlock\": {\"cidr\": \"10.0.0.0/8\"}}]"], ""),
    (&["replicas=0"], "replicas"),
    (&["replicas=null"], "replicas"),
    (&["tls=null"], "tls"),
    (&["image.repository=null"], "repository"),
    (&["image.digest=\"latest\""], "digest"),
    (&["podLabels={\"app.kubernetes.io/name\": \"x\"}"], "podLabels"),
    (&["gateway.labels={\"app.kubernetes.io/component\": \"x\"}"], "gateway.labels"),
    (&["gateway.service.ports=[{\"name\": \"80\", \"port\": 80}]"], "ports.0.name"),
    (&["gateway.service.ports=[{\"name\": \"ready\", \"port\": 80}]"], "ports.0.name"),
    (&["gateway.service.ports=[{\"name\": \"http\", \"port\": 15021}]"], "ports.0.port"),
    (&["networkPolicy.xdsFrom=[{\"pods\": {}}]"], "xdsFrom"),
    (&["autoscaling={\"enabled\": true, \"minReplicas\": 9}"], "minReplicas is above maxReplicas"),
    (&["replicas=\"two\""], "replicas"),
    (&["replica=2"], "replica"),
    (&["image.pullPolicy=\"Sometimes\""], "pullPolicy"),
    (&["config={\"mirror\": {\"shadow\": true}}"], "shadow"),
    (&["config={\"xds\": \":1\"}"], "xds"),
    (&["watchNamespaces=[\"Shop\"]"], "watchNamespaces"),
    (&["tls.mutual=true"], "secretName"),
    (&["tls.only=true"], "secretName"),
    (&["tls.secretName=\"a\"", "tls.mutual=true"], "gateway.tls.secretName"),
    (&["gateway.service.type=\"Public\""], "gateway"),
    (&["gateway.service.ports=[]"], "ports"),
    (&["log.format=\"xml\""], "format"),
];

#[test]
fn values_are_checked() {
    for (settings, word) in VALUES {
        // A linter need not know what a template refuses.
        let verbs: &[&[&str]] =
            if word.is_empty() { &[&["template", "umbra"], &["lint"]] } else { &[&["template", "umbra"]] };
        for verb in verbs {
            let Some(out) = helm(verb, settings) else { return };
            let said = String::from_utf8_lossy(&out.stderr) + String::from_utf8_lossy(&out.stdout);
            assert_eq!(out.status.success(), word.is_empty(), "{verb:?} {settings:?}: {said}");
            assert!(said.contains(word), "{verb:?} {settings:?}: {said}");
        }
    }
}

/// Every path of keys, down to what is not a table of its own.
fn keys(at: &str, value: &Value, schema: &Value, found: &mut BTreeSet<String>) {
    for (key, inner) in value.as_object().into_iter().flatten() {
        let path = format!("{at}{key}");
        let schema = &schema["properties"][key];
        assert!(schema.is_object(), "values.schema.json does not know {path}");
        if schema["properties"].is_object() && schema["additionalProperties"] == false {
            keys(&format!("{path}."), inner, schema, found);
        }
        found.insert(path);
    }
}

#[test]
fn every_value_is_in_the_schema_and_in_the_readme() {
    let read = |name: &str| {
        let path = paths::workspace().join("deploy/chart").join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"))
    };
    let values: Value = serde_saphyr::from_str(&read("values.yaml")).expect("YAML");
    let schema: Value = serde_json::from_str(&read("values.schema.json")).expect("JSON");
    let mut found = BTreeSet::new();
    keys("", &values, &schema, &mut found);
    let readme = read("README.md");
    let named: BTreeSet<&str> = readme.split('`').skip(1).step_by(2).collect();
    let missing: Vec<_> = found
        .iter()
        // A table is there with its entries.
        .filter(|path| {
            !named.contains(path.as_str()) && !named.iter().any(|n| n.starts_with(&format!("{path}.")))
        })
        .collect();
    assert!(missing.is_empty(), "deploy/chart/README.md does not name {missing:?}");
}

/// What docs/cli.md lists as keys of umbra.yaml; of several in one row the later ones may stand beside the first.
fn settings() -> Vec<String> {
    let page = std::fs::read_to_string(paths::workspace().join("docs/cli.md")).expect("the page");
    let section = page
        .split("\n## umbra.yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("\n## ").next())
        .expect("a section");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let keys = rows.flat_map(|row| {
        let cell = row.split(" | ").next().unwrap_or_default();
        let names: Vec<&str> = cell.split('`').step_by(2).filter(|name| !name.is_empty()).collect();
        let beside = names[0].rsplit_once('.').map_or("", |(table, _)| table);
        let whole = |name: &&str| match name.contains('.') || beside.is_empty() {
            true => (*name).to_owned(),
            false => format!("{beside}.{name}"),
        };
        names.iter().map(whole).collect::<Vec<_>>()
    });
    keys.collect()
}

#[test]
fn every_setting_can_be_given_to_the_chart() {
    let schema = paths::workspace().join("deploy/chart/values.schema.json");
    let schema = std::fs::read_to_string(schema).expect("the schema");
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let settings = settings();
    assert!(settings.len() > 25, "{settings:?}");
    for key in settings {
        let path = key
            .split('.')
            .fold("/properties/config".to_owned(), |at, part| format!("{at}/properties/{part}"));
        assert!(schema.pointer(&path).is_some(), "values.schema.json does not know config.{key}");
    }
}

#[test]
fn a_scoped_umbra_needs_no_cluster_role() {
    let scoped = "watchNamespaces=[\"shop\",\"pay\"]";
    let cluster_roles = |settings: &[&str]| -> Option<Vec<Value>> {
        let objects = render(settings)?.into_iter();
        Some(objects.filter(|object| object["kind"] == "ClusterRole").collect())
    };
    let Some(none) = cluster_roles(&[scoped, "identity=\"none\""]) else { return };
    assert_eq!(none, [] as [Value; 0]);
    // Whose a token is and what its owner may read are questions to the API server that belong to no namespace.
    let Some(one) = cluster_roles(&[scoped]) else { return };
    assert_eq!(one.len(), 1);
    let rules = serde_json::json!([
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
        {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
    ]);
    assert_eq!(one[0]["rules"], rules);
    let Some(objects) = render(&[scoped]) else { return };
    let roles: BTreeSet<&str> = objects
        .iter()
        .filter(|o| o["kind"] == "Role")
        .filter_map(|o| o["metadata"]["namespace"].as_str())
        .collect();
    assert_eq!(roles, ["pay", "shop", "umbra-system"].into());
    let args = find(&objects, "Deployment", "umbra")["spec"]["template"]["spec"]["containers"][0]["args"]
        .to_string();
    assert!(args.contains("--watch-namespaces=shop,pay"), "{args}");
}

#[test]
fn no_role_reads_secrets() {
    for settings in [&[][..], &["watchNamespaces=[\"shop\"]"]] {
        let Some(objects) = render(settings) else { return };
        // But that of umbra's own certificate, by its name.
        assert_eq!(
            find(&objects, "Role", "umbra-xds")["rules"],
            serde_json::json!([
                {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
                {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["umbra-xds"], "verbs": ["get", "update"]},
                {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["umbra-ca"], "verbs": ["get", "patch"]},
            ])
        );
        let roles = objects.iter().filter(|o| o["kind"].as_str().is_some_and(|kind| kind.ends_with("Role")));
        for object in roles.filter(|role| role["metadata"]["name"] != "umbra-xds") {
            let rules = object["rules"].to_string();
            for word in ["secrets", "configmaps", "\"*\""] {
                assert!(!rules.contains(word), "{word} in {rules}");
            }
        }
    }
}

#[test]
fn the_sidecar_has_the_bootstrap_that_umbra_prints() {
    let path = paths::example("sidecar.yaml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
    let command = text.lines().find_map(|line| line.trim().strip_prefix("# umbra ")).expect("a command");
    let out = umbra::run(&command.split(' ').collect::<Vec<_>>()).expect("umbra runs");
    let shown = find(&objects, "ConfigMap", "sleep-envoy")["data"]["bootstrap.yaml"].as_str();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        write_sidecar(&path, &text, command);
    } else {
        assert_eq!(shown.expect("a bootstrap"), String::from_utf8_lossy(&out.stdout));
        let shown = find(&objects, "ConfigMap", "sleep-envoy")["data"]["token-secret.json"].as_str();
        assert_eq!(shown.expect("its file"), printed(&format!("{command} --print-token-secret")));
    }
}

fn printed(command: &str) -> String {
    let out = umbra::run(&command.split(' ').collect::<Vec<_>>()).expect("umbra runs");
    String::from_utf8(out.stdout).expect("text")
}

/// Writes the example anew, with what umbra prints.
fn write_sidecar(path: &std::path::Path, text: &str, command: &str) {
    let indented = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let (head, rest) = text.split_once("  bootstrap.yaml: |\n").expect("a bootstrap");
    let (_, tail) = rest.split_once("---\n").expect("a second document");
    let secret = printed(&format!("{command} --print-token-secret"));
    let new = format!(
        "{head}  bootstrap.yaml: |\n{}  token-secret.json: |\n{}---\n{tail}",
        indented(&printed(command)),
        indented(&secret)
    );
    std::fs::write(path, new).expect("the example");
}

/// Whatever Kubernetes allows for a release and a namespace gives objects that it takes: a name that reads as a number
/// stays text, and no two releases share what belongs to the whole cluster.
#[test]
fn names_of_releases_and_namespaces() {
    let long = ("r".repeat(53), "n".repeat(63), "n".repeat(62));
    let mut roles = BTreeSet::new();
    for (release, namespace, service) in [
        ("umbra", "umbra-system", "umbra"),
        ("umbra", "123", "umbra"),
        ("123", "true", "umbra-123"),
        ("my.umbra", "shop", "my-umbra"),
        (&long.0, &long.1, &long.0[..40]),
        (&long.0, &long.2, &long.0[..40]),
    ] {
        let settings = [
            "networkPolicy.apiNamespaces=[\"1e3\"]",
            "gateway.service.ports=[{\"name\": \"no\", \"port\": 80}]",
        ];
        let Some(out) = helm_in(namespace, &["template", release], &settings) else { return };
        let all = objects(&settings, out);
        for object in &all {
            let (kind, metadata) = (&object["kind"], &object["metadata"]);
            if object["kind"].as_str().is_some_and(|kind| kind.starts_with("ClusterRole")) {
                assert!(
                    roles.insert(format!("{kind} {}", metadata["name"])),
                    "{release} in {namespace}: {roles:?}"
                );
            } else {
                assert_eq!(metadata["namespace"], namespace, "{kind}");
            }
            assert_eq!(metadata["labels"]["app.kubernetes.io/instance"], release, "{kind}");
        }
        find(&all, "Service", service);
        let gateway = find(&all, "Service", &format!("{service}-gateway"));
        assert_eq!(gateway["spec"]["ports"][0]["targetPort"], "no");
        let admitted = find(&all, "NetworkPolicy", service)["spec"]["ingress"].to_string();
        assert!(admitted.contains("\"1e3\""), "{admitted}");
    }
}

#[test]
fn a_digest_counts_instead_of_the_tag() {
    let digest = format!("sha256:{}", "0".repeat(64));
    for (settings, image) in [
        (
            vec!["image.repository=\"r:5/umbra\"".to_owned(), "image.tag=\"1.0\"".to_owned()],
            "r:5/umbra:1.0".to_owned(),
        ),
        (
            vec![format!("image.digest=\"{digest}\""), "image.tag=\"1.0\"".to_owned()],
            format!("umbra@{digest}"),
        ),
    ] {
        let settings: Vec<_> = settings.iter().map(String::as_str).collect();
        let Some(objects) = render(&settings) else { return };
        let shown =
            &find(&objects, "Deployment", "umbra")["spec"]["template"]["spec"]["containers"][0]["image"];
        assert_eq!(*shown, image);
    }
}

/// Pages on a Service are given to who asks for them, and the right to change a rule is taken from umbra by who asks for that.
#[test]
fn the_dashboard_and_stops() {
    for (settings, pages, stops) in [
        (&[][..], false, true),
        (&["dashboard.service=true"], true, true),
        (&["stopByApi=false"], false, false),
        (&["watchNamespaces=[\"shop\"]"], false, true),
        (&["stopByApi=false", "watchNamespaces=[\"shop\"]"], false, false),
    ] {
        let Some(objects) = render(settings) else { return };
        let dashboard = |it: &&Value| it["kind"] == "Service" && it["metadata"]["name"] == "umbra-dashboard";
        assert_eq!(objects.iter().any(|it| dashboard(&it)), pages, "{settings:?}");
        let deployment = find(&objects, "Deployment", "umbra").to_string();
        assert_eq!(deployment.contains("--api-dashboard"), pages, "{settings:?}");
        let roles =
            objects.iter().filter(|it| it["kind"].as_str().is_some_and(|kind| kind.ends_with("Role")));
        let mut rules = roles.flat_map(|role| role["rules"].as_array().into_iter().flatten());
        let changes = |rule: &Value| {
            let of = |key: &str, word: &str| {
                rule[key].as_array().is_some_and(|all| all.iter().any(|it| it == word))
            };
            of("resources", "virtualservices") && of("verbs", "patch")
        };
        assert_eq!(rules.any(changes), stops, "{settings:?}");
    }
}

/// It is there when somebody wants it, without a right or a token, and whoever needs it is told where.
#[test]
fn the_judge() {
    for (settings, judge, secret) in [
        (&[][..], false, Value::Null),
        (&["judge.enabled=true", "injector.enabled=true"], true, "umbra-xds".into()),
        (
            &["judge.enabled=true", "judge.values=true", "injector.enabled=true", "identity=\"none\""],
            true,
            Value::Null,
        ),
    ] {
        let Some(objects) = render(settings) else { return };
        let named = objects.iter().filter(|it| it["metadata"]["name"] == "umbra-judge");
        let kinds: BTreeSet<_> = named.filter_map(|it| it["kind"].as_str()).collect();
        let want = if judge { vec!["Deployment", "NetworkPolicy", "Service"] } else { Vec::new() };
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), want, "{settings:?}");
        let server = find(&objects, "Deployment", "umbra").to_string();
        assert_eq!(server.contains("--judge=umbra-judge.umbra-system.svc:15018"), judge, "{settings:?}");
        if judge {
            let pod = &find(&objects, "Deployment", "umbra-judge")["spec"]["template"]["spec"];
            assert_eq!(pod["automountServiceAccountToken"], false);
            // Values are told of nobody unless somebody wants it.
            let args = pod["containers"][0]["args"].as_array().into_iter().flatten();
            let values = args.into_iter().any(|it| it == "--values");
            assert_eq!(values, settings.contains(&"judge.values=true"), "{settings:?}");
            assert_eq!(pod["volumes"][0]["secret"]["secretName"], secret, "{settings:?}");
            let made = server.contains("umbra-judge.umbra-system.svc\",")
                || server.contains("umbra-judge.umbra-system.svc\\n");
            assert_eq!(made, !secret.is_null(), "{settings:?}: whose certificate it is");
            let told = find(&objects, "ConfigMap", "umbra").to_string();
            assert!(told.contains("judge: umbra-judge.umbra-system.svc:15016"), "{told}");
        }
    }
}

/// Where proxies prove who they are by certificates, whoever shows the judge something does so too.
#[test]
fn the_judge_asks_for_certificates() {
    for mutual in [true, false] {
        let settings = [
            "judge.enabled=true".to_owned(),
            "gateway.enabled=false".to_owned(),
            "identity=\"none\"".to_owned(),
            "tls.secretName=\"own\"".to_owned(),
            format!("tls.mutual={mutual}"),
        ];
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let Some(objects) = render(&settings) else { return };
        let pod = &find(&objects, "Deployment", "umbra-judge")["spec"]["template"]["spec"];
        let text = pod.to_string();
        assert_eq!(text.contains("--tls-client-ca=/etc/umbra-tls/ca.crt"), mutual, "{text}");
        assert_eq!(pod["volumes"][0]["secret"]["items"].to_string().contains("ca.crt"), mutual, "{text}");
    }
}

/// Which namespaces and Pods the webhooks choose is what umbra itself takes for Pods that should have a sidecar.
#[test]
fn the_injector() {
    let name = "umbra-umbra-system";
    let Some(without) = render(&[]) else { return };
    assert!(without.iter().all(|object| object["kind"] != "MutatingWebhookConfiguration"));
    for (settings, server, namespaces, policy) in [
        (vec!["injector.enabled=true"], "umbra.umbra-system.svc:15012", "kube-system", "Ignore"),
        (
            vec!["injector.enabled=true", "identity=\"none\""],
            "umbra.umbra-system.svc:15010",
            "kube-system",
            "Ignore",
        ),
        (
            vec![
                "injector.enabled=true",
                "tls.secretName=\"a\"",
                "watchNamespaces=[\"shop\"]",
                "injector.failurePolicy=\"Fail\"",
            ],
            "umbra.umbra-system.svc:15012",
            "shop",
            "Fail",
        ),
    ] {
        let Some(objects) = render(&settings) else { return };
        let webhooks = &find(&objects, "MutatingWebhookConfiguration", name)["webhooks"];
        let webhooks = webhooks.as_array().expect("webhooks");
        assert_eq!(webhooks.len(), 4);
        for webhook in webhooks {
            assert!(webhook["clientConfig"].get("caBundle").is_none(), "umbra's own to write");
            assert_eq!(webhook["failurePolicy"], policy);
            let selector = webhook["namespaceSelector"].to_string();
            assert!(selector.contains(namespaces), "{selector}");
        }
        // All that it may beside what it may anyway, by name.
        let rules = |kind: &str, name: &str| find(&objects, kind, name)["rules"].clone();
        assert_eq!(
            rules("Role", "umbra-injector"),
            serde_json::json!([
                {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
                {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["umbra-injector"], "verbs": ["get", "update"]},
            ])
        );
        assert_eq!(
            rules("ClusterRole", &format!("{name}-injector")),
            serde_json::json!([{
                "apiGroups": ["admissionregistration.k8s.io"], "resources": ["mutatingwebhookconfigurations"],
                "resourceNames": [name], "verbs": ["get", "patch"],
            }])
        );
        let config = find(&objects, "ConfigMap", "umbra")["data"]["umbra.yaml"].as_str().expect("a file");
        let config: Value = serde_saphyr::from_str(config).expect("YAML");
        assert_eq!(config["injection"]["server"], server);
        let template = &find(&objects, "Deployment", "umbra")["spec"]["template"];
        assert_eq!(config["injection"]["image"], template["spec"]["containers"][0]["image"]);
        for pods in ["umbra", "umbra-gateway"] {
            let labels = &find(&objects, "Deployment", pods)["spec"]["template"]["metadata"]["labels"];
            assert_eq!(labels["sidecar.istio.io/inject"], "false", "{pods}");
        }
    }
}
