use std::sync::Mutex;
use std::time::Duration;

use kube::Client;
use umbra_api::Change;

use super::*;
use crate::kubernetes::fake::{Reply, Requests, serve};

/// A server with one Service and nothing else; requests whose text contains one of the keys are answered by its value
/// instead.
struct Server {
    client: Client,
    requests: Requests,
    instead: Arc<Mutex<Vec<(&'static str, &'static str)>>>,
    keep: Option<Keep>,
}

impl Server {
    fn new(instead: &[(&'static str, &'static str)]) -> Self {
        let instead = Arc::new(Mutex::new(instead.to_vec()));
        let rules = instead.clone();
        let (client, requests) = serve(move |text| {
            let rule =
                rules.lock().unwrap().iter().find(|(part, _)| text.contains(part)).map(|(_, reply)| *reply);
            let usual = match text.split(' ').collect::<Vec<_>>()[..] {
                ["list", path, ..] if path.ends_with("/services") => "list a:1:80 @7",
                ["list", ..] => "list @7",
                _ => "watch time",
            };
            Reply::parse(rule.unwrap_or(usual))
        });
        Server { client, requests, instead, keep: None }
    }

    fn api(&self) -> ApiServer {
        ApiServer { client: self.client.clone(), url: "http://fake".to_owned() }
    }

    fn watch(&self, scope: &Scope, files: Option<Watch>) -> Cluster {
        let mut cluster = watch_cluster(&self.api(), scope, files, self.keep.clone(), None);
        cluster.work.drain(..).for_each(Work::start_alone);
        cluster
    }

    fn now(&self, instead: &[(&'static str, &'static str)]) {
        *self.instead.lock().unwrap() = instead.to_vec();
    }
}

/// The next update within a minute (of virtual time): `+NAME` and `-NAME`.
async fn next(cluster: &mut Cluster) -> Option<String> {
    let update = tokio::time::timeout(Duration::from_secs(60), cluster.updates.recv()).await.ok()??;
    let words = update.changes.iter().map(|change| match change {
        Change::Upsert(object) => format!("+{}", object.id().name),
        Change::Delete(id) => format!("-{}", id.name),
    });
    Some(words.collect::<Vec<_>>().join(" "))
}

fn states(cluster: &Cluster) -> String {
    let health = cluster.health.borrow();
    let odd = health.iter().filter(|(_, now)| now.state != WatchState::Synced);
    odd.map(|(id, now)| format!("{id} {}", now.state.as_str())).collect::<Vec<_>>().join(", ")
}

/// Nothing is told before every watch is in step, whatever keeps one from it; then everything at once.
#[tokio::test(start_paused = true)]
async fn nothing_is_told_before_every_watch_is_in_step() {
    for (what, instead) in [
        ("forbidden to list", ("list /apis/networking.istio.io/v1/gateways", "403")),
        ("forbidden to watch", ("watch /apis/networking.istio.io/v1/gateways", "403")),
        ("no answer", ("list /apis/networking.istio.io/v1/gateways", "hang")),
        ("no connection", ("gateways", "refuse")),
        ("overloaded", ("gateways", "429")),
    ] {
        let server = Server::new(&[instead]);
        let mut cluster = server.watch(&Scope::default(), None);
        assert_eq!(next(&mut cluster).await, None, "{what}");
        assert_eq!(states(&cluster), "Gateway starting", "{what}");
        server.now(&[]);
        assert_eq!(next(&mut cluster).await.as_deref(), Some("+a"), "{what}");
        assert_eq!(states(&cluster), "", "{what}");
    }
}

/// Whoever started before the CRDs were installed reads them when they come; until then there is nothing of them.
#[tokio::test(start_paused = true)]
async fn kinds_that_are_missing_at_the_start_count_as_empty() {
    let server = Server::new(&[("networking.istio.io", "404")]);
    let mut cluster = server.watch(&Scope::default(), None);
    assert_eq!(next(&mut cluster).await.as_deref(), Some("+a"));
    assert_eq!(
        states(&cluster),
        "VirtualService absent, DestinationRule absent, ServiceEntry absent, Gateway absent, WorkloadEntry absent, Sidecar absent"
    );
    server.now(&[]);
    assert_eq!(next(&mut cluster).await, None, "they are there now, and empty");
    assert_eq!(states(&cluster), "");
}

/// An API server that is away for minutes changes nothing but the health, and what it lists after that counts.
#[tokio::test(start_paused = true)]
async fn nothing_goes_while_the_server_is_away() {
    let server = Server::new(&[]);
    let mut cluster = server.watch(&Scope::default(), None);
    assert_eq!(next(&mut cluster).await.as_deref(), Some("+a"));
    for failure in ["refuse", "hang", "500", "403", "404", "410", "text {}", "watch broken"] {
        server.now(&[("", failure)]);
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert_eq!(
            states(&cluster).matches("degraded").count(),
            Kind::all().filter(|kind| !kind.facts().by_name).count(),
            "{failure}"
        );
        assert_eq!(next(&mut cluster).await, None, "{failure}");
        server.now(&[]);
        assert_eq!(next(&mut cluster).await, None, "{failure}: the same is there again");
        assert_eq!(states(&cluster), "", "{failure}");
    }
    server.now(&[("watch /api/v1/services", "410"), ("list /api/v1/services", "list b:9:80 @9")]);
    assert_eq!(next(&mut cluster).await.as_deref(), Some("-a +b"));
}

/// Each watch comes back in its own time; what was changed together meanwhile is told together.
#[tokio::test(start_paused = true)]
async fn what_was_missed_is_told_together() {
    for missed in ["list b:9:80 @9", "list b:9:80 &t"] {
        let server = Server::new(&[]);
        let mut cluster = server.watch(&Scope::default(), None);
        assert_eq!(next(&mut cluster).await.as_deref(), Some("+a"));
        server.now(&[("", "refuse")]);
        tokio::time::sleep(Duration::from_secs(60)).await;
        server.now(&[
            ("services continue", "list @9"),
            ("watch /api/v1/services @7", "410"),
            ("list /api/v1/services", missed),
            ("watch /apis/networking.istio.io/v1/virtualservices @7", "410"),
            ("list /apis/networking.istio.io/v1/virtualservices", "list rule:9:80 @9"),
        ]);
        let told = next(&mut cluster).await.unwrap_or_default();
        let mut words: Vec<_> = told.split(' ').collect();
        words.sort_unstable();
        assert_eq!(words, ["+b", "+rule", "-a"], "{missed}");
    }
}

/// Which lists are asked for: with namespaces neither Nodes nor Namespaces, so that Roles are enough, and the selector
/// for Istio's kinds alone.
#[tokio::test(start_paused = true)]
async fn only_what_is_in_scope_is_asked_for() {
    let scope = |namespaces: &[&str], selector: Option<&str>| Scope {
        namespaces: namespaces.iter().map(|name| Arc::from(*name)).collect(),
        selector: selector.map(str::to_owned),
        secrets: false,
    };
    for (scope, want) in [
        (
            scope(&[], Some("tier=web")),
            "/api/v1/namespaces
             /api/v1/nodes
             /api/v1/pods
             /api/v1/services
             /apis/discovery.k8s.io/v1/endpointslices
             /apis/networking.istio.io/v1/destinationrules labelSelector=tier%3Dweb
             /apis/networking.istio.io/v1/gateways labelSelector=tier%3Dweb
             /apis/networking.istio.io/v1/serviceentries labelSelector=tier%3Dweb
             /apis/networking.istio.io/v1/sidecars labelSelector=tier%3Dweb
             /apis/networking.istio.io/v1/virtualservices labelSelector=tier%3Dweb
             /apis/networking.istio.io/v1/workloadentries labelSelector=tier%3Dweb
             /apis/umbra.io/v1alpha1/mirrorpolicies labelSelector=tier%3Dweb",
        ),
        (
            scope(&["b", "a", "b"], None),
            "/api/v1/namespaces/a/pods
             /api/v1/namespaces/a/services
             /api/v1/namespaces/b/pods
             /api/v1/namespaces/b/services
             /apis/discovery.k8s.io/v1/namespaces/a/endpointslices
             /apis/discovery.k8s.io/v1/namespaces/b/endpointslices
             /apis/networking.istio.io/v1/namespaces/a/destinationrules
             /apis/networking.istio.io/v1/namespaces/a/gateways
             /apis/networking.istio.io/v1/namespaces/a/serviceentries
             /apis/networking.istio.io/v1/namespaces/a/sidecars
             /apis/networking.istio.io/v1/namespaces/a/virtualservices
             /apis/networking.istio.io/v1/namespaces/a/workloadentries
             /apis/networking.istio.io/v1/namespaces/b/destinationrules
             /apis/networking.istio.io/v1/namespaces/b/gateways
             /apis/networking.istio.io/v1/namespaces/b/serviceentries
             /apis/networking.istio.io/v1/namespaces/b/sidecars
             /apis/networking.istio.io/v1/namespaces/b/virtualservices
             /apis/networking.istio.io/v1/namespaces/b/workloadentries
             /apis/umbra.io/v1alpha1/namespaces/a/mirrorpolicies
             /apis/umbra.io/v1alpha1/namespaces/b/mirrorpolicies",
        ),
    ] {
        let server = Server::new(&[]);
        let mut cluster = server.watch(&scope, None);
        assert!(next(&mut cluster).await.is_some(), "{scope:?}");
        for verb in ["list ", "watch "] {
            let asked = server.requests.texts().into_iter();
            let asked = asked.filter_map(|text| Some(text.strip_prefix(verb)?.replace(" @7", "")));
            let mut asked: Vec<_> = asked.collect();
            asked.sort();
            assert_eq!(asked, want.lines().map(str::trim).collect::<Vec<_>>(), "{verb}: {scope:?}");
        }
    }
}

/// The files count as loaded before anything is told; and who listens no more is asked nothing more of.
#[tokio::test(start_paused = true)]
async fn files_are_waited_for_and_watches_end_with_their_listener() {
    let server = Server::new(&[]);
    let (sender, updates) = mpsc::channel(1);
    let mut cluster =
        server.watch(&Scope::default(), Some(Watch { updates, work: Work::task("files", pending()) }));
    assert_eq!(next(&mut cluster).await, None, "the files are not read yet");
    sender.send(Update::default()).await.unwrap();
    assert_eq!(next(&mut cluster).await.as_deref(), Some("+a"));

    drop(cluster);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let asked = server.requests.all().len();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(server.requests.all().len(), asked, "nobody listens");
}

/// What the first process reads, how long that is good for, what becomes of the file; what the second one serves while
/// nobody answers, and what changes when somebody does.
type Case<'a> =
    (&'static str, &'static str, u64, &'a dyn Fn(&std::path::Path), Option<&'static str>, &'static str);

/// A process that starts while the API server is away serves what was there last; what the API server says later counts.
#[tokio::test(start_paused = true)]
async fn the_last_good_state_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("last-good-1.redb");
    let keep =
        |max_age| Some(Keep { folder: folder.path().to_owned(), max_age: Duration::from_secs(max_age) });
    let nothing = |_: &std::path::Path| {};
    let flip = |file: &std::path::Path| {
        let mut bytes = std::fs::read(file).unwrap();
        bytes.iter_mut().skip(4096).for_each(|byte| *byte ^= 0x20);
        std::fs::write(file, bytes).unwrap();
    };
    let cut = |file: &std::path::Path| std::fs::write(file, &std::fs::read(file).unwrap()[..5000]).unwrap();
    let garbage = |file: &std::path::Path| std::fs::write(file, "not a database").unwrap();
    let all: [Case<'_>; 7] = [
        ("all of it", "list a:1:80 b:1:80 @7", 60, &nothing, Some("+a +b"), "-a +b"),
        ("what went meanwhile does not come back", "list b:2:80 @8", 60, &nothing, Some("+b"), "+b"),
        ("too old", "list b:2:80 @8", 0, &nothing, None, "+b"),
        ("damaged", "list b:2:80 @8", 60, &flip, None, "+b"),
        ("cut", "list b:2:80 @8", 60, &cut, None, "+b"),
        ("garbage", "list b:2:80 @8", 60, &garbage, None, "+b"),
        ("and whole again", "list b:2:80 @8", 60, &nothing, Some("+b"), "+b"),
    ];
    for (what, list, max_age, harm, restored, later) in all {
        let first = Server { keep: keep(60), ..Server::new(&[("list /api/v1/services", list)]) };
        let mut cluster = first.watch(&Scope::default(), None);
        assert!(next(&mut cluster).await.is_some(), "{what}");
        // Written a second later.
        assert_eq!(next(&mut cluster).await, None, "{what}");
        drop(cluster);
        tokio::time::sleep(Duration::from_secs(60)).await;
        harm(&file);
        if max_age == 0 {
            // Its age is by the machine's own clock, in seconds.
            std::thread::sleep(Duration::from_millis(1100));
        }

        let second = Server { keep: keep(max_age), ..Server::new(&[("", "refuse")]) };
        let mut cluster = second.watch(&Scope::default(), None);
        assert_eq!(next(&mut cluster).await.as_deref(), restored, "{what}");
        if restored.is_some() {
            let health = cluster.health.borrow().clone();
            assert!(health.values().all(|now| now.state == WatchState::Degraded), "{what}: {health:?}");
            assert!(health.values().all(|now| now.reason.contains("read from disk, as of ")), "{health:?}");
        }
        second.now(&[("list /api/v1/services", "list b:9:81 @9")]);
        assert_eq!(next(&mut cluster).await.unwrap_or_default(), later, "{what}");
        assert_eq!(states(&cluster), "", "{what}");
    }
    // Another cluster's is nobody's.
    let other = ApiServer { url: "http://other".to_owned(), ..Server::new(&[("", "refuse")]).api() };
    let mut cluster = watch_cluster(&other, &Scope::default(), None, keep(60), None);
    cluster.work.drain(..).for_each(Work::start_alone);
    assert_eq!(next(&mut cluster).await, None);
}

/// A disk that cannot be written costs nothing but what it would have kept, until it can.
#[tokio::test(start_paused = true)]
async fn a_disk_that_cannot_be_written_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("no-folder");
    std::fs::write(&file, "").unwrap();
    let keep = Some(Keep { folder: file.clone(), max_age: Duration::from_secs(60) });
    let server = Server { keep: keep.clone(), ..Server::new(&[]) };
    let mut cluster = server.watch(&Scope::default(), None);
    assert_eq!(next(&mut cluster).await.as_deref(), Some("+a"));
    assert_eq!(next(&mut cluster).await, None);
    std::fs::remove_file(&file).unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    drop(cluster);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let second = Server { keep, ..Server::new(&[("", "refuse")]) };
    assert_eq!(next(&mut second.watch(&Scope::default(), None)).await.as_deref(), Some("+a"));
}
