//! Istio's standard metrics (`istio_requests_total`, `istio_request_duration_milliseconds`), with those of their labels that canary
//! tools ask for, and `shadow`.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::Observed;
use super::prometheus;
use super::workloads;

/// Tools ask for what one end of a request says: Flagger for its destination's, Argo Rollouts for its source's. What is told here is
/// of both.
const REPORTERS: [&str; 2] = ["destination", "source"];
/// In milliseconds.
const MILLISECOND: f64 = 1.0;

/// How workloads answered.
#[derive(Debug)]
pub(super) struct Requests(pub(super) Observed);

impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = self.0.answered();
        if all.is_empty() {
            return Ok(());
        }
        let by_reporter = || REPORTERS.iter().flat_map(|reporter| all.iter().map(move |it| (*reporter, it)));
        let help = "Requests and copies of them to the destinations of rules, by code";
        let mut family = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
        for (reporter, (to, series)) in by_reporter() {
            for (code, count) in &series.codes {
                let code = code.to_string();
                let mut labels = labels(reporter, to);
                labels.push(("response_code", &code));
                prometheus::counter(&mut family, &labels, *count)?;
            }
        }
        let (name, help) = ("request_duration_milliseconds", "How long they took");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        // Of codes the zero before the first request is told, since an increase needs it. What a histogram lacks by that is how long its
        // first requests took, and hundreds of destinations that nobody calls would be megabytes of zeros.
        for (reporter, (to, series)) in by_reporter().filter(|(_, (_, series))| series.times.count() > 0) {
            prometheus::histogram(&mut family, &labels(reporter, to), &series.times, MILLISECOND)?;
        }
        Ok(())
    }
}

fn labels<'a>(reporter: &'a str, to: &'a workloads::Labels) -> prometheus::Labels<'a> {
    vec![
        ("reporter", reporter),
        ("destination_workload", &to.workload),
        ("destination_workload_namespace", &to.workload_namespace),
        ("destination_service", &to.service),
        ("destination_service_name", &to.service_name),
        ("destination_service_namespace", &to.service_namespace),
        ("shadow", if to.shadow { "true" } else { "false" }),
    ]
}
