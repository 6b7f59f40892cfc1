//! Mirrors as rows.

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tonic::Status;
use tonic::transport::Channel;
use umbra_proto::umbra::v1::umbra_client::UmbraClient;
use umbra_proto::umbra::v1::{Answers, ListMirrorsRequest, Mirror, Observed, Replica, WatchMirrorsRequest};

use super::table::printable;
use super::watched::{Shown, Update, updates};
use crate::messages::add_observed;

impl Shown for Mirror {
    const FIELD: &'static str = "mirrors";
    const NONE: &'static str = "there is no mirror";

    fn id(&self) -> &str {
        &self.id
    }

    fn list(
        mut client: UmbraClient<Channel>,
        namespace: String,
    ) -> BoxFuture<'static, Result<(Replica, Vec<Self>), Status>> {
        Box::pin(async move {
            let answer = client.list_mirrors(ListMirrorsRequest { namespace }).await?.into_inner();
            Ok((answer.replica.unwrap_or_default(), answer.mirrors))
        })
    }

    fn watch(
        mut client: UmbraClient<Channel>,
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
        self.total += other.total;
        self.live += other.live;
        match (&mut self.observed, &other.observed) {
            (Some(observed), Some(more)) => add_observed(observed, more, self.parts_per_million),
            (observed @ None, Some(_)) => observed.clone_from(&other.observed),
            (_, None) => {}
        }
        if self.problem.is_none() {
            self.problem.clone_from(&other.problem);
        }
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
            "ENDPOINTS",
            "LIVE",
            "PROBLEM",
        ];
        if wide {
            header.extend(["HOSTS", "FIELD", "CLUSTERS", "KEY"]);
        }
        header
    }

    fn row(&self, wide: bool) -> Vec<String> {
        cells(self, wide, &format!("{} of {}", self.live, self.total))
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
        self.problem.iter().map(note).collect()
    }
}

fn cells(mirror: &Mirror, wide: bool, live: &str) -> Vec<String> {
    let (namespace, name) = place(mirror);
    let mut cells = vec![
        namespace.to_owned(),
        name.to_owned(),
        mirror.route.clone(),
        mirror.target.clone(),
        if mirror.stopped { "stopped".to_owned() } else { share(mirror.parts_per_million) },
        seen(mirror.observed.as_ref()),
        errors(mirror.observed.as_ref()),
        lost(mirror.observed.as_ref()),
        endpoints(mirror),
        live.to_owned(),
        mirror.problem.as_ref().map_or(String::new(), |problem| problem.code.clone()),
    ];
    if wide {
        let clusters: Vec<_> = mirror.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        let more =
            [mirror.hosts.join(","), mirror.field.clone(), clusters.join(","), mirror.runtime_key.clone()];
        cells.extend(more);
    }
    cells
}

fn place(mirror: &Mirror) -> (&str, &str) {
    mirror.rule.as_ref().map_or(("", ""), |rule| (rule.namespace.as_str(), rule.name.as_str()))
}

fn share(millionths: Option<u32>) -> String {
    match millionths {
        None => "?".to_owned(),
        Some(0) => "off".to_owned(),
        Some(millionths) => format!("{}%", f64::from(millionths) / 10_000.0),
    }
}

/// What share was really copied; with `~` it is worked out from what several mirrors copied together.
fn seen(observed: Option<&Observed>) -> String {
    match observed.and_then(|it| Some((it, it.seen_per_million?))) {
        Some((it, seen)) => format!("{}{}", if it.shared { "~" } else { "" }, percent(seen / 1e6)),
        None => String::new(),
    }
}

/// How many of the target's answers were 5xx.
fn errors(observed: Option<&Observed>) -> String {
    let answers = observed.and_then(|it| it.copy_answers.as_ref());
    let Some(Answers { informational, success, redirection, client_error, server_error }) = answers else {
        return String::new();
    };
    let all = informational + success + redirection + client_error + server_error;
    if all > 0 { percent(*server_error as f64 / all as f64) } else { String::new() }
}

/// How many copies got no whole answer.
fn lost(observed: Option<&Observed>) -> String {
    let lost = observed.filter(|it| it.copies > 0).and_then(|it| it.lost.as_ref());
    lost.map_or(String::new(), |it| {
        (it.no_endpoint + it.overflow + it.refused + it.timeout + it.reset).to_string()
    })
}

/// Of a part of one: to three digits, and never to what it is not quite.
fn percent(part: f64) -> String {
    let percent = part * 100.0;
    let digits = match percent {
        it if it <= 0.0 || it >= 99.995 => 0,
        it if it >= 99.95 => 2,
        it if it >= 10.0 => 1,
        it if it >= 0.01 => 2,
        _ => 4,
    };
    format!("{percent:.digits$}%")
}

/// Of each cluster, when a mirror has several.
fn endpoints(mirror: &Mirror) -> String {
    let each: Vec<_> = mirror.clusters.iter().map(|cluster| cluster.ready_endpoints.to_string()).collect();
    each.join("+")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_as_people_read_them() {
        for (part, text) in [
            (0.0, "0%"),
            (1.0, "100%"),
            (0.99994, "99.99%"),
            (0.248, "24.8%"),
            (0.0021, "0.21%"),
            (0.00001, "0.0010%"),
            (1.04, "104%"),
        ] {
            assert_eq!(percent(part), text);
        }
    }

    #[test]
    fn replicas_count_together() {
        let one = |primaries, copies, server_error| Observed {
            primaries,
            copies,
            copy_answers: Some(Answers {
                success: copies - server_error,
                server_error,
                ..Answers::default()
            }),
            ..Observed::default()
        };
        let mirror = |observed| Mirror { observed, parts_per_million: Some(250_000), ..Mirror::default() };
        let mut all = mirror(None);
        all.add(&mirror(Some(one(1000, 240, 0))));
        all.add(&mirror(None));
        all.add(&mirror(Some(one(1000, 260, 5))));
        let observed = all.observed.as_ref();
        assert_eq!([seen(observed), errors(observed), lost(observed)], ["25.0%", "1.00%", ""]);
        let shared = Observed { shared: true, wanted: 400.0, seen_per_million: None, ..one(0, 0, 0) };
        all.add(&mirror(Some(shared)));
        assert_eq!(seen(all.observed.as_ref()), "~31.2%");
    }

    #[test]
    fn shares_as_people_write_them() {
        for (millionths, text) in [
            (None, "?"),
            (Some(0), "off"),
            (Some(1), "0.0001%"),
            (Some(125_000), "12.5%"),
            (Some(1_000_000), "100%"),
        ] {
            assert_eq!(share(millionths), text);
        }
    }
}
