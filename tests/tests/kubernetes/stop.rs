//! `umbra stop` and `umbra resume` in a cluster, with the rights of whoever runs them, and what the status says of it.

use std::process::Output;

use serde_json::{Value, json};
use umbra_testkit::client::{Ask, Client};
use umbra_testkit::cluster::stage::on_cluster;
use umbra_testkit::cluster::user::User;
use umbra_testkit::cluster::{Cluster, Mesh};
use umbra_testkit::net::Net;
use umbra_testkit::umbra;

use super::status::{events, install_own_crds, message, wait_condition};
use super::web::{self, wait_share};

/// `umbra` as a person, told how to reach umbra and the API server.
fn run(mesh: &Mesh, user: &User, arguments: &[&str]) -> Output {
    let (admin, kubeconfig) = (mesh.admin().to_string(), user.kubeconfig().to_str().expect("UTF-8"));
    let reach = ["--kubeconfig", kubeconfig, "-s", &admin];
    umbra::run(&[arguments, &reach].concat()).expect("umbra runs")
}

fn words(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// Somebody who may patch VirtualServices if `verbs` say so.
fn somebody(cluster: &Cluster, name: &str, verbs: &str) -> User {
    cluster.kubectl(&["create", "serviceaccount", name]);
    cluster.kubectl(&[
        "create",
        "role",
        name,
        &format!("--verb={verbs}"),
        "--resource=virtualservices.networking.istio.io",
    ]);
    let account = format!("--serviceaccount=default:{name}");
    cluster.kubectl(&["create", "rolebinding", name, &format!("--role={name}"), &account]);
    let token = cluster.kubectl(&["create", "token", name]);
    cluster.plane.user_with_token(name, token.trim()).unwrap_or_else(|e| panic!("{e:#}"))
}

#[test]
fn who_may_patch_a_rule_stops_its_mirrors() {
    on_cluster(|cluster| async move {
        install_own_crds(&cluster);
        let mut mesh = web::start_copying(&cluster, &[]).await;
        let (owner, guest) = (somebody(&cluster, "owner", "get,patch"), somebody(&cluster, "guest", "get"));
        let out = run(&mesh, &guest, &["stop", "web"]);
        assert_eq!(out.status.code(), Some(1), "{}", words(&out));
        assert!(words(&out).contains("cannot patch resource"), "{}", words(&out));
        wait_share(&mesh, 100.0).await;

        let out = run(&mesh, &owner, &["stop", "web"]);
        assert_eq!(out.status.code(), Some(0), "{}", words(&out));
        assert_eq!(words(&out), "default/web: stopped, 1 of 1 proxies have taken it\n");
        wait_share(&mesh, 0.0).await;
        let now = wait_condition(&cluster, &mesh, "web", "Stopped=True/Stopped").await;
        assert_eq!(message(&now, "Stopped"), "v2: every proxy has taken it");
        assert_eq!(now["status"]["mirrors"], "v2 stopped live 1/1");

        // The object says so, whoever leads.
        mesh.kill_umbra();
        mesh.start_umbra().expect("umbra starts");
        mesh.wait_ready().await.unwrap_or_else(|e| panic!("{e:#}"));
        let out = run(&mesh, &owner, &["stop", "web", "-o", "json"]);
        let told: Value = serde_json::from_slice(&out.stdout).expect("JSON");
        let it = &told["virtualServices"][0];
        assert_eq!((&told["done"], &it["changed"]), (&true.into(), &false.into()), "{told:#}");

        let out = run(&mesh, &owner, &["resume", "default/web"]);
        assert_eq!(out.status.code(), Some(0), "{}", words(&out));
        wait_share(&mesh, 100.0).await;
        wait_condition(&cluster, &mesh, "web", "Stopped=False/Resumed").await;

        // A proxy that does not answer is named, and the stop is written all the same.
        mesh.proxy("client").process().freeze(true).expect("asleep");
        let out = run(&mesh, &owner, &["stop", "web", "--timeout", "2s"]);
        assert_eq!(out.status.code(), Some(1), "{}", words(&out));
        assert!(words(&out).contains("0 of 1 proxies have taken it; waiting for client"), "{}", words(&out));
        let now = wait_condition(&cluster, &mesh, "web", "Stopped=False/Stopping").await;
        assert!(message(&now, "Stopped").contains("waiting for client"), "{now:#}");
        mesh.proxy("client").process().freeze(false).expect("awake");
        wait_condition(&cluster, &mesh, "web", "Stopped=True/Stopped").await;
        wait_share(&mesh, 0.0).await;
        let told: Vec<String> = events(&cluster, "web");
        for want in ["Normal Stopping", "Normal Stopped", "Normal Resumed"] {
            assert!(told.iter().any(|it| it == want), "{want}: {told:?}");
        }
    });
}

/// Asks umbra itself, on the loopback: the status and the answer.
async fn post(mesh: &Mesh, verb: &str, order: Value) -> (u16, Value) {
    let ask = Ask::post("localhost", &format!("/v1/{verb}"), order.to_string());
    let ask = ask.header("content-type", "application/json");
    let answer = Client::new(&Net::here(), mesh.admin()).ask(&ask).await.expect("an answer");
    (answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap_or_default())
}

#[test]
fn umbra_stops_with_rights_of_its_own() {
    on_cluster(|cluster| async move {
        install_own_crds(&cluster);
        let mesh = web::start_copying(&cluster, &[]).await;
        let web = || json!({"mirrors": ["default/web"], "wait": "30s"});
        let (status, told) = post(&mesh, "stop", web()).await;
        let it = &told["virtualServices"][0];
        assert_eq!((status, &it["live"], &it["total"]), (200, &1.into(), &1.into()), "{told:#}");
        wait_share(&mesh, 0.0).await;
        let now = wait_condition(&cluster, &mesh, "web", "Stopped=True/Stopped").await;
        assert_eq!(now["metadata"]["annotations"]["umbra.io/stop"], "all", "{now:#}");
        let show = ["get", "virtualservice", "web", "-o", "json", "--show-managed-fields"];
        let written = cluster.kubectl(&show);
        assert!(written.contains("\"manager\": \"umbra\""), "{written}");
        let (status, told) = post(&mesh, "resume", web()).await;
        assert_eq!(status, 200, "{told:#}");
        wait_share(&mesh, 100.0).await;
        wait_condition(&cluster, &mesh, "web", "Stopped=False/Resumed").await;
        // Who has not taken it is named.
        mesh.proxy("client").process().freeze(true).expect("asleep");
        let (status, told) = post(&mesh, "stop", json!({"all": true, "wait": "1s"})).await;
        let it = &told["virtualServices"][0];
        assert_eq!((status, &it["confirmed"]), (202, &false.into()), "{told:#}");
        assert!(it["laggards"][0].as_str().is_some_and(|who| who.starts_with("client")), "{told:#}");
        wait_condition(&cluster, &mesh, "web", "Stopped=False/Stopping").await;
        mesh.proxy("client").process().freeze(false).expect("awake");
        wait_share(&mesh, 0.0).await;
        let told = events(&cluster, "web");
        for want in ["Normal Stopped", "Normal Resumed", "Normal Stopping"] {
            assert!(told.iter().any(|it| it == want), "{want}: {told:?}");
        }
    });
}
