//! `umbra explain` says what a real Envoy does: random rules, random requests, and both of them asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config as Cases, TestRunner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use umbra_explain::{Config, Destination, Explanation, Forward, Outcome, Request, Sent};
use umbra_testkit::echo::Record;
use umbra_testkit::isolate::isolated;
use umbra_testkit::net::Net;
use umbra_testkit::umbra;
use umbra_testkit::wait::PATIENCE;
use umbra_testkit::world::World;
use umbra_tests::manifests::{rules, to_v1};
use umbra_tests::random::{self, CLUSTER, Probed, ProbedListener, ROUTE, Tape};
use umbra_xds::ResourceType;

use super::{wait_share, web};

/// How many pairs of rules and a request; `make explain` asks for ten thousand.
const PAIRS: &str = "UMBRA_EXPLAIN_PAIRS";
const FEW: usize = 1000;
/// Requests to one mesh.
const REQUESTS: usize = 40;
/// Meshes in one Envoy.
const MESHES: usize = 10;
/// Addresses of copies, so that mirrors can be told apart.
const MIRRORS: usize = 16;

#[test]
fn explain_agrees_with_envoy() {
    isolated(async {
        let pairs = std::env::var(PAIRS).ok().and_then(|n| n.parse().ok()).unwrap_or(FEW);
        let mut runner = TestRunner::new(Cases::default());
        let (mut done, mut outcomes, mut differences) = (0, BTreeMap::new(), Vec::new());
        let mut world = World::new();
        world.start_echo("primary", "127.0.2.1:8080");
        for n in 1..=MIRRORS {
            world.start_echo(&format!("mirror{n}"), &format!("127.0.3.{n}:8080"));
        }
        while done < pairs {
            done += batch(&mut runner, &mut world, pairs - done, &mut outcomes, &mut differences).await;
        }
        assert!(differences.is_empty(), "{} of {done} pairs differ: {differences:#?}", differences.len());
        println!("MEASURED {done} pairs of rules and a request, each as a real Envoy: {outcomes:?}");
    });
}

/// One of the meshes.
struct Mesh {
    manifests: String,
    /// By the numbers that they have in the Envoy.
    proxies: BTreeMap<usize, Proxy>,
}

/// One of its proxies.
struct Proxy {
    config: Config,
    /// To which echo service copies go, by cluster, so that mirrors can be told apart.
    mirrors: BTreeMap<String, usize>,
}

fn mesh(runner: &mut TestRunner, probed: &mut Probed) -> Mesh {
    let mut world = random::World::usual();
    let tapes = vec(vec(any::<u16>(), 0..160), 1..5).new_tree(runner).expect("numbers").current();
    for (nth, tape) in tapes.iter().enumerate() {
        let (namespace, name) =
            [("default", "web"), ("prod", "one"), ("default", "two"), ("prod", "x")][nth % 4];
        world.put(&random::virtual_service(&mut Tape::new(tape), namespace, name));
        if tape.len() % 3 == 0 {
            let backwards: Vec<u16> = tape.iter().rev().copied().collect();
            world.put(&random::mirror_policy(&mut Tape::new(&backwards), namespace, name));
        }
    }
    world.put(&serde_json::json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "gw2", "namespace": "default"},
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": [{
            "port": {"number": 8081, "name": "http", "protocol": "HTTP"}, "hosts": ["*"], "tls": {"httpsRedirect": true}}]},
    }));
    world.settle();
    let mut proxies = BTreeMap::new();
    for (_, snapshot) in world.snapshots() {
        let of =
            |ty: ResourceType| snapshot.map(ty).values().map(move |it| (ty.type_url(), it.body.as_ref()));
        let config = Config::read(ResourceType::ALL.into_iter().flat_map(of)).expect("a configuration");
        let mut mirrors = BTreeMap::new();
        let number = probed.add(&snapshot, |cluster| {
            let own = cluster.starts_with("mirror|").then(|| {
                let nth = mirrors.len() % MIRRORS;
                mirrors.insert(cluster.to_owned(), nth);
                SocketAddr::from(([127, 0, 3, (1 + nth) as u8], 8080))
            });
            let at = own.unwrap_or_else(|| SocketAddr::from(([127, 0, 2, 1], 8080)));
            config.endpoints(cluster).any().then_some(at)
        });
        proxies.insert(number.expect("a probed snapshot"), Proxy { config, mirrors });
    }
    let all: Vec<_> = world.manifests().values().cloned().collect();
    Mesh { manifests: random::manifest(&all), proxies }
}

/// One request that was sent, what was said of it and what came.
struct Asked {
    mesh: usize,
    listener: usize,
    request: Request,
    said: Explanation,
    came: Came,
}

/// What came back.
struct Came {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

async fn batch(
    runner: &mut TestRunner,
    world: &mut World,
    most: usize,
    outcomes: &mut BTreeMap<String, usize>,
    differences: &mut Vec<String>,
) -> usize {
    let mut probed = Probed::new(20_000);
    let count = most.div_ceil(REQUESTS).min(MESHES);
    let meshes: Vec<Mesh> = (0..count).map(|_| mesh(runner, &mut probed)).collect();
    let bootstrap = probed.bootstrap().expect("a bootstrap");
    world.start_envoy("probed", &bootstrap.to_string()).await;
    let mut asked: Vec<Asked> = Vec::new();
    for (nth, mesh) in meshes.iter().enumerate() {
        let of_mesh = |it: &ProbedListener| mesh.proxies.contains_key(&it.snapshot);
        let listeners: Vec<usize> =
            (0..probed.probed.len()).filter(|at| of_mesh(&probed.probed[*at])).collect();
        let mut sent = 0;
        while sent < REQUESTS && asked.len() < most {
            let tape = vec(any::<u16>(), 40).new_tree(runner).expect("numbers").current();
            let mut tape = Tape::new(&tape);
            let listener = tape.pick(&listeners);
            let at = &probed.probed[listener];
            let Some(request) = random::request(&mut tape, &at.table, at.port) else { continue };
            let said = mesh.proxies[&at.snapshot].config.explain(&request);
            let came = ask(world.net(), at.here, &request, asked.len()).await;
            let came = came.unwrap_or_else(|error| panic!("{error:#}: {request:#?}"));
            asked.push(Asked { mesh: nth, listener, request, said, came });
            sent += 1;
        }
    }
    world.settle().await;
    let primaries = by_number(world.echo("primary").take());
    let copies: Vec<_> = (1..=MIRRORS).map(|n| by_number(world.echo(&format!("mirror{n}")).take())).collect();
    for (number, one) in asked.iter().enumerate() {
        let Asked { mesh, listener, request, said, came } = one;
        let at = &probed.probed[*listener];
        let primary = primaries.get(&number).map_or(&[][..], Vec::as_slice);
        let copies = copies.iter().map(|all| all.get(&number).map_or(&[][..], Vec::as_slice)).collect();
        let mirrors = &meshes[*mesh].proxies[&at.snapshot].mirrors;
        let verdict = compare(at, one, &Arrived { primary, copies, mirrors });
        let kind = serde_json::to_value(&said.outcome).expect("JSON")["kind"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        *outcomes.entry(kind).or_default() += 1;
        if let Err(why) = verdict {
            // All of them, so that what they have in common can be seen.
            println!(
                "DIFFERS {why:#}\n{request:?}\nsaid {said:?}\nEnvoy: {} {:?}\n{}",
                came.status, came.headers, meshes[*mesh].manifests
            );
            differences.push(format!("{why:#}"));
        }
    }
    let done = asked.len();
    world.stop_proxy("probed");
    done
}

fn by_number(records: Vec<Record>) -> BTreeMap<usize, Vec<Record>> {
    let mut all: BTreeMap<usize, Vec<Record>> = BTreeMap::new();
    for record in records {
        all.entry(record.header("x-probe").parse().expect("a number")).or_default().push(record);
    }
    all
}

/// What arrived of one request.
struct Arrived<'a> {
    primary: &'a [Record],
    /// By echo service.
    copies: Vec<&'a [Record]>,
    /// Which of them each mirror's is.
    mirrors: &'a BTreeMap<String, usize>,
}

impl Asked {
    /// Envoy answers gRPC with 200 and a header.
    fn is_grpc(&self) -> bool {
        let kind = |(name, value): &(String, String)| {
            name.eq_ignore_ascii_case("content-type") && value.starts_with("application/grpc")
        };
        self.request.headers.iter().any(kind)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.came.headers.get(name).map(String::as_str).filter(|it| !it.is_empty() && *it != "-")
    }
}

fn compare(at: &ProbedListener, asked: &Asked, arrived: &Arrived<'_>) -> Result<()> {
    let Asked { said, came, .. } = asked;
    ensure!(!matches!(said.outcome, Outcome::Unknown { .. }), "it cannot be judged");
    if matches!(said.outcome, Outcome::Preflight { .. }) && arrived.primary.is_empty() && came.status == 200 {
        // The filter answers past what marks routes.
        let allowed = asked.header("access-control-allow-origin").is_some();
        ensure!(allowed == (said.filters.origin_allowed == Some(true)), "the origin is allowed: {allowed}");
        return no_copies(arrived);
    }
    let won = won(at, said);
    ensure!(
        asked.header(ROUTE) == won.as_deref(),
        "the route is {won:?}, at Envoy {:?}",
        asked.header(ROUTE)
    );
    if let Some(abort) = &said.filters.abort {
        let aborted = arrived.primary.is_empty() && abort.odds > 0.0 && abort.status == came.status;
        if aborted {
            return no_copies(arrived);
        }
        ensure!(abort.odds < 1.0, "it was not aborted");
    }
    if let Outcome::Forward(forward) = &said.outcome {
        return compare_forward(at, asked, forward, arrived);
    }
    ensure!(arrived.primary.is_empty(), "it was forwarded");
    no_copies(arrived)?;
    if asked.is_grpc() {
        return Ok(());
    }
    ensure!(said.own_status() == Some(came.status), "the status is {:?}", said.own_status());
    match &said.outcome {
        Outcome::Redirect { location, .. } => {
            ensure!(asked.header("location") == Some(location), "goes to {location}");
        }
        Outcome::Answer { body, .. } if asked.request.method != "HEAD" && came.status != 204 => {
            ensure!(*body == came.body, "says {body:?}, Envoy {:?}", came.body);
        }
        _ => {}
    }
    Ok(())
}

/// The place of the route that takes the request.
fn won(at: &ProbedListener, said: &Explanation) -> Option<String> {
    let host = said.virtual_host.as_ref()?;
    let nth = at.table.virtual_hosts.iter().position(|it| it.name == host.name)?;
    let route = said.routes.iter().position(|route| route.lost.is_none() && !route.behind)?;
    Some(format!("{nth}.{route}"))
}

fn no_copies(arrived: &Arrived<'_>) -> Result<()> {
    ensure!(arrived.copies.iter().all(|of| of.is_empty()), "there were copies");
    Ok(())
}

fn compare_forward(
    at: &ProbedListener,
    asked: &Asked,
    forward: &Forward,
    arrived: &Arrived<'_>,
) -> Result<()> {
    let possible = |it: &&Destination| it.odds > 0.0;
    let Some(record) = arrived.primary.first() else {
        let no_path = |it: &Destination| !it.sent.path.starts_with('/');
        if asked.came.status == 400 && forward.destinations.iter().any(no_path) {
            // The echo service refuses what is no path.
            return Ok(());
        }
        let nobody = forward.destinations.iter().filter(possible).any(|it| !it.endpoints.any());
        ensure!(nobody && (asked.is_grpc() || asked.came.status == 503), "it was not forwarded");
        return no_copies(arrived);
    };
    let cluster = asked.header(CLUSTER).context("no cluster")?;
    let own = cluster.strip_prefix(&format!("{} ", at.snapshot)).context("a cluster of somebody else")?;
    let destination =
        forward.destinations.iter().filter(possible).find(|it| it.cluster == own && it.endpoints.any());
    let destination = destination.with_context(|| format!("it went to {own}"))?;
    compare_sent(std::slice::from_ref(&destination.sent), record, &asked.request)?;
    let (mut certain, mut allowed) = (BTreeSet::new(), BTreeSet::new());
    for mirror in forward.mirrors.iter().filter(|it| it.endpoints.any() && it.odds > 0.0) {
        let place = arrived.mirrors[&mirror.cluster];
        allowed.insert(place);
        if mirror.odds >= 1.0 {
            certain.insert(place);
        }
        arrived.copies[place].iter().try_for_each(|copy| compare_sent(&mirror.sent, copy, &asked.request))?;
    }
    let seen: BTreeSet<usize> = (0..MIRRORS).filter(|place| !arrived.copies[*place].is_empty()).collect();
    ensure!(certain.is_subset(&seen), "copies are missing: at {seen:?}, expected {certain:?}");
    ensure!(seen.is_subset(&allowed), "copies too many: at {seen:?}, expected {allowed:?}");
    Ok(())
}

fn compare_sent(expected: &[Sent], record: &Record, request: &Request) -> Result<()> {
    // Envoy joins some headers that come more than once, and means the same by it.
    let join = |all: Vec<&str>| all.into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join(",");
    let joined = |name: &str| {
        let all = record.headers.get_all(name).iter();
        join(all.filter_map(|it| std::str::from_utf8(it.as_bytes()).ok()).collect())
    };
    // Also one that is no ASCII.
    let host = joined("host");
    let is = |sent: &&Sent| {
        let header = |(name, value): &(String, String)| {
            let own = sent.headers.iter().filter(|(other, _)| other == name);
            let own: Vec<_> = own.map(|(_, value)| value.as_str()).collect();
            // What Envoy fills in is not known before.
            value.contains('%') || name.starts_with("x-forwarded") || joined(name) == join(own)
        };
        sent.host == host && sent.path == record.path && sent.headers.iter().all(header)
    };
    let gone = |(name, _): &(String, String)| {
        let sent =
            expected.iter().any(|sent| sent.headers.iter().any(|(is, _)| is.eq_ignore_ascii_case(name)));
        sent || name.starts_with("x-forwarded") || !record.headers.contains_key(name.as_str())
    };
    ensure!(
        expected.iter().any(|sent| is(&sent)),
        "it was sent as {} {} {:?}",
        record.host,
        record.path,
        record.headers
    );
    ensure!(request.headers.iter().all(gone), "a header is not taken away: {:?}", record.headers);
    Ok(())
}

/// Asks once, exactly as written.
async fn ask(net: &Net, port: u16, request: &Request, number: usize) -> Result<Came> {
    let mut stream = net.connect(SocketAddr::from(([127, 0, 0, 1], port))).await?;
    let mut text = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", request.method, request.path, request.authority);
    for (name, value) in &request.headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("x-probe: {number}\r\nconnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await?;
    read(&mut stream, request.method == "HEAD").await.context("no answer")
}

/// Reads one answer, and does not wait for Envoy to close the connection.
async fn read(stream: &mut TcpStream, bodiless: bool) -> Result<Came> {
    let mut bytes = Vec::new();
    loop {
        if let Some(came) = parse(&bytes, bodiless)? {
            return Ok(came);
        }
        let read = tokio::time::timeout(PATIENCE, stream.read_buf(&mut bytes)).await.context("in time")??;
        ensure!(read > 0, "the connection ended: {:?}", String::from_utf8_lossy(&bytes));
    }
}

/// The answer, when it is whole.
fn parse(bytes: &[u8], bodiless: bool) -> Result<Option<Came>> {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Ok(None) };
    let mut lines = head.lines();
    let status: u16 = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status")?.parse()?;
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers: BTreeMap<String, String> =
        headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    let length = headers.get("content-length").and_then(|length| length.parse::<usize>().ok());
    let whole = match length {
        _ if bodiless || status == 204 => true,
        Some(length) => bytes.len() >= head.len() + 4 + length,
        None => body.ends_with("0\r\n\r\n"),
    };
    Ok(whole.then(|| Came { status, headers, body: body.to_owned() }))
}

/// What `umbra VERB ARGS` prints, and its exit code.
fn printed(args: &[&str]) -> (i32, String) {
    let out = umbra::run(args).expect("umbra runs");
    let text = [out.stdout, out.stderr].concat();
    (out.status.code().expect("a code"), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn a_running_umbra_tells_what_its_folder_would() {
    isolated(async {
        let world = web(&to_v1("mirror: {host: web, subset: v2}\nmirrorPercentage: {value: 25}")).await;
        wait_share(&world, "|v2|web", 250_000).await;
        let (admin, mesh) = (world.umbra().admin().to_string(), world.mesh());
        let mesh = mesh.to_str().expect("a path");
        let request = ["explain", "http://web:8000/a", "-o", "json"];
        let by_folder = [&request[..], &["--dir", mesh, "--from", "sidecar/default/app=client"]].concat();
        let (code, by_folder) = printed(&by_folder);
        assert!(code == 0 && by_folder.contains("/rules.yaml\""), "{code} {by_folder}");
        for from in ["sidecar/default/app=client", "sidecar/default", "client"] {
            let (code, said) = printed(&[&request[..], &["--server", &admin, "--from", from]].concat());
            let same = |text: &str| {
                text.lines().filter(|line| !line.contains("\"from\"")).collect::<Vec<_>>().join("\n")
            };
            assert!(code == 0 && same(&said) == same(&by_folder), "{from}: {code} {said}\n{by_folder}");
        }
        let (code, said) =
            printed(&[&request[..], &["--server", &admin, "--from", "sidecar/other"]].concat());
        assert!(code == 1 && said.contains("no such proxy is connected"), "{code} {said}");
        // Before anything is applied: who would be told what, and afterwards all is as it was.
        let new = world.folder().join("new.yaml");
        let less = "mirror: {host: web, subset: v2}\nmirrorPercentage: {value: 5}";
        std::fs::write(&new, rules("web", "web", &to_v1(less))).expect("a file");
        let new = new.to_str().expect("a path");
        let (code, said) = printed(&["plan", new, "--server", &admin]);
        let words = ["5% instead of 25%", "\n  client\n", "something changes for 1 of 1 proxies"];
        assert!(code == 2 && words.iter().all(|it| said.contains(it)), "{code} {said}");
        let (code, said) = printed(&["plan", "--delete", new, "--server", &admin]);
        assert!(code == 2 && said.contains("STOPS"), "{code} {said}");
        let rule = world.mesh().join("rules.yaml");
        let (code, said) = printed(&["plan", rule.to_str().expect("a path"), "--server", &admin]);
        assert!(code == 0 && said.contains("nothing changes for any of 1 proxies"), "{code} {said}");
        wait_share(&world, "|v2|web", 250_000).await;
    });
}
