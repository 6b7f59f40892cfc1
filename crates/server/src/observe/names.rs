//! Envoy's names of statistics (`docs/configuration/upstream/cluster_manager/cluster_stats` and `…/http_filters/router_filter`).

use umbra_proto::opentelemetry::proto::metrics::v1::{
    AggregationTemporality, Metric, metric::Data, number_data_point::Value,
};

use super::counts::{Add, Times};

/// More than this nothing happens between two messages of a proxy: what one says that lies must not fill the sums of all.
pub(super) const MOST: u64 = 1 << 32;

/// What a number is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum About<'a> {
    /// A cluster: its name.
    Cluster(&'a str),
    /// Routes: what stands behind the virtual host's name, which may hold anything.
    Routes(&'a str),
}

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum What {
    /// `upstream_rq_total`.
    Begun,
    /// `upstream_rq_completed`.
    Completed,
    /// `upstream_rq_2xx` and its like, from 0 for 1xx.
    Class(usize),
    /// `upstream_rq_503` and its like.
    Code(u16),
    /// `upstream_rq_time`.
    Time,
    /// `upstream_cx_none_healthy`.
    NoEndpoint,
    /// `upstream_rq_pending_overflow`.
    Overflow,
    /// `upstream_rq_pending_failure_eject`: no connection, or, over HTTP/2, a request that was under way when its connection broke.
    Ejected,
    /// `upstream_rq_max_duration_reached`.
    Timeout,
    /// `upstream_rq_rx_reset`, of HTTP/2.
    Reset,
    /// `upstream_cx_destroy_remote_with_active_rq`: a connection, with one request over HTTP/1.1, or with any number over HTTP/2.
    Broken,
}

/// Takes a name apart; `None`: nothing that is counted.
pub(super) fn parse(name: &str) -> Option<(About<'_>, What)> {
    let (about, word) = name.rsplit_once('.')?;
    let what = match word {
        "upstream_rq_total" => What::Begun,
        "upstream_rq_completed" => What::Completed,
        "upstream_rq_time" => What::Time,
        "upstream_cx_none_healthy" => What::NoEndpoint,
        "upstream_rq_pending_overflow" => What::Overflow,
        "upstream_rq_pending_failure_eject" => What::Ejected,
        "upstream_rq_max_duration_reached" => What::Timeout,
        "upstream_rq_rx_reset" => What::Reset,
        "upstream_cx_destroy_remote_with_active_rq" => What::Broken,
        _ => class(word).map(What::Class).or_else(|| code(word).map(What::Code))?,
    };
    let about = match about.strip_prefix("cluster.") {
        Some(cluster) => About::Cluster(cluster),
        // The names of rules that umbra gives have no dot.
        None => About::Routes(about.strip_prefix("vhost.")?.rsplit_once(".route.")?.1),
    };
    Some((about, what))
}

fn class(word: &str) -> Option<usize> {
    let digit = word.strip_prefix("upstream_rq_")?.strip_suffix("xx")?;
    let digit = digit.parse::<usize>().ok().filter(|_| digit.len() == 1)?;
    (1..=super::counts::CLASSES).contains(&digit).then(|| digit - 1)
}

fn code(word: &str) -> Option<u16> {
    let digits = word.strip_prefix("upstream_rq_")?;
    let code = digits.parse::<u16>().ok().filter(|_| digits.len() == 3 && !digits.starts_with('+'))?;
    (100..600).contains(&code).then_some(code)
}

/// What a proxy says that happened since it last said something.
#[derive(Debug)]
pub(super) struct Told<'a> {
    /// Of what.
    pub(super) about: About<'a>,
    /// What.
    pub(super) what: What,
    /// How often.
    pub(super) count: u64,
    /// Of [`What::Time`].
    pub(super) times: Times,
}

impl<'a> Told<'a> {
    /// Reads a metric; `None`: nothing that is counted, or nothing happened.
    pub(super) fn read(metric: &'a Metric) -> Option<Self> {
        let (Some((about, what)), Some(data)) = (parse(&metric.name), &metric.data) else { return None };
        let delta = AggregationTemporality::Delta;
        let (count, times) = match data {
            Data::Sum(sum) if sum.aggregation_temporality() == delta => {
                let counts = sum.data_points.iter().map(|point| match point.value {
                    Some(Value::AsInt(count)) => u64::try_from(count).unwrap_or_default().min(MOST),
                    _ => 0,
                });
                (counts.fold(0, u64::saturating_add), Times::default())
            }
            Data::Histogram(histogram) if histogram.aggregation_temporality() == delta => {
                let mut times = Times::default();
                histogram.data_points.iter().for_each(|point| times.add(&Times::of(point)));
                (0, times)
            }
            _ => return None,
        };
        (count > 0 || times.count() > 0).then_some(Told { about, what, count, times })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_envoy_writes_them() {
        use About::{Cluster, Routes};
        let web = "mirror|8000|v2|web.default.svc.cluster.local";
        for (name, want) in [
            (format!("cluster.{web}.upstream_rq_total"), Some((Cluster(web), What::Begun))),
            (format!("cluster.{web}.upstream_rq_5xx"), Some((Cluster(web), What::Class(4)))),
            (format!("cluster.{web}.upstream_rq_503"), Some((Cluster(web), What::Code(503)))),
            (format!("cluster.{web}.upstream_rq_603"), None),
            (format!("cluster.{web}.upstream_rq_50"), None),
            (format!("cluster.{web}.upstream_rq_+50"), None),
            (format!("cluster.{web}.upstream_rq_9xx"), None),
            (format!("cluster.{web}.upstream_rq_+1xx"), None),
            (format!("cluster.{web}.upstream_cx_none_healthy"), Some((Cluster(web), What::NoEndpoint))),
            (
                "vhost.web.route.example:8000.route.shop/web/canary.upstream_rq_completed".to_owned(),
                Some((Routes("shop/web/canary"), What::Completed)),
            ),
            ("vhost.web.upstream_rq_completed".to_owned(), None),
            ("http.inbound.upstream_rq_total".to_owned(), None),
            ("upstream_rq_total".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(parse(&name), want, "{name}");
        }
    }
}
