//! How connections begin, and how many retries there may be.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use umbra_testkit::echo::Mode;
use umbra_testkit::isolate::isolated;
use umbra_testkit::world::World;
use umbra_tests::manifests::{all, istio, pod, rules, service, to_v1, web, web_subsets};

use super::{WEB, get, wait_share, web_with};

/// Takes connections, notes the first bytes of each, and answers what follows them with 200 and no body.
fn listen(world: &World, address: &str) -> Arc<Mutex<Vec<Vec<u8>>>> {
    let listener = world.net().listen(address.parse().expect("an address")).expect("a free port");
    let noted: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let notes = noted.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let notes = notes.clone();
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                let mut buffer = [0; 4096];
                while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
                    match stream.read(&mut buffer).await {
                        Ok(n) if n > 0 => bytes.extend_from_slice(&buffer[..n]),
                        _ => break,
                    }
                }
                notes.lock().expect("a lock").push(bytes);
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    .await;
            });
        }
    });
    noted
}

fn with_proxy_protocol(version: &str, ip: &str) -> String {
    all(&[
        service("default", "shadow", &[("http", 9000, 8080)]),
        pod("default", "shadow", "v1", ip, true),
        istio(
            "DestinationRule",
            "default",
            "shadow",
            &format!("host: shadow\ntrafficPolicy: {{proxyProtocol: {{version: {version}}}}}\n"),
        ),
    ])
}

/// The client's address comes first, in the words or bytes of the version.
#[test]
fn connections_begin_with_the_proxy_protocol() {
    isolated(async {
        for (version, ip, begin) in [
            ("V1", "127.0.2.1", &b"PROXY TCP4 127.0.0.1 "[..]),
            ("V2", "127.0.2.2", &b"\r\n\r\n\0\r\nQUIT\n\x21\x11"[..]),
        ] {
            let rule = rules("web", "web", "- route: [{destination: {host: shadow}}]\n");
            let shadow = with_proxy_protocol(version, ip);
            let world = web_with(&[("shadow.yaml", &shadow), ("rules.yaml", &rule)], "").await;
            let noted = listen(&world, &format!("{ip}:8080"));
            world.wait_status(WEB, &get(), 200).await;
            let noted = noted.lock().expect("a lock").clone();
            assert!(noted.iter().any(|bytes| bytes.starts_with(begin)), "{version}: {noted:?}");
        }
    });
}

/// A copy has no client whose address could be told: its connection begins all the same, and the primary is served.
#[test]
fn copies_begin_with_the_proxy_protocol_too() {
    isolated(async {
        for (version, ip, begin) in
            [("V1", "127.0.2.1", &b"PROXY "[..]), ("V2", "127.0.2.2", &b"\r\n\r\n\0\r\nQUIT\n"[..])]
        {
            let rule = rules("web", "web", &to_v1("mirror: {host: shadow}"));
            let shadow = with_proxy_protocol(version, ip);
            let world = web_with(&[("shadow.yaml", &shadow), ("rules.yaml", &rule)], "").await;
            let noted = listen(&world, &format!("{ip}:8080"));
            wait_share(&world, "shadow", 1_000_000).await;
            assert!(world.send(WEB, &get(), 5).await.all_ok(5));
            world
                .wait_for("five copies", || async { noted.lock().is_ok_and(|noted| noted.len() >= 5) })
                .await;
            let noted = noted.lock().expect("a lock").clone();
            assert!(noted.iter().all(|bytes| bytes.starts_with(begin)), "{version}: {noted:?}");
        }
    });
}

/// A budget of nothing at all leaves the one retry at a time that is always allowed.
#[test]
fn a_retry_budget_limits_retries() {
    isolated(async {
        let further = "trafficPolicy:\n  retryBudget: {percent: 0, minRetryConcurrency: 1}\n";
        let objects = web().replace(&web_subsets("v1 v2 v3", ""), &web_subsets("v1 v2 v3", further));
        let http = "- route: [{destination: {host: web}}]\n  retries: {attempts: 2, retryOn: 5xx}\n";
        let rule = rules("web", "web", http);
        let world = web_with(&[("web.yaml", &objects), ("rules.yaml", &rule)], "").await;
        for n in 1..=3 {
            world.echo(&format!("v{n}")).set_mode(Mode::Status(503));
        }
        let stat = |name: &'static str| {
            let name =
                format!("cluster.outbound|8000||web.default.svc.cluster.local.upstream_rq_retry{name}");
            let world = &world;
            async move { world.proxy("client").stat(&name).await }
        };
        for _ in 0..5 {
            world.ask(WEB, &get()).await;
        }
        assert_eq!((stat("").await, stat("_overflow").await), (10, 0), "one after the other");
        world
            .wait_for("retries beyond the budget", || async {
                world.send(WEB, &get(), 50).await;
                stat("_overflow").await > 0
            })
            .await;
    });
}
