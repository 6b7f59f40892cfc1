//! `umbra plan`: what it finds, in words, as JSON and by its exit code.

use serde_json::Value;
use umbra_tests::manifests::{all, rules, to_v1, web};

use super::{text, umbra};

struct Folder(tempfile::TempDir);

impl Folder {
    /// The mesh holds `web` and a rule that copies half of its requests to v2.
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("mesh")).expect("a folder");
        let folder = Folder(folder);
        folder.write("mesh/mesh.yaml", &web());
        folder.write("mesh/rule.yaml", &mirrored(50));
        folder
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("a path").to_owned()
    }

    fn run(&self, args: &[&str]) -> (i32, String) {
        let mesh = self.0.path().join("mesh");
        let mesh = ["plan", "--dir", mesh.to_str().expect("a path")];
        let out = umbra(&[&mesh[..], args].concat(), "");
        (out.status.code().expect("a code"), text(&out.stdout) + &text(&out.stderr))
    }
}

fn mirrored(percent: u32) -> String {
    let mirror = format!("mirror: {{host: web, subset: v2}}\nmirrorPercentage: {{value: {percent}}}");
    rules("web", "web", &to_v1(&mirror))
}

#[test]
fn what_changes_is_said() {
    let folder = Folder::new();
    for (manifests, code, words) in [
        (mirrored(50), 0, &["0 objects; nothing changes for any of"][..]),
        (
            mirrored(20),
            2,
            &[
                "~ VirtualService default/web",
                "20% instead of 50% of the requests to web copied to web subset v2",
                "copies of requests to web.default.svc.cluster.local:8000",
                "~ 1 resources: rtds umbra",
            ],
        ),
        (mirrored(0), 2, &["STOPS: no more 50%", "STOP being copied to mirror|8000|v2|"]),
        (
            rules("web", "web", &to_v1("")),
            2,
            &["STOPS", "- path /* -> outbound|8000|v1|", "- 1 resources: cds mirror|8000|v2|"],
        ),
        (
            rules("web", "web", &to_v1("mirror: {host: web, subset: v9}")),
            2,
            &["Diagnostics", "+ ", "SubsetNotFound"],
        ),
        (
            "apiVersion: umbra.io/v1alpha1\nkind: MirrorPolicy\nmetadata: {name: web}\nspec: {targetRef: {name: web}, host: {suffix: false}}\n".to_owned(),
            2,
            &[
                "+ MirrorPolicy default/web",
                "GET|HEAD|OPTIONS",
                "copies 50% mirror|8000|v2|web.default.svc.cluster.local (under the same host, without authorization, without cookie)",
            ],
        ),
        (rules("other", "other", &to_v1("")), 2, &["+ VirtualService default/other"]),
        ("kind: [".to_owned(), 2, &["Diagnostics"]),
    ] {
        let file = folder.write("new.yaml", &manifests);
        let (is, said) = folder.run(&[&file]);
        assert_eq!(is, code, "{manifests}\n{said}");
        for words in words {
            assert!(said.contains(words), "{manifests}\ndoes not say {words:?}:\n{said}");
        }
    }
}

#[test]
fn what_goes_is_said() {
    let folder = Folder::new();
    let rule = folder.write("gone.yaml", &mirrored(1));
    let (code, said) = folder.run(&["--delete", &rule]);
    assert!(
        code == 2 && said.contains("- VirtualService default/web") && said.contains("STOPS"),
        "{code} {said}"
    );
    let whole = folder.write("whole.yaml", &all(&[web(), mirrored(50)]));
    assert_eq!(folder.run(&["--prune", &whole]).0, 0);
    let part = folder.write("part.yaml", &web());
    assert_eq!(folder.run(&[&part]).0, 0, "what is not named stays");
    let (code, said) = folder.run(&["--prune", &part]);
    assert!(code == 2 && said.contains("- VirtualService default/web"), "{code} {said}");
}

#[test]
fn json_names_proxies_and_resources() {
    let folder = Folder::new();
    let file = folder.write("new.yaml", &mirrored(20));
    let (code, said) = folder.run(&[
        &file,
        "-o",
        "json",
        "--proxy",
        "sidecar/default/app=client",
        "--proxy",
        "router/default/a=b",
    ]);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(code, 2, "{said:#}");
    assert_eq!(said["lookedAt"], 2);
    assert_eq!(said["mirrors"][0]["before"], 50.0);
    assert_eq!(said["mirrors"][0]["after"], 20.0);
    assert_eq!(said["proxies"].as_array().map(Vec::len), Some(1), "{said:#}");
    assert_eq!(said["proxies"][0]["proxies"][0], "sidecar/default/app=client");
    let changed = serde_json::json!([{"action": "changed", "type": "rtds", "name": "umbra"}]);
    assert_eq!(said["proxies"][0]["resources"], changed);
}

/// 2 says that something changes, so nothing else is 2.
#[test]
fn what_cannot_be_planned_is_1() {
    let folder = Folder::new();
    for args in [
        &["/no/such/file"][..],
        &[],
        &["--nonsense"],
        &["-", "--proxy", "nonsense"],
        &["-", "--config", "/no/such/file"],
    ] {
        let (code, said) = folder.run(args);
        assert_eq!(code, 1, "{args:?}: {said}");
    }
}

/// Where bytes go: which listener, which of its connections, from where to where, for whom.
#[test]
fn what_changes_for_bytes_is_said() {
    let folder = Folder::new();
    let service = |name: &str| umbra_tests::manifests::service("default", name, &[("tcp", 5432, 9000)]);
    folder.write("mesh/bytes.yaml", &all(&[service("adb"), service("bdb")]));
    let spec =
        "hosts: [adb]\ntcp:\n- match: [{sourceLabels: {app: a}}]\n  route: [{destination: {host: bdb}}]\n";
    let file =
        folder.write("new.yaml", &umbra_tests::manifests::istio("VirtualService", "default", "adb", spec));
    let (code, said) = folder.run(&[&file]);
    assert_eq!(code, 2, "{said}");
    for words in [
        "bytes at the listener 127.0.0.1_5432",
        "- every connection: passed on to outbound|5432||adb.default.svc.cluster.local",
        "+ every connection: passed on to outbound|5432||bdb.default.svc.cluster.local",
        "~ 1 resources: lds 127.0.0.1_5432",
        "something changes for 1 of",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}
