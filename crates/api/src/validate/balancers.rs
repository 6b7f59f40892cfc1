//! `loadBalancer`.

use super::Report;
use umbra_ir::{Code, Severity};

use crate::check::policy::{
    check_distribute, check_hash_cookie, check_hash_header, check_hash_query, check_maglev_size,
    check_ring_size, is_aggression, is_percent,
};
use crate::types::traffic_policy::{ConsistentHashLb, LoadBalancerSettings, LocalityLbSetting, SimpleLb};

pub(super) fn validate(report: &mut Report, path: &str, balancer: &LoadBalancerSettings) {
    let kinds =
        [("simple", balancer.simple.is_some()), ("consistentHash", balancer.consistent_hash.is_some())];
    report.one_of(path, &kinds, "simple counts");
    if balancer.simple == Some(SimpleLb::Passthrough) {
        let message = "PASSTHROUGH: requests go to the address that was called, which only sidecars with captured traffic \
                       know; others and gateways answer 503, and there are no copies";
        report.add(Code::CapturedOnly, format!("{path}.simple"), message);
    }
    if let Some(hash) = &balancer.consistent_hash {
        consistent_hash(report, &format!("{path}.consistentHash"), hash);
    }
    if let Some(locality) = &balancer.locality_lb_setting {
        let both = balancer.zone_aware_lb_setting.is_some();
        report.one_of(
            path,
            &[("localityLbSetting", true), ("zoneAwareLbSetting", both)],
            "localityLbSetting counts",
        );
        locality_setting(report, &format!("{path}.localityLbSetting"), locality);
    }
    if balancer.zone_aware_lb_setting.is_some() {
        let consequence =
            "newer than Istio 1.29; an endpoint's zone counts as localityLbSetting says, or not at all";
        report.not_acted_on(format!("{path}.zoneAwareLbSetting"), consequence);
    }
    warmup(report, path, balancer);
}

fn locality_setting(report: &mut Report, path: &str, setting: &LocalityLbSetting) {
    let failing = !setting.failover.is_empty() || !setting.failover_priority.is_empty();
    let both = [("distribute", !setting.distribute.is_empty()), ("failover", failing)];
    report.one_of(path, &both, "distribute counts");
    for (index, distribute) in setting.distribute.iter().enumerate() {
        let field = format!("{path}.distribute[{index}].to");
        report.check(field, check_distribute(distribute), "the entry is left out");
    }
    for (index, failover) in setting.failover.iter().enumerate() {
        if failover.from == failover.to {
            let message = format!("{} cannot take over from itself; it has no effect", failover.from);
            report.add(Code::ConflictingFields, format!("{path}.failover[{index}]"), message);
        }
    }
}

/// As [`umbra_ir::HashKey`] is resolved: of several keys the first that can be served counts.
fn consistent_hash(report: &mut Report, path: &str, hash: &ConsistentHashLb) {
    let keys = [
        ("httpHeaderName", hash.http_header_name.is_some()),
        ("httpCookie", hash.http_cookie.is_some()),
        ("useSourceIp", hash.use_source_ip.is_some()),
        ("httpQueryParameterName", hash.http_query_parameter_name.is_some()),
    ];
    report.one_of(path, &keys, "the first of them counts");
    if keys.iter().all(|(_, present)| !present) {
        report.add(Code::EmptyBlock, path, "names nothing to hash; requests are spread by LEAST_REQUEST");
    }
    if hash.use_source_ip == Some(false) {
        let message = "false hashes nothing; it counts as absent";
        report.add_as(Severity::Warning, Code::ConflictingFields, format!("{path}.useSourceIp"), message);
    }
    let instead = "it counts as absent";
    if let Some(name) = &hash.http_header_name {
        report.check(format!("{path}.httpHeaderName"), check_hash_header(name), instead);
    }
    if let Some(cookie) = &hash.http_cookie {
        report.check(format!("{path}.httpCookie"), check_hash_cookie(cookie), instead);
        report.duration(format!("{path}.httpCookie.ttl"), cookie.ttl, true, "no cookie is made");
    }
    if let Some(name) = &hash.http_query_parameter_name {
        report.check(format!("{path}.httpQueryParameterName"), check_hash_query(name), instead);
    }
    let sizes = [("ringHash", hash.ring_hash.is_some()), ("maglev", hash.maglev.is_some())];
    report.one_of(path, &sizes, "maglev counts");
    if let Some(ring) = &hash.ring_hash {
        let field = format!("{path}.ringHash.minimumRingSize");
        report.check(field, check_ring_size(ring.minimum_ring_size), "1024 counts");
    }
    if let Some(maglev) = &hash.maglev {
        let field = format!("{path}.maglev.tableSize");
        report.check(field, check_maglev_size(maglev.table_size), "Envoy's 65537 counts");
    }
    if hash.minimum_ring_size != 0 {
        let field = format!("{path}.minimumRingSize");
        if hash.ring_hash.is_some() || hash.maglev.is_some() {
            report.add(Code::ConflictingFields, field, "has no effect beside ringHash and maglev");
        } else {
            report.check(field.as_str(), check_ring_size(hash.minimum_ring_size), "1024 counts");
            report.add(Code::Deprecated, field, "ringHash.minimumRingSize is its successor");
        }
    }
}

fn warmup(report: &mut Report, path: &str, balancer: &LoadBalancerSettings) {
    let fields = [
        ("warmup", balancer.warmup.is_some()),
        ("warmupDurationSecs", balancer.warmup_duration_secs.is_some()),
    ];
    report.one_of(path, &fields, "warmup counts");
    let hashed = balancer.simple.is_none() && balancer.consistent_hash.is_some();
    for (name, _) in fields.iter().filter(|(_, present)| *present) {
        if hashed || balancer.simple == Some(SimpleLb::Random) {
            let message =
                "is for LEAST_REQUEST and ROUND_ROBIN alone; new endpoints get their full share at once";
            report.add(Code::ConflictingFields, format!("{path}.{name}"), message);
        }
    }
    let none = "there is no warm-up";
    report.duration(format!("{path}.warmupDurationSecs"), balancer.warmup_duration_secs, false, none);
    let Some(warmup) = &balancer.warmup else { return };
    let path = format!("{path}.warmup");
    if warmup.duration.is_none() {
        report.add(Code::EmptyBlock, path.as_str(), "a warm-up without duration; there is none");
    }
    report.duration(format!("{path}.duration"), warmup.duration, false, none);
    if let Some(percent) = warmup.minimum_percent.filter(|percent| !is_percent(percent.0)) {
        let message = format!("{} is no percentage (0 to 100); 10 counts", percent.0);
        report.add(Code::OutOfRange, format!("{path}.minimumPercent"), message);
    }
    if let Some(aggression) = warmup.aggression.filter(|aggression| !is_aggression(aggression.0)) {
        let message = format!("{} is not from 1 to 1000; 1 counts", aggression.0);
        report.add(Code::OutOfRange, format!("{path}.aggression"), message);
    }
}
