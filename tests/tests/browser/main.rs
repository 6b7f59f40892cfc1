//! The dashboard in a real browser: it loads, it is renewed while it is shown, its buttons stop mirrors on a real Envoy, and
//! pages of others do not.

#![allow(clippy::expect_used, clippy::panic, reason = "a test")]

mod pictures;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use umbra_testkit::browser::{Browser, Page};
use umbra_testkit::client::Ask;
use umbra_testkit::echo::Mode;
use umbra_testkit::gate;
use umbra_testkit::isolate::isolated;
use umbra_testkit::judge::Judge;
use umbra_testkit::net::Net;
use umbra_testkit::umbra::{UmbraProcess, write};
use umbra_testkit::world::World;
use umbra_tests::manifests::{self, rules, to_v1};

/// A page of a browser whose files are in `folder`.
async fn browser(program: &Path, folder: &Path) -> (Arc<Browser>, Page) {
    let browser = Browser::start(program, folder).expect("a browser");
    let page = browser.page().await.unwrap_or_else(|e| panic!("{e:#}"));
    (browser, page)
}

async fn open(page: &Page, admin: SocketAddr, path: &str) {
    page.open(&format!("http://{admin}/ui/{path}")).await.unwrap_or_else(|e| panic!("{e:#}"));
}

async fn wait_for(page: &Page, script: &str) {
    page.wait_for(script).await.unwrap_or_else(|e| panic!("{e:#}\n{:?}", page.complaints()));
}

async fn run(page: &Page, script: &str) -> serde_json::Value {
    page.run(script).await.unwrap_or_else(|e| panic!("{e:#}"))
}

/// Nothing was said against the page.
fn assert_quiet(page: &Page) {
    let complaints = page.complaints();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// Three versions of `web` and a client whose requests are copied to v2 and v3.
async fn world() -> World {
    let mut world = World::new();
    for n in 1..=3 {
        world.start_echo(&format!("v{n}"), &format!("127.0.1.{n}:8080"));
    }
    world.write("web.yaml", &manifests::web());
    let mirrors = "
        mirrors:
        - {destination: {host: web, subset: v2}, percentage: {value: 25}}
        - {destination: {host: web, subset: v3}}";
    let text = rules("web", "web", &to_v1(mirrors).replace("- route", "- name: canary\n  route"));
    world.write("rules.yaml", &text);
    world.start_umbra().await;
    world.start_proxy("client", "sidecar/default/app=client").await;
    for (target, share) in [("|v2|web", 250_000), ("|v3|web", 1_000_000)] {
        world.wait_share("client", target, share).await;
    }
    world
}

/// The row of the mirror that copies to a target with this text.
fn row(target: &str) -> String {
    format!("[...document.querySelectorAll('tbody tr')].find((it) => it.innerText.includes('{target}'))")
}

#[test]
fn it_is_renewed_and_its_buttons_stop_mirrors() {
    isolated(async {
        let Some(program) = gate::require_browser() else { return };
        let world = world().await;
        let admin = world.umbra().admin();
        let (_browser, page) = browser(&program, world.folder()).await;
        open(&page, admin, "").await;
        let v2 = row("subset v2");
        assert_eq!(run(&page, "document.querySelectorAll('tbody tr').length").await, 2);
        wait_for(&page, &format!("{v2}.innerText.includes('25%') && {v2}.innerText.includes('1 of 1')"))
            .await;
        // What proxies count appears while the page is shown.
        assert!(world.send(":8000", &Ask::get("web:8000", "/"), 2000).await.all_ok(2000));
        wait_for(
            &page,
            &format!("/seen 2\\d/.test({v2}.innerText) && /seen 100%/.test({}.innerText)", row("subset v3")),
        )
        .await;
        wait_for(&page, &format!("/\\d\\/s/.test({v2}.innerText)")).await;

        // Stopped by a click, and nothing is copied any longer; the other goes on.
        run(&page, &format!("{v2}.querySelector('button').click()")).await;
        wait_for(&page, "/stopped, 1 of 1 proxies/.test(document.querySelector('#say').textContent)").await;
        wait_for(&page, &format!("{v2}.querySelector('.badge').textContent === 'stopped'")).await;
        world.forget().await;
        assert!(world.send(":8000", &Ask::get("web:8000", "/"), 200).await.all_ok(200));
        assert_eq!((world.echo("v2").count(), world.echo("v3").count()), (0, 200));

        // By keys alone: the button of the row that was replaced meanwhile has the focus still, and Enter lets it go on.
        run(&page, &format!("{v2}.querySelector('button').focus()")).await;
        page.press("Enter").await.expect("a key");
        wait_for(&page, "/resumed, 1 of 1 proxies/.test(document.querySelector('#say').textContent)").await;
        wait_for(&page, &format!("{v2}.querySelector('.badge').textContent === 'live'")).await;
        wait_for(&page, "document.activeElement.textContent === 'Stop'").await;
        world.wait_share("client", "|v2|web", 250_000).await;

        // All of them, once that was asked; then one of what was stopped together, which is all of it.
        run(&page, "document.querySelector('[data-part=all] .stop').click()").await;
        wait_for(&page, "document.querySelector('dialog').open").await;
        run(&page, "document.querySelector('dialog [value=no]').click()").await;
        world.wait_share("client", "|v3|web", 1_000_000).await;
        run(&page, "document.querySelector('[data-part=all] .stop').click()").await;
        run(&page, "document.querySelector('dialog [value=yes]').click()").await;
        for target in ["|v2|web", "|v3|web"] {
            world.wait_share("client", target, 0).await;
        }
        wait_for(&page, "document.querySelectorAll('.badge.calm').length === 2").await;
        assert_quiet(&page);
        run(&page, &format!("{v2}.querySelector('button').click()")).await;
        wait_for(&page, "/Resume all of default\\/web/.test(document.querySelector('dialog').innerText)")
            .await;
        run(&page, "document.querySelector('dialog [value=yes]').click()").await;
        world.wait_share("client", "|v3|web", 1_000_000).await;
        wait_for(&page, "document.querySelectorAll('.badge.good').length === 2").await;

        // `/` leads to the filter, which hides what has not its words, also when it is renewed.
        page.press("/").await.expect("a key");
        wait_for(&page, "document.activeElement.id === 'filter'").await;
        for key in ["v", "3"] {
            page.press(key).await.expect("a key");
        }
        wait_for(&page, "document.querySelectorAll('tbody tr:not([hidden])').length === 1").await;

        // A mirror's own page.
        run(&page, &format!("{}.querySelector('a').click()", row("subset v3"))).await;
        wait_for(&page, "document.querySelectorAll('.chart').length === 6").await;
        let text = run(&page, "document.body.innerText").await.as_str().unwrap_or_default().to_owned();
        for part in [
            "default/web → web",
            "live",
            "1 of 1 have taken it",
            "mirror|8000|v3|web.default.svc.cluster.local",
            "p99",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        run(&page, "document.querySelector('main .stop').click()").await;
        wait_for(&page, "document.querySelector('.badge').textContent === 'stopped'").await;
        for target in ["|v2|web", "|v3|web"] {
            world.wait_share("client", target, 0).await;
        }
        // An answer of 409 is an error to a browser's log, and no other was.
        let others = page.complaints().into_iter().filter(|it| !it.contains("409"));
        assert_eq!(others.collect::<Vec<_>>(), [""; 0]);

        // While umbra is away the page says so, and goes on when it is back.
        world.umbra().process().freeze(true).expect("asleep");
        world.umbra().process().freeze(false).expect("awake");
        wait_for(&page, "!document.querySelector('main.stale')").await;
    });
}

/// What is known of contents comes while a mirror's own page is shown, and is renewed.
#[test]
fn what_differs_appears_on_a_mirrors_page() {
    isolated(async {
        let Some(program) = gate::require_browser() else { return };
        let mut world = World::new();
        let judge = Judge::start(world.net(), world.folder()).expect("a judge");
        for n in 1..=2 {
            world.start_echo(&format!("v{n}"), &format!("127.0.1.{n}:8080"));
        }
        world.write("web.yaml", &manifests::web());
        let text = rules("web", "web", &to_v1("mirror: {host: web, subset: v2}"));
        let asked = "name: web\n  annotations: {umbra.io/verdicts: \"1000\", umbra.io/contents: \"on\"}";
        world.write("rules.yaml", &text.replacen("name: web", asked, 1));
        world.start_umbra_with(&format!("judge: {}\n", judge.report())).await;
        let bodies = judge.bodies().to_string();
        let further = ["--verdicts", "--judge", &bodies];
        world.start_proxy_with("client", "sidecar/default/app=client", &further).await;
        world.wait_share("client", "|v2|web", 1_000_000).await;
        world.echo("v2").set_mode(Mode::WrongOneOf(4));
        let (_browser, page) = browser(&program, world.folder()).await;
        open(&page, world.umbra().admin(), "").await;
        run(&page, "document.querySelector('tbody a').click()").await;
        let part = "document.querySelector('[data-part=verdict]')";
        wait_for(&page, &format!("{part} && {part}.innerText.includes('undecided')")).await;
        let named =
            format!("{part}.querySelector('.badge.bad') && {part}.innerText.includes('items[].price')");
        let found = || async {
            assert!(world.send(":8000", &Ask::get("web:8000", "/order"), 50).await.all_ok(50));
            run(&page, &format!("Boolean({named})")).await == true
        };
        world.wait_for("the field that differs on the page", found).await;
        let text = run(&page, &format!("{part}.innerText")).await.as_str().unwrap_or_default().to_owned();
        for words in
            ["of the judged requests were seen", "latency", "Contents", "of those that the judge saw"]
        {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert_quiet(&page);
    });
}

/// An umbra on a folder with this rule, and a browser.
async fn umbra(folder: &Path, files: &[(String, String)]) -> UmbraProcess {
    let mesh = folder.join("mesh");
    for (name, text) in files {
        write(&mesh, name, text).expect("manifests");
    }
    UmbraProcess::start(&Net::here(), &mesh, None, folder).await.expect("umbra")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_stops_nothing() {
    let Some(program) = gate::require_browser() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let text = rules("web", "web", &to_v1("mirror: {host: web, subset: v2}"));
    let files = [("web.yaml".to_owned(), manifests::web()), ("rules.yaml".to_owned(), text.clone())];
    let umbra = umbra(folder.path(), &files).await;
    let admin = umbra.admin();
    let (_browser, page) = browser(&program, folder.path()).await;
    // Another name is another origin, and this page of it has no rules of its own.
    page.open(&format!("http://localhost:{}/healthz", admin.port())).await.expect("a page");
    let stop = format!("http://{admin}/v1/stop");
    for (title, script) in [
        (
            "as a script of this page would",
            format!(
                "fetch('{stop}', {{method: 'POST', headers: {{'content-type': 'application/json'}}, body: '{{\"all\": true}}'}}).then(() => 'sent', () => 'kept back')"
            ),
        ),
        (
            "without asking",
            format!(
                "fetch('{stop}', {{method: 'POST', mode: 'no-cors', headers: {{'content-type': 'text/plain'}}, body: '{{\"all\": true}}'}}).then(() => 'sent', () => 'kept back')"
            ),
        ),
        ("to read it", format!("fetch('http://{admin}/ui/').then(() => 'sent', () => 'kept back')")),
    ] {
        let came = run(&page, &script).await;
        assert!(came == "sent" || came == "kept back", "{title}: {came}");
        assert!(title != "to read it" || came == "kept back", "{title}: {came}");
    }
    // As a form, which needs no script's leave, and leads away from the page.
    let form = format!(
        "(() => {{ const form = document.body.appendChild(document.createElement('form')); form.method = 'post'; \
         form.enctype = 'text/plain'; form.action = '{stop}'; \
         const input = form.appendChild(document.createElement('input')); \
         input.name = '{{\"all\": true, \"wait\": \"5s\"}}'; form.submit(); }})()"
    );
    run(&page, &form).await;
    wait_for(&page, "location.pathname === '/v1/stop' && document.readyState === 'complete'").await;
    assert_eq!(std::fs::read_to_string(folder.path().join("mesh/rules.yaml")).expect("the file"), text);
    // The same from a page of umbra's own origin does.
    page.open(&format!("http://{admin}/healthz")).await.expect("a page");
    let own = format!(
        "fetch('{stop}', {{method: 'POST', headers: {{'content-type': 'application/json'}}, body: '{{\"all\": true}}'}}).then((it) => it.status)"
    );
    assert_eq!(run(&page, &own).await, 200);
    let now = std::fs::read_to_string(folder.path().join("mesh/rules.yaml")).expect("the file");
    assert!(now.contains("umbra.io/stop"), "{now}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_people_write_are_text() {
    let Some(program) = gate::require_browser() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let evil = "<img src=x onerror=document.title=1><script>document.title=2</script>";
    let http =
        to_v1("mirror: {host: web, subset: v2}").replace("- route", &format!("- name: '{evil}'\n  route"));
    let files =
        [("web.yaml".to_owned(), manifests::web()), ("rules.yaml".to_owned(), rules("web", "web", &http))];
    let umbra = umbra(folder.path(), &files).await;
    let (_browser, page) = browser(&program, folder.path()).await;
    open(&page, umbra.admin(), "").await;
    let text = run(&page, "document.querySelector('tbody').innerText").await;
    assert!(text.as_str().is_some_and(|text| text.contains(evil)), "{text}");
    run(&page, "document.querySelector('tbody a').click()").await;
    wait_for(&page, "document.querySelectorAll('.chart').length === 6").await;
    assert_eq!(run(&page, "document.querySelectorAll('img, main script').length").await, 0);
    assert_eq!(run(&page, "document.title").await, "umbra: default/web");
    assert_quiet(&page);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_mirrors_on_one_page() {
    const MIRRORS: usize = 1000;
    let Some(program) = gate::require_browser() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let one = |n: usize| {
        let name = format!("web-{n}");
        (format!("{name}.yaml"), rules(&name, &name, &to_v1("mirror: {host: web, subset: v2}")))
    };
    let mut files: Vec<(String, String)> = (0..MIRRORS).map(one).collect();
    files.push(("web.yaml".to_owned(), manifests::web()));
    let umbra = umbra(folder.path(), &files).await;
    let (_browser, page) = browser(&program, folder.path()).await;
    open(&page, umbra.admin(), "").await;
    assert_eq!(run(&page, "document.querySelectorAll('tbody tr').length").await, MIRRORS);
    let took = run(&page, "performance.getEntriesByType('navigation')[0].loadEventEnd").await;
    let bytes = run(&page, "performance.getEntriesByType('navigation')[0].transferSize").await;
    gate::measured(&format!(
        "dashboard of {MIRRORS} mirrors: {:.0} ms from the question to the whole page, {} kB",
        took.as_f64().unwrap_or_default(),
        bytes.as_u64().unwrap_or_default() / 1000
    ));
    // It is renewed, and keeps what the reader filters by.
    run(&page, "(() => { const it = document.querySelector('#filter'); it.value = 'web-77 '; it.dispatchEvent(new Event('input', {bubbles: true})); })()").await;
    wait_for(&page, "document.querySelectorAll('tbody tr:not([hidden])').length === 11").await;
    write(&folder.path().join("mesh"), "web-7.yaml", "").expect("manifests");
    std::fs::remove_file(folder.path().join("mesh/web-777.yaml")).expect("a file");
    wait_for(&page, "document.querySelectorAll('tbody tr:not([hidden])').length === 10").await;
    assert_quiet(&page);
}
