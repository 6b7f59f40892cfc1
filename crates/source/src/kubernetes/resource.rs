//! How the API server names the kinds that umbra reads.

use umbra_ir::{Kind, KindFacts};

/// A kind as the API server knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resource {
    /// Which.
    pub(crate) kind: Kind,
    facts: &'static KindFacts,
}

impl Resource {
    pub(crate) fn of(kind: Kind) -> Self {
        Resource { kind, facts: kind.facts() }
    }

    /// The versions we read, the one we like best first.
    pub(crate) fn versions(&self) -> &'static [&'static str] {
        self.facts.versions
    }

    /// API group; empty for core.
    pub(crate) fn group(&self) -> &'static str {
        self.facts.group
    }

    /// As paths and RBAC rules spell it.
    pub(crate) fn plural(&self) -> &'static str {
        self.facts.plural
    }

    /// True for the kinds that a CRD defines, and that a label selector limits.
    pub(crate) fn is_defined(&self) -> bool {
        self.kind.is_defined()
    }

    /// `apiVersion` of its objects.
    pub(crate) fn api_version(&self, version: &str) -> String {
        self.kind.api_version(version)
    }

    /// Path of the collection, in one namespace or in all of them.
    pub(crate) fn path(&self, version: &str, namespace: Option<&str>) -> String {
        let root = if self.group().is_empty() { "/api" } else { "/apis" };
        let namespace = namespace.map_or(String::new(), |name| format!("/namespaces/{name}"));
        format!("{root}/{}{namespace}/{}", self.api_version(version), self.plural())
    }

    /// The RBAC rule that allows `verb`, as a person has to write it.
    pub(crate) fn rule(&self, verb: &str, namespace: Option<&str>) -> String {
        let role = match namespace {
            Some(namespace) => format!("Role in namespace {namespace}"),
            None => "ClusterRole".to_owned(),
        };
        format!(
            "verb \"{verb}\" on resource \"{}\" of apiGroup \"{}\" in the {role}",
            self.plural(),
            self.group()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (kind, version, namespace, want) in [
            (Kind::Pod, "v1", None, "/api/v1/pods"),
            (Kind::Pod, "v1", Some("shop"), "/api/v1/namespaces/shop/pods"),
            (Kind::EndpointSlice, "v1", None, "/apis/discovery.k8s.io/v1/endpointslices"),
            (
                Kind::VirtualService,
                "v1alpha3",
                Some("shop"),
                "/apis/networking.istio.io/v1alpha3/namespaces/shop/virtualservices",
            ),
            (Kind::ServiceEntry, "v1", None, "/apis/networking.istio.io/v1/serviceentries"),
        ] {
            assert_eq!(Resource::of(kind).path(version, namespace), want);
        }
    }

    #[test]
    fn rules() {
        assert_eq!(
            Resource::of(Kind::Gateway).rule("watch", None),
            "verb \"watch\" on resource \"gateways\" of apiGroup \"networking.istio.io\" in the ClusterRole"
        );
        assert_eq!(
            Resource::of(Kind::Pod).rule("list", Some("shop")),
            "verb \"list\" on resource \"pods\" of apiGroup \"\" in the Role in namespace shop"
        );
    }
}
