//! The webhook's certificate: an authority that vouches for this one certificate, and whose key nobody keeps.

use jiff::{Timestamp, ToSpan};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use umbra_source::kubernetes::{Made, Pair};

/// How long a certificate is good for, in days.
const DAYS: i64 = 90;
/// After how many of them another is made.
const RENEW: i64 = 60;

/// Makes an authority and a certificate of it for `host`. `before` are the authorities of the certificate that other replicas
/// show for some seconds yet: the newest of them stays believed.
pub(super) fn make(host: &str, before: &str) -> Result<Made, String> {
    let now = Timestamp::now();
    let words = |error: rcgen::Error| format!("a certificate for {host:?} cannot be made: {error}");
    let mut authority = params(Vec::new(), "umbra's injector", now).map_err(words)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority_key = KeyPair::generate().map_err(words)?;
    let root = authority.self_signed(&authority_key).map_err(words)?;
    let mut own = params(vec![host.to_owned()], host, now).map_err(words)?;
    own.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    own.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    own.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().map_err(words)?;
    let issuer = Issuer::new(authority, authority_key);
    let certificate = own.signed_by(&key, &issuer).map_err(words)?;
    let pair = Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
        authorities: format!("{}{}", root.pem(), newest(before)),
    };
    Ok(Made { pair, renew: now + (RENEW * 24).hours() })
}

fn params(names: Vec<String>, common: &str, now: Timestamp) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, common);
    let day = |days: i64| {
        let date = (now + (days * 24).hours()).in_tz("UTC").map(|time| time.date()).unwrap_or_default();
        // Months and days of a date are positive.
        date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    // Clocks differ.
    params.not_before = day(-1);
    params.not_after = day(DAYS);
    Ok(params)
}

/// The first certificate of several.
fn newest(authorities: &str) -> &str {
    const END: &str = "-----END CERTIFICATE-----";
    authorities.find(END).map_or("", |at| authorities[..at + END.len()].trim_start())
}

#[cfg(test)]
mod tests {
    use rustls::RootCertStore;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn an_authority_vouches_for_it() {
        let first = make("umbra.umbra-system.svc", "").unwrap();
        let second = make("umbra.umbra-system.svc", &first.pair.authorities).unwrap();
        let third = make("umbra.umbra-system.svc", &second.pair.authorities).unwrap();
        for (made, count) in [(&first, 1), (&second, 2), (&third, 2)] {
            let roots: Vec<_> = CertificateDer::pem_slice_iter(made.pair.authorities.as_bytes())
                .map(Result::unwrap)
                .collect();
            assert_eq!(roots.len(), count);
            let mut store = RootCertStore::empty();
            roots.into_iter().for_each(|root| store.add(root).unwrap());
            assert!(made.renew > Timestamp::now());
            crate::injector::listen::config(&made.pair).unwrap();
        }
        assert!(second.pair.authorities.contains(first.pair.authorities.trim()));
        assert!(!third.pair.authorities.contains(first.pair.authorities.trim()));
    }
}
