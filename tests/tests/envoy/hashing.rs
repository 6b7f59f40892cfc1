//! Consistent hashing: who stays with whom, and what becomes of copies.

use std::collections::{BTreeMap, BTreeSet};

use umbra_testkit::client::Ask;
use umbra_testkit::isolate::isolated;
use umbra_testkit::world::World;
use umbra_tests::manifests::{all, istio, pod, rules, service, to_v1, web, web_subsets};

use super::{WEB, wait_share, web_with};

const USERS: usize = 30;

fn hashed(fields: &str) -> String {
    let further = format!("trafficPolicy:\n  loadBalancer:\n    consistentHash: {{{fields}}}\n");
    web().replace(&web_subsets("v1 v2 v3", ""), &web_subsets("v1 v2 v3", &further))
}

/// A request of one of the users, who says so in every way.
fn of(user: usize) -> Ask {
    Ask::get("web:8000", &format!("/?user=q{user}"))
        .header("x-user", &format!("h{user}"))
        .header("cookie", &format!("user=c{user}"))
}

/// Asks as every user several times; who of them was always served by the same, and by how many all were.
async fn sticky(world: &World) -> (usize, usize) {
    let mut by: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for _ in 0..4 {
        for user in 0..USERS {
            let answer = world.ask(WEB, &of(user)).await;
            assert_eq!(answer.status, 200);
            by.entry(user).or_default().insert(answer.served_by().to_owned());
        }
    }
    let servers: BTreeSet<&String> = by.values().flatten().collect();
    (by.values().filter(|servers| servers.len() == 1).count(), servers.len())
}

async fn check(fields: &str, servers: usize) {
    let world = web_with(&[("web.yaml", &hashed(fields))], "").await;
    assert_eq!(sticky(&world).await, (USERS, servers), "{fields}");
    world.assert_clean().await;
}

#[test]
fn the_same_header_goes_to_the_same_endpoint() {
    isolated(async { check("httpHeaderName: x-user", 3).await });
}

#[test]
fn the_same_query_parameter_goes_to_the_same_endpoint() {
    isolated(async { check("httpQueryParameterName: user, maglev: {tableSize: 997}", 3).await });
}

#[test]
fn the_same_address_goes_to_the_same_endpoint() {
    isolated(async { check("useSourceIp: true", 1).await });
}

/// A request without the cookie is answered with one, and who brings it back stays.
#[test]
fn a_cookie_is_made_and_kept_to() {
    isolated(async {
        let world = web_with(
            &[("web.yaml", &hashed("httpCookie: {name: user, ttl: 60s, path: /p}, maglev: {}"))],
            "",
        )
        .await;
        let first = world.ask(WEB, &super::get()).await;
        let cookie =
            first.headers.get("set-cookie").and_then(|v| v.to_str().ok()).expect("a cookie").to_owned();
        assert!(
            cookie.starts_with("user=") && cookie.contains("Max-Age=60") && cookie.contains("Path=/p"),
            "{cookie}"
        );
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        for _ in 0..20 {
            let again = world.ask(WEB, &super::get().header("cookie", &cookie)).await;
            assert_eq!(again.served_by(), first.served_by());
            assert!(!again.headers.contains_key("set-cookie"), "{:?}", again.headers);
        }
        assert_eq!(sticky(&world).await.0, USERS);
    });
}

/// Of several destinations each is hashed; which of them is chosen is not.
#[test]
fn destinations_by_weight_are_hashed_each() {
    isolated(async {
        let pods = [
            ("a1", "127.0.1.1", "a"),
            ("a2", "127.0.1.2", "a"),
            ("b1", "127.0.1.3", "b"),
            ("b2", "127.0.1.4", "b"),
        ];
        let mut objects = vec![service("default", "web", &[("http", 8000, 8080)])];
        objects.extend(pods.map(|(name, ip, version)| {
            pod("default", "web", name, ip, true)
                .replace(&format!("version: {name}"), &format!("version: {version}"))
        }));
        objects.push(istio(
            "DestinationRule",
            "default",
            "web",
            "host: web\ntrafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}\nsubsets:\n- {name: a, labels: {version: a}}\n- {name: b, labels: {version: b}}\n",
        ));
        let rule = rules(
            "web",
            "web",
            "- route:\n  - {destination: {host: web, subset: a}, weight: 50}\n  - {destination: {host: web, subset: b}, weight: 50}\n",
        );
        let mut world = World::new();
        for (name, ip, _) in pods {
            world.start_echo(name, &format!("{ip}:8080"));
        }
        world.write("web.yaml", &all(&objects));
        world.write("rules.yaml", &rule);
        world.start_umbra().await;
        world.start_proxy("client", "sidecar/default/app=client").await;
        for user in 0..USERS {
            let mut seen: BTreeSet<String> = BTreeSet::new();
            for _ in 0..12 {
                seen.insert(world.ask(WEB, &of(user)).await.served_by().to_owned());
            }
            let of_subset = |letter: &str| seen.iter().filter(|name| name.starts_with(letter)).count();
            assert!(of_subset("a") <= 1 && of_subset("b") <= 1, "{seen:?}");
        }
    });
}

/// Waits for a mirror of `web` to a service that hashes, asks as every user, and answers how many users had all of
/// their copies at one endpoint, and how many copies there were.
async fn copies(fields: &str, ask: impl Fn(usize) -> Ask) -> (usize, usize) {
    let mut objects = vec![service("default", "shadow", &[("http", 9000, 8080)])];
    objects
        .extend((1..=3).map(|n| pod("default", "shadow", &format!("s{n}"), &format!("127.0.2.{n}"), true)));
    objects.push(istio(
        "DestinationRule",
        "default",
        "shadow",
        &format!("host: shadow\ntrafficPolicy: {{loadBalancer: {{consistentHash: {{{fields}}}}}}}\n"),
    ));
    let rule = rules("web", "web", &to_v1("mirror: {host: shadow}"));
    let mut world = web_with(&[("shadow.yaml", &all(&objects)), ("rules.yaml", &rule)], "").await;
    for n in 1..=3 {
        world.start_echo(&format!("s{n}"), &format!("127.0.2.{n}:8080"));
    }
    wait_share(&world, "shadow", 1_000_000).await;
    world.forget().await;
    for user in 0..USERS {
        assert!(world.send(WEB, &ask(user), 4).await.all_ok(4));
    }
    let mut by: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    let mut count = 0;
    for n in 1..=3 {
        for record in world.echo(&format!("s{n}")).take() {
            by.entry(record.header("x-user").to_owned()).or_default().insert(n);
            count += 1;
        }
    }
    world.assert_clean().await;
    (by.values().filter(|at| at.len() == 1).count(), count)
}

#[test]
fn copies_are_hashed_as_their_target_asks() {
    isolated(async { assert_eq!(copies("httpHeaderName: x-user", of).await, (USERS, 4 * USERS)) });
}

#[test]
fn copies_are_hashed_by_a_query_parameter() {
    isolated(async {
        assert_eq!(copies("httpQueryParameterName: user, maglev: {}", of).await, (USERS, 4 * USERS))
    });
}

/// A copy that asked for a cookie would end Envoy 1.40: with the cookie copies are hashed, without it they are not.
#[test]
fn copies_never_ask_for_a_cookie() {
    isolated(async {
        let fields = "httpCookie: {name: user, ttl: 60s}";
        assert_eq!(copies(fields, of).await, (USERS, 4 * USERS));
    });
    isolated(async {
        let without = |user: usize| Ask::get("web:8000", "/").header("x-user", &format!("h{user}"));
        let (_, count) = copies("httpCookie: {name: user, ttl: 60s}", without).await;
        assert_eq!(count, 4 * USERS);
    });
}

/// The client's address is not known of a copy.
#[test]
fn copies_are_not_hashed_by_address() {
    isolated(async {
        let (at_one, count) = copies("useSourceIp: true", of).await;
        assert_eq!(count, 4 * USERS);
        assert!(at_one < USERS, "{at_one}");
    });
}
