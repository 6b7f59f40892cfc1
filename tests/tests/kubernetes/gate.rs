//! `/v1/live` on a real cluster: it opens for a generation when Envoy has that generation, and Flagger and Argo Rollouts
//! wait for it, as docs/api.md shows.

use std::time::{Duration, Instant};

use serde_json::Value;
use umbra_testkit::client::{Ask, Client};
use umbra_testkit::cluster::prometheus::Prometheus;
use umbra_testkit::cluster::stage::on_cluster;
use umbra_testkit::cluster::{Cluster, assets};
use umbra_testkit::envoy::EnvoyProcess;
use umbra_testkit::net::Net;
use umbra_testkit::paths::workspace;

use super::manifests::plain_service;
use super::{flagger, rollouts, web};

/// Where the tools ask.
const API: &str = "127.0.0.1:15013";
/// A halt and its end take two of Flagger's rounds of ten seconds each; Argo asks again after ten.
const TOOL: Duration = Duration::from_secs(600);

/// What the gate says: the status, and the sentence.
async fn gate(path: &str) -> (u16, String) {
    let api = API.parse().expect("an address");
    let answer =
        Client::new(&Net::here(), api).ask(&Ask::get("localhost", &format!("/v1/live/{path}"))).await;
    let answer = answer.expect("an answer");
    let body: Value = serde_json::from_str(&answer.text()).unwrap_or_default();
    (answer.status.as_u16(), body["message"].as_str().unwrap_or_default().to_owned())
}

fn generation(cluster: &Cluster) -> i64 {
    let text = cluster.kubectl(&["get", "virtualservice", "web", "-o", "jsonpath={.metadata.generation}"]);
    text.parse().expect("a number")
}

#[test]
fn the_gate_opens_for_a_generation_when_envoy_has_it() {
    on_cluster(|cluster| async move {
        let mesh = web::start_with(&cluster, &["--api", API]).await;
        for percent in [50.0, 25.0, 12.5, 0.0, 100.0] {
            let next = generation(&cluster) + 1;
            let (status, said) = gate(&format!("vs/default/web?generation={next}")).await;
            assert_eq!(status, 409, "{said}");
            assert!(said.starts_with(&format!("generation {next} has not come yet")), "{said}");
            cluster.apply(&web::rule(percent));
            assert_eq!(generation(&cluster), next);
            mesh.wait_for(&format!("generation {next} to be live"), || async {
                gate(&format!("vs/default/web?generation={next}")).await.0 == 200
            })
            .await;
            // One look: the gate does not open before Envoy has it.
            let shares = mesh.proxy("client").mirror_shares().await.expect("shares");
            let wanted = (percent * 10_000.0) as u32;
            assert!(
                shares.iter().any(|(key, share)| key.contains("/web/") && *share == wanted),
                "{shares:?}"
            );
        }
        for object in ["vs/default/web", "DestinationRule/default/web"] {
            mesh.wait_for(&format!("{object} to be live"), || async {
                gate(object).await == (200, "live on 1 of 1 proxies".to_owned())
            })
            .await;
        }
        cluster.kubectl(&["delete", "virtualservice", "web"]);
        mesh.wait_for("the rule to be unknown", || async {
            let (status, said) = gate("vs/default/web").await;
            status == 409 && said.starts_with("umbra knows no")
        })
        .await;
    });
}

/// The YAML of docs/api.md that begins with the comment `# NAME`, asking this umbra.
fn example(name: &str) -> String {
    let page = std::fs::read_to_string(workspace().join("docs/api.md")).expect("docs/api.md");
    let start = format!("```yaml\n# {name}\n");
    let block = page.split(&start).nth(1).unwrap_or_else(|| panic!("docs/api.md has no block {name:?}"));
    let block = block.split("```").next().unwrap_or_default();
    let asking = block.replace("umbra-peers.umbra-system:15013", API);
    assert_ne!(asking, block, "{name} asks umbra");
    asking
}

/// A frozen Envoy takes nothing; dropped, it goes on.
struct Frozen(String);

impl Frozen {
    fn new(envoy: &EnvoyProcess) -> Self {
        let frozen = Frozen(envoy.process().id().to_string());
        frozen.signal("-STOP");
        frozen
    }

    fn signal(&self, signal: &str) {
        let sent = std::process::Command::new("kill").args([signal, &self.0]).status().expect("kill runs");
        assert!(sent.success(), "kill {signal} {}", self.0);
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
}

/// Waits for something of a tool's.
async fn wait_tool(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < TOOL, "waited {TOOL:?} for {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[test]
fn flagger_does_not_go_on_before_the_mirror_is_live() {
    on_cluster(|cluster| async move {
        let Some(program) = assets::require_tool(assets::flagger()) else { return };
        cluster.install_crds("istio");
        cluster.install_crds("flagger");
        let metrics = Prometheus::start("127.0.0.1:9090".parse().expect("an address")).expect("a stub");
        // Into the `analysis` of the Canary, which stands at the end.
        let hook = example("Flagger: in spec.analysis of a Canary");
        let hook: String = hook.lines().map(|line| format!("    {line}\n")).collect();
        let podinfo = flagger::PODINFO.replace("threshold: 1\n", "threshold: 10\n") + &hook;
        let mesh = web::with_client(&cluster, &["--api", API], &podinfo).await;
        let mut flagger = flagger::start_flagger(&cluster, program, &metrics.url());
        flagger::wait_phase(&cluster, &mut flagger, "Initialized").await;
        mesh.wait_for("the first rule to be live", || async { gate("vs/default/podinfo").await.0 == 200 })
            .await;

        let frozen = Frozen::new(mesh.proxy("client"));
        cluster.kubectl(&["set", "image", "deployment/podinfo", "podinfo=example.com/podinfo:2"]);
        wait_tool("Flagger to halt", || flagger.log().contains("external check live failed")).await;
        let (status, said) = gate("vs/default/podinfo").await;
        assert_eq!(status, 409, "{said}");
        let mirror = ["get", "virtualservice", "podinfo", "-o", "jsonpath={.spec.http[0].mirror.host}"];
        assert_eq!(cluster.kubectl(&mirror), "podinfo-canary", "it is still at the mirror");
        drop(frozen);
        flagger::wait_phase(&cluster, &mut flagger, "Succeeded").await;
    });
}

#[test]
fn argo_rollouts_does_not_go_on_before_the_mirror_is_live() {
    on_cluster(|cluster| async move {
        let Some(controller) = assets::require_tool(assets::argo_rollouts()) else { return };
        let services = ["shop", "shop-stable", "shop-canary"];
        let services = services.map(|name| plain_service(name, "app: shop", 8000, 8080)).concat();
        let rule = rollouts::RULE.replace("STABLE", "{host: shop-stable}");
        let rule = rule.replace("CANARY", "{host: shop-canary}");
        let gated = rollouts::SHOP.replace("ROUTING", rollouts::HOSTS).replace(
            "      - pause: {}\n      - setMirrorRoute: {name: shadow}\n",
            "      - analysis: {templates: [{templateName: live}]}\n      - pause: {}\n",
        );
        assert!(gated.contains("templateName"), "the step is in");
        let template =
            example("Argo Rollouts: a template for a step behind setMirrorRoute").replace("/web", "/shop");
        let manifests = services + &rule + &template + "---\n" + &gated;
        let mut shop = rollouts::Shop::start_with(cluster, controller, &manifests, &["--api", API]).await;

        let frozen = Frozen::new(shop.mesh.proxy("client"));
        shop.set_image("example.com/shop:2");
        let runs = |cluster: &Cluster| {
            let values = "jsonpath={.items[*].status.metricResults[*].measurements[*]['phase','message']}";
            cluster.kubectl(&["get", "analysisruns", "-o", values])
        };
        wait_tool("Argo to ask in vain", || runs(&shop.cluster).contains("409")).await;
        let (status, said) = gate("vs/default/shop").await;
        assert_eq!(status, 409, "{said}");
        assert_eq!(shop.status("phase"), "Progressing", "the step is not done");
        drop(frozen);
        shop.wait("Paused", |shop| runs(&shop.cluster).contains("Successful")).await;
        assert_eq!(gate("vs/default/shop").await.0, 200);
    });
}
