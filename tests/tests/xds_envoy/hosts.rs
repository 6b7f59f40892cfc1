//! Virtual hosts as resources of their own: batches of changes at random, streams lost at random, tables that come and go
//! and change their form. Nothing is ever stuck, and where a host stays no request is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use prost::Message;
use tempfile::TempDir;
use umbra_envoy::BootstrapOptions;
use umbra_proto::envoy::config::route::v3::{
    DirectResponseAction, Route, RouteConfiguration, RouteMatch, VirtualHost, route::Action,
    route_match::PathSpecifier,
};
use umbra_proto::envoy::r#type::matcher::v3::RegexMatcher;
use umbra_proto::google::protobuf::UInt32Value;
use umbra_testkit::client::{Ask, Client, Tally};
use umbra_testkit::envoy::EnvoyProcess;
use umbra_testkit::gate;
use umbra_testkit::net::Net;
use umbra_testkit::paths;
use umbra_testkit::wait::{self, PATIENCE};
use umbra_xds::{Change, Requirement, Resource, ResourceType, Snapshot};

use crate::model::{PORT, listener};
use crate::random::{COUNT, Dice, SEED, number};
use crate::server::Server;

const BATCHES: u64 = 300;
const TABLES: u64 = 3;
const DEADLINE: Duration = Duration::from_secs(120);

/// A host that is there always, in the first table; it is asked for all the time.
const STEADY: char = 'z';

/// One table and its listener.
#[derive(Clone, Default)]
struct Table {
    /// Its virtual hosts are resources of their own.
    hosts_apart: bool,
    settings: u32,
    hosts: BTreeMap<char, Host>,
    /// Who has the domain that moves.
    mover: Option<char>,
}

#[derive(Clone, Default)]
struct Host {
    /// It answers with 200 and this.
    version: u16,
    /// Envoy refuses it.
    bad: bool,
}

#[derive(Clone)]
struct Mesh {
    tables: BTreeMap<u64, Table>,
}

impl Mesh {
    fn new() -> Self {
        let hosts = BTreeMap::from([(STEADY, Host::default()), ('a', Host::default())]);
        let first = Table { hosts_apart: true, hosts, ..Table::default() };
        let second = Table { hosts_apart: true, ..Table::default() };
        Self { tables: BTreeMap::from([(0, first), (1, second)]) }
    }

    /// Changes something, and says what. In the first table nothing is bad: a delivery with something bad is live in
    /// parts (decision 0018).
    fn change(&mut self, dice: &mut Dice) -> String {
        let n = dice.below(TABLES);
        let Some(table) = self.tables.get_mut(&n) else {
            let table = Table { hosts_apart: dice.below(4) > 0, ..Table::default() };
            self.tables.insert(n, table);
            return format!("+{n}");
        };
        let name = char::from(b'a' + dice.below(5) as u8);
        match dice.below(12) {
            0 if n > 0 => {
                self.tables.remove(&n);
                format!("-{n}")
            }
            1 => {
                table.hosts_apart = !table.hosts_apart;
                for host in table.hosts.values_mut() {
                    host.bad = false;
                }
                format!("{n} changes its form")
            }
            2 => {
                table.settings += 1;
                format!("{n} is set")
            }
            3 if table.hosts.contains_key(&name) => {
                table.mover = Some(name);
                format!("{n} x to {name}")
            }
            4 | 5 if table.hosts.contains_key(&name) => {
                table.hosts.remove(&name);
                table.mover = table.mover.filter(|mover| *mover != name);
                format!("{n} -{name}")
            }
            _ => {
                let bad = n > 0 && table.hosts_apart && dice.below(10) == 0;
                let host = table.hosts.entry(name).or_default();
                (host.version, host.bad) = ((host.version + 1) % 90, bad);
                format!("{n} {name}{}{}", host.version, if bad { "?" } else { "" })
            }
        }
    }

    fn is_bad(&self) -> bool {
        self.tables.values().flat_map(|table| table.hosts.values()).any(|host| host.bad)
    }

    /// The next snapshot.
    fn snapshot(&self, last: &Snapshot) -> Snapshot {
        let mut all = BTreeMap::new();
        for (n, table) in &self.tables {
            let name = table.name(*n);
            let message = listener(&format!("listener-{n}"), port(*n), &name);
            put(&mut all, ResourceType::Listener, &message.name, message.encode_to_vec(), &[], 0);
            table.put(&name, &mut all);
        }
        let mut changes: Vec<_> = Vec::new();
        for ty in [ResourceType::Listener, ResourceType::Route, ResourceType::VirtualHost] {
            let gone = last.map(ty).keys().filter(|name| !all.contains_key(&(ty, name.to_string())));
            changes.extend(gone.map(|name| Change::remove(ty, name.clone())));
        }
        changes.extend(all.into_iter().map(|((ty, _), resource)| Change::put(ty, resource)));
        let layer = umbra_proto::envoy::service::runtime::v3::Runtime {
            name: "umbra".to_owned(),
            layer: Some(Default::default()),
        };
        changes.push(Change::put(
            ResourceType::Runtime,
            Resource::new(ResourceType::Runtime, "umbra", layer.encode_to_vec(), []),
        ));
        last.next(last.generation() + 1, changes)
    }
}

type All = BTreeMap<(ResourceType, String), Resource>;

fn put(all: &mut All, ty: ResourceType, name: &str, body: Vec<u8>, requires: &[Requirement], own: u64) {
    let resource = Resource::new(ty, name, body, requires.to_vec()).with_exclusive(own);
    all.insert((ty, name.to_owned()), resource);
}

impl Table {
    fn name(&self, n: u64) -> String {
        if self.hosts_apart { format!("hosts/{n}") } else { n.to_string() }
    }

    fn put(&self, name: &str, all: &mut All) {
        let built = umbra_envoy::build_hosts_table(name);
        let mut message = RouteConfiguration::decode(built.body).expect("a table");
        message.max_direct_response_body_size_bytes = Some(UInt32Value { value: 4096 + self.settings });
        let mut requires = vec![Requirement::new(ResourceType::VirtualHost, format!("{name}/~"))];
        let hosts = self.hosts.iter().map(|(host, it)| self.host(name, *host, it));
        if self.hosts_apart {
            for host in hosts {
                let mut hasher = DefaultHasher::new();
                host.domains.hash(&mut hasher);
                put(all, ResourceType::VirtualHost, &host.name, host.encode_to_vec(), &[], hasher.finish());
            }
        } else {
            (message.vhds, message.virtual_hosts) = (None, hosts.collect());
            requires.clear();
        }
        put(all, ResourceType::Route, name, message.encode_to_vec(), &requires, 0);
    }

    fn host(&self, table: &str, name: char, host: &Host) -> VirtualHost {
        let mut domains = vec![format!("{name}.test")];
        domains.extend((self.mover == Some(name)).then(|| "x.test".to_owned()));
        let path = match host.bad {
            true => PathSpecifier::SafeRegex(RegexMatcher { regex: "(((".to_owned(), ..Default::default() }),
            false => PathSpecifier::Prefix("/".to_owned()),
        };
        let route = Route {
            r#match: Some(RouteMatch { path_specifier: Some(path), ..Default::default() }),
            action: Some(Action::DirectResponse(DirectResponseAction {
                status: u32::from(200 + host.version),
                ..Default::default()
            })),
            ..Default::default()
        };
        VirtualHost {
            name: if self.hosts_apart { format!("{table}/{name}") } else { name.to_string() },
            domains,
            routes: vec![route],
            ..Default::default()
        }
    }

    /// What a host should be answered with; `None`: whatever it had before.
    fn expected(&self, name: char) -> Option<u16> {
        let name = if name == 'x' { self.mover } else { Some(name) };
        match name.and_then(|name| self.hosts.get(&name)) {
            Some(host) if host.bad => None,
            Some(host) => Some(200 + host.version),
            None => Some(404),
        }
    }
}

fn port(table: u64) -> u16 {
    PORT + table as u16
}

fn client(table: u64) -> Client {
    Client::new(&Net::here(), ([127, 0, 0, 1], port(table)).into())
}

/// What is not as it should be.
async fn wrong(mesh: &Mesh, server: &Server) -> Option<String> {
    for (n, table) in &mesh.tables {
        let mut client = client(*n);
        // The domain that moves is a refused host's business as long as there is one.
        let names = "abcde".chars().chain((!mesh.is_bad()).then_some('x'));
        for name in names {
            let Some(should) = table.expected(name) else { continue };
            match client.ask(&Ask::get(&format!("{name}.test"), "/")).await {
                Ok(answer) if answer.status.as_u16() == should => {}
                Ok(answer) => return Some(format!("{n} {name} is {} and should be {should}", answer.status)),
                Err(error) => return Some(format!("{n} {name}: {error:#}")),
            }
        }
    }
    let (acked, newest) = (server.acked(), server.snapshot().generation());
    (!mesh.is_bad() && acked != newest).then(|| format!("Envoy has taken generation {acked} of {newest}"))
}

/// Asks for the host that stays until it is told to end.
fn traffic(end: &Arc<AtomicBool>) -> tokio::task::JoinHandle<Tally> {
    let end = end.clone();
    tokio::spawn(async move {
        let mut tally = Tally::default();
        while !end.load(Ordering::Relaxed) || tally.times.len() < 20 {
            // On a connection of its own: where a listener changes, Envoy closes those that it has, and a request that is
            // on its way just then is its client's to repeat.
            tally.add(client(0).ask(&Ask::get(&format!("{STEADY}.test"), "/")).await);
        }
        tally
    })
}

/// Loses streams, or has them lost a little later; says which.
fn lose(server: &Server, number: u64) -> &'static str {
    let (now, then, what) = match number {
        0 => (true, None, "away "),
        1 => (false, Some(ResourceType::Route), "lost after RDS "),
        2 => (false, Some(ResourceType::VirtualHost), "lost after VHDS "),
        3 => (false, Some(ResourceType::Listener), "lost after LDS "),
        4 => (true, Some(ResourceType::Route), "away, lost after RDS "),
        5 => (true, Some(ResourceType::VirtualHost), "away, lost after VHDS "),
        _ => return "",
    };
    if now {
        server.cut();
    }
    if let Some(ty) = then {
        server.cut_after(ty);
    }
    what
}

/// A server of the mesh and an Envoy that has all of it.
async fn start(mesh: &Mesh) -> (Server, EnvoyProcess, TempDir) {
    let net = Net::here();
    let server = Server::start(mesh.snapshot(&Snapshot::empty(1, 0))).await;
    let bootstrap = umbra_envoy::bootstrap_json(&BootstrapOptions {
        server_port: server.address.port(),
        runtime_digits: 0,
        ..BootstrapOptions::default()
    });
    let (bootstrap, folder) =
        (bootstrap.expect("a bootstrap").to_string(), tempfile::tempdir().expect("a folder"));
    let binary = paths::envoy().expect("isolated tests run only where there is an Envoy");
    let envoy = EnvoyProcess::start(&net, &binary, folder.path(), "envoy", &bootstrap).await.expect("Envoy");
    let ready = wait::until(PATIENCE, || async { envoy.ready().await.then_some(()) }).await;
    assert!(ready.is_some(), "Envoy is not ready\n{:#?}", server.log());
    let first = wait::until(DEADLINE, || async { wrong(mesh, &server).await.is_none().then_some(()) }).await;
    assert!(first.is_some(), "at the start: {:?}\n{:#?}", wrong(mesh, &server).await, server.log());
    (server, envoy, folder)
}

async fn check() {
    let seed = number(SEED).unwrap_or(0x00c0_ffee);
    let batches = number(COUNT).unwrap_or(BATCHES);
    println!("{SEED}={seed}");
    let (mut dice, mut mesh) = (Dice(seed), Mesh::new());
    let (server, envoy, _folder) = start(&mesh).await;
    let end = Arc::new(AtomicBool::new(false));
    let asked = traffic(&end);
    let (mut worst, mut worst_lost, mut lost) = (Duration::ZERO, Duration::ZERO, 0);
    for n in 0..batches {
        let mut what = Vec::new();
        for _ in 0..=dice.below(8).saturating_sub(5) {
            let mut words = lose(&server, dice.below(18)).to_owned();
            let changes: Vec<_> = (0..=dice.below(4)).map(|_| mesh.change(&mut dice)).collect();
            words += &changes.join(", ");
            what.push(words);
            server.publish(mesh.snapshot(&server.snapshot()));
        }
        let (what, start) = (what.join("; "), Instant::now());
        let whole =
            wait::until(DEADLINE, || async { wrong(&mesh, &server).await.is_none().then_some(()) }).await;
        if whole.is_none() {
            let wrong = wrong(&mesh, &server).await;
            let log = server.log();
            let tail = &log[log.len().saturating_sub(60)..];
            panic!("{SEED}={seed}, batch {n}: {what}: {wrong:?}\n{tail:#?}\n{}", envoy.process().tail());
        }
        server.forget_cut();
        if what.contains("away") || what.contains("lost") {
            (lost, worst_lost) = (lost + 1, worst_lost.max(start.elapsed()));
        } else {
            worst = worst.max(start.elapsed());
        }
    }
    end.store(true, Ordering::Relaxed);
    let tally = asked.await.expect("the traffic ends");
    let count: usize = tally.statuses.values().sum();
    assert!(tally.all_ok(count), "{:?} {:?}", tally.statuses, tally.failures);
    let bad: BTreeSet<String> = server.bad().into_iter().filter(|it| !it.contains("(((")).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    gate::measured(&format!(
        "{batches} batches, the slowest took {worst:.0?}; of {lost} with lost streams {worst_lost:.0?}; {count} requests, none lost"
    ));
}

/// A table returns just when Envoy has let it go, which the server does not know yet: the new listener is live with what
/// comes first, so that must be everything.
async fn check_crossing() {
    let mut mesh = Mesh::new();
    let (server, envoy, _folder) = start(&mesh).await;
    let mut become_form = |apart: bool| {
        if let Some(table) = mesh.tables.get_mut(&0) {
            table.hosts_apart = apart;
        }
        server.publish(mesh.snapshot(&server.snapshot()));
        mesh.clone()
    };
    let active = |table: &'static str| {
        let envoy = &envoy;
        let look = move || async move {
            let listeners = envoy.section("ListenersConfigDump").await.ok()?;
            let all = listeners["dynamic_listeners"].as_array()?;
            let first = all.iter().find(|listener| listener["name"] == "listener-0")?;
            let name = format!("\"route_config_name\":\"{table}\"");
            first["active_state"].to_string().contains(&name).then_some(())
        };
        wait::until(DEADLINE, look)
    };
    server.hold(true);
    become_form(false);
    assert!(active("0").await.is_some(), "the plain table is not used\n{:#?}", server.log());
    let drained = || async { envoy.stat("listener_manager.total_filter_chains_draining").await == 0 };
    let gone = wait::until(DEADLINE, || async { drained().await.then_some(()) }).await;
    assert!(gone.is_some(), "the old table drains for ever");
    let mesh = become_form(true);
    assert!(active("hosts/0").await.is_some(), "the listener is not live\n{:#?}", server.log());
    let answer = client(0).ask(&Ask::get(&format!("{STEADY}.test"), "/")).await.expect("an answer");
    assert_eq!(answer.status, 200, "{:#?}", server.log());

    server.hold(false);
    let whole = wait::until(DEADLINE, || async { wrong(&mesh, &server).await.is_none().then_some(()) }).await;
    assert!(whole.is_some(), "{:?}\n{:#?}", wrong(&mesh, &server).await, server.log());
}

#[test]
fn a_table_returns_whole() {
    umbra_testkit::isolate::isolated(async { check_crossing().await });
}

#[test]
fn nothing_is_ever_stuck() {
    umbra_testkit::isolate::isolated(async { check().await });
}
