//! The kinds of objects that umbra reads: one table, from which everything else about them follows.

use std::fmt;

use serde::Serialize;

/// Istio's networking group.
pub const ISTIO_GROUP: &str = "networking.istio.io";

/// Our own group.
pub const UMBRA_GROUP: &str = "umbra.io";

/// What is to be known of a kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KindFacts {
    /// API group; empty for core.
    pub group: &'static str,
    /// The versions that we read, which share one schema; the one we like best first.
    pub versions: &'static [&'static str],
    /// As paths and RBAC rules spell it.
    pub plural: &'static str,
    /// As kubectl abbreviates it; empty: not at all.
    pub short: &'static str,
    /// Belongs to a namespace, not to the cluster.
    pub namespaced: bool,
    /// We write its status, and it can be live on a proxy.
    pub status: bool,
    /// People write it and are told what becomes of it. Pods, slices and nodes are written by machines and are many.
    pub reported: bool,
    /// Never listed: each is asked for by its name.
    pub by_name: bool,
}

/// A kind of Istio's.
const fn istio(plural: &'static str, short: &'static str) -> KindFacts {
    KindFacts {
        group: ISTIO_GROUP,
        versions: &["v1", "v1beta1", "v1alpha3"],
        plural,
        short,
        namespaced: true,
        status: true,
        reported: true,
        by_name: false,
    }
}

/// A kind of Kubernetes' own.
const fn kubernetes(group: &'static str, plural: &'static str) -> KindFacts {
    KindFacts {
        group,
        versions: &["v1"],
        plural,
        short: "",
        namespaced: true,
        status: false,
        reported: false,
        by_name: false,
    }
}

/// Declares the kinds and what is to be known of each.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $facts:expr;)*) => {
        /// The kinds umbra reads, in the order in which listings show them.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
        pub enum Kind {
            $($(#[$doc])* $name,)*
        }

        impl Kind {
            /// Every kind, in order.
            pub const ALL: &[Kind] = &[$(Kind::$name,)*];

            /// The `kind` field of its manifests.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Kind::$name => stringify!($name),)*
                }
            }

            /// What is to be known of it.
            pub const fn facts(self) -> &'static KindFacts {
                match self {
                    $(Kind::$name => const { &$facts },)*
                }
            }
        }
    };
}

kinds! {
    /// `networking.istio.io` VirtualService.
    VirtualService = istio("virtualservices", "vs");
    /// `networking.istio.io` DestinationRule.
    DestinationRule = istio("destinationrules", "dr");
    /// `networking.istio.io` ServiceEntry.
    ServiceEntry = istio("serviceentries", "se");
    /// `networking.istio.io` Gateway.
    Gateway = istio("gateways", "gw");
    /// `networking.istio.io` WorkloadEntry. Nothing that is live on a proxy by itself: ServiceEntries take it as an endpoint.
    WorkloadEntry = KindFacts { status: false, ..istio("workloadentries", "we") };
    /// `networking.istio.io` Sidecar. Nothing that is live on a proxy by itself: it says what its proxies see.
    Sidecar = KindFacts { status: false, ..istio("sidecars", "") };
    /// `umbra.io` MirrorPolicy: what becomes of the copies of a VirtualService's mirrors.
    MirrorPolicy = KindFacts { group: UMBRA_GROUP, versions: &["v1alpha1"], ..istio("mirrorpolicies", "mp") };
    /// core Service.
    Service = KindFacts { reported: true, ..kubernetes("", "services") };
    /// `discovery.k8s.io` EndpointSlice.
    EndpointSlice = kubernetes("discovery.k8s.io", "endpointslices");
    /// core Pod.
    Pod = kubernetes("", "pods");
    /// core Secret: only those that a Gateway names are read of a cluster, each by its name.
    Secret = KindFacts { by_name: true, ..kubernetes("", "secrets") };
    /// core Namespace.
    Namespace = KindFacts { namespaced: false, ..kubernetes("", "namespaces") };
    /// core Node.
    Node = KindFacts { namespaced: false, ..kubernetes("", "nodes") };
}

impl Kind {
    /// The kind with this group and `kind` field.
    pub fn find(group: &str, kind: &str) -> Option<Kind> {
        Kind::all().find(|it| it.facts().group == group && it.as_str() == kind)
    }

    /// Every kind, in order.
    pub fn all() -> impl Iterator<Item = Kind> {
        Kind::ALL.iter().copied()
    }

    /// Whether it is one of Istio's.
    pub fn is_istio(self) -> bool {
        self.facts().group == ISTIO_GROUP
    }

    /// Whether a CRD defines it: one of Istio's, or our own.
    pub fn is_defined(self) -> bool {
        self.is_istio() || self.facts().group == UMBRA_GROUP
    }

    /// Namespaces and Nodes belong to the cluster, everything else to a namespace.
    pub fn is_namespaced(self) -> bool {
        self.facts().namespaced
    }

    /// The `apiVersion` field of its manifests in a version.
    pub fn api_version(self, version: &str) -> String {
        match self.facts().group {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        }
    }

    /// Whether people and kubectl call it so, without case: by its name, its plural or its short name, and maybe its
    /// group behind a dot, as `kubectl get -o name` says it.
    pub fn is_called(self, text: &str) -> bool {
        let KindFacts { group, plural, short, .. } = *self.facts();
        let (name, of) = text.split_once('.').unwrap_or((text, group));
        let names = [self.as_str(), plural, short];
        of.eq_ignore_ascii_case(group)
            && names.iter().any(|it| !it.is_empty() && it.eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_known_by_its_group_too() {
        for (group, kind, want) in [
            (ISTIO_GROUP, "Gateway", Some(Kind::Gateway)),
            ("gateway.networking.k8s.io", "Gateway", None),
            (UMBRA_GROUP, "MirrorPolicy", Some(Kind::MirrorPolicy)),
            ("", "Service", Some(Kind::Service)),
            ("serving.knative.dev", "Service", None),
            ("", "service", None),
        ] {
            assert_eq!(Kind::find(group, kind), want, "{group}/{kind}");
        }
    }

    #[test]
    fn what_people_call_a_kind() {
        for (text, want) in [
            ("VirtualService", true),
            ("virtualservices", true),
            ("VS", true),
            ("virtualservice.networking.istio.io", true),
            ("virtualservice.example.com", false),
            ("virtual", false),
            ("", false),
        ] {
            assert_eq!(Kind::VirtualService.is_called(text), want, "{text}");
        }
        assert!(!Kind::Pod.is_called(""));
    }
}
