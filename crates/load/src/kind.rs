//! The types of resources that a proxy asks for.

use serde::Serialize;
use umbra_proto::type_url;

/// A type of resources, in the order in which Envoy's bootstrap leads to them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Layers of the runtime, by the names in the bootstrap.
    Rtds,
    /// All clusters.
    Cds,
    /// Load assignments, by the names in clusters.
    Eds,
    /// All listeners.
    Lds,
    /// Route tables, by the names in listeners.
    Rds,
    /// Virtual hosts of those route tables that say that theirs are resources of their own.
    Vhds,
}

/// How many there are.
pub const KINDS: usize = Kind::ALL.len();

impl Kind {
    /// Every type, in order.
    pub const ALL: [Kind; 6] = [Kind::Rtds, Kind::Cds, Kind::Eds, Kind::Lds, Kind::Rds, Kind::Vhds];

    /// As in requests and responses.
    pub const fn type_url(self) -> &'static str {
        match self {
            Kind::Rtds => type_url::RUNTIME,
            Kind::Cds => type_url::CLUSTER,
            Kind::Eds => type_url::ENDPOINT,
            Kind::Lds => type_url::LISTENER,
            Kind::Rds => type_url::ROUTE,
            Kind::Vhds => type_url::VIRTUAL_HOST,
        }
    }

    /// The type of a type URL.
    pub fn from_type_url(url: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url().as_bytes() == url)
    }

    /// The short name: `cds`.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Rtds => "rtds",
            Kind::Cds => "cds",
            Kind::Eds => "eds",
            Kind::Lds => "lds",
            Kind::Rds => "rds",
            Kind::Vhds => "vhds",
        }
    }

    /// The type of a short name.
    ///
    /// # Errors
    /// When there is none.
    pub fn parse(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| format!("{name} is none of rtds, cds, eds, lds, rds, vhds"))
    }

    /// Envoy asks for everything there is, rather than by name.
    pub const fn is_wildcard(self) -> bool {
        matches!(self, Kind::Cds | Kind::Lds)
    }

    /// Envoy's request has no names: it means everything, or all virtual hosts of its route tables.
    pub const fn is_nameless(self) -> bool {
        self.is_wildcard() || matches!(self, Kind::Vhds)
    }
}
