//! What is known of judged requests, for Prometheus.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, LabelSetEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use umbra_judge::{JudgeLimits, Verdict, judge};

use super::Verdicts;

/// Mirrors that are shown at most.
const MAX_SHOWN: usize = 1000;

/// Name (behind `umbra_`), help and type of each; `docs/metrics.md` documents them.
pub(crate) const FAMILIES: [(&str, &str, MetricType); 5] = [
    ("mirror_verdict", "1 for the verdict on a mirror by the lines of this replica", MetricType::Gauge),
    (
        "mirror_judged_part",
        "What part of the requests that are to be judged is: less than 1 where too many have no pair",
        MetricType::Gauge,
    ),
    ("mirror_judged", "Requests of a mirror's rule that were judged", MetricType::Counter),
    ("mirror_pairs", "Of these those with a line of the copy", MetricType::Counter),
    ("mirror_verdict_lines", "Lines of judged requests and what became of them", MetricType::Counter),
];

/// Labels whose values are what there is.
struct Pairs<'a>(&'a [(&'static str, &'a str)]);

impl EncodeLabelSet for Pairs<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }
}

impl Collector for Verdicts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let book = self.lock();
        let all: Vec<_> = book.totals().take(MAX_SHOWN).collect();
        let (counts, unknown) = book.counts();
        if all.is_empty() && counts.lines + unknown == 0 {
            return Ok(());
        }
        for (name, help, metric_type) in FAMILIES {
            let mut family = encoder.encode_descriptor(name, help, None, metric_type)?;
            if name == "mirror_verdict_lines" {
                for (result, count) in [
                    ("taken", counts.lines),
                    ("duplicate", counts.duplicate),
                    ("evicted", counts.evicted),
                    ("unpaired", counts.unpaired),
                    ("unknown", unknown),
                ] {
                    family
                        .encode_family(&Pairs(&[("result", result)]))?
                        .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
                }
                continue;
            }
            for (key, (judged, paired)) in &all {
                let mirror = ("mirror", key.as_str());
                match name {
                    "mirror_verdict" => {
                        let Some(known) = book.of(key) else { continue };
                        let now = judge(&known.tally, &JudgeLimits::default()).verdict;
                        for verdict in [Verdict::Same, Verdict::Different, Verdict::Undecided] {
                            let labels = [mirror, ("verdict", verdict.as_str())];
                            let value = i64::from(verdict == now);
                            family.encode_family(&Pairs(&labels))?.encode_gauge(&value)?;
                        }
                    }
                    "mirror_judged_part" => {
                        let Some(part) = book.judged_part(key) else { continue };
                        let part = f64::from(part) / 1e6;
                        family.encode_family(&Pairs(&[mirror]))?.encode_gauge(&part)?;
                    }
                    _ => {
                        let count = if name == "mirror_judged" { judged } else { paired };
                        family
                            .encode_family(&Pairs(&[mirror]))?
                            .encode_counter::<NoLabelSet, _, u64>(count, None)?;
                    }
                }
            }
        }
        Ok(())
    }
}
