//! Certificates that umbra makes itself: the webhook's, and that of xDS over TLS. Pure but for chance and the clock.

use std::sync::Arc;

use jiff::{Timestamp, ToSpan};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::watch;
use umbra_source::kubernetes::{Kept, Made, Make, Pair, Told};
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long a certificate is good for, in days.
const DAYS: i64 = 90;
/// After how many of them another is made.
const RENEW: i64 = 60;
/// How long an authority is good for whose key is kept, in days: proxies are told it when they are made, and live long.
const AUTHORITY_DAYS: i64 = 3650;
/// Another is made when it has fewer left.
const AUTHORITY_RENEW: i64 = 365;

/// The certificates that umbra makes itself, as they are now; `None`: it makes no such one.
#[derive(Clone, Default, Debug)]
pub struct Certificates {
    /// The injector's.
    pub injector: Option<watch::Receiver<Option<Pair>>>,
    /// That of xDS over TLS.
    pub xds: Option<watch::Receiver<Option<Pair>>>,
}

/// What is kept of the certificate of xDS over TLS.
pub(crate) fn kept(hosts: &[String]) -> Kept {
    Kept {
        owner: "xDS over TLS",
        secret: "umbra-xds".to_owned(),
        made_for: hosts.join(","),
        told: Told::ConfigMap("umbra-ca".to_owned()),
    }
}

/// How it is made.
pub(crate) fn make(hosts: Vec<String>) -> Make {
    Arc::new(move |before| make_again(&hosts, before))
}

/// Makes a certificate for `host` by an authority of its own, whose key nobody keeps: for a caller that learns of each authority at
/// once. The newest authority of the certificate before, which other replicas show for some seconds yet, stays believed.
pub(crate) fn make_once(host: &str, before: Option<&Pair>) -> Result<Made, String> {
    let authority = Authority::new("umbra's injector", DAYS)?;
    let authorities = authority.beside(before);
    authority.sign(&[host.to_owned()], authorities, String::new())
}

/// Makes a certificate for `hosts` by the authority of the one before, as long as that is good: for callers that are told whom to
/// believe when they are made. Beside a new authority the one before stays believed.
pub(crate) fn make_again(hosts: &[String], before: Option<&Pair>) -> Result<Made, String> {
    if let Some((pair, authority)) = before.and_then(|pair| Some((pair, Authority::kept(pair)?))) {
        return authority.sign(hosts, pair.authorities.clone(), pair.authority_key.clone());
    }
    let authority = Authority::new(AUTHORITY, AUTHORITY_DAYS)?;
    let (authorities, key) = (authority.beside(before), authority.issuer.key().serialize_pem());
    authority.sign(hosts, authorities, key)
}

/// The name of the authority whose key is kept.
const AUTHORITY: &str = "umbra";

/// Who signs.
struct Authority {
    /// Its own certificate, PEM.
    root: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str, days: i64) -> Result<Self, String> {
        let params = authority_params(name, days).map_err(words)?;
        let key = KeyPair::generate().map_err(words)?;
        let root = params.self_signed(&key).map_err(words)?.pem();
        Ok(Authority { root, issuer: Issuer::new(params, key) })
    }

    /// The authority of a pair; `None` when it ends soon or nobody has kept its key.
    fn kept(pair: &Pair) -> Option<Self> {
        let key = KeyPair::from_pem(&pair.authority_key).ok()?;
        if days_left(&pair.authorities)? < AUTHORITY_RENEW {
            return None;
        }
        let params = authority_params(AUTHORITY, AUTHORITY_DAYS).ok()?;
        Some(Authority { root: newest(&pair.authorities).to_owned(), issuer: Issuer::new(params, key) })
    }

    /// This one, and the newest before it.
    fn beside(&self, before: Option<&Pair>) -> String {
        format!("{}{}", self.root, before.map_or("", |pair| newest(&pair.authorities)))
    }

    fn sign(self, hosts: &[String], authorities: String, authority_key: String) -> Result<Made, String> {
        let words =
            |error: rcgen::Error| format!("a certificate for {:?} cannot be made: {error}", hosts.join(","));
        let mut own =
            params(hosts.to_vec(), hosts.first().map_or("", String::as_str), DAYS).map_err(words)?;
        own.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        own.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        own.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(words)?;
        let certificate = own.signed_by(&key, &self.issuer).map_err(words)?.pem();
        let pair = Pair { certificate, key: key.serialize_pem(), authorities, authority_key };
        Ok(Made { pair, renew: Timestamp::now() + (RENEW * 24).hours() })
    }
}

fn words(error: rcgen::Error) -> String {
    format!("an authority cannot be made: {error}")
}

fn authority_params(name: &str, days: i64) -> Result<CertificateParams, rcgen::Error> {
    let mut authority = params(Vec::new(), name, days)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    Ok(authority)
}

fn params(names: Vec<String>, common: &str, days: i64) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, common);
    let now = Timestamp::now();
    let day = |days: i64| {
        let date = (now + (days * 24).hours()).in_tz("UTC").map(|time| time.date()).unwrap_or_default();
        // Months and days of a date are positive.
        date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    // Clocks differ.
    params.not_before = day(-1);
    params.not_after = day(days);
    Ok(params)
}

/// How many days the first of several certificates is good for yet; `None`: it cannot be read.
fn days_left(pem: &str) -> Option<i64> {
    let first = CertificateDer::pem_slice_iter(pem.as_bytes()).next()?.ok()?;
    let (_, parsed) = X509Certificate::from_der(&first).ok()?;
    Some((parsed.validity().not_after.timestamp() - Timestamp::now().as_second()) / (24 * 60 * 60))
}

/// The first certificate of several.
fn newest(authorities: &str) -> &str {
    const END: &str = "-----END CERTIFICATE-----";
    authorities.find(END).map_or("", |at| authorities[..at + END.len()].trim_start())
}

#[cfg(test)]
mod tests {
    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::UnixTime;

    use super::*;

    /// As many authorities as a pair has, each of which can be believed.
    fn authorities(made: &Made) -> usize {
        let pem = made.pair.authorities.as_bytes();
        let mut store = RootCertStore::empty();
        let added = CertificateDer::pem_slice_iter(pem).map(|root| store.add(root.unwrap()).unwrap()).count();
        assert!(made.renew > Timestamp::now());
        crate::injector::config(&made.pair).unwrap();
        added
    }

    /// Whether a client that believes the first authority of `by` takes the certificate of `made`.
    fn vouches(by: &Made, made: &Made) -> bool {
        let der = |pem: &str| CertificateDer::pem_slice_iter(pem.as_bytes()).next().unwrap().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(der(&by.pair.authorities)).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
        let host = "umbra.umbra-system.svc".try_into().unwrap();
        verifier.verify_server_cert(&der(&made.pair.certificate), &[], &host, &[], UnixTime::now()).is_ok()
    }

    #[test]
    fn an_authority_vouches_for_one_certificate() {
        let make = |before: Option<&Made>| {
            make_once("umbra.umbra-system.svc", before.map(|made| &made.pair)).unwrap()
        };
        let first = make(None);
        let second = make(Some(&first));
        let third = make(Some(&second));
        for (made, count) in [(&first, 1), (&second, 2), (&third, 2)] {
            assert_eq!(authorities(made), count);
            assert!(made.pair.authority_key.is_empty() && vouches(made, made));
        }
        assert!(second.pair.authorities.contains(first.pair.authorities.trim()));
        assert!(!third.pair.authorities.contains(first.pair.authorities.trim()));
    }

    #[test]
    fn an_authority_whose_key_is_kept_vouches_for_all() {
        let hosts = ["umbra.umbra-system.svc".to_owned(), "umbra.umbra-system".to_owned()];
        let make = |before: Option<&Pair>| make_again(&hosts, before).unwrap();
        let first = make(None);
        let second = make(Some(&first.pair));
        assert_eq!(second.pair.authorities, first.pair.authorities);
        assert_ne!(second.pair.certificate, first.pair.certificate);
        assert!(authorities(&first) == 1 && vouches(&first, &second) && vouches(&first, &first));
        // Where the key is lost, or the authority ends soon, there is a new one, and who knows the old one alone is told of both.
        let lost = Pair { authority_key: String::new(), ..second.pair.clone() };
        let short = Authority::new(AUTHORITY, AUTHORITY_RENEW - 1).unwrap();
        let (root, key) = (short.root.clone(), short.issuer.key().serialize_pem());
        let ending = short.sign(&hosts, root, key).unwrap().pair;
        for before in [lost, ending] {
            let third = make(Some(&before));
            assert!(authorities(&third) == 2 && third.pair.authorities.contains(before.authorities.trim()));
            assert!(vouches(&third, &third) && !third.pair.authority_key.is_empty());
        }
    }
}
