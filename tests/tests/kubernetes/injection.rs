//! Sidecars in Pods, judged by a real API server.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;
use umbra_testkit::cluster::Cluster;
use umbra_testkit::cluster::stage::on_cluster;
use umbra_testkit::paths;

use super::chart::{NAMESPACE, helm, namespace};

/// What `umbra inject` prints for a text.
fn inject(text: &str) -> String {
    use std::io::Write;
    use std::process::Stdio;
    let mut child = Command::new(paths::umbra().expect("umbra"))
        .args(["kube-inject", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("umbra starts");
    child.stdin.take().expect("its input").write_all(text.as_bytes()).expect("it reads");
    let out = child.wait_with_output().expect("umbra ends");
    assert!(out.status.success());
    String::from_utf8(out.stdout).expect("text")
}

/// The namespaces that a text names.
fn namespaces(text: &str) -> BTreeSet<String> {
    let names = text.lines().filter_map(|line| line.trim().strip_prefix("namespace: "));
    names.map(|name| name.trim_matches(['"', ' ']).to_owned()).collect()
}

/// Whatever the API server takes, it takes with sidecars, and what it refuses (`extensions/v1beta1`, kinds that it does not
/// know) it refuses as before.
#[test]
fn an_api_server_takes_what_was_injected() {
    on_cluster(|cluster| async move {
        let admin = cluster.admin();
        let mut made: BTreeSet<String> = ["default", "kube-system"].map(str::to_owned).into();
        let mut taken = 0;
        for entry in std::fs::read_dir(paths::workspace().join("tests/manifests")).expect("the folder") {
            let path = entry.expect("an entry").path();
            let name = path.display().to_string();
            if name.ends_with(".md") {
                continue;
            }
            let before = std::fs::read_to_string(&path).expect("a manifest");
            for namespace in namespaces(&before) {
                if made.insert(namespace.clone()) {
                    let _ =
                        admin.try_kubectl(&["create", "namespace", &namespace], "").expect("kubectl runs");
                }
            }
            let apply = |text: &str| {
                let out =
                    admin.try_kubectl(&["apply", "--dry-run=server", "-f", "-"], text).expect("kubectl runs");
                let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                (words(&out.stdout), words(&out.stderr))
            };
            let after = inject(&before);
            let (plain, injected) = (apply(&before), apply(&after));
            assert_eq!(injected.0, plain.0, "{name}: {}\n{after}", injected.1);
            // Its words quote the object.
            assert_eq!(
                injected.1.lines().count(),
                plain.1.lines().count(),
                "{name}: {}\n{}",
                plain.1,
                injected.1
            );
            taken += plain.0.lines().count();
        }
        assert!(taken >= 50, "{taken} objects were taken");
    });
}

/// Typed all the way: a field that the API server does not know would be an error.
#[test]
fn every_field_is_known() {
    on_cluster(|cluster| async move {
        let admin = cluster.admin();
        for settings in
            ["", "sidecar.istio.io/nativeSidecar: 'false'", "sidecar.istio.io/interceptionMode: NONE"]
        {
            let pod = format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: a, annotations: {{{settings}}}}}\nspec: {{containers: [{{name: a, image: a}}]}}\n"
            );
            let out = admin.try_kubectl(
                &["create", "--validate=strict", "--dry-run=server", "-o", "json", "-f", "-"],
                &inject(&pod),
            );
            let out = out.expect("kubectl runs");
            assert!(out.status.success(), "{settings}: {}", String::from_utf8_lossy(&out.stderr));
            let pod: Value = serde_json::from_slice(&out.stdout).expect("JSON");
            let all = [&pod["spec"]["initContainers"], &pod["spec"]["containers"]];
            let names: Vec<_> = all
                .iter()
                .flat_map(|list| list.as_array().into_iter().flatten())
                .map(|it| &it["name"])
                .collect();
            assert!(names.contains(&&Value::from("istio-proxy")), "{names:?}");
        }
        // Without capture nobody needs a right: the strictest of the standards takes such Pods.
        admin.kubectl(&["create", "namespace", "strict"]).expect("a namespace");
        let label = "pod-security.kubernetes.io/enforce=restricted";
        admin.kubectl(&["label", "namespace", "strict", label]).expect("its label");
        let pod = |mode: &str| {
            inject(&format!(
                "apiVersion: v1
kind: Pod
metadata: {{name: a, namespace: strict, annotations: {{sidecar.istio.io/interceptionMode: {mode}}}}}
spec:
  securityContext: {{runAsNonRoot: true, runAsUser: 65532, seccompProfile: {{type: RuntimeDefault}}}}
  containers: [{{name: a, image: a, securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}}}]
"
            ))
        };
        for (mode, allowed) in [("NONE", true), ("REDIRECT", false)] {
            let out = admin
                .try_kubectl(&["create", "--dry-run=server", "-f", "-"], &pod(mode))
                .expect("kubectl runs");
            assert_eq!(out.status.success(), allowed, "{mode}: {}", String::from_utf8_lossy(&out.stderr));
        }
    });
}

/// A Pod as the API server would store it (nothing is stored), and what it warned of; else why it refused.
fn admitted(
    cluster: &Cluster,
    namespace: &str,
    metadata: &str,
    spec: &str,
) -> Result<(Value, String), String> {
    let pod = format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: a, namespace: {namespace}{metadata}}}
spec: {{containers: [{{name: a, image: a}}]{spec}}}
"
    );
    let verb = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
    let out = cluster.admin().try_kubectl(&verb, &pod).expect("kubectl runs");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    if !out.status.success() {
        return Err(said);
    }
    Ok((serde_json::from_slice(&out.stdout).expect("JSON"), said))
}

/// Whether a Pod of this namespace would get a sidecar now.
fn is_injected(cluster: &Cluster, namespace: &str) -> bool {
    admitted(cluster, namespace, "", "").is_ok_and(|(pod, _)| has_sidecar(&pod))
}

fn has_sidecar(pod: &Value) -> bool {
    let init = pod["spec"]["initContainers"].as_array();
    init.into_iter().flatten().any(|it| it["name"] == "istio-proxy" && it["restartPolicy"] == "Always")
}

fn bundle(cluster: &Cluster) -> String {
    let name = "mutatingwebhookconfiguration/umbra-umbra-system";
    cluster.kubectl(&["get", name, "-o", "jsonpath={.webhooks[*].clientConfig.caBundle}"])
}

fn secret(cluster: &Cluster) -> String {
    let path = "jsonpath={.data.tls\\.crt}";
    cluster.kubectl(&["-n", NAMESPACE, "get", "secret", "umbra-injector", "--ignore-not-found", "-o", path])
}

/// umbra with its injector, and namespaces with one label each.
pub(crate) async fn install(cluster: &Cluster, more: &[&str]) {
    namespace(cluster);
    let on = ["--set", "injector.enabled=true,gateway.enabled=false"];
    helm(cluster, "install", &[&on, more].concat());
    for (namespace, label) in [
        ("shop", "istio-injection=enabled"),
        ("pay", "istio.io/rev=umbra"),
        ("quiet", "istio-injection=disabled"),
    ] {
        cluster.kubectl(&["create", "namespace", namespace]);
        cluster.kubectl(&["label", "namespace", namespace, label]);
    }
    cluster.wait_for("a Pod with a sidecar", || async { is_injected(cluster, "shop") }).await;
}

#[test]
fn a_label_on_a_namespace_is_enough() {
    on_cluster(|cluster| async move {
        install(&cluster, &[]).await;
        cluster.kubectl(&["label", "namespace", "kube-system", "istio-injection=enabled"]);
        for (namespace, metadata, spec, want, warned) in [
            ("shop", "", "", true, ""),
            ("shop", ", labels: {sidecar.istio.io/inject: 'false'}", "", false, ""),
            ("shop", ", annotations: {sidecar.istio.io/inject: 'false'}", "", false, ""),
            ("shop", "", ", hostNetwork: true", false, "no sidecar: it uses the host's network"),
            ("shop", ", annotations: {sidecar.istio.io/proxyCPU: much}", "", false, "proxyCPU"),
            ("shop", ", annotations: {inject.istio.io/templates: x}", "", true, "templates is not acted on"),
            ("pay", "", "", true, ""),
            ("quiet", "", "", false, ""),
            ("quiet", ", labels: {sidecar.istio.io/inject: 'true'}", "", false, ""),
            ("default", "", "", false, ""),
            ("default", ", labels: {sidecar.istio.io/inject: 'true'}", "", true, ""),
            ("default", ", labels: {istio.io/rev: umbra}", "", true, ""),
            ("default", ", labels: {istio.io/rev: other}", "", false, ""),
            ("kube-system", "", "", false, ""),
        ] {
            let (pod, said) = admitted(&cluster, namespace, metadata, spec).expect("a Pod");
            assert_eq!(has_sidecar(&pod), want, "{namespace} {metadata} {spec}: {said}");
            assert!(
                said.contains(warned) && said.is_empty() == warned.is_empty(),
                "{metadata} {spec}: {said}"
            );
        }
        // As controllers make Pods, and by the chart's image and Service.
        cluster.kubectl(&["-n", "shop", "create", "deployment", "web", "--image=web"]);
        let pods = ["-n", "shop", "get", "pods", "-l", "app=web", "-o", "json"];
        let list = || -> Value { serde_json::from_str(&cluster.kubectl(&pods)).expect("JSON") };
        cluster.wait_for("the Deployment's Pod", || async { list()["items"][0].is_object() }).await;
        let pod = &list()["items"][0];
        assert!(has_sidecar(pod), "{pod:#}");
        assert_eq!(pod["metadata"]["labels"]["service.istio.io/canonical-name"], "web");
        let init = &pod["spec"]["initContainers"][0];
        assert_eq!(init["image"], "umbra:0.1.0");
        assert!(init["args"].to_string().contains("--server=umbra.umbra-system.svc:15012"), "{init:#}");
        let env = init["env"].to_string();
        let told = ["-n", NAMESPACE, "get", "configmap", "umbra-ca", "-o", "jsonpath={.data.ca\\.crt}"];
        let told = serde_json::to_string(&cluster.kubectl(&told)).expect("JSON");
        assert!(told.contains("BEGIN CERTIFICATE") && env.contains(&told), "{told}: {env}");
        // Who came injected stays as it is.
        let manifest = inject(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: b, namespace: shop}\nspec: {containers: [{name: a, image: a}]}\n",
        );
        let verb = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
        let out = cluster.admin().try_kubectl(&verb, &manifest).expect("kubectl runs");
        let pod: Value = serde_json::from_slice(&out.stdout).expect("JSON");
        assert_eq!(pod["spec"]["initContainers"].as_array().map(Vec::len), Some(2), "{pod:#}");
        // What umbra may with it, and no more.
        for (verb, object, allowed) in [
            ("get", "secrets/umbra-injector", "yes"),
            ("get", "secrets/umbra-xds", "yes"),
            ("patch", "configmaps/umbra-ca", "yes"),
            ("get", "configmaps/other", "no"),
            ("get", "secrets/other", "no"),
            ("delete", "secrets/umbra-injector", "no"),
            ("list", "secrets", "no"),
            ("patch", "mutatingwebhookconfigurations/umbra-umbra-system", "yes"),
            ("patch", "mutatingwebhookconfigurations/other", "no"),
            ("delete", "mutatingwebhookconfigurations/umbra-umbra-system", "no"),
        ] {
            let who = "--as=system:serviceaccount:umbra-system:umbra";
            let out = cluster.admin().try_kubectl(&["-n", NAMESPACE, "auth", "can-i", verb, object, who], "");
            let said = String::from_utf8_lossy(&out.expect("kubectl runs").stdout).trim().to_owned();
            assert_eq!(said, allowed, "{verb} {object}");
        }
    });
}

/// No Pod goes without a sidecar while the certificate changes, by its time or because somebody took it away.
#[test]
fn a_new_certificate() {
    on_cluster(|cluster| async move {
        install(&cluster, &[]).await;
        for change in [
            &[
                "annotate",
                "secret",
                "umbra-injector",
                "--overwrite",
                "umbra.io/renew-after=2020-01-01T00:00:00Z",
            ][..],
            &["delete", "secret", "umbra-injector"],
        ] {
            let before = (secret(&cluster), bundle(&cluster));
            cluster.kubectl(&[&["-n", NAMESPACE], change].concat());
            let is_new = || async {
                assert!(
                    change[0] == "delete" || is_injected(&cluster, "shop"),
                    "a Pod without a sidecar: {change:?}"
                );
                let now = (secret(&cluster), bundle(&cluster));
                !now.0.is_empty() && now.0 != before.0 && now.1 != before.1
            };
            cluster.wait_for(&format!("a new certificate after {change:?}"), is_new).await;
            cluster.wait_for("a Pod with a sidecar", || async { is_injected(&cluster, "shop") }).await;
        }
        // Helm leaves it alone.
        let before = bundle(&cluster);
        helm(&cluster, "upgrade", &["--reuse-values", "--set", "injector.timeoutSeconds=7"]);
        assert_eq!(bundle(&cluster), before);
        assert!(is_injected(&cluster, "shop"));
    });
}

/// What the status of a rule says of its being in force.
fn accepted(cluster: &Cluster) -> String {
    let path = "jsonpath={.status.conditions[?(@.type=='Accepted')].message}";
    cluster.kubectl(&["-n", "shop", "get", "virtualservice", "web", "-o", path])
}

/// While nobody answers, Pods start without a sidecar, or not at all, as an operator chose. Those without are named.
#[test]
fn an_injector_that_is_away() {
    on_cluster(|cluster| async move {
        install(&cluster, &["--set", "replicas=1"]).await;
        cluster.apply(
            "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec: {hosts: [web], http: [{directResponse: {status: 200}}]}
",
        );
        for (policy, starts) in [("Ignore", true), ("Fail", false)] {
            helm(
                &cluster,
                "upgrade",
                &["--reuse-values", "--set", &format!("injector.failurePolicy={policy}")],
            );
            cluster.kubectl(&["-n", NAMESPACE, "scale", "deployment/umbra", "--replicas=0"]);
            cluster
                .wait_for(&format!("nobody to answer, {policy}"), || async {
                    match admitted(&cluster, "shop", "", "") {
                        Ok((pod, _)) => starts && !has_sidecar(&pod),
                        Err(_) => !starts,
                    }
                })
                .await;
            assert!(!is_injected(&cluster, "default"), "whom nobody asks about");
            if starts {
                cluster.kubectl(&["-n", "shop", "run", "bare", "--image=web"]);
            }
            assert!(admitted(&cluster, "default", "", "").is_ok(), "whom nobody asks about");
            cluster.kubectl(&["-n", NAMESPACE, "scale", "deployment/umbra", "--replicas=1"]);
            cluster.wait_for("a Pod with a sidecar", || async { is_injected(&cluster, "shop") }).await;
            if starts {
                let named = "Pod shop/bare should have a sidecar and has none";
                cluster.wait_for("its name", || async { accepted(&cluster).contains(named) }).await;
                cluster.kubectl(&["-n", "shop", "delete", "pod", "bare", "--now"]);
                cluster.wait_for("no name", || async { !accepted(&cluster).contains(named) }).await;
            }
        }
    });
}
