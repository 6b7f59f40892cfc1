//! The identity in a client's certificate: `spiffe://TRUST/ns/NAMESPACE/sa/ACCOUNT`, as Istio and SPIRE write it (SPIFFE
//! X.509-SVID: exactly one URI). That an authority of ours vouches for it TLS has found out before.

use jiff::Timestamp;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::Proven;

/// A client's own certificate (DER), as it was shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leaf(Vec<u8>);

impl Leaf {
    /// Takes what TLS has verified.
    pub fn new(der: impl Into<Vec<u8>>) -> Self {
        Leaf(der.into())
    }

    /// Whose it is.
    pub(super) fn proven(&self) -> Result<Proven, String> {
        let (_, certificate) = X509Certificate::from_der(&self.0)
            .map_err(|error| format!("the client's certificate: {error}"))?;
        let names = certificate.subject_alternative_name();
        let names = names.map_err(|error| format!("the client's certificate: {error}"))?;
        let uris = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let uris: Vec<_> = uris.collect();
        let [uri] = uris[..] else {
            return Err("the client's certificate has no SPIFFE identity, or several".to_owned());
        };
        let (namespace, account) = account(uri).ok_or_else(|| {
            format!("the client's certificate is of {uri:?}, not of spiffe://TRUST/ns/NAMESPACE/sa/ACCOUNT")
        })?;
        let until = Timestamp::from_second(certificate.validity().not_after.timestamp()).unwrap_or_default();
        Ok(Proven { namespace: namespace.to_owned(), account: account.to_owned(), pod: None, until })
    }
}

/// Namespace and ServiceAccount of a SPIFFE id.
fn account(uri: &str) -> Option<(&str, &str)> {
    let parts: Vec<&str> = uri.strip_prefix("spiffe://")?.split('/').collect();
    match parts[..] {
        [trust, "ns", namespace, "sa", account]
            if [trust, namespace, account].iter().all(|part| !part.is_empty()) =>
        {
            Some((namespace, account))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn leaf(uris: &[&str]) -> Leaf {
        let mut params = CertificateParams::default();
        params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Leaf::new(certificate.der().to_vec())
    }

    #[test]
    fn whose_a_certificate_is() {
        for (uris, want) in [
            (&["spiffe://cluster.local/ns/shop/sa/web"][..], Some("shop/web")),
            (&[], None),
            (&["https://example.com/ns/shop/sa/web"], None),
            (&["spiffe://cluster.local/ns/shop"], None),
            (&["spiffe://cluster.local/ns//sa/web"], None),
            (&["spiffe:///ns/shop/sa/web"], None),
            (&["spiffe://cluster.local/ns/shop/sa/web/more"], None),
            (&["spiffe://cluster.local/ns/shop/sa/web", "spiffe://cluster.local/ns/bank/sa/web"], None),
        ] {
            let got = leaf(uris).proven();
            let words = got.as_ref().ok().map(|proven| format!("{}/{}", proven.namespace, proven.account));
            assert_eq!(words.as_deref(), want, "{uris:?}");
            assert!(got.is_err() || got.unwrap().until > Timestamp::now(), "{uris:?}");
        }
        assert!(Leaf::new(*b"no").proven().is_err());
    }
}
