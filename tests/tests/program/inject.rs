//! `umbra inject`: what comes out of manifests as people have them, and out of a second pass.

use std::path::PathBuf;

use serde_json::Value;
use umbra_testkit::paths::workspace;

use super::{text, umbra};

/// The manifests of `tests/manifests`.
fn manifests() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(workspace().join("tests/manifests")).expect("the folder");
    let mut files: Vec<_> = folder.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end != "md"));
    files.sort();
    files
}

#[test]
fn manifests_as_people_have_them() {
    let all = manifests();
    assert!(all.len() >= 30, "{} manifests", all.len());
    for path in all {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let before = std::fs::read_to_string(&path).expect("a manifest");
        let out = umbra(&["inject", "-f", path.to_str().expect("a path")], "");
        assert!(out.status.success(), "{name}: {}", text(&out.stderr));
        let after = text(&out.stdout);
        let again = umbra(&["kube-inject", "-f", "-"], &after);
        assert_eq!(text(&again.stdout), after, "{name}: a second pass");
        assert!(again.status.success(), "{name}: {}", text(&again.stderr));
        // All lines are there as they were, but those within which something is inserted: in flow style, for an alias, for
        // nothing, and behind the last.
        let diff = similar::TextDiff::from_lines(&before, &after);
        let gone = diff.iter_all_changes().filter(|change| change.tag() == similar::ChangeTag::Delete);
        let gone: Vec<_> = gone.map(|change| change.value().to_owned()).collect();
        let inline = |line: &str| {
            line.contains(['{', '[', '}', '*']) || line.trim_end().ends_with(':') || !line.ends_with('\n')
        };
        assert!(gone.iter().all(|line| inline(line)), "{name}: {gone:?}\n{after}");
        assert!(gone.len() <= 6, "{name}: {gone:?}\n{after}");
    }
}

/// How many Pods of each file get a sidecar, and what is said of the others.
#[test]
fn who_gets_a_sidecar() {
    for (name, count, said) in [
        ("documents.yaml", 2, &[][..]),
        ("anchors.yaml", 2, &[]),
        ("cronjob.yaml", 2, &[]),
        ("list.yaml", 2, &["Pod default/host: no sidecar: it uses the host's network"]),
        ("kubernetes-extensions-deployment.yaml", 1, &[]),
        (
            "kubernetes-nodelocaldns.yaml",
            0,
            &["kube-system/node-local-dns: no sidecar: the namespace kube-system"],
        ),
        ("kubernetes-pod-restricted.yaml", 1, &[]),
        ("windows.yaml", 1, &[]),
        ("argo-istio-mirror.yaml", 1, &[]),
    ] {
        let path = workspace().join("tests/manifests").join(name);
        let out = umbra(&["inject", "-f", path.to_str().expect("a path")], "");
        let (got, warned) = (text(&out.stdout), text(&out.stderr));
        assert_eq!(got.matches("sidecar.istio.io/status").count(), count, "{name}: {warned}");
        assert_eq!(warned.lines().count(), said.len(), "{name}: {warned}");
        said.iter().for_each(|part| assert!(warned.contains(part), "{name}: {warned}"));
    }
}

#[test]
fn what_is_not_ours_passes_byte_for_byte() {
    for input in [
        "",
        "\n",
        "# nothing\n",
        "---\n---\n",
        "apiVersion: v1\nkind: Service   # ours\nmetadata: {name:   x}",
        "kind: Deployment\n",
        "kind: Deployment\nspec: {template: {spec: {containers: [{name: a}]}, metadata: {labels: {sidecar.istio.io/inject: 'false'}}}}\n",
        "apiVersion: serving.knative.dev/v1\nkind: Service\nspec: {template: {spec: {containers: [{name: a}]}}}\n",
        "{\"kind\": \"ConfigMap\",\n\t\"data\": {\"a\": \"b\"}}",
        "a: [1, 2]\r\n---\r\nb: 'x'\r\n",
    ] {
        let out = umbra(&["inject", "-f", "-"], input);
        assert_eq!((text(&out.stdout), text(&out.stderr)), (input.to_owned(), String::new()), "{input:?}");
    }
}

const POD: &str = "kind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a}]}\n";

#[test]
fn options_and_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("a path").to_owned()
    };
    let pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    let ca = write("ca.crt", pem);
    let config = write(
        "umbra.yaml",
        &format!(
            "injection: {{image: 'r.io/umbra:7', cpuLimit: '1', caFile: {ca}, excludeOutboundPorts: '22'}}\n"
        ),
    );
    let target = folder.path().join("out.yaml");
    let first = umbra(
        &[
            "inject",
            "-f",
            "-",
            "--config",
            &config,
            "--server",
            "u.s.svc:15012",
            "-o",
            target.to_str().expect("a path"),
        ],
        POD,
    );
    assert!(first.status.success() && first.stdout.is_empty(), "{}", text(&first.stderr));
    let written = std::fs::read_to_string(&target).expect("what was written");
    let pod: Value = serde_saphyr::from_str(&written).expect("YAML");
    let init = &pod["spec"]["initContainers"][0];
    assert_eq!(init["image"], "r.io/umbra:7");
    let args = init["args"].to_string();
    for part in ["--server=u.s.svc:15012", "--exclude-outbound-ports=22"] {
        assert!(args.contains(part), "{args}");
    }
    assert_eq!(init["env"][3]["value"], pem);
    assert_eq!(pod["spec"]["initContainers"][1]["resources"]["limits"]["cpu"], "1");
    // Several files, one after the other.
    let (one, two) = (write("one.yaml", POD.trim_end()), write("two.yaml", "kind: Service\n"));
    let out = umbra(&["inject", "-f", &one, "-f", &two], "");
    assert!(text(&out.stdout).ends_with("}\n---\nkind: Service\n"), "{}", text(&out.stdout));
    for (args, input, code, part) in [
        (&["-f", "/no/such/file"][..], "", 2, "/no/such/file"),
        (&[], "", 2, "--filename"),
        (&["-f", "-"], "a: 1\n---\nb: [\n", 1, "standard input: line"),
        (&["-f", "-", "--image", "a b"], POD, 2, "image"),
        (&["-f", "-", "--server", "umbra"], POD, 2, "server"),
    ] {
        let out = umbra(&[&["inject"], args].concat(), input);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {}", text(&out.stderr));
        assert!(text(&out.stderr).contains(part) && out.stdout.is_empty(), "{args:?}: {}", text(&out.stderr));
    }
}

/// What the init container of a Pod writes, a real Envoy takes; with authorities and without, of either family. (That it applies
/// the rules of capture is for the network namespaces of `capture`.)
#[test]
fn a_real_envoy_takes_what_the_init_container_writes() {
    let Some(envoy) = umbra_testkit::gate::require_envoy() else { return };
    if !umbra_testkit::gate::require_openssl() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).to_str().expect("a path").to_owned();
    std::fs::write(at("labels"), "app=\"sleep\"\nversion=\"v1\"\n").expect("labels");
    std::fs::write(at("annotations"), "sidecar.istio.io/interceptionMode=\"NONE\"\n").expect("annotations");
    umbra_testkit::tls::Authority::make(folder.path(), "ca").expect("openssl");
    let ca = std::fs::read_dir(folder.path()).expect("the folder").filter_map(|entry| {
        let text = std::fs::read_to_string(entry.ok()?.path()).ok()?;
        text.contains("BEGIN CERTIFICATE").then_some(text)
    });
    let ca = ca.last().expect("a certificate");
    let file = at("bootstrap.yaml");
    let pod = folder.path().to_str().expect("a path");
    for (address, port, more) in [
        ("10.1.1.1", "15010", &[][..]),
        ("fd00::1,10.1.1.1", "15010", &[]),
        ("10.1.1.1", "15012", &["--ca", &ca]),
    ] {
        let server = format!("--server=umbra.umbra-system.svc:{port}");
        let options = ["--namespace=shop", "--address", address, "--pod-info", pod, "--bootstrap", &file];
        let out = umbra(&[&["prepare", &server], &options[..], more].concat(), "");
        assert!(out.status.success(), "{address} {port}: {}", text(&out.stderr));
        let written = std::fs::read_to_string(&file).expect("a bootstrap");
        let config: Value = serde_saphyr::from_str(&written).expect("YAML");
        let node = &config["node"]["metadata"];
        assert_eq!((&node["NAMESPACE"], &node["LABELS"]["version"]), (&"shop".into(), &"v1".into()));
        assert_eq!(node["INSTANCE_IPS"], address);
        assert_eq!(written.contains("trustedCa"), !more.is_empty());
        let checked = std::process::Command::new(&envoy)
            .args(["--mode", "validate", "--service-node", "n", "-l", "error", "-c", &file])
            .output()
            .expect("envoy runs");
        assert!(checked.status.success(), "{address} {port}: {}", text(&checked.stderr));
    }
    for (options, part) in [
        (&["--address", "10.1.1.1", "--pod-info", "/no/such/folder"][..], "/no/such/folder"),
        (&["--address", "nowhere", "--pod-info", pod], "--address"),
    ] {
        let out = umbra(
            &[&["prepare", "--server=a:1", "--namespace=b", "--bootstrap", &file], options].concat(),
            "",
        );
        assert_eq!(out.status.code(), Some(2), "{options:?}");
        assert!(text(&out.stderr).contains(part), "{options:?}: {}", text(&out.stderr));
    }
}
