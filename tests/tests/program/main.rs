//! The program as people and scripts use it: verbs, exit codes, JSON, settings, shutdown, and what must not kill it.

#![allow(clippy::expect_used, clippy::panic, reason = "a test")]

mod ask;
mod capture;
mod dump;
mod explain;
mod hostile;
mod inject;
mod log;
mod monitoring;
mod plan;
mod serve;
mod stop;
mod stop_api;
mod validate;
mod vital;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use umbra_testkit::paths;

/// Runs umbra with these arguments and this standard input.
fn umbra(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(paths::umbra().expect("umbra"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("umbra starts");
    // A program that does not read its input closes it: no failure of the test.
    let _ = child.stdin.take().expect("its input").write_all(input.as_bytes());
    child.wait_with_output().expect("umbra ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn wrong_usage_is_2_and_says_what_is_right() {
    for args in [
        &["serve"][..],
        &["validate"],
        &["validate", "/no/such/path"],
        &["nonsense"],
        &["bootstrap", "--proxy", "nonsense"],
        &["bootstrap", "--proxy", "sidecar/default", "--envoy-ready", "15021"],
        &["bootstrap", "--proxy", "sidecar/default", "--tls-ca", "ca.crt", "--tls-cert", "tls.crt"],
        &["bootstrap", "--proxy", "sidecar/default", "--tls-cert", "tls.crt", "--tls-key", "tls.key"],
        &["serve", "--dir", ".", "--xds-tls", "127.0.0.1:0"],
        &["serve", "--dir", ".", "--tls-cert", "tls.crt", "--tls-key", "tls.key"],
        &["serve", "--dir", ".", "--injector", "127.0.0.1:0"],
        &["serve", "--dir", ".", "--injector", ":0", "--injector-host", "a", "--injector-webhook", "b"],
        &["dump", "--dir", "/no/such/path", "--proxy", "sidecar/default"],
        &["validate", "-", "-o", "xml"],
    ] {
        let out = umbra(args, "");
        assert_eq!(out.status.code(), Some(2), "{args:?}: {}", text(&out.stderr));
        assert!(!out.stderr.is_empty() && out.stdout.is_empty(), "{args:?}: {}", text(&out.stdout));
    }
}

#[test]
fn help_version_and_completion() {
    for (args, part) in [
        (&["--help"][..], "bootstrap"),
        (&["serve", "--help"], "--dir"),
        (&["version"], env!("CARGO_PKG_VERSION")),
        (&["--version"], env!("CARGO_PKG_VERSION")),
        (&["completion", "bash"], "complete"),
        (&["completion", "zsh"], "#compdef"),
    ] {
        let out = umbra(args, "");
        assert!(out.status.success() && text(&out.stdout).contains(part), "{args:?}: {}", text(&out.stdout));
    }
    let out = umbra(&["version", "-o", "json"], "");
    let version: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_real_envoy_takes_every_bootstrap() {
    let Some(envoy) = umbra_testkit::gate::require_envoy() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    for (n, args) in [
        &["--proxy", "sidecar/default/app=sleep"][..],
        &[
            "--proxy",
            "router/istio-system/istio=ingressgateway,app=gw",
            "--server",
            "umbra.umbra-system.svc:15010",
        ],
        &["--proxy", "sidecar/default", "--envoy-ready", "0.0.0.0:15021"],
        &["--proxy", "sidecar/default", "--node-id", "one", "-o", "json"],
    ]
    .iter()
    .enumerate()
    {
        let out = umbra(&[&["bootstrap"], *args].concat(), "");
        assert!(out.status.success(), "{args:?}: {}", text(&out.stderr));
        let config: serde_json::Value = serde_saphyr::from_str(&text(&out.stdout)).expect("YAML");
        let id = config["node"]["id"].as_str().unwrap_or_default();
        assert_eq!(id, if args.contains(&"--node-id") { "one" } else { "" }, "a shared file names no node");
        let path = folder.path().join(format!("{n}.yaml"));
        std::fs::write(&path, &out.stdout).expect("the bootstrap");
        let checked = Command::new(&envoy)
            .args(["--mode", "validate", "--service-node", "n", "-l", "error", "-c"])
            .arg(&path)
            .output()
            .expect("envoy runs");
        assert!(checked.status.success(), "{args:?}: {}", text(&checked.stderr));
    }
}
