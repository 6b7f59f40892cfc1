//! A captured sidecar: what the application calls arrives at Envoy, by rules of nftables in a network of the Pod's own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use umbra_testkit::capture;
use umbra_testkit::client::{Ask, Client, Tally, send};
use umbra_testkit::echo::Echo;
use umbra_testkit::isolate::isolated_with_capture;
use umbra_testkit::net::Net;
use umbra_testkit::paths;
use umbra_testkit::world::World;
use umbra_tests::manifests::{all, istio, pod, rules};

/// Where everything is that is not in the Pod, and the Pod.
const OUTSIDE: &str = "10.1.0.1";
const POD: &str = "10.1.0.2";

/// Virtual addresses, which nobody has.
const WEB: &str = "10.96.0.1";
pub(super) const DB: &str = "10.96.0.2";
const ANY: &str = "10.96.0.3";
const WEB_V6: &str = "fd00:96::1";

/// A Service with these virtual addresses; `ports` is YAML.
pub(super) fn service(name: &str, addresses: &str, ports: &str) -> String {
    let first = addresses.split(", ").next().unwrap_or_default();
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  clusterIP: {first}\n  clusterIPs: [{addresses}]\n  \
         selector: {{app: {name}}}\n  ports: [{ports}]\n"
    )
}

/// `web` with a mirror to `shadow`, `any` on a port that does not say what it speaks, `db` on TCP, and the headless `peers`.
fn mesh() -> String {
    all(&[
        service("web", &format!("{WEB}, '{WEB_V6}'"), "{name: http, port: 8000, targetPort: 8080}"),
        service("any", ANY, "{port: 8100, targetPort: 8080}, {name: odd, port: 8101, targetPort: 9000}"),
        service("shadow", "10.96.0.9", "{name: http, port: 8000, targetPort: 8080}"),
        service("db", DB, "{name: tcp, port: 5432, targetPort: 9000}"),
        service("peers", "None", "{name: tcp, port: 7000}"),
        pod("default", "web", "v1", "10.2.0.1", true),
        pod("default", "any", "v1", "10.2.0.1", true),
        pod("default", "shadow", "v1", "10.2.0.2", true),
        pod("default", "db", "v1", "10.2.0.1", true),
        pod("default", "peers", "a", "10.2.0.1", true),
        pod("default", "peers", "b", "10.2.0.2", true),
        mirrored("web", 100),
        mirrored("any", 100),
        istio(
            "ServiceEntry",
            "default",
            "external",
            "
            hosts: [ext.example.com]
            location: MESH_EXTERNAL
            resolution: STATIC
            ports: [{number: 80, name: http, protocol: HTTP}]
            endpoints: [{address: 10.2.0.2, ports: {http: 8080}}]
            ",
        ),
        istio(
            "ServiceEntry",
            "default",
            "api",
            "
            hosts: [api.example.com]
            location: MESH_EXTERNAL
            resolution: STATIC
            ports: [{number: 443, name: tls, protocol: TLS}]
            endpoints: [{address: 10.2.0.2, ports: {tls: 9000}}]
            ",
        ),
        istio(
            "ServiceEntry",
            "default",
            "block",
            "
            hosts: [block.example.com]
            addresses: [203.0.113.0/24]
            location: MESH_EXTERNAL
            resolution: STATIC
            ports: [{number: 6000, name: tcp, protocol: TCP}]
            endpoints: [{address: 10.2.0.2, ports: {tcp: 9000}}]
            ",
        ),
    ])
}

/// The rule that copies this share of what a Service gets to `shadow`.
fn mirrored(host: &str, percent: u32) -> String {
    let mirror =
        format!("mirror: {{host: shadow, port: {{number: 8000}}}}\n  mirrorPercentage: {{value: {percent}}}");
    rules(host, host, &format!("- route: [{{destination: {{host: {host}}}}}]\n  {mirror}\n"))
}

/// The world of a Pod, and what is around it.
pub(super) struct Captured {
    pub(super) world: World,
    web: Echo,
    shadow: Echo,
    /// Whether the machine has IPv6.
    ipv6: bool,
}

impl Captured {
    pub(super) async fn new(settings: &str) -> Captured {
        let outside = Net::here();
        let pod = capture::pod("pod", ip(OUTSIDE), ip(POD)).expect("a network for the Pod");
        for address in ["10.2.0.1/32", "10.2.0.2/32", "10.3.0.1/32"] {
            outside.ip(&["address", "add", address, "dev", "lo"]).expect("an address");
        }
        let both = |net: &Net, address: &str, link: &str| {
            net.ip(&["-6", "address", "add", address, "dev", link, "nodad"]).is_ok()
        };
        let ipv6 = both(&outside, "fd00:1::1/64", "pod-near")
            && both(&pod, "fd00:1::2/64", "pod-far")
            && pod.ip(&["-6", "route", "add", "default", "via", "fd00:1::1"]).is_ok();
        if !ipv6 {
            umbra_testkit::gate::skip("captured IPv6: this machine has none", "REQUIRE_CAPTURE");
        }
        let echo =
            |name, address: &str| Echo::start(&outside, name, socket(address)).expect("an echo service");
        let (web, shadow) = (echo("web", "10.2.0.1:8080"), echo("shadow", "10.2.0.2:8080"));
        for (address, name) in [
            ("10.2.0.1:9000", "one"),
            ("10.2.0.2:9000", "two"),
            ("10.2.0.1:7000", "a"),
            ("10.2.0.2:7000", "b"),
        ] {
            speak_first(&outside, address, name);
        }
        let mut world = World::in_net(&pod);
        world.write("mesh.yaml", &mesh());
        world.start_umbra_with(settings).await;
        let addresses: Vec<IpAddr> = if ipv6 { vec![ip(POD), ip("fd00:1::2")] } else { vec![ip(POD)] };
        world.start_captured("client", "sidecar/default/app=client", &addresses).await;
        for key in ["/web/", "/any/"] {
            world.wait_share("client", key, 1_000_000).await;
        }
        Captured { world, web, shadow, ipv6 }
    }

    /// Sends requests from the Pod to `address`, and counts what came to the service and to its shadow.
    async fn ask(&self, address: &str, host: &str, n: usize) -> (Tally, usize, usize) {
        self.web.take();
        self.shadow.take();
        let tally = self.world.send(address, &Ask::get(host, "/"), n).await;
        (tally, self.web.count(), self.shadow.count())
    }

    /// What a server at `address` says first to a client in the Pod; `None`: the connection ends, or nobody says anything.
    pub(super) async fn hear(&self, address: &str) -> Option<String> {
        let mut stream = self.world.net().connect(socket(address)).await.ok()?;
        hear(&mut stream).await
    }

    /// How many connections a cluster of the Pod's Envoy has had.
    pub(super) async fn connections(&self, cluster: &str) -> u64 {
        self.world.proxy("client").stat(&format!("cluster.{cluster}.upstream_cx_total")).await
    }
}

/// A server of TCP that says its name before its client says anything, as databases do, and then whatever it hears.
pub(super) fn speak_first(net: &Net, address: &str, name: &'static str) {
    let listener = net.listen(socket(address)).expect("a listener");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = write.write_all(format!("{name}\n").as_bytes()).await;
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
}

/// The next line; `None`: the connection ends, or nobody says anything.
pub(super) async fn hear(stream: &mut tokio::net::TcpStream) -> Option<String> {
    let mut line = Vec::new();
    let read = async {
        // Byte by byte: what comes after the line is for the next who listens.
        while let Ok(byte @ (b' '..=b'~')) = stream.read_u8().await {
            line.push(byte);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), read).await.ok()?;
    let line = String::from_utf8_lossy(&line).into_owned();
    (!line.is_empty()).then_some(line)
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn socket(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

#[test]
fn http_goes_by_the_rules_whatever_its_address() {
    isolated_with_capture(async {
        let it = Captured::new("").await;
        let mut calls = vec![
            // The Service's own address and port, by every name; an address that is nobody's.
            (format!("{WEB}:8000"), "web:8000"),
            (format!("{WEB}:8000"), "web.default.svc.cluster.local"),
            (format!("{WEB}:8000"), WEB),
            ("192.0.2.1:8000".to_owned(), "web"),
            // A port that does not say what it speaks.
            (format!("{ANY}:8100"), "any:8100"),
        ];
        if it.ipv6 {
            calls.push((format!("[{WEB_V6}]:8000"), "web"));
            calls.push(("[2001:db8::1]:8000".to_owned(), "web"));
        }
        for (address, host) in calls {
            let (tally, web, shadow) = it.ask(&address, host, 20).await;
            assert!(tally.all_ok(20) && tally.by("web") == 20, "{address} {host}: {tally:?}");
            assert_eq!((web, shadow), (20, 20), "{address} {host}");
        }
        // HTTP/2 with prior knowledge is told from bytes too.
        let mut h2 = Client::new(it.world.net(), socket(&format!("{ANY}:8100"))).http2();
        assert_eq!(h2.ask(&Ask::get("any", "/")).await.expect("an answer").served_by(), "web");
        // An external host, at an address that only its resolver knows.
        let (tally, ..) = it.ask("198.51.100.1:80", "ext.example.com", 5).await;
        assert_eq!(tally.by("shadow"), 5, "{tally:?}");
        let mut asked = it.world.net().command(&paths::umbra().expect("umbra"));
        asked.args(["proxies", "-o", "wide", "--server", &it.world.umbra().admin().to_string()]);
        let said = String::from_utf8(asked.output().expect("umbra runs").stdout).expect("text");
        assert!(said.contains(" sidecar/default captured "), "{said}");
        it.world.assert_clean().await;
    });
}

#[test]
fn bytes_go_where_their_address_says() {
    isolated_with_capture(async {
        let it = Captured::new("").await;
        for (address, who) in [
            // A Service, whose server speaks first.
            (format!("{DB}:5432"), "one"),
            // Each pod of a headless Service is itself.
            ("10.2.0.1:7000".to_owned(), "a"),
            ("10.2.0.2:7000".to_owned(), "b"),
            // An address within a block, and one of which nothing is known.
            ("203.0.113.77:6000".to_owned(), "two"),
            ("10.2.0.1:9000".to_owned(), "one"),
            ("10.2.0.2:9000".to_owned(), "two"),
        ] {
            for _ in 0..5 {
                assert_eq!(it.hear(&address).await.as_deref(), Some(who), "{address}");
            }
        }
        assert_eq!(it.connections("outbound|5432||db.default.svc.cluster.local").await, 5);
        assert_eq!(it.connections("direct|7000||peers.default.svc.cluster.local").await, 10);
        assert_eq!(it.connections("PassthroughCluster").await, 10);
        // Bytes on a port that does not say what it speaks: its client speaks first there.
        let mut stream = it.world.net().connect(socket(&format!("{ANY}:8101"))).await.expect("a connection");
        stream.write_all(b"\x00\x01 this is no HTTP\n").await.expect("to write");
        assert_eq!(hear(&mut stream).await.as_deref(), Some("one"));
        // TLS by the name in its handshake: the entry's server, whatever the address; another name goes on.
        for (name, connections) in [("api.example.com", 1), ("other.example.com", 1)] {
            hello(it.world.net(), "10.3.0.1:443", name);
            it.world
                .wait_for(&format!("{name} to be passed on"), || async {
                    it.connections("outbound|443||api.example.com").await == connections
                })
                .await;
        }
        it.world.assert_clean().await;
    });
}

/// Begins a TLS handshake for a name; nobody there speaks TLS, so it fails.
pub(super) fn hello(net: &Net, address: &str, name: &str) {
    let mut command = net.command(std::path::Path::new("timeout"));
    command.args(["5", "openssl", "s_client", "-connect", address, "-servername", name]);
    command.stdin(std::process::Stdio::null()).output().expect("openssl");
}

#[test]
fn what_is_not_known_goes_where_it_wanted_to() {
    isolated_with_capture(async {
        let it = Captured::new("").await;
        let outside = Net::here();
        let unknown = Echo::start(&outside, "unknown", socket("10.3.0.1:8000")).expect("an echo service");
        let other = Echo::start(&outside, "other", socket("10.3.0.1:8765")).expect("an echo service");
        // An unknown Host on a known port, and an unknown port.
        for (address, echo) in [("10.3.0.1:8000", &unknown), ("10.3.0.1:8765", &other)] {
            let (tally, _, shadow) = it.ask(address, "stranger.example.com", 5).await;
            assert!(tally.all_ok(5) && echo.count() == 5 && shadow == 0, "{address}: {tally:?}");
        }
        assert!(it.connections("PassthroughCluster").await >= 2);
        it.world.assert_clean().await;
    });
}

#[test]
fn the_pods_own_and_what_comes_in_pass_envoy_by() {
    isolated_with_capture(async {
        let it = Captured::new("").await;
        let pod = it.world.net().clone();
        let app = Echo::start(&pod, "app", socket("0.0.0.0:8080")).expect("an echo service");
        let outside = Net::here();
        // A peer at a port of a Service and at another; the Pod at its own address and at localhost.
        for (net, address) in [
            (&outside, format!("{POD}:8080")),
            (&pod, format!("{POD}:8080")),
            (&pod, "127.0.0.1:8080".to_owned()),
        ] {
            let tally = send(net, socket(&address), &Ask::get("web:8000", "/"), 5).await;
            assert!(tally.all_ok(5) && app.count() == 5, "{address}: {tally:?}");
            app.take();
        }
        // Nobody listens for what comes in, and the entrance lets nobody call it.
        assert!(outside.connect(socket(&format!("{POD}:15006"))).await.is_err());
        for (net, address) in [(&outside, format!("{POD}:15001")), (&pod, "10.3.0.1:15001".to_owned())] {
            let mut stream = net.connect(socket(&address)).await.expect("a connection");
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").await;
            assert_eq!(hear(&mut stream).await, None, "{address}");
        }
        let stats = it.world.proxy("client").stats().await.expect("statistics");
        let came_in = stats["listener.0.0.0.0_15001.downstream_cx_total"];
        assert!(came_in < 20, "no loop: {came_in} connections");
        it.world.assert_clean().await;
    });
}

#[test]
fn with_registry_only_the_unknown_ends() {
    isolated_with_capture(async {
        let it = Captured::new("outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n").await;
        let outside = Net::here();
        let unknown = Echo::start(&outside, "unknown", socket("10.3.0.1:8000")).expect("an echo service");
        let (tally, ..) = it.ask(&format!("{WEB}:8000"), "web", 5).await;
        assert!(tally.all_ok(5), "{tally:?}");
        for address in ["10.2.0.1:7000", &format!("{DB}:5432")] {
            assert!(it.hear(address).await.is_some(), "{address}");
        }
        it.world.wait_status("10.3.0.1:8000", &Ask::get("stranger.example.com", "/"), 502).await;
        assert_eq!(it.hear("10.2.0.1:9000").await, None);
        assert_eq!(unknown.count(), 0);
        // The setting is reloaded.
        it.world.write_config("outboundTrafficPolicy: {mode: ALLOW_ANY}\n");
        it.world.wait_status("10.3.0.1:8000", &Ask::get("stranger.example.com", "/"), 200).await;
        it.world.wait_for("bytes to pass", || async { it.hear("10.2.0.1:9000").await.is_some() }).await;
        it.world.assert_clean().await;
    });
}

/// Resolution NONE: where the caller wants to go, and only for the hosts that somebody has defined.
#[test]
fn an_entry_without_resolution_is_reached_where_it_was_called() {
    isolated_with_capture(async {
        let it = Captured::new("outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n").await;
        let outside = Net::here();
        let called = Echo::start(&outside, "called", socket("10.3.0.1:8000")).expect("an echo service");
        let beside = Echo::start(&outside, "beside", socket("10.3.0.1:9081")).expect("an echo service");
        let entry = istio(
            "ServiceEntry",
            "default",
            "none",
            "
            hosts: [none.example.com]
            location: MESH_EXTERNAL
            ports: [{number: 8000, name: http, protocol: HTTP}, {number: 8081, name: http-alt, protocol: HTTP, targetPort: 9081}]
            ",
        );
        it.world.write("none.yaml", &entry);
        it.world.wait_status("10.3.0.1:8000", &Ask::get("none.example.com", "/"), 200).await;
        it.world.wait_status("10.3.0.1:8081", &Ask::get("none.example.com:8081", "/"), 200).await;
        assert!(called.count() > 0 && beside.count() > 0);
        it.world.wait_status("10.3.0.1:8000", &Ask::get("stranger.example.com", "/"), 502).await;
        assert!(it.connections("outbound|8000||none.example.com").await > 0);
        it.world.assert_clean().await;
    });
}

/// Load balancer PASSTHROUGH: the same of a service with endpoints, which nobody is sent to.
#[test]
fn a_service_that_passes_through_is_reached_where_it_was_called() {
    isolated_with_capture(async {
        let it = Captured::new("outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n").await;
        let called = Echo::start(&Net::here(), "called", socket("10.3.0.1:8000")).expect("an echo service");
        let entry = istio(
            "ServiceEntry",
            "default",
            "passed",
            "
            hosts: [passed.example.com]
            ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 8080}]
            resolution: STATIC
            endpoints: [{address: 10.2.0.2}]
            ",
        );
        let policy = "host: passed.example.com\ntrafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}\n";
        let policy = istio("DestinationRule", "default", "passed", policy);
        it.world.write("passed.yaml", &all(&[entry.clone(), policy]));
        let ask = Ask::get("passed.example.com", "/");
        it.world.wait_status("10.3.0.1:8000", &ask, 200).await;
        for _ in 0..10 {
            assert_eq!(it.world.ask("10.3.0.1:8000", &ask).await.served_by(), "called");
        }
        assert!(called.count() > 10 && it.shadow.take().is_empty());
        // Without the policy it is who the endpoints say.
        it.world.write("passed.yaml", &entry);
        it.world
            .wait_for("the endpoint", || async {
                it.world.ask("10.3.0.1:8000", &ask).await.served_by() == "shadow"
            })
            .await;
        it.world.assert_clean().await;
    });
}

#[test]
fn no_request_fails_while_umbra_restarts_and_a_rule_changes() {
    isolated_with_capture(async {
        let mut it = Captured::new("").await;
        let over = Arc::new(AtomicBool::new(false));
        let (net, stop) = (it.world.net().clone(), over.clone());
        let traffic = tokio::spawn(async move {
            let mut total = Tally::default();
            while !stop.load(Ordering::Relaxed) {
                for (address, host) in [(WEB, "web:8000"), (ANY, "any:8100")] {
                    let port = host.rsplit_once(':').map_or("", |(_, port)| port);
                    let ask = Ask::get(host, "/");
                    let tally = send(&net, socket(&format!("{address}:{port}")), &ask, 20).await;
                    total.failures.extend(tally.failures);
                    for (status, n) in tally.statuses {
                        *total.statuses.entry(status).or_default() += n;
                    }
                }
            }
            total
        });
        let mut long = it.world.net().connect(socket(&format!("{DB}:5432"))).await.expect("a connection");
        assert_eq!(hear(&mut long).await.as_deref(), Some("one"));
        it.world.restart_umbra().await;
        for n in 1..=100 {
            let share = n % 100 + 1;
            it.world.write("rule.yaml", &mirrored("late", share));
            it.world.write("mesh.yaml", &mesh().replace("value: 100", &format!("value: {share}")));
            it.world.wait_share("client", "/web/", share * 10_000).await;
        }
        it.world.restart_umbra().await;
        // Pods of a headless Service come and go by listeners, and touch no other.
        it.world.write("more.yaml", &pod("default", "peers", "c", "10.3.0.1", true));
        it.world.wait_config("client", "ListenersConfigDump", "10.3.0.1_7000").await;
        it.world.remove("more.yaml");
        it.world
            .wait_for("the listener to go", || async {
                let dump = it.world.proxy("client").section("ListenersConfigDump").await.unwrap_or_default();
                !dump.to_string().contains("10.3.0.1_7000")
            })
            .await;
        over.store(true, Ordering::Relaxed);
        let total = traffic.await.expect("the traffic");
        let answered: usize = total.statuses.values().sum();
        assert!(
            total.failures.is_empty() && total.statuses.len() == 1,
            "{:?} {:?}",
            total.failures,
            total.statuses
        );
        assert!(answered > 100, "{answered} answers");
        long.write_all(b"still there\n").await.expect("to write");
        assert_eq!(hear(&mut long).await.as_deref(), Some("still there"));
        it.world.assert_clean().await;
    });
}
