//! Sidecars: what a proxy can call, and what it cannot.

use umbra_testkit::client::Ask;
use umbra_testkit::isolate::isolated;
use umbra_tests::manifests::{all, istio, pod, rules, service, to_v1};

use super::{WEB, get, wait_share, web_with};

/// A Sidecar for the client, with these hosts.
fn sidecar(egress: &str) -> String {
    istio(
        "Sidecar",
        "default",
        "client",
        &format!("workloadSelector: {{labels: {{app: client}}}}\negress: {egress}\n"),
    )
}

#[test]
fn what_is_not_named_is_unknown_but_for_the_targets_of_rules() {
    isolated(async {
        let far = all(&[
            service("other", "far", &[("http", 8000, 8080)]),
            pod("other", "far", "v1", "127.0.1.9", true),
        ]);
        let rule = rules("web", "web", &to_v1("mirror: {host: far.other.svc.cluster.local}"));
        let files = [("far.yaml", far.as_str()), ("rules.yaml", &rule)];
        let mut world = web_with(&files, "").await;
        world.start_echo("far", "127.0.1.9:8080");
        let call = Ask::get("far.other:8000", "/");
        wait_share(&world, "|far.other", 1_000_000).await;
        world.wait_status(WEB, &call, 200).await;
        for (hosts, status) in [
            ("[{hosts: [./*]}]", 404),
            ("[{hosts: [./*, other/*]}]", 200),
            ("[{hosts: [./*, other/web.other.svc.cluster.local]}]", 404),
            ("[{hosts: [./*, '*/far.other.svc.cluster.local']}]", 200),
            ("[{port: {number: 8000, protocol: HTTP, name: http}, hosts: [./*]}, {hosts: ['*/*']}]", 404),
            ("[]", 200),
        ] {
            world.write("sidecar.yaml", &sidecar(hosts));
            world.wait_status(WEB, &call, status).await;
            // A copy goes where its rule says, whoever may call that.
            world
                .wait_for(&format!("copies with {hosts}"), || async {
                    world.forget().await;
                    world.send(WEB, &get(), 5).await;
                    world.settle().await;
                    world.echo("v1").take().len() == 5 && world.echo("far").take().len() == 5
                })
                .await;
        }
        // Nobody but the workload is concerned.
        world.write("sidecar.yaml", &sidecar("[{hosts: [./*]}]").replace("app: client", "app: another"));
        world.wait_status(WEB, &call, 200).await;
        world.assert_clean().await;
    });
}

#[test]
fn a_port_is_opened_where_its_sidecar_says() {
    isolated(async {
        let egress = "[{port: {number: 8000, protocol: HTTP, name: http}, bind: 127.0.0.7, hosts: [./*]}]";
        let world = web_with(&[("sidecar.yaml", &sidecar(egress))], "").await;
        let there = "127.0.0.7:8000";
        world.wait_status(there, &get(), 200).await;
        world.assert_clean().await;
    });
}
