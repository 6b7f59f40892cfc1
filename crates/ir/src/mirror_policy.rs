//! The MirrorPolicies of one VirtualService, and which of them counts for which mirror (docs/decisions/0050).

use std::sync::Arc;

use crate::{Destination, Hostname, MirrorPlace, MirrorTerms, PortNumber, SubsetName};

/// The policies of a VirtualService, the one that counts first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MirrorPolicies(pub Vec<AttachedPolicy>);

/// A policy, and which mirrors it is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttachedPolicy {
    /// Creation time in seconds (0 when unknown).
    pub created: i64,
    /// Only those of rules of this name.
    pub rule: Option<String>,
    /// Only those that go here.
    pub mirror: Option<MirrorSelector>,
    /// What it says.
    pub terms: Arc<MirrorTerms>,
}

/// Where a mirror goes, as far as it is said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MirrorSelector {
    /// The host.
    pub host: Option<Hostname>,
    /// The subset.
    pub subset: Option<SubsetName>,
    /// The port.
    pub port: Option<PortNumber>,
}

/// A mirror of a VirtualService that has policies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicedMirror {
    /// Which one it is.
    pub place: MirrorPlace,
    /// The name of its rule.
    pub rule: Arc<str>,
    /// Where copies go.
    pub destination: Destination,
    /// The policy that counts for it, by its number among [`MirrorPolicies`].
    pub counts: Option<usize>,
}

impl MirrorPolicies {
    /// The number of the one that counts for a mirror of a rule.
    pub fn position(&self, rule: &str, mirror: &Destination) -> Option<usize> {
        self.0.iter().position(|attached| attached.is_for(rule, mirror))
    }

    /// What it says.
    pub fn select(&self, rule: &str, mirror: &Destination) -> Option<&Arc<MirrorTerms>> {
        self.position(rule, mirror).map(|nth| &self.0[nth].terms)
    }
}

impl AttachedPolicy {
    /// Whether it is for a mirror of a rule.
    pub fn is_for(&self, rule: &str, mirror: &Destination) -> bool {
        self.rule.as_ref().is_none_or(|own| own == rule)
            && self.mirror.as_ref().is_none_or(|place| place.fits(mirror))
    }

    /// How much of a mirror it names: the one that names more counts before.
    pub fn named(&self) -> (bool, bool) {
        (self.mirror.is_some(), self.rule.is_some())
    }
}

impl MirrorSelector {
    fn fits(&self, mirror: &Destination) -> bool {
        self.host.as_ref().is_none_or(|host| *host == mirror.host)
            && self.subset.as_ref().is_none_or(|subset| mirror.subset.as_ref() == Some(subset))
            && self.port.is_none_or(|port| mirror.port == Some(port))
    }
}
