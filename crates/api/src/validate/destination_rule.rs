//! DestinationRule: host, subsets.

use super::{Report, traffic_policy};
use umbra_ir::{Code, Severity};

use crate::check::check_host;
use crate::types::destination_rule::DestinationRuleSpec;

pub(super) fn validate(report: &mut Report, spec: &DestinationRuleSpec) {
    report.check("spec.host", check_host(&spec.host), "the rule has no effect");
    report.export_to(&spec.export_to, false);
    if let Some(selector) = &spec.workload_selector {
        if selector.match_labels.is_empty() {
            let message = "a selector without labels selects every client of the namespace";
            report.add_as(Severity::Warning, Code::EmptyBlock, "spec.workloadSelector", message);
        }
        if spec.export_to.iter().any(|entry| entry != ".") {
            let message = "has no effect beside workloadSelector: such a rule is for its own namespace";
            report.add(Code::ConflictingFields, "spec.exportTo", message);
        }
    }
    if let Some(policy) = &spec.traffic_policy {
        traffic_policy::validate(report, "spec.trafficPolicy", policy);
    }
    let mut seen = std::collections::HashMap::new();
    for (index, subset) in spec.subsets.iter().enumerate() {
        let path = format!("spec.subsets[{index}]");
        if subset.name.is_empty() {
            let message = "a subset without a name; it is left out";
            report.add(Code::InvalidSubset, format!("{path}.name"), message);
        } else if subset.name.contains('|') || subset.name.chars().any(char::is_control) {
            let message = format!("{:?} cannot be part of a cluster's name; it is left out", subset.name);
            report.add(Code::InvalidSubset, format!("{path}.name"), message);
        }
        if let Some(first) = seen.insert(subset.name.as_str(), index).filter(|_| !subset.name.is_empty()) {
            let message =
                format!("{} is already defined by spec.subsets[{first}]; the first counts", subset.name);
            report.add(Code::DuplicateName, format!("{path}.name"), message);
        }
        if let Some(policy) = &subset.traffic_policy {
            traffic_policy::validate(report, &format!("{path}.trafficPolicy"), policy);
        }
    }
}
