//! `umbra stop` and `umbra resume` on a folder that umbra serves.

use std::path::Path;

use serde_json::Value;
use umbra_testkit::net::Net;
use umbra_testkit::ports::Port;
use umbra_testkit::umbra::{UmbraProcess, write};
use umbra_tests::manifests::{all, rules, to_v1, web};

use super::{text, umbra};

const TWO: &str = "mirror: {host: web, subset: v2}\nmirrorPercentage: {value: 12.5}";

/// The shares that `umbra mirrors` shows, sorted by rule.
fn shares(admin: &str) -> Vec<String> {
    let out = umbra(&["mirrors", "--server", admin], "");
    let share = |line: &str| line.split_whitespace().nth(6).map(str::to_owned);
    text(&out.stdout).lines().skip(1).filter_map(share).collect()
}

/// `umbra VERB` on the folder with these arguments: exit code, standard output, standard error.
fn run(verb: &str, mesh: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let folder = mesh.to_str().expect("UTF-8");
    let out = umbra(&[&[verb, "--dir", folder], arguments].concat(), "");
    (out.status.code(), text(&out.stdout), text(&out.stderr))
}

#[tokio::test]
async fn a_folder_is_stopped_and_resumed_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let mesh = folder.path().join("mesh");
    let named = rules("web", "web", &to_v1(TWO)).replace("- route", "- name: canary\n    route");
    let written = format!("# Ours.\n{}", all(&[web(), named, rules("other", "other", &to_v1(TWO))]));
    write(&mesh, "web.yaml", &written).expect("manifests");
    let now = || std::fs::read_to_string(mesh.join("web.yaml")).expect("the file");
    let server = UmbraProcess::start(&Net::here(), &mesh, None, folder.path()).await.expect("umbra");
    let admin = server.admin().to_string();
    let at = ["-s", &admin];
    assert_eq!(shares(&admin), ["12.5%", "12.5%"]);

    let (code, out, _) = run("stop", &mesh, &[&["web"][..], &at].concat());
    assert_eq!((code, out.as_str()), (Some(0), "default/web: stopped, 0 of 0 proxies have taken it\n"));
    assert_eq!(shares(&admin), ["12.5%", "stopped"]);
    assert!(now().starts_with("# Ours.\n") && now().contains("umbra.io/stop: all"), "{}", now());
    let (code, out, _) = run("stop", &mesh, &[&["default/web"][..], &at].concat());
    assert_eq!((code, out.contains("was stopped already")), (Some(0), true), "{out}");
    let (code, _, words) = run("resume", &mesh, &[&["default/web/canary"][..], &at].concat());
    assert_eq!((code, words.contains("stopped together")), (Some(1), true), "{words}");
    let (code, out, _) = run("resume", &mesh, &[&["web"][..], &at].concat());
    assert_eq!((code, out.as_str()), (Some(0), "default/web: resumed, 0 of 0 proxies have taken it\n"));
    assert_eq!((shares(&admin), now()), (vec!["12.5%".to_owned(); 2], written.clone()));

    let (code, _, _) = run("stop", &mesh, &[&["default/web/canary"][..], &at].concat());
    assert_eq!((code, shares(&admin)), (Some(0), vec!["12.5%".to_owned(), "stopped".to_owned()]));
    let (code, out, _) = run("stop", &mesh, &[&["--all", "-o", "json"][..], &at].concat());
    let told: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &told["done"]), (Some(0), &Value::Bool(true)), "{told:#}");
    assert_eq!(told["virtualServices"].as_array().map(Vec::len), Some(2), "{told:#}");
    assert_eq!(told["virtualServices"][0]["stopped"].as_array().map(Vec::len), Some(1), "{told:#}");
    assert_eq!(shares(&admin), ["stopped", "stopped"]);
    let (code, _, _) = run("resume", &mesh, &[&["--all"][..], &at].concat());
    assert_eq!((code, now()), (Some(0), written.clone()));

    // What nobody has, and what nobody confirms.
    let (code, _, words) = run("stop", &mesh, &[&["nobody"][..], &at].concat());
    assert_eq!((code, words.contains("no file in")), (Some(1), true), "{words}");
    let nobody = Port::free().expect("a port").local().to_string();
    let (code, out, _) = run("stop", &mesh, &["web", "-s", &nobody]);
    assert_eq!((code, out.contains("stopped, but not confirmed: no answer from")), (Some(1), true), "{out}");
    let (code, out, _) = run("resume", &mesh, &["web", "--timeout", "0s"]);
    assert_eq!((code, out.as_str()), (Some(0), "default/web: resumed\n"));
    assert_eq!(now(), written);
    for wrong in
        [&[][..], &["a/b/c/d"], &["web", "--timeout", "soon"], &["web", "--all"], &["web", "-s", "x"]]
    {
        assert_eq!(run("stop", &mesh, wrong).0, Some(2), "{wrong:?}");
    }
}
