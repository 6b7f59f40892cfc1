//! Envoy's log entries as lines. Whatever is not compared is dropped here, but for paths, and queries where somebody allows it.

use std::sync::Arc;
use std::time::Duration;

use umbra_ir::{JUDGED, SHADOW, SHADOW_OF};
use umbra_judge::{Answer, Flags, Key, Line, Primary, Side};
use umbra_proto::envoy::data::accesslog::v3::{
    AccessLogCommon, AccessLogType, HttpAccessLogEntry, HttpRequestProperties, HttpResponseProperties,
    ResponseFlags,
};
use umbra_proto::google::protobuf;

/// The longest text of a line that is kept, in bytes: a longer one is cut, on both sides of a pair alike.
const MAX_TEXT: usize = 128;

/// The answers of Envoy itself have other details.
const VIA_UPSTREAM: &str = "via_upstream";

/// Understands an entry; `None`: it is of no judged request. Its query is kept where those of its rule may be seen.
pub(super) fn parse(entry: &HttpAccessLogEntry, queries: impl Fn(&str) -> bool) -> Option<Line> {
    let common = entry.common_properties.as_ref()?;
    let request = entry.request.as_ref()?;
    let response = entry.response.as_ref()?;
    let id = text(&request.request_id);
    match AccessLogType::try_from(common.access_log_type) {
        Ok(AccessLogType::DownstreamEnd) => {
            let rule = common.route_name.strip_suffix(JUDGED)?;
            let key = Key { start: micros(common.start_time.as_ref()?)?, request: id };
            let primary = Primary {
                rule: rule.into(),
                method: request.request_method().as_str_name().into(),
                path: text(sent(request).0),
                query: if queries(rule) { text(sent(request).1) } else { Arc::default() },
                attempts: common.upstream_request_attempt_count,
                local_reply: response.response_code_details != VIA_UPSTREAM,
            };
            let answer = answer(common, response, response.response_body_bytes);
            Some(Line { key, side: Side::Primary(primary), answer })
        }
        Ok(AccessLogType::UpstreamEnd) => {
            let mark = request.request_headers.get(SHADOW)?.as_str().into();
            let start = parse_start(request.request_headers.get(SHADOW_OF)?)?;
            // What came back stands where what was sent should, in lines of this kind.
            let answer = answer(common, response, request.request_body_bytes);
            Some(Line { key: Key { start, request: id }, side: Side::Copy { mark }, answer })
        }
        _ => None,
    }
}

/// `1700000000.000001`, as Envoy writes it for the seconds and microseconds of a time.
pub(crate) fn parse_start(text: &str) -> Option<u64> {
    let (seconds, micros) = text.split_once('.')?;
    let micros = (micros.len() == 6).then(|| micros.parse::<u64>().ok()).flatten()?;
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micros)
}

fn micros(time: &protobuf::Timestamp) -> Option<u64> {
    let seconds = u64::try_from(time.seconds).ok()?;
    let micros = u64::try_from(time.nanos).ok()? / 1000;
    seconds.checked_mul(1_000_000)?.checked_add(micros)
}

/// As much of a text as is kept.
pub(crate) fn text(written: &str) -> Arc<str> {
    let mut end = written.len().min(MAX_TEXT);
    while !written.is_char_boundary(end) {
        end -= 1;
    }
    written[..end].into()
}

/// Path and query, as the client sent them.
fn sent(request: &HttpRequestProperties) -> (&str, &str) {
    let sent = if request.original_path.is_empty() { &request.path } else { &request.original_path };
    let whole = sent.split_once('#').map_or(sent.as_str(), |(before, _)| before);
    whole.split_once('?').unwrap_or((whole, ""))
}

fn answer(common: &AccessLogCommon, response: &HttpResponseProperties, size: u64) -> Answer {
    let header = |name: &str| response.response_headers.get(name);
    let status = response.response_trailers.get("grpc-status").or_else(|| header("grpc-status"));
    let plain = header("content-encoding").is_none_or(|it| it.is_empty() || it == "identity");
    let first = duration(common.time_to_first_upstream_rx_byte.as_ref());
    let sent = duration(common.time_to_last_upstream_tx_byte.as_ref());
    Answer {
        code: response
            .response_code
            .as_ref()
            .and_then(|code| u16::try_from(code.value).ok())
            .filter(|it| *it > 0),
        grpc: status.and_then(|status| status.parse().ok()),
        flags: common.response_flags.as_ref().map(flags).unwrap_or_default(),
        whole: common.time_to_last_upstream_rx_byte.is_some(),
        wait: first.zip(sent).map(|(first, sent)| first.saturating_sub(sent)),
        duration: duration(common.duration.as_ref()).unwrap_or_default(),
        size: plain.then_some(size),
        content_type: header("content-type").map(|it| text(it)),
        destination: destination(&common.upstream_cluster),
    }
}

fn duration(written: Option<&protobuf::Duration>) -> Option<Duration> {
    let written = written?;
    let (seconds, nanos) = (u64::try_from(written.seconds).ok()?, u32::try_from(written.nanos).ok()?);
    Some(Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos.into())))
}

fn flags(flags: &ResponseFlags) -> Flags {
    Flags {
        overflow: flags.upstream_overflow,
        refused: flags.upstream_connection_failure,
        reset: flags.upstream_connection_termination || flags.upstream_remote_reset,
        protocol: flags.upstream_protocol_error,
        no_endpoint: flags.no_healthy_upstream,
        timeout: flags.upstream_request_timeout
            || flags.upstream_max_stream_duration_reached
            || flags.duration_timeout,
        client_gone: flags.downstream_connection_termination || flags.downstream_remote_reset,
        client_protocol: flags.downstream_protocol_error,
    }
}

/// `PORT|SUBSET|HOST` of a cluster's name, whatever carries it there.
pub(crate) fn destination(cluster: &str) -> Arc<str> {
    let mut parts = cluster.splitn(5, '|').skip(1);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(port), Some(subset), Some(host)) => format!("{port}|{subset}|{host}").into(),
        _ => "".into(),
    }
}

#[cfg(test)]
mod tests {
    use umbra_proto::google::protobuf::UInt32Value;

    use super::*;

    fn entry(log: AccessLogType, change: impl FnOnce(&mut HttpAccessLogEntry)) -> HttpAccessLogEntry {
        let at = |nanos| Some(protobuf::Duration { seconds: 0, nanos });
        let common = AccessLogCommon {
            access_log_type: log.into(),
            start_time: Some(protobuf::Timestamp { seconds: 1_700_000_000, nanos: 123_456_789 }),
            time_to_last_upstream_tx_byte: at(1_000_000),
            time_to_first_upstream_rx_byte: at(6_000_000),
            time_to_last_upstream_rx_byte: at(7_000_000),
            duration: at(8_000_000),
            upstream_cluster: "outbound|80|v1|web.default.svc.cluster.local".to_owned(),
            upstream_request_attempt_count: 1,
            route_name: "default/web/canary#judge".to_owned(),
            ..Default::default()
        };
        let request = HttpRequestProperties {
            request_id: "id".to_owned(),
            path: "/a/b?secret=1".to_owned(),
            request_body_bytes: 3,
            request_method: 1,
            request_headers: [(SHADOW, "mirror/x"), (SHADOW_OF, "1700000000.123456")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..Default::default()
        };
        let response = HttpResponseProperties {
            response_code: Some(UInt32Value { value: 200 }),
            response_body_bytes: 11,
            response_code_details: VIA_UPSTREAM.to_owned(),
            response_headers: [("content-type".to_owned(), "text/html".to_owned())].into(),
            ..Default::default()
        };
        let mut entry = HttpAccessLogEntry {
            common_properties: Some(common),
            request: Some(request),
            response: Some(response),
            ..Default::default()
        };
        change(&mut entry);
        entry
    }

    #[test]
    fn both_sides_have_one_key() {
        let primary = parse(&entry(AccessLogType::DownstreamEnd, |_| {}), |_| false).unwrap();
        let copy = parse(
            &entry(AccessLogType::UpstreamEnd, |it| {
                it.common_properties.as_mut().unwrap().upstream_cluster =
                    "mirror|80|v1|web.default.svc.cluster.local|control".to_owned();
            }),
            |_| false,
        )
        .unwrap();
        assert_eq!(primary.key, copy.key);
        assert_eq!(primary.key, Key { start: 1_700_000_000_123_456, request: "id".into() });
        let Side::Primary(side) = &primary.side else { panic!("{primary:?}") };
        let want = Primary {
            rule: "default/web/canary".into(),
            method: "GET".into(),
            path: "/a/b".into(),
            query: "".into(),
            attempts: 1,
            local_reply: false,
        };
        assert_eq!(*side, want);
        assert_eq!(copy.side, Side::Copy { mark: "mirror/x".into() });
        assert_eq!((primary.answer.size, copy.answer.size), (Some(11), Some(3)));
        assert_eq!(primary.answer.destination, copy.answer.destination);
        assert_eq!(primary.answer.wait, Some(Duration::from_millis(5)));
        assert_eq!(primary.answer.content_type.as_deref(), Some("text/html"));
    }

    #[test]
    fn a_query_is_kept_where_it_may_be_seen() {
        for (sent, queries, path, query) in [
            ("/a/b?secret=1", false, "/a/b", ""),
            ("/a/b?secret=1", true, "/a/b", "secret=1"),
            ("/a?b?c#d?e", true, "/a", "b?c"),
            ("/a#b?c", true, "/a", ""),
            ("/a", true, "/a", ""),
        ] {
            let entry = entry(AccessLogType::DownstreamEnd, |it| {
                sent.clone_into(&mut it.request.as_mut().unwrap().path);
            });
            let line = parse(&entry, |rule| queries && rule == "default/web/canary").unwrap();
            let Side::Primary(side) = line.side else { panic!("{sent}") };
            assert_eq!((&*side.path, &*side.query), (path, query), "{sent}");
        }
    }

    #[test]
    fn what_is_no_line_of_a_judged_request() {
        type Change = fn(&mut HttpAccessLogEntry);
        let changes: [(AccessLogType, Change); 6] = [
            (AccessLogType::DownstreamStart, |_| {}),
            (AccessLogType::DownstreamEnd, |it| it.common_properties.as_mut().unwrap().route_name.clear()),
            (AccessLogType::DownstreamEnd, |it| it.common_properties.as_mut().unwrap().start_time = None),
            (AccessLogType::UpstreamEnd, |it| it.request.as_mut().unwrap().request_headers.clear()),
            (AccessLogType::UpstreamEnd, |it| {
                let headers = &mut it.request.as_mut().unwrap().request_headers;
                headers.insert(SHADOW_OF.to_owned(), "1700000000.5".to_owned());
            }),
            (AccessLogType::UpstreamEnd, |it| it.response = None),
        ];
        for (nth, (log, change)) in changes.into_iter().enumerate() {
            assert_eq!(parse(&entry(log, change), |_| true), None, "{nth}");
        }
    }

    #[test]
    fn texts_are_cut_and_compressed_bodies_have_no_size() {
        let line = parse(
            &entry(AccessLogType::DownstreamEnd, |it| {
                it.request.as_mut().unwrap().request_id = "ä".repeat(100);
                let response = it.response.as_mut().unwrap();
                response.response_headers.insert("content-encoding".to_owned(), "gzip".to_owned());
                response.response_trailers.insert("grpc-status".to_owned(), "14".to_owned());
            }),
            |_| false,
        )
        .unwrap();
        assert_eq!((line.key.request.len(), line.answer.size, line.answer.grpc), (128, None, Some(14)));
    }
}
