//! Verdicts on contents by a real judge, of what real Envoys send it: a wrong field is found by its name, and whatever becomes of the
//! judge costs no primary anything.

use std::path::Path;

use serde_json::Value;
use umbra_testkit::client::{Ask, Client, send};
use umbra_testkit::echo::Mode;
use umbra_testkit::isolate::isolated;
use umbra_testkit::judge::Judge;
use umbra_testkit::tls::Authority;
use umbra_testkit::world::World;
use umbra_testkit::{gate, umbra};
use umbra_tests::manifests;

use super::{WEB, address};

/// Where umbra listens with a certificate.
const TLS: &str = "127.0.0.1:15012";

/// Three versions of `web` with a judge.
struct Stage {
    world: World,
    judge: Judge,
}

impl Stage {
    async fn new() -> Self {
        let mut world = World::new();
        let judge = Judge::start(world.net(), world.folder()).expect("a judge");
        for n in 1..=3 {
            world.start_echo(&format!("v{n}"), &format!("127.0.1.{n}:8080"));
        }
        world.write("web.yaml", &manifests::web());
        world.write("rules.yaml", &manifests::judged(&["v2", "v3"]));
        world.start_umbra_with(&format!("judge: {}\n", judge.report())).await;
        let bodies = judge.bodies().to_string();
        world
            .start_proxy_with("client", "sidecar/default/app=client", &["--verdicts", "--judge", &bodies])
            .await;
        Stage { world, judge }
    }

    fn freeze(&self, frozen: bool) {
        let process = self.judge.process().expect("it runs");
        process.freeze(frozen).unwrap_or_else(|e| panic!("{e:#}"));
    }

    /// Sends so many requests, and fails when one of them was not answered as ever.
    async fn traffic(&self, path: &str, requests: usize) {
        let ask = Ask::get("web:8000", path);
        let tally = send(self.world.net(), address(), &ask, requests).await;
        assert!(tally.all_ok(requests), "{:?} {:?}", tally.statuses, tally.failures);
    }

    /// What is known of the copies to v2 and to v3.
    fn verdicts(&self) -> [Value; 2] {
        let server = self.world.umbra().admin().to_string();
        let out = umbra::run(&["mirrors", "--server", &server, "-o", "json"]).expect("umbra runs");
        let all: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
        [0, 1].map(|nth| all["mirrors"][nth]["verdict"].clone())
    }

    /// How many pairs a judge has compared of v2, since it was started.
    fn pairs(&self) -> u64 {
        number(&self.verdicts()[0]["contents"]["pairs"])
    }
}

fn number(value: &Value) -> u64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

#[test]
fn one_field_wrong_in_one_of_twenty() {
    isolated(async {
        let stage = Stage::new().await;
        stage.world.echo("v2").set_mode(Mode::WrongOneOf(20));
        let different = || async {
            stage.traffic("/order?secret=1", 100).await;
            let [v2, v3] = stage.verdicts();
            assert_ne!(v3["verdict"], "different", "{v3}");
            v2["contents"]["verdict"] == "different"
        };
        stage.world.wait_for("v2 to be different", different).await;
        let [v2, v3] = stage.verdicts();
        let contents = &v2["contents"];
        assert_eq!(contents["differences"][0]["path"], "items[].price", "{contents}");
        assert!(
            v2["verdict"] == "different" && v2["reasons"].to_string().contains("contents: items[].price")
        );
        // What is another each time is known for what it is, and no value is told.
        let noise = v3["contents"]["differences"].as_array().cloned().unwrap_or_default();
        let both = |path: &str| noise.iter().find(|it| it["path"] == path).map(|it| number(&it["both"]));
        assert!(both("id") > Some(100) && both("time") > Some(100), "{noise:?}");
        assert!(!v2.to_string().contains("secret") && !contents.to_string().contains("EUR"), "{v2}");
        // Copies that a judge sees are counted as all others are.
        let out = umbra::run(&["mirrors", "--server", &stage.world.umbra().admin().to_string()]);
        let table = String::from_utf8(out.expect("umbra runs").stdout).expect("text");
        assert!(table.contains("contents different items[].price in"), "{table}");
        stage.world.assert_clean().await;
    });
}

/// Hung with large answers under way, going on, killed, back: primaries are answered as ever, and comparing goes on by itself.
#[test]
fn whatever_becomes_of_the_judge() {
    isolated(async {
        let mut stage = Stage::new().await;
        let some = |stage: &Stage| stage.pairs() >= 20;
        let begun = || async {
            stage.traffic("/order", 50).await;
            some(&stage)
        };
        stage.world.wait_for("answers to be compared", begun).await;
        stage.freeze(true);
        stage.traffic("/order", 1000).await;
        let large = Ask::get("web:8000", &format!("/bytes/{}", 20 << 20));
        // One that came before the judge was found to be dead has waited for nobody.
        let client = stage.world.proxy("client");
        let stat = async |name: &str| client.stat(&format!("cluster.umbra-judge.{name}")).await;
        let at_once = || async {
            let (dead, shown) = (stat("http2.keepalive_timeout").await, stat("upstream_rq_total").await);
            let answer = Client::new(stage.world.net(), address()).ask(&large).await.expect("an answer");
            assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 20 << 20));
            stat("http2.keepalive_timeout").await == dead && stat("upstream_rq_total").await > shown
        };
        stage.world.wait_for("a large answer that waits for nobody", at_once).await;
        stage.freeze(false);
        stage.traffic("/order", 500).await;
        // Killed while requests are under way, and away for some of them.
        let net = stage.world.net().clone();
        let meanwhile =
            tokio::spawn(async move { send(&net, address(), &Ask::get("web:8000", "/order"), 2000).await });
        stage.judge.kill();
        stage.traffic("/order", 500).await;
        stage.judge.again().expect("a judge");
        let tally = meanwhile.await.expect("requests go on");
        assert!(tally.all_ok(2000), "{:?} {:?}", tally.statuses, tally.failures);
        let again = || async {
            stage.traffic("/order", 50).await;
            stage.judge.answers().await >= 60
        };
        stage.world.wait_for("answers to come again", again).await;
    });
}

/// What a judge keeps is bounded, and what is too long for it is compared all the same; what nobody asked for it never sees.
#[test]
fn large_answers_and_none() {
    isolated(async {
        let stage = Stage::new().await;
        let path = format!("/bytes/{}", 20 << 20);
        let compared = || async {
            stage.traffic("/order", 20).await;
            let large = Client::new(stage.world.net(), address()).ask(&Ask::get("web:8000", &path)).await;
            assert_eq!(large.expect("an answer").body.len(), 20 << 20);
            let digests = &stage.verdicts()[1]["contents"]["digests"];
            number(&digests["long"]) > 0
        };
        stage.world.wait_for("a digest to be compared", compared).await;
        stage.world.write(
            "rules.yaml",
            &manifests::judged(&["v2", "v3"]).replace("contents: \"on\"", "contents: \"off\""),
        );
        let plain = || async {
            let routes = stage.world.proxy("client").section("RoutesConfigDump").await.unwrap_or_default();
            !routes.to_string().contains("|judge") && routes.to_string().contains("#judge")
        };
        stage.world.wait_for("no judge to be asked", plain).await;
        stage.world.send(WEB, &Ask::get("web:8000", "/order"), 1).await;
        let before = stage.world.proxy("client").stat("cluster.umbra-judge.upstream_rq_total").await;
        let lines = number(&stage.verdicts()[0]["lines"]);
        // What is judged of a rule is looked at now and then: until then its old answer is shown.
        let judged = || async {
            stage.traffic("/order", 50).await;
            let verdict = &stage.verdicts()[0];
            number(&verdict["lines"]) > lines + 50 && verdict["contents"].is_null()
        };
        stage.world.wait_for("verdicts to go on, and nothing to be said of contents", judged).await;
        let after = stage.world.proxy("client").stat("cluster.umbra-judge.upstream_rq_total").await;
        assert_eq!(before, after);
    });
}

/// Where proxies have certificates, a judge that asks for them takes nothing from whoever has none.
#[test]
fn without_a_certificate_nothing_is_shown() {
    isolated(async {
        if !gate::require_openssl() {
            return;
        }
        let mut world = World::new();
        let authority = Authority::make(&world.folder().join("tls"), "ca").expect("an authority");
        let issued = authority.issue("all", "DNS:umbra.test,IP:127.0.0.1").expect("a certificate");
        let text = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        let (ca, certificate, key) =
            (text(&authority.certificate()), text(&issued.certificate), text(&issued.key));
        let files = ["--tls-cert", &certificate, "--tls-key", &key, "--tls-client-ca", &ca];
        let judge = Judge::start_with(world.net(), world.folder(), &files).expect("a judge");
        for n in 1..=3 {
            world.start_echo(&format!("v{n}"), &format!("127.0.1.{n}:8080"));
        }
        world.write("web.yaml", &manifests::web());
        world.write("rules.yaml", &manifests::judged(&["v2", "v3"]));
        let settings = format!(
            "judge: {}\nxdsTls: {TLS}\ntlsCert: {certificate}\ntlsKey: {key}\ntlsClientCa: {ca}\n",
            judge.report()
        );
        world.start_umbra_with(&settings).await;
        let bodies = judge.bodies().to_string();
        let tls = ["--tls-ca", &ca, "--tls-cert", &certificate, "--tls-key", &key];
        let further = [&["--verdicts", "--judge", &bodies][..], &tls].concat();
        let server = TLS.parse().expect("an address");
        let whole =
            umbra::bootstrap_with("sidecar/default/app=client", server, &further).expect("a bootstrap");
        let whole: Value = serde_saphyr::from_str(&whole).expect("YAML");
        let mut without = whole.clone();
        for cluster in without["staticResources"]["clusters"].as_array_mut().expect("clusters") {
            if cluster["name"] == "umbra-judge" {
                let socket = &mut cluster["transportSocket"]["typedConfig"]["commonTlsContext"];
                let taken = socket.as_object_mut().and_then(|it| it.remove("tlsCertificates"));
                assert!(taken.is_some(), "{whole:#}");
            }
        }
        for (bootstrap, shown) in [(without, false), (whole, true)] {
            world.start_envoy("client", &bootstrap.to_string()).await;
            let came = || async {
                let ask = Ask::get("web:8000", "/order");
                assert!(send(world.net(), address(), &ask, 50).await.all_ok(50));
                // One connection would do for all of them, if it were let in.
                let tried = world.proxy("client").stat("cluster.umbra-judge.upstream_cx_total").await;
                if shown { judge.answers().await > 0 } else { tried > 3 }
            };
            world.wait_for(&format!("answers to be shown: {shown}"), came).await;
            assert_eq!(judge.answers().await > 0, shown);
            world.stop_proxy("client");
        }
    });
}
