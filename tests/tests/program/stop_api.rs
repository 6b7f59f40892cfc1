//! `POST /v1/stop` and `/v1/resume` at an umbra that serves a folder: what is written, what is answered, and who may not.

use std::net::SocketAddr;

use serde_json::{Value, json};
use umbra_testkit::client::{Ask, Client};
use umbra_testkit::net::Net;
use umbra_testkit::umbra::{UmbraProcess, run, write};
use umbra_tests::manifests::{all, rules, to_v1, web};

const TWO: &str = "mirror: {host: web, subset: v2}\nmirrorPercentage: {value: 12.5}";

/// Asks with the headers of a program, or with others: the status and the answer.
async fn post(admin: SocketAddr, path: &str, body: &Value, headers: &[(&str, &str)]) -> (u16, Value) {
    let host = headers.iter().find(|(name, _)| *name == "host").map_or("localhost", |(_, host)| host);
    let mut ask = Ask::post(host, path, body.to_string());
    for (name, value) in headers.iter().filter(|(name, _)| *name != "host") {
        ask = ask.header(name, value);
    }
    let answer = Client::new(&Net::here(), admin).ask(&ask).await.expect("an answer");
    (answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap_or_default())
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn a_running_umbra_writes_the_annotation_where_the_rule_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let mesh = folder.path().join("mesh");
    let named = rules("web", "web", &to_v1(TWO)).replace("- route", "- name: canary\n    route");
    let written = format!("# Ours.\n{}", all(&[web(), named, rules("other", "other", &to_v1(TWO))]));
    write(&mesh, "web.yaml", &written).expect("manifests");
    let now = || std::fs::read_to_string(mesh.join("web.yaml")).expect("the file");
    let server = UmbraProcess::start(&Net::here(), &mesh, None, folder.path()).await.expect("umbra");
    let ask =
        async |verb: &str, body: Value| post(server.admin(), &format!("/v1/{verb}"), &body, &[JSON]).await;

    let (status, told) = ask("stop", json!({"mirrors": ["default/web/canary"]})).await;
    assert_eq!((status, &told["done"]), (200, &true.into()), "{told:#}");
    let it = &told["virtualServices"][0];
    assert_eq!(
        (&it["changed"], &it["confirmed"], &it["annotation"]),
        (&true.into(), &true.into(), &"canary".into())
    );
    assert_eq!(it["stopped"].as_array().map(Vec::len), Some(1), "{told:#}");
    assert!(now().starts_with("# Ours.\n") && now().contains("umbra.io/stop: canary"), "{}", now());
    // Everything, and whoever is asked again says that it was so already.
    let (status, told) = ask("stop", json!({"all": true})).await;
    assert_eq!((status, told["virtualServices"].as_array().map(Vec::len)), (200, Some(2)), "{told:#}");
    assert_eq!(now().matches("umbra.io/stop").count(), 2, "{}", now());
    let (status, told) = ask("stop", json!({"mirrors": ["default/web"], "wait": "0s"})).await;
    assert_eq!((status, &told["virtualServices"][0]["changed"]), (202, &false.into()), "{told:#}");
    // A part of what was stopped together, and what nobody has.
    let (status, told) = ask("resume", json!({"mirrors": ["default/web/canary", "default/gone"]})).await;
    let why = |at: usize| told["virtualServices"][at]["error"].as_str().unwrap_or_default().to_owned();
    assert_eq!(status, 409, "{told:#}");
    assert!(why(0).contains("umbra knows no") && why(1).contains("stopped together"), "{told:#}");
    let (status, told) = ask("resume", json!({"all": true, "namespace": "default"})).await;
    assert_eq!((status, now()), (200, written.clone()), "{told:#}");
    let (status, told) = ask("resume", json!({"all": true})).await;
    assert_eq!((status, told["virtualServices"].as_array().map(Vec::len)), (200, Some(0)), "{told:#}");
    for wrong in [json!({}), json!({"mirrors": ["web"]}), json!({"all": true, "wait": "1h"}), json!([])] {
        let (status, told) = ask("stop", wrong.clone()).await;
        assert_eq!((status, told["message"].is_string()), (400, true), "{wrong}: {told}");
    }

    // The verbs ask for it where there is no way to the API server.
    let verb = |verb: &str, what: &[&str]| {
        let out = run(&[&[verb, "--by-umbra", "--server", &server.admin().to_string()], what].concat());
        let out = out.expect("umbra runs");
        let said = [out.stdout, out.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        (out.status.code(), said.concat())
    };
    let (code, said) = verb("stop", &["default/web/canary"]);
    assert_eq!((code, said.as_str()), (Some(0), "default/web: stopped, 0 of 0 proxies have taken it\n"));
    assert!(now().contains("umbra.io/stop: canary"), "{}", now());
    let (code, said) = verb("resume", &["--all"]);
    assert_eq!((code, now()), (Some(0), written.clone()), "{said}");
    let (code, said) = verb("stop", &["web"]);
    assert!(code == Some(1) && said.contains("without a namespace"), "{code:?} {said}");
    // What a page of another origin can have a browser send stops nothing.
    let own = format!("http://{}", server.admin());
    let here = server.admin().to_string();
    for (headers, want) in [
        (&[("content-type", "text/plain")][..], 415),
        (&[][..], 415),
        (&[JSON, ("origin", "http://evil.example")], 403),
        (&[JSON, ("origin", "null")], 403),
        (&[JSON, ("sec-fetch-site", "cross-site")], 403),
        (&[JSON, ("host", "evil.example"), ("origin", "http://evil.example")], 403),
        (&[JSON, ("host", &here), ("origin", &own), ("sec-fetch-site", "same-origin")], 200),
    ] {
        let (status, told) = post(server.admin(), "/v1/stop", &json!({"all": true}), headers).await;
        assert_eq!(status, want, "{headers:?}: {told}");
        assert_eq!(now() == written, want != 200, "{headers:?}");
    }
    let get = Client::new(&Net::here(), server.admin()).ask(&Ask::get("localhost", "/v1/stop")).await;
    assert_eq!(get.expect("an answer").status, 405);
}

/// Where others than this machine reach a port that asks nobody who he is, nobody stops anything.
#[tokio::test]
async fn a_port_that_others_reach_asks_who_stops() {
    use umbra_testkit::ports::Port;
    use umbra_testkit::process::Process;
    let folder = tempfile::tempdir().expect("a folder");
    let mesh = folder.path().join("mesh");
    write(&mesh, "web.yaml", &all(&[web(), rules("web", "web", &to_v1(TWO))])).expect("manifests");
    let [xds, admin, api] = [0; 3].map(|_| Port::free().expect("a port"));
    let mut command = std::process::Command::new(umbra_testkit::paths::umbra().expect("umbra"));
    command.arg("serve").arg("--dir").arg(&mesh).args(["--xds", &xds.local().to_string()]);
    command.args(["--admin", &admin.local().to_string(), "--api", &format!("0.0.0.0:{}", api.number())]);
    let log = folder.path().join("umbra.log");
    let process = Process::start("umbra", command, &log).expect("umbra");
    let ready = async || {
        let answer = Client::new(&Net::here(), admin.local()).ask(&Ask::get("localhost", "/readyz")).await;
        answer.ok().filter(|answer| answer.status == 200)
    };
    let waited = umbra_testkit::wait::until(umbra_testkit::wait::PATIENCE, ready).await;
    assert!(waited.is_some(), "{}", process.tail());
    let (status, told) = post(api.local(), "/v1/stop", &json!({"all": true}), &[JSON]).await;
    let why = told["message"].as_str().unwrap_or_default();
    assert_eq!((status, why.contains("asks nobody who he is")), (403, true), "{told}");
    let (status, told) = post(admin.local(), "/v1/stop", &json!({"all": true}), &[JSON]).await;
    assert_eq!((status, &told["done"]), (200, &true.into()), "{told}");
}
