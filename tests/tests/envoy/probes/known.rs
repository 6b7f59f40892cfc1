//! Statements that other tests show on the real Envoy, and which: so that the list of all of them is in one place.

use umbra_testkit::paths::workspace;

/// What holds, the file below `tests/tests`, and its test.
const KNOWN: &[(&str, &str, &str)] = &[
    ("a percentage is a share of a million, rounded to the nearest", "envoy/percentages.rs", "percentage"),
    ("a share of 0 keeps policy, key and cluster", "envoy/percentages.rs", "zero_mirrors_nothing"),
    ("mirrorPercent and mirror_percent are read", "envoy/percentages.rs", "old_spellings"),
    (
        "mirrors of one route copy nested sets of requests",
        "envoy/sampling.rs",
        "mirrors_of_one_route_are_nested",
    ),
    ("copies of a weighted route are of all its arms, in proportion", "envoy/sampling.rs", "weights_33_67"),
    ("weights of a million do not tie copies to one arm", "envoy/sampling.rs", "weights_of_a_million"),
    ("a share changes without a route", "envoy/updates.rs", "a_share_changes_without_a_route_push"),
    (
        "a rule put before another keeps that one's key",
        "envoy/updates.rs",
        "the_runtime_key_outlives_rules_put_before_it",
    ),
    (
        "a proxy without runtime layers has the share in its route",
        "envoy/updates.rs",
        "a_proxy_without_runtime_discovery_gets_the_share_in_its_route",
    ),
    ("the suffix of the host is a setting", "envoy/copies.rs", "the_suffix_can_be_turned_off"),
    ("a copy has the whole body", "envoy/copies.rs", "the_body_is_copied_whole"),
    ("a copy has its original's request id", "envoy/copies.rs", "a_copy_has_the_same_request_id_and_headers"),
    ("a mirror may be in another namespace", "envoy/copies.rs", "copies_to_a_service_of_another_namespace"),
    ("copies are counted apart from production", "envoy/copies.rs", "copies_have_statistics_of_their_own"),
    ("requests in HTTP/2 are copied", "envoy/copies.rs", "a_client_in_http2_is_copied_too"),
    (
        "copies of gRPC speak HTTP/2 where the port does not say so",
        "envoy/copies.rs",
        "a_copy_speaks_what_its_original_spoke",
    ),
    (
        "a slow mirror costs the caller nothing",
        "envoy/limits.rs",
        "a_mirror_that_hangs_costs_the_primary_nothing",
    ),
    ("copies under way are limited", "envoy/limits.rs", "limits_are_finite_without_any_setting"),
    (
        "limits of a mirror hold back copies alone",
        "envoy/limits.rs",
        "limits_hold_back_copies_and_nothing_else",
    ),
    ("a copy has a deadline", "envoy/limits.rs", "a_copy_that_hangs_is_given_up"),
    ("what a mirror answers is dropped", "envoy/limits.rs", "what_a_mirror_answers_is_dropped"),
    ("a mirror that is gone costs nothing", "envoy/limits.rs", "a_mirror_that_is_gone_costs_nothing"),
    (
        "a mirror without endpoints is no broken one",
        "envoy/broken.rs",
        "a_mirror_without_endpoints_is_not_broken",
    ),
    ("a mirror begins when its target does", "envoy/broken.rs", "a_mirror_comes_to_life_with_its_target"),
    (
        "a rule that breaks leaves the others alone",
        "envoy/broken.rs",
        "a_rule_that_breaks_leaves_the_other_rules_alone",
    ),
    (
        "a timeout is the route's; none is written, none counts",
        "envoy/routing.rs",
        "a_timeout_is_answered_for_the_primary",
    ),
    ("retries may look for other priorities", "envoy/routing.rs", "retries_that_look_for_other_priorities"),
    (
        "a wildcard all of whose services have closer rules is no host of its own",
        "envoy/routing.rs",
        "wildcards_of_entries_and_rules",
    ),
    ("a share of requests is aborted", "envoy/filters.rs", "a_share_of_requests_is_aborted"),
    ("aborts by HTTP and gRPC status, delays by share", "envoy/filters.rs", "aborts_and_delays"),
    (
        "a fault that cannot be built closes its rule",
        "envoy/filters.rs",
        "a_fault_that_cannot_be_built_closes_its_rule",
    ),
    ("a delayed request is copied after its delay, once", "envoy/filters.rs", "what_faults_mean_for_copies"),
    (
        "faults come before redirects and fixed answers",
        "envoy/filters.rs",
        "faults_come_before_the_proxys_own_answers",
    ),
    ("origins by text, prefix and pattern", "envoy/filters.rs", "origins_that_are_let_in"),
    ("preflights that do not fit go on, or do not", "envoy/filters.rs", "preflights"),
    (
        "of requests with one header value all go to one endpoint",
        "envoy/hashing.rs",
        "the_same_header_goes_to_the_same_endpoint",
    ),
    (
        "of requests with one query value all go to one endpoint",
        "envoy/hashing.rs",
        "the_same_query_parameter_goes_to_the_same_endpoint",
    ),
    (
        "requests from one address go to one endpoint",
        "envoy/hashing.rs",
        "the_same_address_goes_to_the_same_endpoint",
    ),
    (
        "a cookie with a lifetime is made where it is missing",
        "envoy/hashing.rs",
        "a_cookie_is_made_and_kept_to",
    ),
    (
        "each weighted destination is hashed by its own policy",
        "envoy/hashing.rs",
        "destinations_by_weight_are_hashed_each",
    ),
    ("copies are hashed as their target asks", "envoy/hashing.rs", "copies_are_hashed_as_their_target_asks"),
    ("ejection by answers in a row", "envoy/outliers.rs", "an_endpoint_that_fails_is_taken_out"),
    ("no more endpoints are ejected than allowed", "envoy/outliers.rs", "no_more_than_allowed_are_taken_out"),
    (
        "below a share of healthy endpoints nobody is left out",
        "envoy/outliers.rs",
        "too_few_left_are_not_asked_alone",
    ),
    ("other statuses may count as errors", "envoy/outliers.rs", "other_statuses_can_count"),
    ("copies eject nobody", "envoy/outliers.rs", "copies_take_nobody_out"),
    ("outlierDetection alone turns failover by place on", "envoy/localities.rs", "the_next_zone_takes_over"),
    (
        "without outlierDetection every place serves",
        "envoy/localities.rs",
        "without_outlier_detection_all_serve",
    ),
    ("shares by place are as written", "envoy/localities.rs", "shares_are_as_written"),
    (
        "connections may begin with the proxy protocol",
        "envoy/connections.rs",
        "connections_begin_with_the_proxy_protocol",
    ),
    ("a retry budget limits retries", "envoy/connections.rs", "a_retry_budget_limits_retries"),
    (
        "slices are joined, and their conditions followed",
        "envoy/endpoints.rs",
        "slices_are_joined_and_followed",
    ),
    ("a target port may be a container port's name", "envoy/endpoints.rs", "a_target_port_can_have_a_name"),
    ("a Pod of a headless Service by its own name", "envoy/endpoints.rs", "a_pod_by_its_own_name"),
    ("an entry by DNS is its endpoints' names", "envoy/external.rs", "endpoints_by_dns"),
    ("DNS_ROUND_ROBIN has one endpoint at a time", "envoy/external.rs", "one_endpoint_of_dns_at_a_time"),
    ("DYNAMIC_DNS looks up what a Host names", "envoy/as_asked.rs", "the_host_of_a_request_is_looked_up"),
    (
        "DYNAMIC_DNS looks up the name that is asked for in TLS",
        "envoy/as_asked.rs",
        "the_name_in_tls_is_looked_up",
    ),
    ("a copy's Host is nobody to look up", "envoy/as_asked.rs", "nothing_is_copied_to_what_a_host_names"),
    (
        "a gateway looks up nobody that strangers name",
        "envoy/as_asked.rs",
        "a_gateway_calls_nobody_that_strangers_name",
    ),
    ("an endpoint may be a Unix socket", "envoy/sockets.rs", "an_endpoint_is_a_socket"),
    ("a Sidecar's entry may be at a Unix socket", "envoy/sockets.rs", "a_sidecar_is_called_at_a_socket"),
    ("a Gateway's server may be at a Unix socket", "envoy/sockets.rs", "a_gateway_listens_at_a_socket"),
    (
        "load balancer PASSTHROUGH goes where it was called",
        "envoy/capture.rs",
        "a_service_that_passes_through_is_reached_where_it_was_called",
    ),
    (
        "an entry without resolution is reached where it was called",
        "envoy/capture.rs",
        "an_entry_without_resolution_is_reached_where_it_was_called",
    ),
    ("captured TCP goes where its address says", "envoy/capture.rs", "bytes_go_where_their_address_says"),
    (
        "captured bytes follow rules: weights, blocks, labels, server names",
        "envoy/bytes.rs",
        "captured_bytes_follow_the_rules_of_their_service",
    ),
    (
        "a called sidecar passes on bytes by port and TLS by name",
        "envoy/bytes.rs",
        "a_called_sidecar_passes_bytes_on",
    ),
    ("a revoked certificate is not believed", "envoy/bytes.rs", "a_revoked_certificate_is_not_believed"),
    (
        "plaintext beside an older TLS server is told by how it begins",
        "envoy/gateway_tls.rs",
        "plaintext_beside_older_tls_is_told",
    ),
    (
        "TLS passes a gateway unopened by its name, bytes by weight",
        "envoy/gateway_tls.rs",
        "connections_pass_unopened",
    ),
    ("a certificate is rotated under load", "envoy/gateway_tls.rs", "rotation_under_load_drops_nothing"),
    (
        "captured, what nobody defines goes where it wanted to",
        "envoy/capture.rs",
        "what_is_not_known_goes_where_it_wanted_to",
    ),
    (
        "with REGISTRY_ONLY what nobody defines ends",
        "envoy/capture.rs",
        "with_registry_only_the_unknown_ends",
    ),
    (
        "istioCompatible: the called port, and the newer of two rules",
        "envoy/settings.rs",
        "as_istio_where_asked",
    ),
    (
        "a gateway whose rules are nobody's is ready",
        "envoy/gateways.rs",
        "a_gateway_that_no_rule_selects_is_ready_and_silent",
    ),
    (
        "a name that DNS never answers holds up no start",
        "envoy/gateways.rs",
        "a_name_that_dns_never_answers_holds_up_no_start",
    ),
];

/// How many there are.
pub(super) fn count() -> usize {
    KNOWN.len()
}

#[test]
fn every_known_statement_has_its_test() {
    for (says, file, test) in KNOWN {
        let path = workspace().join("tests/tests").join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(text.contains(&format!("fn {test}()")), "{says}: {file} has no test {test}");
    }
}
