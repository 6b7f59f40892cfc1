//! Several replicas, installed by the chart, with real proxies at each: what they count and judge is one, and so is a ramp, whichever
//! of them is killed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use umbra_testkit::client::{Ask, Client, send};
use umbra_testkit::cluster::Cluster;
use umbra_testkit::cluster::agent::PodState;
use umbra_testkit::cluster::stage::on_cluster;
use umbra_testkit::cluster::traffic::Traffic;
use umbra_testkit::echo::Mode;
use umbra_testkit::envoy::EnvoyProcess;
use umbra_testkit::{umbra, wait};

use super::replicas::{TAKEOVER, WATCHED, connected, envoy_by, install, leader, wait_said};
use super::status::message;
use super::web::{PORT, ask, rule};

const KEY: &str = "mirror/default/web/";

fn servers(umbras: &[Arc<PodState>]) -> String {
    let all = umbras.iter().map(|pod| format!("{}:15013", pod.address().expect("an address")));
    all.collect::<Vec<_>>().join(",")
}

/// The mirror as these replicas together tell it.
fn mirror(umbras: &[Arc<PodState>]) -> Value {
    let out = umbra::run(&["mirrors", "--server", &servers(umbras), "-o", "json"]).expect("umbra runs");
    let all: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
    all["mirrors"][0].clone()
}

fn number(value: &Value) -> u64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn counted(umbras: &[Arc<PodState>]) -> (u64, u64) {
    let observed = &mirror(umbras)["observed"];
    (number(&observed["primaries"]), number(&observed["copies"]))
}

/// Waits for a condition that may take an election.
async fn wait_for<F: Future<Output = bool>>(
    what: &str,
    umbras: &[Arc<PodState>],
    mut holds: impl FnMut() -> F,
) {
    let look = || {
        let holds = holds();
        async { holds.await.then_some(()) }
    };
    if wait::until(TAKEOVER, look).await.is_none() {
        let logs: Vec<String> = umbras.iter().map(|pod| pod.log("umbra")).collect();
        panic!("waited {TAKEOVER:?} for {what}\n{}", logs.join("\n"));
    }
}

async fn wait_share(envoys: &[EnvoyProcess], umbras: &[Arc<PodState>], percent: f64) {
    for envoy in envoys {
        let share = (percent * 10_000.0) as u32;
        wait_for(&format!("a share of {percent} %"), umbras, || envoy.mirrors(KEY, share)).await;
    }
}

/// Sends so many requests from a Pod, none of which may fail.
async fn requests(pod: &PodState, n: usize) {
    let net = pod.net().expect("a network");
    let tally = send(&net, ([127, 0, 0, 1], PORT).into(), &ask(), n).await;
    assert!(tally.all_ok(n), "{:?} {:?}", tally.statuses, tally.failures);
}

fn traffic(pod: &PodState) -> Traffic {
    let client = Client::new(&pod.net().expect("a network"), ([127, 0, 0, 1], PORT).into());
    Traffic::through(client, ask(), Duration::from_millis(5))
}

/// The page of the mirror, as a replica shows it.
async fn page(umbra: &PodState, key: &str) -> String {
    let net = umbra.net().expect("a network");
    let path = format!("/ui/mirror?key={}", key.replace('/', "%2F").replace('|', "%7C"));
    let asked =
        Client::new(&net, ([127, 0, 0, 1], 15014).into()).ask(&Ask::get("localhost:15014", &path)).await;
    asked.map(|answer| answer.text()).unwrap_or_default()
}

fn rule_object(cluster: &Cluster) -> Value {
    cluster.admin().json(&["virtualservice", "web"]).unwrap_or_else(|e| panic!("{e:#}"))
}

fn has_condition(now: &Value, kind: &str, reason: &str) -> bool {
    let all = now["status"]["conditions"].as_array().into_iter().flatten();
    all.into_iter().any(|c| c["type"] == kind && c["reason"] == reason)
}

async fn wait_condition(cluster: &Cluster, umbras: &[Arc<PodState>], kind: &str, reason: &str) -> Value {
    wait_for(&format!("{kind} to be {reason}"), umbras, || {
        std::future::ready(has_condition(&rule_object(cluster), kind, reason))
    })
    .await;
    rule_object(cluster)
}

/// Two of three replicas have a proxy each.
#[test]
fn replicas_count_and_judge_together() {
    on_cluster(|cluster| async move {
        let (umbras, clients) = install(&cluster, 2).await;
        cluster.apply(&rule(100.0));
        cluster.kubectl(&["annotate", "virtualservice", "web", "umbra.io/verdicts=1000"]);
        let mut envoys = Vec::new();
        for (client, umbra) in clients.iter().zip(&umbras) {
            envoys.push(envoy_by(&cluster, client, std::slice::from_ref(umbra), &["--verdicts"]).await);
        }
        wait_said(&cluster, &umbras, "v2 100% live 2/2", "True/Live").await;
        wait_share(&envoys, &umbras, 100.0).await;

        let each = || umbras.iter().map(|it| counted(std::slice::from_ref(it)));
        // What comes soon after a change of the share may be of the time before, and is not counted.
        let begun = || async {
            for client in &clients {
                requests(client, 5).await;
            }
            each().filter(|(primaries, _)| *primaries > 0).count() == 2
        };
        wait_for("both to count", &umbras, begun).await;
        let mut before: Vec<_> = each().collect();
        loop {
            tokio::time::sleep(WATCHED).await;
            let now: Vec<_> = each().collect();
            if std::mem::replace(&mut before, now.clone()) == now {
                break;
            }
        }
        for (client, part) in clients.iter().zip([300, 200]) {
            requests(client, part).await;
        }
        let want: Vec<_> =
            before.iter().zip([300, 200, 0]).map(|((a, b), part)| (a + part, b + part)).collect();
        wait_for("each part to be counted", &umbras, || async { each().eq(want.iter().copied()) }).await;
        let whole = want.iter().fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        assert_eq!(counted(&umbras), whole);
        assert_eq!(whole.0, whole.1, "every request was copied");
        // Each of them shows the whole, also who has no proxy.
        let key = mirror(&umbras)["runtimeKey"].as_str().expect("a key").to_owned();
        for umbra in &umbras {
            let cell = format!("<td class=\"number\">{}</td>", whole.0);
            let shown = || async { page(umbra, &key).await.contains(&cell) };
            wait_for("the whole on the page of each", &umbras, shown).await;
        }
        let now = wait_condition(&cluster, &umbras, "Observed", "Copying").await;
        assert!(message(&now, "Observed").starts_with("v2 100%: seen 100%, 0% 5xx of "), "{now:#}");

        for pod in cluster.agent().pods("default", "version=v2") {
            pod.set_mode(Mode::Status(500));
        }
        let different = || async {
            for client in &clients {
                requests(client, 50).await;
            }
            mirror(&umbras)["verdict"]["verdict"] == "different"
        };
        wait_for("a verdict of all", &umbras, different).await;
        let lines = |umbras: &[Arc<PodState>]| number(&mirror(umbras)["verdict"]["lines"]);
        // Lines go to whichever replica they like, and are all there.
        assert!(umbras.iter().map(|it| lines(std::slice::from_ref(it))).sum::<u64>() >= 200);
        wait_condition(&cluster, &umbras, "Judged", "Different").await;

        // The first of them is killed while there is traffic: its proxy goes on, and what was said is not taken back.
        let under_way: Vec<Traffic> = clients.iter().map(|client| traffic(client)).collect();
        umbras[0].kill("umbra");
        let back = || async { connected(&envoys[0], &umbras).await.is_some() && umbras[0].is_ready() };
        wait_for("it to be back with its proxy", &umbras, back).await;
        tokio::time::sleep(WATCHED).await;
        assert!(has_condition(&rule_object(&cluster), "Judged", "Different"));
        for traffic in under_way {
            traffic.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));
        }
        let both = || async { counted(&umbras[..1]).0 > 0 && counted(&umbras[1..2]).0 > want[1].0 };
        let again = || async {
            for client in &clients {
                requests(client, 20).await;
            }
            both().await
        };
        wait_for("both to count again", &umbras, again).await;

        // A stop is everybody's, and outlives whoever took it.
        cluster.kubectl(&["annotate", "virtualservice", "web", "umbra.io/stop=all"]);
        wait_share(&envoys, &umbras, 0.0).await;
        wait_said(&cluster, &umbras, "v2 stopped live 2/2", "True/Live").await;
        leader(&cluster, &umbras).await.kill("umbra");
        wait_said(&cluster, &umbras, "v2 stopped live 2/2", "True/Live").await;
        wait_share(&envoys, &umbras, 0.0).await;
        cluster.kubectl(&["annotate", "virtualservice", "web", "umbra.io/stop-"]);
        wait_share(&envoys, &umbras, 100.0).await;
    });
}

/// Of the rule's 60 %: 5 %, after a hundred requests 20 %, and after five thousand more the whole. Counts come seconds later: what is sent
/// until a step is seen counts for the next one.
const RAMP: &str = "apiVersion: umbra.io/v1alpha1
kind: MirrorPolicy
metadata: {name: web}
spec:
  targetRef: {name: web}
  ramp: {steps: [{percent: 5, time: 1s, requests: 100}, {percent: 20, time: 1s, requests: 5000}]}
";

/// What is written of the ramp: its step, and since when.
fn ramp(cluster: &Cluster) -> String {
    let now = rule_object(cluster);
    now["metadata"]["annotations"]["umbra.io/ramp"].as_str().unwrap_or_default().to_owned()
}

/// Whoever takes the next step, it is written on the rule: the replica of the proxy is killed at one step, the leader at the next.
#[test]
fn a_ramp_outlives_whoever_plays_it() {
    on_cluster(|cluster| async move {
        let (umbras, clients) = install(&cluster, 1).await;
        cluster.apply(RAMP);
        cluster.apply(&rule(60.0));
        let envoys = [envoy_by(&cluster, &clients[0], &umbras, &[]).await];
        wait_share(&envoys, &umbras, 5.0).await;
        wait_said(&cluster, &umbras, "v2 5% of 60% live 1/1", "True/Live").await;
        let first = ramp(&cluster);
        assert!(first.starts_with("0; ") && first.contains(KEY), "{first}");

        // Time alone is not enough.
        tokio::time::sleep(WATCHED).await;
        assert!(envoys[0].mirrors(KEY, 50_000).await && ramp(&cluster) == first);
        // Statistics go to any of the replicas, and the one that has counted enough takes the step.
        let step = async |share, part| {
            let next = || async {
                requests(&clients[0], part).await;
                tokio::time::sleep(Duration::from_millis(500)).await;
                envoys[0].mirrors(KEY, share).await
            };
            wait_for(&format!("a share of {share}"), &umbras, next).await;
        };
        step(200_000, 50).await;
        wait_said(&cluster, &umbras, "v2 20% of 60% live 1/1", "True/Live").await;
        let second = ramp(&cluster);
        assert!(second.starts_with("1; "), "{second}");
        let shown = || mirror(&umbras)["writtenPartsPerMillion"] == 600_000;
        wait_for("what is written beside it", &umbras, || std::future::ready(shown())).await;

        let served = wait::until(TAKEOVER, || connected(&envoys[0], &umbras)).await.expect("a stream");
        served.kill("umbra");
        let moved = || async { connected(&envoys[0], &umbras).await.is_some() };
        wait_for("the proxy to be served again", &umbras, moved).await;
        leader(&cluster, &umbras).await.kill("umbra");
        wait_said(&cluster, &umbras, "v2 20% of 60% live 1/1", "True/Live").await;
        // Neither a step back nor one by what somebody else had counted.
        let watched = Instant::now();
        while watched.elapsed() < WATCHED {
            assert!(envoys[0].mirrors(KEY, 200_000).await && ramp(&cluster) == second);
        }
        step(600_000, 1000).await;
        assert!(ramp(&cluster).starts_with("2; "), "{}", ramp(&cluster));
        wait_said(&cluster, &umbras, "v2 60% live 1/1", "True/Live").await;
    });
}

/// A ramp of one step below the rule's 60 %, which goes on after so many requests, with verdicts.
fn judged_ramp(requests: u32) -> String {
    format!(
        "apiVersion: umbra.io/v1alpha1
kind: MirrorPolicy
metadata: {{name: web}}
spec:
  targetRef: {{name: web}}
  verdicts: {{rate: 30}}
  ramp: {{steps: [{{percent: 20, time: 1s, requests: {requests}}}]}}
"
    )
}

/// One replica has counted enough for the next step and knows nothing bad; another one's proxy has seen what is different.
#[test]
fn a_ramp_waits_while_another_replica_says_different() {
    on_cluster(|cluster| async move {
        let (umbras, clients) = install(&cluster, 2).await;
        cluster.apply(&judged_ramp(1_000_000));
        cluster.apply(&rule(60.0));
        let mut envoys = Vec::new();
        for (client, umbra) in clients.iter().zip(&umbras) {
            envoys.push(envoy_by(&cluster, client, std::slice::from_ref(umbra), &["--verdicts"]).await);
        }
        wait_share(&envoys, &umbras, 20.0).await;
        for pod in cluster.agent().pods("default", "version=v2") {
            pod.set_mode(Mode::Status(500));
        }
        let verdict = |umbra: usize| mirror(&umbras[umbra..=umbra])["verdict"]["verdict"].clone();
        let different = || async {
            requests(&clients[1], 100).await;
            verdict(1) == "different"
        };
        wait_for("the verdict of the second", &umbras, different).await;
        assert_eq!(verdict(0), "undecided", "the first has seen no pair");

        cluster.apply(&judged_ramp(100));
        let primaries = || counted(&umbras[..1]).0;
        // What is told first is where it begins to count.
        for _ in 0..2 {
            let before = primaries();
            let enough = || async {
                requests(&clients[0], 20).await;
                tokio::time::sleep(Duration::from_millis(300)).await;
                primaries() >= before + 150
            };
            wait_for("the first to have counted enough", &umbras, enough).await;
        }
        let first = ramp(&cluster);
        assert!(first.starts_with("0; "), "{first}");
        let watched = Instant::now();
        while watched.elapsed() < WATCHED {
            assert!(envoys[0].mirrors(KEY, 200_000).await && ramp(&cluster) == first);
        }
        assert_ne!(verdict(0), "different", "it is the second's verdict that holds it");

        // What the second knew is gone with it; nobody says different, and the step is taken.
        umbras[1].kill("umbra");
        wait_share(&envoys[..1], &umbras, 60.0).await;
        assert!(ramp(&cluster).starts_with("1; "), "{}", ramp(&cluster));
    });
}
