//! Virtual hosts as resources of their own: what traffic sees, and how a proxy changes from one form to the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;
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

/// Requests that are sent one after the other, each on a connection of its own, while something changes.
struct Traffic {
    over: Arc<AtomicBool>,
    sent: JoinHandle<Tally>,
}

impl Traffic {
    fn start(world: &World) -> Self {
        let (over, net) = (Arc::new(AtomicBool::new(false)), world.net().clone());
        let end = over.clone();
        let sent = tokio::spawn(async move {
            let mut tally = Tally::default();
            while !end.load(Ordering::Relaxed) {
                tally.add(Client::new(&net, ([127, 0, 0, 1], 8000).into()).ask(&get()).await);
            }
            tally
        });
        Self { over, sent }
    }

    /// Ends it; every request was answered well.
    async fn end(self, meanwhile: &str) {
        self.over.store(true, Ordering::Relaxed);
        let tally = self.sent.await.expect("the traffic ends");
        let count = tally.statuses.values().sum();
        assert!(
            count > 0 && tally.all_ok(count),
            "while {meanwhile}: {:?} {:?}",
            tally.statuses,
            tally.failures
        );
    }
}

/// Edits of rules, restarts of umbra and changes of the form fail no request.
#[test]
fn no_request_fails_while_rules_server_and_form_change() {
    isolated(async {
        let rule = rules("web", "web", &to_v1("mirror: {host: web, subset: v2}"));
        let mut world = web_with(&[("rules.yaml", &rule)], HOSTS).await;
        wait_table(&world, "hosts/8000", "hosts/8000/web.default.svc.cluster.local:8000").await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        let tally = world.send(WEB, &get(), 20).await;
        assert!(tally.all_ok(20) && world.echo("v2").count() == 20, "{tally:?} {:?}", world.counts());

        for round in 1..=3 {
            let traffic = Traffic::start(&world);
            set_rules(&world, &to_v1(&format!("timeout: {round}01s")));
            wait_table(&world, "hosts/8000", &format!("\"{round}01s\"")).await;
            world.restart_umbra().await;
            set_rules(&world, &to_v1(&format!("timeout: {round}02s\nmirror: {{host: web, subset: v3}}")));
            wait_table(&world, "hosts/8000", &format!("\"{round}02s\"")).await;
            wait_share(&world, "|v3|web", 1_000_000).await;
            traffic.end("rules and server change").await;

            for (settings, table, text) in [
                (PLAIN, "8000", "\"web.default.svc.cluster.local:8000\"".to_owned()),
                (HOSTS, "hosts/8000", format!("\"{round}02s\"")),
            ] {
                let traffic = Traffic::start(&world);
                world.write_config(settings);
                wait_table(&world, table, &text).await;
                traffic.end(&format!("the table becomes {table}")).await;
                let served = || async {
                    world.forget().await;
                    let tally = world.send(WEB, &get(), 20).await;
                    world.settle().await;
                    tally.all_ok(20) && world.echo("v3").count() == 20
                };
                world.wait_for(&format!("requests and copies by {table}"), served).await;
            }
        }
        world.assert_clean().await;
    });
}
