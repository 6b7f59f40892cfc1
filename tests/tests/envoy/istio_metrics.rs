//! How workloads answered, under the names of Istio's metrics, against what they really did.

use umbra_testkit::echo::Mode;
use umbra_testkit::isolate::isolated;
use umbra_testkit::world::World;
use umbra_tests::manifests::rules;

use super::{WEB, get, wait_share, web_with};

/// Half to v1, half to v2 and a copy of everything to v3.
const RULE: &str = "- route:
  - {destination: {host: web, subset: v1}, weight: 50}
  - {destination: {host: web, subset: v2}, weight: 50}
  mirror: {host: web, subset: v3}
";

const SENT: usize = 400;

async fn start(settings: &str) -> World {
    let world = web_with(&[("rules.yaml", &rules("web", "web", RULE))], settings).await;
    wait_share(&world, "|v3|web", 1_000_000).await;
    world
}

async fn metrics(world: &World) -> String {
    world.umbra().get("/metrics").await.expect("metrics")
}

/// The value of the sample of a metric that has all of these labels, as both ends of a request tell it.
fn sample(text: &str, metric: &str, labels: &str) -> Option<u64> {
    let of = |reporter: &str| {
        let reporter = format!("reporter=\"{reporter}\"");
        let wanted: Vec<&str> = labels.split(' ').chain([reporter.as_str()]).collect();
        let line = text.lines().find(|line| {
            line.strip_prefix(metric).is_some_and(|rest| rest.starts_with('{'))
                && wanted.iter().all(|label| line.contains(label))
        })?;
        line.rsplit(' ').next()?.parse().ok()
    };
    let (destination, source) = (of("destination"), of("source"));
    assert_eq!(destination, source, "{metric} {labels}");
    destination
}

fn workload(version: &str, shadow: bool) -> String {
    format!(
        "destination_workload=\"web-{version}\" destination_workload_namespace=\"default\" destination_service=\"web.default.svc.cluster.local\" destination_service_name=\"web\" shadow=\"{shadow}\""
    )
}

fn code(version: &str, shadow: bool, code: u16) -> String {
    format!("{} response_code=\"{code}\"", workload(version, shadow))
}

#[test]
fn each_request_and_each_copy_counts_once() {
    isolated(async {
        let world = start("").await;
        // An increase of a code needs the zero before it; twenty lines of zeros for each destination that nobody calls say nothing.
        let text = metrics(&world).await;
        assert_eq!(sample(&text, "istio_requests_total", &code("v1", false, 200)), Some(0), "{text}");
        assert!(!text.contains("istio_request_duration_milliseconds_bucket{"), "{text}");
        assert!(world.send(WEB, &get(), SENT).await.all_ok(SENT));
        let count = |text: &str, version, shadow, number| {
            let labels = code(version, shadow, number);
            sample(text, "istio_requests_total", &labels).unwrap_or_default() as usize
        };
        let all = || async {
            let text = metrics(&world).await;
            count(&text, "v1", false, 200) + count(&text, "v2", false, 200) == SENT
                && count(&text, "v3", true, 200) == SENT
        };
        world.wait_for("all to be counted", all).await;
        let text = metrics(&world).await;
        for (version, shadow) in [("v1", false), ("v2", false), ("v3", true)] {
            let got = world.echo(version).count();
            assert_eq!(count(&text, version, shadow, 200), got, "{version}");
            let timed =
                sample(&text, "istio_request_duration_milliseconds_count", &workload(version, shadow));
            assert_eq!(timed, Some(got as u64), "{version}");
        }
        // Without this bucket Prometheus knows no quantile.
        let all = format!("{} le=\"+Inf\"", workload("v3", true));
        assert_eq!(sample(&text, "istio_request_duration_milliseconds_bucket", &all), Some(SENT as u64));
        // The zeros are there before anything is wrong.
        assert!(
            text.contains("response_code=\"503\"") && text.contains(",response_code=\"500\"} 0"),
            "{text}"
        );

        // A shadow that is bad, and a primary of which one half is away: what Envoy answers in its place counts for it.
        world.echo("v3").set_mode(Mode::Status(418));
        world.echo("v2").set_mode(Mode::Break);
        let tally = world.send(WEB, &get(), SENT).await;
        let failed = SENT - tally.by("v1");
        let all = || async {
            let text = metrics(&world).await;
            count(&text, "v2", false, 503) == failed && count(&text, "v3", true, 418) > 0
        };
        world.wait_for("the bad ones to be counted", all).await;
        assert!(failed > 0, "{tally:?}");
    });
}

#[test]
fn whoever_wants_none_has_none() {
    isolated(async {
        let world = start("istioMetrics: false\n").await;
        assert!(world.send(WEB, &get(), SENT).await.all_ok(SENT));
        let counted = || async { metrics(&world).await.contains("umbra_mirror_copies_total") };
        world.wait_for("copies to be counted", counted).await;
        assert!(!metrics(&world).await.contains("istio_"));
    });
}
