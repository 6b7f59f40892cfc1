//! The labels and annotations by which people decide. They are Istio's, so that manifests and habits stay.

/// Label or annotation of a Pod, `true` or `false`: the label wins.
pub const INJECT: &str = "sidecar.istio.io/inject";
/// Annotation that injection writes: what was added, as JSON.
pub const STATUS: &str = "sidecar.istio.io/status";
/// Annotation: `REDIRECT` or `NONE`.
pub const INTERCEPTION_MODE: &str = "sidecar.istio.io/interceptionMode";
/// Annotation: what leaves through the sidecar, as CIDRs; `*` is everything.
pub const INCLUDE_IP_RANGES: &str = "traffic.sidecar.istio.io/includeOutboundIPRanges";
/// Annotation: what does not, although it is included.
pub const EXCLUDE_IP_RANGES: &str = "traffic.sidecar.istio.io/excludeOutboundIPRanges";
/// Annotation: ports that leave through the sidecar wherever they lead.
pub const INCLUDE_PORTS: &str = "traffic.sidecar.istio.io/includeOutboundPorts";
/// Annotation: ports that never do.
pub const EXCLUDE_PORTS: &str = "traffic.sidecar.istio.io/excludeOutboundPorts";
/// Annotation: network interfaces whose calls never do.
pub const EXCLUDE_INTERFACES: &str = "traffic.sidecar.istio.io/excludeInterfaces";
/// Annotation: the image of the sidecar.
pub const PROXY_IMAGE: &str = "sidecar.istio.io/proxyImage";
/// Annotation: what the sidecar asks for.
pub const PROXY_CPU: &str = "sidecar.istio.io/proxyCPU";
/// Annotation: its limit.
pub const PROXY_CPU_LIMIT: &str = "sidecar.istio.io/proxyCPULimit";
/// Annotation: memory that it asks for.
pub const PROXY_MEMORY: &str = "sidecar.istio.io/proxyMemory";
/// Annotation: its limit of memory.
pub const PROXY_MEMORY_LIMIT: &str = "sidecar.istio.io/proxyMemoryLimit";
/// Annotation: Envoy's log level.
pub const LOG_LEVEL: &str = "sidecar.istio.io/logLevel";
/// Annotation: the log levels of Envoy's components.
pub const COMPONENT_LOG_LEVEL: &str = "sidecar.istio.io/componentLogLevel";
/// Annotation: `true` or `false`, whether the sidecar is an init container that goes on.
pub const NATIVE_SIDECAR: &str = "sidecar.istio.io/nativeSidecar";
/// Annotation: settings of the proxy, as YAML.
pub const PROXY_CONFIG: &str = "proxy.istio.io/config";
/// Label that injection writes: by what name the workload is known.
pub const CANONICAL_NAME: &str = "service.istio.io/canonical-name";
/// Label that injection writes: its version.
pub const CANONICAL_REVISION: &str = "service.istio.io/canonical-revision";
/// Annotation: the container of `kubectl exec` and `kubectl logs`.
pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// The value of the label `istio.io/rev` that asks for umbra's sidecars, unless the chart says otherwise.
pub const REVISION: &str = "umbra";

/// Namespaces whose Pods are never given a sidecar.
pub const SYSTEM_NAMESPACES: [&str; 4] =
    ["kube-system", "kube-public", "kube-node-lease", "local-path-storage"];

/// The container that prepares the Pod.
pub const INIT_CONTAINER: &str = "istio-init";
/// The sidecar.
pub const PROXY_CONTAINER: &str = "istio-proxy";
/// The audience of the token by which a sidecar proves who it is.
pub const TOKEN_AUDIENCE: &str = "umbra";

/// Annotations that are acted on, or whose aim holds without acting.
pub(crate) const KNOWN: [&str; 18] = [
    INJECT,
    STATUS,
    INTERCEPTION_MODE,
    INCLUDE_IP_RANGES,
    EXCLUDE_IP_RANGES,
    INCLUDE_PORTS,
    EXCLUDE_PORTS,
    EXCLUDE_INTERFACES,
    PROXY_IMAGE,
    PROXY_CPU,
    PROXY_CPU_LIMIT,
    PROXY_MEMORY,
    PROXY_MEMORY_LIMIT,
    LOG_LEVEL,
    COMPONENT_LOG_LEVEL,
    NATIVE_SIDECAR,
    PROXY_CONFIG,
    // Nothing is captured inbound, so that no probe has to be rewritten.
    "sidecar.istio.io/rewriteAppHTTPProbers",
];

/// Whether an annotation is addressed to an injector.
pub(crate) fn is_ours(name: &str) -> bool {
    let domain = name.split('/').next().unwrap_or_default();
    domain == "inject.istio.io" || domain == "sidecar.istio.io" || domain.ends_with(".sidecar.istio.io")
}
