//! Mirrors as rows.

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tonic::Status;
use umbra_proto::umbra::v1::{ListMirrorsRequest, Mirror, Observed, Replica, WatchMirrorsRequest};

use super::door::Client;
use super::table::printable;
use super::watched::{Shown, Update, updates};
use crate::mirrors::{self, percent};

impl Shown for Mirror {
    const FIELD: &'static str = "mirrors";
    const NONE: &'static str = "there is no mirror";

    fn id(&self) -> &str {
        &self.id
    }

    fn list(
        mut client: Client,
        namespace: String,
    ) -> BoxFuture<'static, Result<(Replica, Vec<Self>), Status>> {
        Box::pin(async move {
            let answer = client.list_mirrors(ListMirrorsRequest { namespace }).await?.into_inner();
            Ok((answer.replica.unwrap_or_default(), answer.mirrors))
        })
    }

    fn watch(
        mut client: Client,
        namespace: String,
    ) -> BoxFuture<'static, Result<BoxStream<'static, Result<Update<Self>, Status>>, Status>> {
        Box::pin(async move {
            let stream = client.watch_mirrors(WatchMirrorsRequest { namespace }).await?.into_inner();
            Ok(updates(stream, |it| Update {
                complete: it.complete,
                changed: it.changed,
                removed: it.removed,
            }))
        })
    }

    fn add(&mut self, other: &Self) {
        mirrors::add(self, other);
    }

    fn sort(all: &mut [Self]) {
        // Places stay in the order in which the replicas list them.
        all.sort_by(|a, b| place(a).cmp(&place(b)));
    }

    fn header(wide: bool) -> Vec<&'static str> {
        let mut header = vec![
            "NAMESPACE",
            "RULE",
            "ROUTE",
            "TARGET",
            "SHARE",
            "SEEN",
            "5XX",
            "LOST",
            "VERDICT",
            "ENDPOINTS",
            "LIVE",
            "PROBLEM",
        ];
        if wide {
            header.extend(["HOSTS", "FIELD", "CLUSTERS", "METHODS", "HOST", "KEY"]);
        }
        header
    }

    fn row(&self, wide: bool) -> Vec<String> {
        let away = if self.away > 0 { format!(" ({} away)", self.away) } else { String::new() };
        cells(self, wide, &format!("{} of {}{away}", self.live, self.total))
    }

    fn gone(&self, wide: bool) -> Vec<String> {
        cells(self, wide, "gone")
    }

    fn notes(&self) -> Vec<String> {
        let (namespace, name) = place(self);
        let note = |problem: &umbra_proto::umbra::v1::Problem| {
            let message = printable(&problem.message);
            format!("{} {namespace}/{name} {}: {message} [{}]", problem.severity, self.field, problem.code)
        };
        let why = self.verdict.iter().filter(|it| !it.reasons.is_empty()).map(|it| {
            let reasons = printable(&it.reasons.join("; ")).to_string();
            format!("{namespace}/{name} {}: {}: {reasons}", self.field, it.verdict)
        });
        let uncounted = mirrors::uncounted(self).filter(|_| self.observed.is_some());
        let uncounted = uncounted.map(|words| format!("{namespace}/{name} {}: {words}", self.field));
        self.problem.iter().map(note).chain(why).chain(uncounted).collect()
    }
}

fn cells(mirror: &Mirror, wide: bool, live: &str) -> Vec<String> {
    let (namespace, name) = place(mirror);
    let observed = mirror.observed.as_ref();
    let mut cells = vec![
        namespace.to_owned(),
        name.to_owned(),
        mirror.route.clone(),
        mirror.target.clone(),
        mirrors::share_words(mirror),
        observed.and_then(seen).unwrap_or_default(),
        observed.and_then(mirrors::errors).map(percent).unwrap_or_default(),
        observed.and_then(lost).unwrap_or_default(),
        mirror.verdict.as_ref().map(mirrors::verdict_words).unwrap_or_default(),
        endpoints(mirror),
        live.to_owned(),
        mirror.problem.as_ref().map_or(String::new(), |problem| problem.code.clone()),
    ];
    if wide {
        let clusters: Vec<_> = mirror.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        cells.extend([
            mirror.hosts.join(","),
            mirror.field.clone(),
            clusters.join(","),
            if mirror.methods.is_empty() { "all".to_owned() } else { mirror.methods.join(",") },
            copied_host(mirror),
            mirror.runtime_key.clone(),
        ]);
    }
    cells
}

/// The Host of its copies as far as a MirrorPolicy says it.
fn copied_host(mirror: &Mirror) -> String {
    let suffix = match mirror.shadow_suffix {
        None => "",
        Some(true) => " with -shadow",
        Some(false) => " without -shadow",
    };
    let of = if mirror.copied_host.is_empty() { "usual" } else { &mirror.copied_host };
    format!("{of}{suffix}")
}

fn place(mirror: &Mirror) -> (&str, &str) {
    mirror.rule.as_ref().map_or(("", ""), |rule| (rule.namespace.as_str(), rule.name.as_str()))
}

/// What share was really copied; with `~` it is worked out from what several mirrors copied together.
fn seen(observed: &Observed) -> Option<String> {
    let sign = if observed.shared { "~" } else { "" };
    Some(format!("{sign}{}", percent(mirrors::seen(observed)?)))
}

/// How many copies got no whole answer.
fn lost(observed: &Observed) -> Option<String> {
    let lost = mirrors::lost(observed);
    (!lost.is_empty()).then(|| lost.into_iter().map(|(_, count)| count).sum::<u64>().to_string())
}

/// Of each cluster, when a mirror has several.
fn endpoints(mirror: &Mirror) -> String {
    let each: Vec<_> = mirror.clusters.iter().map(|cluster| cluster.ready_endpoints.to_string()).collect();
    each.join("+")
}
