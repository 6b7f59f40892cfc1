//! `umbra proxies` and `umbra mirrors`: what they print without any proxy, and what they say when nobody answers.

use std::path::Path;

use serde_json::{Value, json};
use umbra_testkit::net::Net;
use umbra_testkit::ports::Port;
use umbra_testkit::process::Process;
use umbra_testkit::umbra::{UmbraProcess, write};
use umbra_testkit::wait::{self, PATIENCE};
use umbra_testkit::{paths, umbra as testkit};
use umbra_tests::manifests::{all, rules, to_v1, web};

use super::{text, umbra};

const TWO: &str = "mirror: {host: web, subset: v2}\nmirrorPercentage: {value: 12.5}";
const BROKEN: &str = "mirror: {host: web, subset: v9}\nmirrorPercent: 0";

async fn serve(folder: &Path) -> UmbraProcess {
    let mesh = folder.join("mesh");
    let policy = "apiVersion: umbra.io/v1alpha1\nkind: MirrorPolicy\nmetadata: {name: web, namespace: default}\n\
                  spec:\n  targetRef: {group: networking.istio.io, kind: VirtualService, name: web}\n  methods: [GET, PUT]\n  \
                  host: {value: target, suffix: false}\n";
    let two = rules("web", "web", &to_v1(TWO));
    let objects = [web(), two, rules("other", "other", &to_v1(BROKEN)), policy.to_owned()];
    write(&mesh, "web.yaml", &all(&objects)).expect("manifests");
    UmbraProcess::start(&Net::here(), &mesh, None, folder).await.expect("umbra")
}

#[tokio::test]
async fn mirrors_as_columns_and_as_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = serve(folder.path()).await;
    let admin = server.admin().to_string();
    let out = umbra(&["mirrors", "--server", &admin], "");
    assert!(out.status.success(), "{}", text(&out.stderr));
    let printed = text(&out.stdout);
    let mut lines = printed.lines();
    for wanted in [
        "NAMESPACE RULE ROUTE TARGET SHARE SEEN 5XX LOST VERDICT ENDPOINTS LIVE PROBLEM",
        "default other - web subset v9 off - - - - - 0 of 0 SubsetNotFound",
        "default web - web subset v2 12.5% - - - - 1 0 of 0 -",
        "",
    ] {
        let line = lines.next().unwrap_or_default();
        assert_eq!(line.split_whitespace().collect::<Vec<_>>().join(" "), wanted, "{printed}");
    }
    let note = lines.next().unwrap_or_default();
    assert!(
        note.contains("default/other spec.http[0].mirror") && note.ends_with("[SubsetNotFound]"),
        "{printed}"
    );
    // Columns stand below their headings.
    let at = |line: &str, word: &str| line.find(word).unwrap_or_else(|| panic!("no {word} in {line}"));
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(at(lines[0], "SHARE"), at(lines[1], "off"));
    assert_eq!(at(lines[0], "SHARE"), at(lines[2], "12.5%"));

    let wide = text(&umbra(&["mirrors", "-s", &admin, "-o", "wide"], "").stdout);
    for (nth, wanted) in [(1, "all usual"), (2, "GET,PUT target without -shadow")] {
        let line = wide.lines().nth(nth).unwrap_or_default();
        assert!(line.split_whitespace().collect::<Vec<_>>().join(" ").contains(wanted), "{wide}");
    }
    assert!(wide.contains("mirror|8000|v2|web.default.svc.cluster.local"), "{wide}");

    let out = umbra(&["mirrors", "-s", &admin, "-o", "json"], "");
    let all: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!(all["replicas"].as_array().map(Vec::len), Some(1), "{all:#}");
    let mut mirror = all["mirrors"][1].clone();
    assert_eq!(
        mirror.as_object_mut().and_then(|fields| fields.remove("runtimeKey")).map(|key| key.is_string()),
        Some(true)
    );
    assert_eq!(
        mirror,
        json!({
            "id": "default/web/spec.http[0].mirror",
            "rule": {"group": "networking.istio.io", "kind": "VirtualService", "namespace": "default", "name": "web"},
            "field": "spec.http[0].mirror",
            "route": "",
            "hosts": ["web"],
            "target": "web subset v2",
            "partsPerMillion": 125_000,
            "clusters": [{"name": "mirror|8000|v2|web.default.svc.cluster.local", "readyEndpoints": 1}],
            "total": 0,
            "live": 0,
            "stopped": false,
            "away": 0,
            "uncounted": 0,
            "limits": [],
            "methods": ["GET", "PUT"],
            "copiedHost": "target",
            "shadowSuffix": false,
        })
    );
    for args in [&["mirrors", "-n", "elsewhere"][..], &["proxies"]] {
        let out = umbra(&[args, &["-s", &admin]].concat(), "");
        assert!(out.status.success() && out.stdout.is_empty(), "{args:?}: {}", text(&out.stdout));
        assert!(text(&out.stderr).contains("no"), "{args:?}: {}", text(&out.stderr));
        let out = umbra(&[args, &["-s", &admin, "-o", "json"]].concat(), "");
        let all: Value = serde_json::from_slice(&out.stdout).expect("JSON");
        assert_eq!(all[args[0]], json!([]), "{args:?}: {all:#}");
    }
}

#[tokio::test]
async fn several_servers_are_put_together() {
    let (one, two) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (first, second) = (serve(one.path()).await, serve(two.path()).await);
    let both = format!("{},{}", first.admin(), second.admin());
    let replicas = |servers: &str| {
        let out = umbra(&["mirrors", "-s", servers, "-o", "json"], "");
        let all: Value = serde_json::from_slice(&out.stdout).expect("JSON");
        let count = |field: &str| all[field].as_array().map(Vec::len).unwrap_or_default();
        (count("replicas"), count("mirrors"), out.status.code())
    };
    assert_eq!(replicas(&both), (2, 2, Some(0)));
    // One that is named twice is one.
    assert_eq!(replicas(&format!("{both},{both}")), (2, 2, Some(0)));
    // A name may have addresses that nobody listens on, when all of them are this machine.
    assert_eq!(replicas(&format!("localhost:{}", first.admin().port())), (1, 2, Some(0)));
    // One that is silent is said, and what the others know is printed.
    let nobody = Port::free().expect("a port");
    let silent = nobody.local().to_string();
    let servers = format!("{},{silent}", first.admin());
    assert_eq!(replicas(&servers), (1, 2, Some(1)));
    let out = umbra(&["mirrors", "-s", &servers], "");
    let said = text(&out.stderr);
    assert!(
        said.contains(&format!("no answer from {silent}")) && text(&out.stdout).contains("12.5%"),
        "{said}"
    );
}

#[tokio::test]
async fn a_watch_goes_on_with_what_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = serve(folder.path()).await;
    let mut command = std::process::Command::new(paths::umbra().expect("umbra"));
    command.args(["mirrors", "--watch", "-o", "json", "--server", &server.admin().to_string()]);
    let watch = Process::start("watch", command, &folder.path().join("watch.log")).expect("a watch");
    let line = |n: usize| {
        let watch = &watch;
        async move {
            let look = || async { watch.log().lines().nth(n).map(serde_json::from_str::<Value>) };
            wait::until(PATIENCE, look).await.expect("a line").expect("JSON")
        }
    };
    let first = line(0).await;
    assert_eq!(first["changed"].as_array().map(Vec::len), Some(2), "{first:#}");
    let web = [web(), rules("web", "web", &to_v1(&TWO.replace("12.5", "20")))];
    testkit::write(&folder.path().join("mesh"), "web.yaml", &all(&web)).expect("manifests");
    let second = line(1).await;
    assert_eq!(second["changed"][0]["partsPerMillion"], 200_000, "{second:#}");
    assert_eq!(second["changed"].as_array().map(Vec::len), Some(1), "{second:#}");
    assert_eq!(second["removed"], json!(["default/other/spec.http[0].mirror"]), "{second:#}");
    server.terminate(PATIENCE).await.expect("an end");
    let said = wait::until(PATIENCE, || async { watch.log().contains("shuts down").then_some(()) }).await;
    assert!(said.is_some(), "{}", watch.log());
}

#[tokio::test]
async fn errors_say_what_to_try() {
    let nobody = Port::free().expect("a port");
    let silent = nobody.local().to_string();
    // Accepts and closes: no umbra.
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let closing = other.local_addr().expect("an address").to_string();
    let task = tokio::spawn(async move { while other.accept().await.is_ok() {} });
    for (args, code, parts) in [
        (&["proxies", "-s", &silent][..], 1, &[silent.as_str(), "refused", "port-forward"][..]),
        (&["mirrors", "-s", &closing], 1, &[closing.as_str(), "port-forward"]),
        (&["proxies", "-s", &silent, "--watch"], 1, &[silent.as_str(), "port-forward"]),
        (&["proxies", "-s", "no-such-host.invalid:1"], 1, &["no-such-host.invalid:1", "does not resolve"]),
        (&["proxies", "-s", "umbra"], 2, &["--server", "\"umbra\" is not HOST:PORT"]),
        (&["proxies", "-o", "yaml"], 2, &["yaml", "wide"]),
    ] {
        let (owned, asked): (Vec<String>, _) = (args.iter().map(|it| (*it).to_owned()).collect(), args);
        let out = tokio::task::spawn_blocking(move || {
            umbra(&owned.iter().map(String::as_str).collect::<Vec<_>>(), "")
        });
        let out = out.await.expect("an end");
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{asked:?}: {said}");
        assert!(out.stdout.is_empty(), "{asked:?}: {}", text(&out.stdout));
        assert!(parts.iter().all(|part| said.contains(part)), "{asked:?}: {said}");
    }
    task.abort();
}
