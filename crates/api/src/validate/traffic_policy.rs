//! DestinationRule's `trafficPolicy`, at every level.

use super::Report;
use umbra_ir::{Code, Severity};

use crate::check::policy::is_percent;
use crate::types::traffic_policy::{
    ClientTlsMode, ClientTlsSettings, ConnectionPoolSettings, H2UpgradePolicy, LoadBalancerSettings,
    OutlierDetection, RetryBudget, TrafficPolicy,
};

pub(super) fn validate(report: &mut Report, path: &str, policy: &TrafficPolicy) {
    if *policy == TrafficPolicy::default() {
        report.add(Code::EmptyBlock, path, "no field is set; it has no effect");
    }
    blocks(
        report,
        path,
        policy.load_balancer.as_ref(),
        policy.connection_pool.as_ref(),
        policy.tls.as_ref(),
        policy.outlier_detection.as_ref(),
    );
    if policy.tunnel.is_some() {
        report.not_acted_on(
            format!("{path}.tunnel"),
            "connections are not tunnelled (in Istio it is for routes of tcp and tls, which are not served)",
        );
    }
    if policy.tunnel.is_some() && policy.proxy_protocol.is_some() {
        let both = [("tunnel", true), ("proxyProtocol", true)];
        report.one_of(path, &both, "proxyProtocol counts");
    }
    if let Some(budget) = &policy.retry_budget {
        retry_budget(report, &format!("{path}.retryBudget"), budget);
    }
    let mut ports = std::collections::HashMap::new();
    for (index, entry) in policy.port_level_settings.iter().enumerate() {
        let path = format!("{path}.portLevelSettings[{index}]");
        match entry.port {
            None => {
                report.add(
                    Code::InvalidPort,
                    format!("{path}.port"),
                    "a port is missing; the entry is left out",
                );
            }
            Some(port) => {
                let field = format!("{path}.port.number");
                if report.port(&field, port.number, "the entry is left out")
                    && let Some(first) = ports.insert(port.number, index)
                {
                    let message = format!(
                        "port {} already has portLevelSettings[{first}]; the first counts",
                        port.number
                    );
                    report.add(Code::DuplicateName, field, message);
                }
            }
        }
        let empty = entry.load_balancer.is_none()
            && entry.connection_pool.is_none()
            && entry.outlier_detection.is_none()
            && entry.tls.is_none();
        if empty {
            let message = "no field is set; the port gets the defaults, not the policy above";
            report.add(Code::EmptyBlock, path.as_str(), message);
        }
        blocks(
            report,
            &path,
            entry.load_balancer.as_ref(),
            entry.connection_pool.as_ref(),
            entry.tls.as_ref(),
            entry.outlier_detection.as_ref(),
        );
    }
}

fn retry_budget(report: &mut Report, path: &str, budget: &RetryBudget) {
    if let Some(percent) = budget.percent.filter(|percent| !is_percent(percent.0)) {
        let message = format!("{} is no percentage (0 to 100); 20 counts", percent.0);
        report.add(Code::OutOfRange, format!("{path}.percent"), message);
    }
    let field = format!("{path}.budgetInterval");
    report.duration(field, budget.budget_interval, true, "only requests under way count");
}

/// The four blocks that a policy and a port-level entry share.
fn blocks(
    report: &mut Report,
    path: &str,
    balancer: Option<&LoadBalancerSettings>,
    pool: Option<&ConnectionPoolSettings>,
    tls: Option<&ClientTlsSettings>,
    outliers: Option<&OutlierDetection>,
) {
    if let Some(balancer) = balancer {
        super::balancers::validate(report, &format!("{path}.loadBalancer"), balancer);
    }
    if let Some(pool) = pool {
        connection_pool(report, &format!("{path}.connectionPool"), pool);
    }
    if let Some(tls) = tls {
        client_tls(report, &format!("{path}.tls"), tls);
    }
    let failing = balancer.and_then(|it| it.locality_lb_setting.as_ref());
    if failing.is_some_and(|it| !it.failover.is_empty() || !it.failover_priority.is_empty())
        && outliers.is_none()
    {
        let message = "endpoints fail over only with outlierDetection beside it: without it there is none";
        let field = format!("{path}.loadBalancer.localityLbSetting");
        report.add_as(Severity::Warning, Code::ConflictingFields, field, message);
    }
    if let Some(outliers) = outliers {
        super::outliers::validate(report, &format!("{path}.outlierDetection"), outliers);
    }
}

fn connection_pool(report: &mut Report, path: &str, pool: &ConnectionPoolSettings) {
    if pool.tcp.is_none() && pool.http.is_none() {
        report.add(Code::EmptyBlock, path, "neither tcp nor http is set; it has no effect");
    }
    let mut numbers = Vec::new();
    let mut durations = Vec::new();
    if let Some(tcp) = &pool.tcp {
        numbers.push(("tcp.maxConnections", tcp.max_connections));
        durations.extend([
            ("tcp.connectTimeout", tcp.connect_timeout, false),
            ("tcp.maxConnectionDuration", tcp.max_connection_duration, false),
            ("tcp.idleTimeout", tcp.idle_timeout, true),
        ]);
        if let Some(keepalive) = &tcp.tcp_keepalive {
            durations.push(("tcp.tcpKeepalive.time", keepalive.time, false));
            durations.push(("tcp.tcpKeepalive.interval", keepalive.interval, false));
        }
    }
    if let Some(http) = &pool.http {
        numbers.extend([
            ("http.http1MaxPendingRequests", http.http1_max_pending_requests),
            ("http.http2MaxRequests", http.http2_max_requests),
            ("http.maxRequestsPerConnection", http.max_requests_per_connection),
            ("http.maxRetries", http.max_retries),
            ("http.maxConcurrentStreams", http.max_concurrent_streams),
        ]);
        durations.push(("http.idleTimeout", http.idle_timeout, true));
        if http.h2_upgrade_policy == H2UpgradePolicy::Upgrade {
            // In Istio the server's own sidecar takes the HTTP/2 and hands on HTTP/1.1; umbra puts no proxy there.
            let consequence = "requests go as the port says, HTTP/2 only to one that is called http2 or grpc";
            report.not_acted_on(format!("{path}.http.h2UpgradePolicy"), consequence);
            let both = [("h2UpgradePolicy", true), ("useClientProtocol", http.use_client_protocol)];
            report.one_of(&format!("{path}.http"), &both, "useClientProtocol counts");
        }
        if let Some(keepalive) = &http.http2_keep_alive {
            durations.push(("http.http2KeepAlive.interval", keepalive.interval, false));
            durations.push(("http.http2KeepAlive.timeout", keepalive.timeout, false));
            if keepalive.interval.is_none() || keepalive.timeout.is_none() {
                let message = "needs both interval and timeout; no pings are sent";
                report.add(Code::ConflictingFields, format!("{path}.http.http2KeepAlive"), message);
            }
        }
    }
    for (field, number) in numbers {
        if number < 0 {
            let message = format!("{number} is negative; it counts as not set");
            report.add(Code::NegativeNumber, format!("{path}.{field}"), message);
        }
    }
    for (field, duration, zero) in durations {
        report.duration(format!("{path}.{field}"), duration, zero, "it counts as not set");
    }
}

/// What TLS needs that cannot be given yet is reported with the clusters that it closes (`istio`).
fn client_tls(report: &mut Report, path: &str, tls: &ClientTlsSettings) {
    let files = [
        ("clientCertificate", &tls.client_certificate),
        ("privateKey", &tls.private_key),
        ("caCertificates", &tls.ca_certificates),
    ];
    let written: Vec<&str> =
        files.iter().filter(|(_, text)| !text.is_empty()).map(|(name, _)| *name).collect();
    match tls.mode {
        ClientTlsMode::IstioMutual if !written.is_empty() || !tls.credential_name.is_empty() => {
            let message = "ISTIO_MUTUAL brings its own certificates; those written here have no effect";
            report.add(Code::ConflictingFields, path, message);
        }
        ClientTlsMode::Simple if written.iter().any(|name| *name != "caCertificates") => {
            let message = "SIMPLE shows no client certificate; clientCertificate and privateKey have no effect (MUTUAL uses them)";
            report.add_as(Severity::Warning, Code::ConflictingFields, path, message);
        }
        ClientTlsMode::Disable if *tls != ClientTlsSettings::default() => {
            let message = "mode is DISABLE (also when absent): connections are plaintext, and the other fields have no effect";
            report.add_as(Severity::Warning, Code::ConflictingFields, path, message);
        }
        _ if !tls.credential_name.is_empty() && !written.is_empty() => {
            report.one_of(path, &[("credentialName", true), (written[0], true)], "credentialName counts");
        }
        _ => {}
    }
    let verifies = matches!(tls.mode, ClientTlsMode::Simple | ClientTlsMode::Mutual)
        && tls.insecure_skip_verify != Some(true);
    if verifies && tls.ca_certificates.is_empty() && tls.credential_name.is_empty() {
        let message = "no caCertificates: whoever shows a certificate for the name that the system's roots vouch for is believed";
        report.add(Code::SystemRoots, format!("{path}.mode"), message);
    }
    if tls.insecure_skip_verify == Some(true) && tls.mode != ClientTlsMode::Disable {
        let message = "any certificate is trusted: whoever answers can read and change what is sent";
        report.add(Code::Insecure, format!("{path}.insecureSkipVerify"), message);
    }
    if !tls.ca_crl.is_empty()
        && (tls.insecure_skip_verify == Some(true) || tls.mode == ClientTlsMode::Disable)
    {
        let message = "no certificate is verified here; the list of revoked ones has no effect";
        report.add_as(Severity::Warning, Code::ConflictingFields, format!("{path}.caCrl"), message);
    }
}
