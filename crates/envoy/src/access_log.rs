//! Access logs in Istio's two formats, to files and to services.

use std::sync::Arc;
use std::time::Duration;

use umbra_ir::{
    AccessLog, AccessLogFormat, Arrangement, Endpoint, Locality, LogProtocol, LogService, MARK_HEADER,
    Settings,
};
use umbra_proto::envoy::config::accesslog::v3::{
    self as api, access_log::ConfigType, access_log_filter::FilterSpecifier,
};
use umbra_proto::envoy::config::cluster::v3::{
    self as cluster,
    cluster::{ClusterDiscoveryType, DiscoveryType, DnsLookupFamily},
};
use umbra_proto::envoy::config::core::v3::{
    ApiVersion, DataSource, GrpcService, SubstitutionFormatString,
    data_source::Specifier,
    grpc_service::{EnvoyGrpc, TargetSpecifier},
    substitution_format_string::Format,
};
use umbra_proto::envoy::config::route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier};
use umbra_proto::envoy::extensions::access_loggers::file::v3::{
    FileAccessLog, file_access_log::AccessLogFormat as FileFormat,
};
use umbra_proto::envoy::extensions::access_loggers::grpc::v3::{
    CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig,
};
use umbra_proto::envoy::extensions::access_loggers::open_telemetry::v3::OpenTelemetryAccessLogConfig;
use umbra_proto::google::protobuf::Any;
use umbra_proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue, KeyValueList, any_value};
use umbra_proto::pack_any;

use crate::convert::{boolean, duration, structure, text_value};
use crate::http_options::http2;
use crate::load_assignment::load_assignment;
use crate::{Built, Requirement};

/// The cluster of the service that access logs are sent to.
pub const LOG_CLUSTER: &str = "umbra-access-log";

/// Key and Envoy's command operator, for the JSON format.
const JSON: [(&str, &str); 24] = [
    ("authority", "%REQ(:AUTHORITY)%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("duration", "%DURATION%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("route_name", "%ROUTE_NAME%"),
    ("start_time", "%START_TIME%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
];

/// The same in one line of text: the order that people's parsers know.
const TEXT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" ",
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% ",
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ",
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER% ",
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% ",
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%",
);

/// What lines of copies have beside that: of which mirror they are.
const SHADOW: (&str, &str) = ("shadow", "%REQ(X-SHADOW)%");

/// The fields of a line in JSON.
fn fields(traffic: Traffic) -> impl Iterator<Item = (&'static str, &'static str)> {
    JSON.into_iter().chain((traffic == Traffic::Copies).then_some(SHADOW))
}

/// A line in text.
fn text_line(traffic: Traffic) -> String {
    match traffic {
        Traffic::Copies => format!("{TEXT} \"{}\"", SHADOW.1),
        Traffic::Http | Traffic::Bytes => TEXT.to_owned(),
    }
}

/// What is logged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// Requests.
    Http,
    /// Connections.
    Bytes,
    /// Copies of requests.
    Copies,
}

/// The logs of a listener. They have a line for each request or connection, none for copies.
pub(crate) fn access_logs(settings: &Settings, traffic: Traffic) -> Vec<api::AccessLog> {
    settings.access_log.iter().flat_map(|log| logs(log, traffic)).collect()
}

fn logs(log: &AccessLog, traffic: Traffic) -> Vec<api::AccessLog> {
    let file = log.path.as_ref().map(|path| file_log(path, log.format, traffic));
    let service = log.service.as_ref().map(|service| service_log(service, log.format, traffic));
    file.into_iter().chain(service).collect()
}

/// The logs of the router: a line for each marked copy, in the same places. Envoy writes none for copies anywhere else.
///
/// Never give its filter anything that reads addresses: a copy has no connection of its own to read them of, and Envoy 1.40 ends.
pub(crate) fn copies_logs(settings: &Settings) -> Vec<api::AccessLog> {
    let Some(log) = settings.access_log.as_ref().filter(|log| log.copies) else { return Vec::new() };
    let marked = |log| api::AccessLog { filter: Some(is_marked()), ..log };
    logs(log, Traffic::Copies).into_iter().map(marked).collect()
}

/// What is sent with a mark: a copy, or a request by a rule without marked copies whose caller wrote one. The cluster of the line
/// tells which.
fn is_marked() -> api::AccessLogFilter {
    let header = HeaderMatcher {
        name: MARK_HEADER.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::PresentMatch(true)),
        ..Default::default()
    };
    api::AccessLogFilter {
        filter_specifier: Some(FilterSpecifier::HeaderFilter(api::HeaderFilter { header: Some(header) })),
    }
}

/// The cluster without which Envoy takes no listener that logs to a service.
pub(crate) fn log_requirement(settings: &Settings) -> Option<Requirement> {
    settings.access_log.as_ref()?.service.as_ref().map(|_| Requirement::Cluster(LOG_CLUSTER.into()))
}

fn named(name: &str, config: Any) -> api::AccessLog {
    api::AccessLog {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

/// A log file on the proxy's machine.
fn file_log(path: &str, format: AccessLogFormat, traffic: Traffic) -> api::AccessLog {
    let format = match format {
        AccessLogFormat::Json => Format::JsonFormat(structure(
            fields(traffic).map(|(key, operator)| (key.to_owned(), text_value(operator))),
        )),
        AccessLogFormat::Text => Format::TextFormatSource(DataSource {
            specifier: Some(Specifier::InlineString(format!("{}\n", text_line(traffic)))),
            ..Default::default()
        }),
    };
    let format = SubstitutionFormatString { format: Some(format), ..Default::default() };
    let file =
        FileAccessLog { path: path.to_owned(), access_log_format: Some(FileFormat::LogFormat(format)) };
    named("envoy.access_loggers.file", pack_any(&file))
}

/// What is sent to a service: Envoy's own messages, or OpenTelemetry's, whose line is as that of a file.
fn service_log(service: &LogService, format: AccessLogFormat, traffic: Traffic) -> api::AccessLog {
    let grpc = GrpcService {
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
            cluster_name: LOG_CLUSTER.to_owned(),
            ..Default::default()
        })),
        ..Default::default()
    };
    let log_name = service.log_name.to_string();
    if service.protocol == LogProtocol::OpenTelemetry {
        let log = opentelemetry(grpc, log_name, format, traffic);
        return named("envoy.access_loggers.open_telemetry", pack_any(&log));
    }
    let common = CommonGrpcAccessLogConfig {
        log_name,
        grpc_service: Some(grpc),
        transport_api_version: ApiVersion::V3.into(),
        ..Default::default()
    };
    match traffic {
        Traffic::Http | Traffic::Copies => {
            // Envoy's own messages name few headers of a request, and not this one, unless asked.
            let marked = (traffic == Traffic::Copies).then(|| MARK_HEADER.to_owned());
            let log = HttpGrpcAccessLogConfig {
                common_config: Some(common),
                additional_request_headers_to_log: marked.into_iter().collect(),
                ..Default::default()
            };
            named("envoy.access_loggers.http_grpc", pack_any(&log))
        }
        Traffic::Bytes => {
            let log = TcpGrpcAccessLogConfig { common_config: Some(common) };
            named("envoy.access_loggers.tcp_grpc", pack_any(&log))
        }
    }
}

fn opentelemetry(
    grpc: GrpcService,
    log_name: String,
    format: AccessLogFormat,
    traffic: Traffic,
) -> OpenTelemetryAccessLogConfig {
    let mut log = OpenTelemetryAccessLogConfig { grpc_service: Some(grpc), log_name, ..Default::default() };
    match format {
        AccessLogFormat::Text => log.body = Some(otel_text(&text_line(traffic))),
        AccessLogFormat::Json => {
            let values = fields(traffic).map(|(key, operator)| KeyValue {
                key: key.to_owned(),
                value: Some(otel_text(operator)),
                ..Default::default()
            });
            log.attributes = Some(KeyValueList { values: values.collect() });
        }
    }
    log
}

fn otel_text(text: &str) -> AnyValue {
    AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) }
}

/// The cluster of the service that access logs are sent to: whatever DNS says of its name, HTTP/2 without TLS. What cannot be sent is
/// dropped: nothing waits for it.
pub fn build_log_cluster(service: &LogService) -> Built {
    let endpoint = Endpoint {
        address: service.host.clone(),
        port: service.port.get(),
        locality: Locality::default(),
        weight: 1,
        labels: Arc::default(),
        workload: None,
    };
    let message = cluster::Cluster {
        name: LOG_CLUSTER.to_owned(),
        connect_timeout: Some(duration(Duration::from_secs(10))),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::StrictDns.into())),
        dns_lookup_family: DnsLookupFamily::V4Preferred.into(),
        load_assignment: Some(load_assignment(LOG_CLUSTER, &[endpoint], &Arrangement::default())),
        // A name that no DNS server answers must hold up nothing.
        wait_for_warm_on_init: Some(boolean(false)),
        typed_extension_protocol_options: http2(),
        ..Default::default()
    };
    Built::new(LOG_CLUSTER.into(), &message, Vec::new())
}
