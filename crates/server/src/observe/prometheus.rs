//! What was counted of mirrors, for Prometheus: since this process knows them, for those of which anything was counted.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

use super::counts::{BOUNDS, Copies, Primaries, Times};
use super::{Counted, Observed};

/// Rules, and clusters, that are shown at most: each has two dozen lines.
pub(super) const MAX_SHOWN: usize = 1000;

/// In milliseconds.
const SECOND: f64 = 1000.0;

const CLASS_NAMES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Name (behind `umbra_`), help and type of each; `docs/metrics.md` documents them.
const FAMILIES: [(&str, &str, MetricType); 7] = [
    ("mirror_share", "What part of the requests of a rule is to be copied to a cluster", MetricType::Gauge),
    ("mirror_requests", "Requests of mirrored rules that were answered", MetricType::Counter),
    ("mirror_request_seconds", "How long they took", MetricType::Histogram),
    ("mirror_copies", "Copies that were made or tried", MetricType::Counter),
    ("mirror_copy_answers", "Answers to copies", MetricType::Counter),
    ("mirror_copies_lost", "Copies that got no whole answer", MetricType::Counter),
    ("mirror_copy_seconds", "How long copies took", MetricType::Histogram),
];

pub(super) type Labels<'a> = Vec<(&'static str, &'a str)>;

/// Labels whose names are known here and whose values are what there is.
struct Pairs<'a>(&'a Labels<'a>);

impl EncodeLabelSet for Pairs<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0.as_slice().encode(encoder)
    }
}

impl Collector for Observed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counted = self.counted();
        if counted.is_empty() {
            return Ok(());
        }
        for (name, help, metric_type) in FAMILIES {
            let family = encoder.encode_descriptor(name, help, None, metric_type)?;
            encode_family(family, name, &counted)?;
        }
        Ok(())
    }
}

fn encode_family(mut family: MetricEncoder<'_>, name: &str, counted: &Counted) -> fmt::Result {
    match name {
        "mirror_share" => {
            for (rule, cluster, share) in &counted.shares {
                let mut labels = rule_labels(rule);
                labels.push(("cluster", cluster));
                family.encode_family(&Pairs(&labels))?.encode_gauge(share)?;
            }
        }
        "mirror_requests" | "mirror_request_seconds" => {
            for (rule, primaries) in &counted.rules {
                requests(&mut family, name, rule_labels(rule), primaries)?;
            }
        }
        _ => {
            for (cluster, copies) in &counted.clusters {
                encode_copies(&mut family, name, vec![("cluster", cluster)], copies)?;
            }
        }
    }
    Ok(())
}

/// A rule as statistics call it.
fn rule_labels(rule: &str) -> Labels<'_> {
    ["namespace", "virtual_service", "rule"].into_iter().zip(rule.splitn(3, '/')).collect()
}

fn requests(family: &mut MetricEncoder<'_>, name: &str, labels: Labels<'_>, of: &Primaries) -> fmt::Result {
    match name {
        "mirror_requests" => by(family, &labels, "code", &pairs(of.classes)),
        _ => histogram(family, &labels, &of.times, SECOND),
    }
}

fn encode_copies(family: &mut MetricEncoder<'_>, name: &str, labels: Labels<'_>, of: &Copies) -> fmt::Result {
    match name {
        "mirror_copies" => counter(family, &labels, of.attempts()),
        "mirror_copy_answers" => by(family, &labels, "code", &pairs(of.answers())),
        "mirror_copies_lost" => by(
            family,
            &labels,
            "reason",
            &[
                ("no_endpoint", of.no_endpoint),
                ("overflow", of.overflow),
                ("refused", of.refused),
                ("timeout", of.timeout),
                ("reset", of.reset),
            ],
        ),
        _ => histogram(family, &labels, &of.times, SECOND),
    }
}

fn pairs(classes: [u64; 5]) -> Vec<(&'static str, u64)> {
    CLASS_NAMES.into_iter().zip(classes).collect()
}

/// One counter for each value of one more label. Zeros are there too: an increase needs one before it.
fn by(
    family: &mut MetricEncoder<'_>,
    labels: &Labels<'_>,
    label: &'static str,
    counts: &[(&str, u64)],
) -> fmt::Result {
    for (value, count) in counts {
        let mut labels = labels.clone();
        labels.push((label, value));
        counter(family, &labels, *count)?;
    }
    Ok(())
}

pub(super) fn counter(family: &mut MetricEncoder<'_>, labels: &Labels<'_>, count: u64) -> fmt::Result {
    family.encode_family(&Pairs(labels))?.encode_counter::<NoLabelSet, _, u64>(&count, None)
}

/// In units of so many milliseconds.
pub(super) fn histogram(
    family: &mut MetricEncoder<'_>,
    labels: &Labels<'_>,
    times: &Times,
    unit: f64,
) -> fmt::Result {
    let bounds = BOUNDS.iter().map(|bound| bound / unit).chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(times.counts).collect();
    family.encode_family(&Pairs(labels))?.encode_histogram::<NoLabelSet>(
        times.sum / unit,
        times.count(),
        &buckets,
        None,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `docs/metrics.md` has one table row for each of these and none more.
    #[test]
    fn the_documentation_names_every_metric() {
        let text = include_str!("../../../../docs/metrics.md");
        let documented =
            text.lines().filter_map(|line| line.strip_prefix("| `umbra_mirror_")?.split_once('`'));
        let documented: Vec<_> = documented.map(|(name, _)| format!("mirror_{name}")).collect();
        let total = |kind: MetricType| if matches!(kind, MetricType::Counter) { "_total" } else { "" };
        let declared: Vec<_> = FAMILIES
            .into_iter()
            .chain(crate::verdicts::FAMILIES)
            .map(|(name, _, kind)| format!("{name}{}", total(kind)))
            .collect();
        assert_eq!(documented, declared);
    }
}
