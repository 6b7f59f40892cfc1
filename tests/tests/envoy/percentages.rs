//! How much is mirrored: every spelling of a share.

use umbra_testkit::isolate::isolated;
use umbra_testkit::share;
use umbra_testkit::umbra;
use umbra_tests::manifests::to_v1;

use super::{WEB, get, set_rules, wait_share, web};

const MIRROR: &str = "mirror: {host: web, subset: v2}\n";

/// Sets a rule with each of these texts and sees `n` requests copied at that share of a million.
async fn check(n: usize, table: &[(&str, u32)]) {
    let world = web(&to_v1(MIRROR)).await;
    wait_share(&world, "|v2|web", 1_000_000).await;
    for (text, million) in table {
        // By way of a share that is in no table, so that each row is seen to arrive.
        set_rules(&world, &to_v1(&format!("{MIRROR}mirrorPercentage: {{value: 12.3456}}")));
        wait_share(&world, "|v2|web", 123_456).await;
        set_rules(&world, &to_v1(&format!("{MIRROR}{text}")));
        wait_share(&world, "|v2|web", *million).await;
        world.forget().await;
        let tally = world.send(WEB, &get(), n).await;
        assert!(tally.all_ok(n) && tally.by("v1") == n, "{text:?}: {tally:?}");
        let expected = share::expected(n, f64::from(*million) / 1e6);
        assert!(
            expected.contains(&world.echo("v2").count()),
            "{text:?}: {:?}, not {expected:?}",
            world.counts()
        );
    }
    world.assert_clean().await;
}

#[test]
fn absent_means_every_request() {
    isolated(async { check(200, &[("", 1_000_000)]).await });
}

#[test]
fn percentage() {
    let table = &[
        ("mirrorPercentage: {value: 100}", 1_000_000),
        ("mirrorPercentage: {value: 50}", 500_000),
        ("mirrorPercentage: {value: 33.33335}", 333_334),
        ("mirrorPercentage: {value: 0.0001}", 1),
    ];
    isolated(async { check(1000, table).await });
}

#[test]
fn zero_mirrors_nothing() {
    let table = &[
        ("mirrorPercentage: {value: 0}", 0),
        ("mirrorPercentage: {}", 0),
        ("mirrorPercent: 0", 0),
        ("mirrorPercentage: {value: 0}\nmirrorPercent: 100", 0),
    ];
    isolated(async { check(300, table).await });
}

/// However a bootstrap divides the runtime, and with an Envoy that has the one layer of older bootstraps.
#[test]
fn one_layer_will_do_and_so_will_many() {
    isolated(async {
        let mut world = web(&to_v1(MIRROR)).await;
        let server = world.umbra().xds().to_string();
        for (layers, config) in [("1", "\"umbra\""), ("8", "\"umbra-7\""), ("64", "\"umbra-77\"")] {
            world.stop_proxy("client");
            let args =
                ["bootstrap", "--proxy", "sidecar/default/app=client", "--server", &server, "-o", "json"];
            let out = umbra::run(&[&args[..], &["--runtime-layers", layers]].concat()).expect("umbra");
            let bootstrap = String::from_utf8(out.stdout).expect("UTF-8");
            assert!(bootstrap.contains(config), "{bootstrap}");
            world.start_envoy("client", &bootstrap).await;
            for percent in [100, 30, 0] {
                set_rules(&world, &to_v1(&format!("{MIRROR}mirrorPercentage: {{value: {percent}}}")));
                wait_share(&world, "|v2|web", percent * 10_000).await;
            }
            // As many layers are loaded as were declared; admin and static besides.
            let runtime = world.proxy("client").json("/runtime").await.expect("the runtime");
            let names = runtime["layers"].as_array().map(Vec::len);
            assert_eq!(names, layers.parse().ok().map(|count: usize| count + 2), "{}", runtime["layers"]);
        }
        world.assert_clean().await;
    });
}

#[test]
fn old_spellings() {
    let table =
        &[("mirrorPercent: 50", 500_000), ("mirror_percent: 25", 250_000), ("mirrorPercent: 100", 1_000_000)];
    isolated(async { check(1000, table).await });
}

#[test]
fn the_exact_percentage_beats_the_old_one() {
    isolated(async { check(1000, &[("mirrorPercentage: {value: 20}\nmirrorPercent: 90", 200_000)]).await });
}

#[test]
fn both_lists_of_mirrors_count() {
    isolated(async {
        let rule = to_v1(
            "mirror: {host: web, subset: v2}
mirrors:
- destination: {host: web, subset: v3}
  percentage: {value: 50}",
        );
        let world = web(&rule).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        wait_share(&world, "|v3|web", 500_000).await;
        let tally = world.send(WEB, &get(), 1000).await;
        assert!(tally.all_ok(1000) && tally.by("v1") == 1000, "{tally:?}");
        assert_eq!(world.echo("v2").count(), 1000);
        assert!(share::expected(1000, 0.5).contains(&world.echo("v3").count()), "{:?}", world.counts());
        world.assert_clean().await;
    });
}
