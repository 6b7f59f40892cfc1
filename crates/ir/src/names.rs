//! Checked names. Each is parsed once, at the edge, and then cannot be confused with another.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A host name or wildcard (`*`, `*.example.com`), in lower case: host names compare without case.
///
/// The spelling that output uses is the defining object's ([`crate::ClusterRef::spelling`]); this type
/// is identity only. Syntax is not judged (`docs/compatibility.md`).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hostname(Arc<str>);

impl Hostname {
    /// Lowers the case of `text`; nothing else is changed.
    pub fn new(text: &str) -> Self {
        Hostname(text.to_ascii_lowercase().into())
    }

    /// The lower-case text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True when the first byte is `*`, so also for `*-foo.com` (istio `pkg/config/host/name.go`).
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with('*')
    }

    /// Symmetric overlap: whether some host is covered by both names.
    pub fn matches(&self, other: &Hostname) -> bool {
        match (self.is_wildcard(), other.is_wildcard()) {
            (false, false) => self == other,
            (true, false) => other.0.ends_with(&self.0[1..]),
            (false, true) => self.0.ends_with(&other.0[1..]),
            (true, true) => {
                let (long, short) = if self.0.len() >= other.0.len() { (self, other) } else { (other, self) };
                long.0.ends_with(&short.0[1..])
            }
        }
    }

    /// Whether every host that `self` covers is covered by `other`.
    pub fn subset_of(&self, other: &Hostname) -> bool {
        match (self.is_wildcard(), other.is_wildcard()) {
            (false, false) => self == other,
            (false, true) => self.0.ends_with(&other.0[1..]),
            (true, false) => false,
            (true, true) => self.0.len() >= other.0.len() && self.0.ends_with(&other.0[1..]),
        }
    }

    /// Sort key by specificity: exact names first, then longer wildcards, then by bytes.
    pub fn specificity(&self) -> (bool, std::cmp::Reverse<usize>, &str) {
        (self.is_wildcard(), std::cmp::Reverse(self.0.len()), &self.0)
    }
}

impl Borrow<str> for Hostname {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl Serialize for Hostname {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A TCP port from 1 to 65535.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct PortNumber(u16);

impl PortNumber {
    /// What stands for the port where there is none: a socket of the Unix domain is listened on.
    pub const NONE: PortNumber = PortNumber(0);

    /// `None` outside 1..=65535.
    pub fn new(number: i64) -> Option<Self> {
        u16::try_from(number).ok().filter(|n| *n != 0).map(PortNumber)
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for PortNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for PortNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The name of a DestinationRule subset, as written.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
pub struct SubsetName(Arc<str>);

impl SubsetName {
    /// `None` for the empty text, which means "no subset".
    pub fn new(text: &str) -> Option<Self> {
        if text.is_empty() { None } else { Some(SubsetName(text.into())) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SubsetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The share of requests that a mirror copies, in millionths (0..=1,000,000).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
pub struct RuntimeFraction(u32);

impl RuntimeFraction {
    /// Every request.
    pub const ALL: RuntimeFraction = RuntimeFraction(1_000_000);
    /// No request.
    pub const NONE: RuntimeFraction = RuntimeFraction(0);

    /// From a percentage, rounded to the nearest millionth.
    ///
    /// `None` for what is not a percentage (below 0, above 100, not a number) and for a share that is
    /// wanted but below the resolution (0 < p < 0.0001).
    pub fn from_percent(percent: f64) -> Option<Self> {
        if percent == 0.0 {
            return Some(RuntimeFraction::NONE);
        }
        // Not-a-number fails the comparison too.
        if !(0.0001..=100.0).contains(&percent) {
            return None;
        }
        Some(RuntimeFraction((percent * 10_000.0).round() as u32))
    }

    /// So many millionths, at most all of them.
    pub fn from_millionths(millionths: u32) -> Self {
        RuntimeFraction(millionths.min(1_000_000))
    }

    /// Millionths.
    pub fn millionths(self) -> u32 {
        self.0
    }
}

impl fmt::Display for RuntimeFraction {
    /// As a percentage: `12.5%`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 10_000.0)
    }
}

/// The stable key under which the runtime layer holds a mirror's fraction:
/// `mirror/<ns>/<virtual service>/<rule>/<port|subset|host>`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
pub struct RuntimeKey(Arc<str>);

/// How the keys of shares begin that are judged.
const JUDGING: &str = "judge/";

impl RuntimeKey {
    /// Wraps a key that `istio` composed.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        RuntimeKey(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How copies say of which mirror they are: `NAMESPACE/VIRTUALSERVICE/RULE/PORT|SUBSET|HOST`, in printable ASCII.
    pub fn mark(&self) -> String {
        let text = self.0.strip_prefix("mirror/").unwrap_or(&self.0);
        let mut mark = String::with_capacity(text.len());
        for byte in text.bytes() {
            match byte {
                b'!'..=b'~' => mark.push(char::from(byte)),
                _ => mark.push_str(&format!("%{byte:02X}")),
            }
        }
        mark
    }

    /// The rule that it is of, `<ns>/<virtual service>/<rule>`, as Envoy's statistics call its routes (`stat_prefix`).
    /// Mirrors of one rule have it in common. In names of statistics a dot divides and a colon is replaced: neither is left.
    pub fn rule(&self) -> String {
        let parts = self.0.splitn(5, '/').skip(1).take(3).collect::<Vec<_>>();
        parts.join("/").replace('.', "%2E").replace(':', "%3A")
    }

    /// The key of the share of its rule's requests that is judged.
    pub fn judging(&self) -> RuntimeKey {
        RuntimeKey(format!("{JUDGING}{}", self.rule()).into())
    }

    /// Whether it is the key of such a share.
    pub fn is_judging(&self) -> bool {
        self.0.starts_with(JUDGING)
    }

    /// The same of the copies that its rule's requests have beside it, to be compared with.
    pub fn control_mark(&self) -> String {
        format!("{}#control", self.judging().mark())
    }
}

impl fmt::Display for RuntimeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The full host of a Kubernetes Service, as spelled by its object.
pub fn service_host(name: &str, namespace: &str, domain: &str) -> String {
    let mut host = name.to_owned();
    if !namespace.is_empty() {
        host.push('.');
        host.push_str(namespace);
    }
    if !domain.is_empty() {
        host.push_str(".svc.");
        host.push_str(domain);
    }
    host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_algebra() {
        // (a, b, matches, a subset_of b)
        for (a, b, matches, subset) in [
            ("a.com", "A.com", true, true),
            ("a.com", "b.com", false, false),
            ("*.foo.com", "a.foo.com", true, false),
            ("a.foo.com", "*.foo.com", true, true),
            ("foo.com", "*.foo.com", false, false),
            ("*", "anything", true, false),
            ("anything", "*", true, true),
            ("*.a.foo.com", "*.foo.com", true, true),
            ("*.foo.com", "*.a.foo.com", true, false),
            ("*-foo.com", "bar-foo.com", true, false),
            ("*.com", "*.org", false, false),
        ] {
            let (a, b) = (Hostname::new(a), Hostname::new(b));
            assert_eq!(a.matches(&b), matches, "{a} matches {b}");
            assert_eq!(b.matches(&a), matches, "{b} matches {a}");
            assert_eq!(a.subset_of(&b), subset, "{a} subset of {b}");
        }
    }

    #[test]
    fn a_key_as_a_mark() {
        for (key, mark) in [
            ("mirror/shop/web/canary/8000|v2|web.shop", "shop/web/canary/8000|v2|web.shop"),
            ("mirror/shop/web/a%2Fb\n\u{fc} c/|v2|web/2", "shop/web/a%2Fb%0A%C3%BC%20c/|v2|web/2"),
        ] {
            assert_eq!(RuntimeKey::new(key).mark(), mark);
        }
    }

    #[test]
    fn a_key_tells_its_rule() {
        for (key, rule) in [
            ("mirror/shop/web/canary/8000|v2|web.shop.svc.cluster.local", "shop/web/canary"),
            ("mirror/shop/web.v1/a:b%2Fc/|v2|web/2", "shop/web%2Ev1/a%3Ab%2Fc"),
            ("odd", ""),
        ] {
            assert_eq!(RuntimeKey::new(key).rule(), rule);
        }
    }

    #[test]
    fn percentages_round_to_the_nearest_millionth() {
        for (percent, want) in [
            (0.0, Some(0)),
            (100.0, Some(1_000_000)),
            (0.57, Some(5_700)),
            (19.99, Some(199_900)),
            (0.0001, Some(1)),
            (0.0003, Some(3)),
            (33.33335, Some(333_334)),
            (0.00005, None),
            (-1.0, None),
            (100.1, None),
            (f64::NAN, None),
        ] {
            assert_eq!(RuntimeFraction::from_percent(percent).map(|f| f.millionths()), want, "{percent}");
        }
    }
}
