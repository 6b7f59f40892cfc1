//! Which documents are ours: API groups, versions and kinds.

use umbra_ir::Kind;

use crate::codes;
use crate::suggest::did_you_mean;

/// Istio's networking group; its three versions share one schema.
const ISTIO: &str = "networking.istio.io";
const ISTIO_VERSIONS: &[&str] = &["v1alpha3", "v1beta1", "v1"];

/// What to do with a document.
pub(crate) enum Class {
    /// Ours.
    Read(Kind),
    /// Our kind, in a version that we don't know.
    Refused(Kind, String),
    /// Not read, but its author should know that: code and message.
    Noted(&'static str, String),
    /// Somebody else's: passed over in silence.
    Foreign,
}

impl Class {
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Class::Read(_) | Class::Refused(..))
    }
}

/// The group in which we read a kind (empty: core), and its versions.
fn home(kind: Kind) -> (&'static str, &'static [&'static str]) {
    match kind {
        Kind::VirtualService | Kind::DestinationRule | Kind::ServiceEntry | Kind::Gateway => {
            (ISTIO, ISTIO_VERSIONS)
        }
        Kind::EndpointSlice => ("discovery.k8s.io", &["v1"]),
        Kind::Service | Kind::Pod | Kind::Namespace | Kind::Node => ("", &["v1"]),
    }
}

/// Decides by `apiVersion` and `kind`.
pub(crate) fn classify(api_version: &str, kind: &str) -> Class {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let Some(ours) = Kind::ALL.into_iter().find(|k| k.as_str() == kind) else {
        return other(group, kind);
    };
    let (home, versions) = home(ours);
    if api_version.is_empty() {
        return Class::Refused(
            ours,
            format!("apiVersion is missing, expected {}; not accepted", join(home, versions[0])),
        );
    }
    if group != home {
        return Class::Foreign;
    }
    if versions.contains(&version) {
        return Class::Read(ours);
    }
    let known: Vec<String> = versions.iter().map(|v| join(home, v)).collect();
    Class::Refused(
        ours,
        format!("unknown version {api_version}, expected {}; not accepted", known.join(", ")),
    )
}

fn join(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// Kinds that are not ours but stand where an author may expect an effect.
fn other(group: &str, kind: &str) -> Class {
    let consequence = match (group, kind) {
        (ISTIO, "Sidecar") => "every proxy sees every visible service",
        (ISTIO, "WorkloadEntry") => "no service gets it as an endpoint",
        (ISTIO, "WorkloadGroup") => "no workload is registered by it",
        (ISTIO, "EnvoyFilter") => "no configuration is patched by it",
        (ISTIO, "ProxyConfig") => "no proxy is configured by it",
        ("", "Endpoints") => "its addresses are not used; write an EndpointSlice",
        (ISTIO, _) => {
            let kinds = ["VirtualService", "DestinationRule", "ServiceEntry", "Gateway"];
            let hint = did_you_mean(kind, &kinds);
            return Class::Noted(codes::UNKNOWN_KIND, format!("{ISTIO} has no such kind, passed over{hint}"));
        }
        _ => return Class::Foreign,
    };
    Class::Noted(codes::NOT_ACTED_ON, format!("accepted, not acted on yet: {consequence}"))
}
