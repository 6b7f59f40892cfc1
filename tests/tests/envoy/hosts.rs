//! Virtual hosts as resources of their own: what traffic sees, and how a proxy changes from one form to the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use umbra_testkit::client::{Client, Tally};
use umbra_testkit::isolate::isolated;
use umbra_testkit::world::World;
use umbra_tests::manifests::{rules, to_v1};

use super::{WEB, get, set_rules, wait_routes, wait_share, web_with};

const HOSTS: &str = "routeTables: hosts\n";
const PLAIN: &str = "routeTables: plain\n";

/// Waits until the listener of `web` asks for this table and the proxy has it with this text.
async fn wait_table(world: &World, table: &str, text: &str) {
    world.wait_config("client", "ListenersConfigDump", &format!("\"route_config_name\":\"{table}\"")).await;
    wait_routes(world, text).await;
}

#[test]
fn no_request_fails_while_rules_setting_and_server_change() {
    isolated(async {
        let rule = rules("web", "web", &to_v1("mirror: {host: web, subset: v2}"));
        let mut world = web_with(&[("rules.yaml", &rule)], HOSTS).await;
        wait_table(&world, "hosts/8000", "hosts/8000/web.default.svc.cluster.local:8000").await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        let tally = world.send(WEB, &get(), 20).await;
        assert!(tally.all_ok(20) && world.echo("v2").count() == 20, "{tally:?} {:?}", world.counts());

        let over = Arc::new(AtomicBool::new(false));
        let (net, stop) = (world.net().clone(), over.clone());
        let traffic = tokio::spawn(async move {
            let mut tally = Tally::default();
            while !stop.load(Ordering::Relaxed) {
                // Where a listener changes, Envoy closes the connections that it has.
                tally.add(Client::new(&net, ([127, 0, 0, 1], 8000).into()).ask(&get()).await);
            }
            tally
        });
        for round in 1..=3 {
            set_rules(&world, &to_v1(&format!("timeout: {round}01s")));
            wait_table(&world, "hosts/8000", &format!("\"{round}01s\"")).await;
            world.restart_umbra().await;
            set_rules(&world, &to_v1(&format!("timeout: {round}02s\nmirror: {{host: web, subset: v3}}")));
            wait_table(&world, "hosts/8000", &format!("\"{round}02s\"")).await;
            wait_share(&world, "|v3|web", 1_000_000).await;
            world.write_config(PLAIN);
            wait_table(&world, "8000", "\"web.default.svc.cluster.local:8000\"").await;
            world.write_config(HOSTS);
            wait_table(&world, "hosts/8000", &format!("\"{round}02s\"")).await;
        }
        over.store(true, Ordering::Relaxed);
        let tally = traffic.await.expect("the traffic ends");
        let count = tally.statuses.values().sum();
        assert!(count > 0 && tally.all_ok(count), "{:?} {:?}", tally.statuses, tally.failures);
        world.assert_clean().await;
    });
}
