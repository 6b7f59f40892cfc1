//! Certificates and keys out of Secrets. A private key is never printed.

use std::fmt;
use std::sync::Arc;

/// Text that nobody but the proxy it is for may see.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Confidential(Arc<str>);

impl Confidential {
    /// Takes it in.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Confidential(text.into())
    }

    /// The text, for the proxy.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Confidential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// When a certificate is good: seconds since 1970, and the same for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Validity {
    /// From when on.
    pub from: i64,
    /// As text.
    pub from_text: Arc<str>,
    /// Until when.
    pub until: i64,
    /// As text.
    pub until_text: Arc<str>,
}

/// A certificate and the key that fits it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyPair {
    /// The certificate and those that vouch for it (PEM).
    pub chain: Arc<str>,
    /// Its private key (PEM).
    pub key: Confidential,
    /// When it is good.
    pub validity: Validity,
}

/// Whom clients' certificates are believed by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authorities {
    /// Their certificates (PEM).
    pub certificates: Arc<str>,
    /// Revoked certificates (PEM).
    pub revoked: Option<Arc<str>>,
    /// When all of them are good.
    pub validity: Validity,
}

/// What of a Secret is served: its newest parts that are good.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SecretHead {
    /// Its certificate; `None`: it has none that is good, and never had.
    pub pair: Option<KeyPair>,
    /// Its authorities, likewise.
    pub authorities: Option<Authorities>,
    /// Why its newest certificate is not served.
    pub pair_problem: Option<String>,
    /// Why its newest authorities are not.
    pub authorities_problem: Option<String>,
    /// It was deleted; what it held last is served.
    pub gone: bool,
}

/// Which parts of a Secret can be served: what listeners depend on, whatever the contents.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SecretParts {
    /// It has a certificate.
    pub pair: bool,
    /// It has authorities.
    pub authorities: bool,
}
