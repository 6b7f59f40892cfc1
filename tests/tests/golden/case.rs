//! A case as it is written down.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use umbra_api::{Object, parse_documents};
use umbra_ir::{Diagnostic, Interception, Judges, ProxyKind, ProxyNode, Settings};
use umbra_server::config::Config;

/// One folder.
pub(crate) struct Case {
    /// The objects, in the order written.
    pub(crate) objects: Vec<Arc<Object>>,
    /// What reading them said.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Mesh-wide settings.
    pub(crate) settings: Settings,
    /// For whom; never empty.
    pub(crate) proxies: Vec<Proxy>,
}

/// A proxy that gets the configuration.
pub(crate) struct Proxy {
    /// What its node says.
    pub(crate) node: ProxyNode,
    /// Whether it has subscribed to the runtime layer.
    pub(crate) rtds: bool,
}

impl Case {
    pub(crate) fn read(folder: &Path) -> Result<Case> {
        let text = std::fs::read_to_string(folder.join("input.yaml")).context("input.yaml")?;
        ensure!(text.starts_with("# "), "input.yaml begins with a comment that says what must come out");
        let parsed = parse_documents(&text, "input.yaml");
        let wanted = text.lines().filter_map(|line| line.strip_prefix("# proxy: "));
        let mut proxies = wanted.map(Proxy::parse).collect::<Result<Vec<_>>>()?;
        if proxies.is_empty() {
            proxies.push(Proxy::parse("sidecar/default")?);
        }
        let settings = folder.join("umbra.yaml");
        let settings = Config::load(settings.exists().then_some(settings.as_path()))?.settings;
        let objects = parsed.objects.into_iter().map(|located| Arc::new(located.value)).collect();
        Ok(Case { objects, diagnostics: parsed.diagnostics, settings, proxies })
    }

    /// The file for what a proxy gets: one for all cases with one proxy, else named after the proxy.
    pub(crate) fn file(&self, proxy: &Proxy) -> String {
        if self.proxies.len() == 1 {
            return "envoy.yaml".to_owned();
        }
        format!("{}.yaml", proxy.to_string().replace(['/', ' ', '=', ','], "-"))
    }
}

impl Proxy {
    /// `KIND/NAMESPACE[/k=v,…][ captured[ with ipv6]][ with http10][ with hosts][ of 1.35][ without rtds]`.
    /// `KIND/NAMESPACE[/k=v,…][ captured[ with ipv6]][ with http10][ with hosts][ judged[ with contents]][ of 1.35][ without rtds]`.
    fn parse(text: &str) -> Result<Proxy> {
        let (address, rtds) = match text.trim().strip_suffix(" without rtds") {
            Some(address) => (address, false),
            None => (text.trim(), true),
        };
        let (address, edits_copies) = match address.strip_suffix(" of 1.35") {
            Some(address) => (address, false),
            None => (address, true),
        };
        let (address, judges) = match address.split_once(" judged") {
            Some((address, " with contents")) => (address, Judges::Bodies),
            Some((address, _)) => (address, Judges::Lines),
            None => (address, Judges::Nothing),
        };
        let (address, takes_hosts) = match address.strip_suffix(" with hosts") {
            Some(address) => (address, true),
            None => (address, false),
        };
        let (address, http10) = match address.strip_suffix(" with http10") {
            Some(address) => (address, true),
            None => (address, false),
        };
        let (address, interception) = match address.split_once(" captured") {
            Some((address, family)) => (address, Interception::Redirect { ipv6: family == " with ipv6" }),
            None => (address, Interception::None),
        };
        let mut parts = address.splitn(3, '/');
        let kind = match parts.next() {
            Some("sidecar") => ProxyKind::Sidecar,
            Some("router") => ProxyKind::Router,
            _ => bail!("{text:?} is no proxy"),
        };
        let namespace = parts.next().with_context(|| format!("{text:?} names no namespace"))?;
        let labels = parts.next().unwrap_or_default().split(',').filter_map(|pair| pair.split_once('='));
        let node = ProxyNode {
            kind,
            namespace: namespace.into(),
            pod: None,
            labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()),
            unprivileged: false,
            trusted_proxies: None,
            interception,
            locality: None,
            takes_hosts,
            edits_copies,
            may_have_keys: true,
            http10,
            judges,
        };
        Ok(Proxy { node, rtds })
    }

    fn labels(&self) -> BTreeMap<String, String> {
        self.node.labels.clone().unwrap_or_default()
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node.kind.as_str(), self.node.namespace)?;
        for (index, (key, value)) in self.labels().iter().enumerate() {
            write!(f, "{}{key}={value}", if index == 0 { "/" } else { "," })?;
        }
        match self.node.interception {
            Interception::None => {}
            Interception::Redirect { ipv6: false } => f.write_str(" captured")?,
            Interception::Redirect { ipv6: true } => f.write_str(" captured with ipv6")?,
        }
        if self.node.http10 {
            f.write_str(" with http10")?;
        }
        if self.node.takes_hosts {
            f.write_str(" with hosts")?;
        }
        match self.node.judges {
            Judges::Nothing => {}
            Judges::Lines => f.write_str(" judged")?,
            Judges::Bodies => f.write_str(" judged with contents")?,
        }
        if !self.node.edits_copies {
            f.write_str(" of 1.35")?;
        }
        if self.rtds { Ok(()) } else { f.write_str(" without rtds") }
    }
}
