//! `sidecar/NS/k=v[,k=v]`: a proxy as people write it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};
use umbra_ir::ProxyKind;

/// A proxy as the command line names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ProxySpec {
    pub(crate) kind: ProxyKind,
    pub(crate) namespace: String,
    pub(crate) labels: BTreeMap<String, String>,
}

impl FromStr for ProxySpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!("{text:?} is no proxy: {why}; expected sidecar/NAMESPACE[/LABEL=VALUE,...] or router/...")
        };
        // Label keys may hold a slash: app.kubernetes.io/name.
        let mut parts = text.splitn(3, '/');
        let kind = match parts.next() {
            Some("sidecar") => ProxyKind::Sidecar,
            Some("router") => ProxyKind::Router,
            other => return Err(wrong(&format!("its kind is {:?}", other.unwrap_or_default()))),
        };
        let namespace =
            parts.next().filter(|ns| !ns.is_empty()).ok_or_else(|| wrong("it has no namespace"))?;
        let mut labels = BTreeMap::new();
        for label in parts.next().unwrap_or_default().split(',').filter(|label| !label.is_empty()) {
            let (key, value) = label.split_once('=').ok_or_else(|| wrong(&format!("{label:?} has no =")))?;
            if labels.insert(key.trim().to_owned(), value.trim().to_owned()).is_some() {
                return Err(wrong(&format!("the label {key:?} is given twice")));
            }
        }
        Ok(ProxySpec { kind, namespace: namespace.to_owned(), labels })
    }
}

impl fmt::Display for ProxySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.namespace)?;
        let labels: Vec<_> = self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        if labels.is_empty() { Ok(()) } else { write!(f, "/{}", labels.join(",")) }
    }
}

impl ProxySpec {
    /// The metadata that such a proxy's node has, as `umbra bootstrap` writes them.
    pub(crate) fn metadata(&self) -> Value {
        let kind = match self.kind {
            ProxyKind::Sidecar => json!({ "INTERCEPTION_MODE": "NONE" }),
            ProxyKind::Router => json!({ "PROXY_TYPE": "router" }),
        };
        let mut metadata = json!({ "NAMESPACE": self.namespace, "LABELS": self.labels });
        if let (Value::Object(all), Value::Object(kind)) = (&mut metadata, kind) {
            all.extend(kind);
        }
        metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, namespace, labels) in [
            ("sidecar/default", "default", &[][..]),
            ("sidecar/default/", "default", &[]),
            ("router/istio-system/istio=ingressgateway", "istio-system", &[("istio", "ingressgateway")]),
            ("sidecar/a/app=b,x=", "a", &[("app", "b"), ("x", "")]),
            ("sidecar/a/app.kubernetes.io/name=b=c", "a", &[("app.kubernetes.io/name", "b=c")]),
        ] {
            let spec: ProxySpec = text.parse().unwrap();
            let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            assert_eq!((spec.namespace.as_str(), &spec.labels), (namespace, &labels), "{text}");
            let node = umbra_istio::parse_node("", &spec.metadata()).unwrap();
            assert_eq!(
                (node.kind, &*node.namespace, node.labels),
                (spec.kind, namespace, Some(labels)),
                "{text}"
            );
        }
        for (text, part) in [
            ("", "kind"),
            ("waypoint/a", "waypoint"),
            ("sidecar", "no namespace"),
            ("sidecar//a=b", "no namespace"),
            ("sidecar/a/b", "has no ="),
            ("sidecar/a/b=1,b=2", "twice"),
        ] {
            assert!(text.parse::<ProxySpec>().unwrap_err().contains(part), "{text}");
        }
    }
}
