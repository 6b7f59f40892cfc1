//! Sidecars in Pods, judged by a real API server.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;
use umbra_testkit::cluster::stage::on_cluster;
use umbra_testkit::paths;

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
