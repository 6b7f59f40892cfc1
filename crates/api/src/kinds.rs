//! Which documents are ours: API groups, versions and kinds.

use umbra_ir::{Code, ISTIO_GROUP, Kind, UMBRA_GROUP};

use crate::suggest::did_you_mean;

/// What to do with a document.
pub(crate) enum Class {
    /// Ours.
    Read(Kind),
    /// Our kind, in a version that we don't know.
    Refused(Kind, String),
    /// Not read, but its author should know that: code and message.
    Noted(Code, String),
    /// Somebody else's: passed over in silence.
    Foreign,
}

impl Class {
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Class::Read(_) | Class::Refused(..))
    }
}

/// Decides by `apiVersion` and `kind`.
pub(crate) fn classify(api_version: &str, kind: &str) -> Class {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    if api_version.is_empty()
        && let Some(ours) = Kind::all().find(|it| it.as_str() == kind)
    {
        let expected = ours.api_version(ours.facts().versions[0]);
        return Class::Refused(ours, format!("apiVersion is missing, expected {expected}; not accepted"));
    }
    let Some(ours) = Kind::find(group, kind) else { return other(group, kind) };
    let versions = ours.facts().versions;
    if versions.contains(&version) {
        return Class::Read(ours);
    }
    let known: Vec<String> = versions.iter().map(|it| ours.api_version(it)).collect();
    Class::Refused(
        ours,
        format!("unknown version {api_version}, expected {}; not accepted", known.join(", ")),
    )
}

/// Kinds that are not ours but stand where an author may expect an effect.
fn other(group: &str, kind: &str) -> Class {
    let consequence = match (group, kind) {
        (ISTIO_GROUP, "WorkloadGroup") => "no workload is registered by it",
        (ISTIO_GROUP, "EnvoyFilter") => "no configuration is patched by it",
        (ISTIO_GROUP, "ProxyConfig") => "no proxy is configured by it",
        ("", "Endpoints") => "its addresses are not used; write an EndpointSlice",
        (ISTIO_GROUP | UMBRA_GROUP, _) => {
            let kinds = Kind::all().filter(|it| it.facts().group == group).map(Kind::as_str);
            let hint = did_you_mean(kind, &kinds.collect::<Vec<_>>());
            return Class::Noted(Code::UnknownKind, format!("{group} has no such kind, passed over{hint}"));
        }
        _ => return Class::Foreign,
    };
    Class::Noted(Code::NotActedOn, format!("accepted, not acted on yet: {consequence}"))
}
