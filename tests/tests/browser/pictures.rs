//! The pictures of the documentation: `UMBRA_PICTURES=docs/pictures` has them taken anew, after `UMBRA_PICTURE_MINUTES` (10) minutes of
//! traffic, since the pages show an hour.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use umbra_testkit::browser::Page;
use umbra_testkit::client::Ask;
use umbra_testkit::gate;
use umbra_testkit::isolate::isolated;
use umbra_testkit::paths::workspace;
use umbra_testkit::world::World;
use umbra_tests::manifests::{self, rules, to_v1};

use super::{browser, open, row, run};

/// Five mirrors: at work, lost, stopped, off and broken.
async fn world() -> World {
    let mut world = World::new();
    for n in 1..=2 {
        world.start_echo(&format!("v{n}"), &format!("127.0.1.{n}:8080"));
    }
    world.write("web.yaml", &manifests::web());
    let rule = |(name, path, subset, percent): (&str, &str, &str, &str)| {
        let mirror =
            format!("mirror: {{host: web, subset: {subset}}}\nmirrorPercentage: {{value: {percent}}}");
        let head = format!("- name: {name}\n  match: [{{uri: {{prefix: {path}}}}}]\n  route");
        to_v1(&mirror).replace("- route", &head)
    };
    let all = [
        ("checkout", "/checkout", "v2", "25"),
        ("search", "/search", "v2", "5"),
        ("reviews", "/reviews", "v3", "100"),
        ("ratings", "/ratings", "v2", "0"),
        ("login", "/login", "v9", "10"),
    ];
    world.write("rules.yaml", &rules("web", "web", &all.map(rule).concat()));
    world.start_umbra().await;
    world.start_proxy("client", "sidecar/default/app=client").await;
    world.wait_share("client", "|v3|web", 1_000_000).await;
    world
}

async fn take(page: &Page, folder: &std::path::Path, name: &str) {
    let picture = page.picture().await.unwrap_or_else(|e| panic!("{e:#}"));
    let bytes = BASE64_STANDARD.decode(picture).expect("base64");
    std::fs::write(folder.join(name), bytes).expect("a picture");
}

#[test]
fn pictures_are_taken_when_asked_for() {
    isolated(async {
        let Some(folder) = std::env::var_os("UMBRA_PICTURES").map(PathBuf::from) else { return };
        let folder = workspace().join(folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        let Some(program) = gate::require_browser() else { return };
        let minutes =
            std::env::var("UMBRA_PICTURE_MINUTES").ok().and_then(|it| it.parse().ok()).unwrap_or(10);
        let world = world().await;
        let (begin, mut round) = (Instant::now(), 0);
        while begin.elapsed() < Duration::from_secs(60 * minutes) {
            // More and less of it, as days have.
            for (path, count) in
                [("/checkout", 20 + round % 30), ("/search", 60), ("/reviews", 5 + round % 7)]
            {
                world.send(":8000", &Ask::get("web:8000", path), count).await;
            }
            round += 1;
            tokio::time::sleep(Duration::from_millis(900)).await;
        }
        let admin = world.umbra().admin();
        let (_browser, page) = browser(&program, world.folder()).await;
        page.size(1100, 620, false).await.expect("room");
        open(&page, admin, "").await;
        take(&page, &folder, "dashboard-light.png").await;
        page.scheme("dark").await.expect("dark");
        run(&page, &format!("{}.querySelector('a').click()", row("checkout"))).await;
        page.wait_for("document.querySelectorAll('.chart').length === 6")
            .await
            .unwrap_or_else(|e| panic!("{e:#}"));
        page.size(1100, 900, false).await.expect("room");
        take(&page, &folder, "dashboard-mirror-dark.png").await;
        page.scheme("light").await.expect("light");
        page.size(390, 780, true).await.expect("room");
        open(&page, admin, "").await;
        take(&page, &folder, "dashboard-phone.png").await;
    });
}
