//! Secrets: whether what they hold can be served, and what stays in force when it cannot.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use umbra_api::{Object, Objects, Secret, SecretTexts};
use umbra_ir::{Authorities, Confidential, KeyPair, ObjectId, SecretHead, Validity};
use x509_parser::prelude::{FromDer, X509Certificate};

/// What of a Secret is served, and why its newest parts are not; `None`: there is no such Secret.
pub fn resolve_secret_head(objects: &impl Objects, id: &ObjectId) -> Option<SecretHead> {
    let object = objects.object(id)?;
    let Object::Secret(secret) = &*object else { return None };
    Some(head(secret))
}

fn head(secret: &Secret) -> SecretHead {
    let (pair, authorities) = (pair(&secret.held), authorities(&secret.held));
    let (pair_problem, authorities_problem) = (pair.clone().err(), authorities.clone().err());
    SecretHead {
        pair: pair.ok().flatten().or_else(|| self::pair(&secret.before).ok().flatten()),
        authorities: authorities.ok().flatten().or_else(|| self::authorities(&secret.before).ok().flatten()),
        pair_problem,
        authorities_problem,
        gone: secret.gone,
    }
}

/// The next version of a Secret after `before`, with what of that stays in force: a part that is good, where the next has none
/// that is. `None` for `next`: it was deleted, and all of it stays.
pub fn succeed_secret(before: Option<&Secret>, next: Option<&Secret>) -> Option<Secret> {
    let Some(next) = next else { return before.map(|before| Secret { gone: true, ..before.clone() }) };
    let good = |secret: &Secret, part: fn(&SecretTexts) -> bool| {
        [&secret.held, &secret.before].into_iter().find(|texts| part(texts)).cloned()
    };
    let mut kept = SecretTexts::default();
    let has_pair = |texts: &SecretTexts| matches!(pair(texts), Ok(Some(_)));
    if !has_pair(&next.held) {
        let old = good(next, has_pair).or_else(|| before.and_then(|before| good(before, has_pair)));
        let SecretTexts { certificate, key, .. } = old.unwrap_or_default();
        (kept.certificate, kept.key) = (certificate, key);
    }
    let has_authorities = |texts: &SecretTexts| matches!(authorities(texts), Ok(Some(_)));
    if !has_authorities(&next.held) {
        let old =
            good(next, has_authorities).or_else(|| before.and_then(|before| good(before, has_authorities)));
        let SecretTexts { authorities, revoked, .. } = old.unwrap_or_default();
        (kept.authorities, kept.revoked) = (authorities, revoked);
    }
    Some(Secret { before: kept, ..next.clone() })
}

/// The certificate and key of some texts; `Ok(None)`: there are none. Messages hold nothing of the texts.
fn pair(texts: &SecretTexts) -> Result<Option<KeyPair>, String> {
    let (chain, key) = match (&texts.certificate, &texts.key) {
        (None, None) => return Ok(None),
        (Some(_), None) => return Err("it has a certificate and no private key".to_owned()),
        (None, Some(_)) => return Err("it has a private key and no certificate".to_owned()),
        (Some(chain), Some(key)) => (chain, key),
    };
    let certificates = certificates(chain).map_err(|()| "its certificate is not in PEM".to_owned())?;
    let Some(leaf) = certificates.first() else { return Err("its certificate is not in PEM".to_owned()) };
    let validity = validity(leaf).ok_or("its certificate cannot be read")?;
    let private = private_key(key)?;
    let signer =
        any_supported_type(&private).map_err(|_| "its private key is of a kind that is not known")?;
    let fits = CertifiedKey::new(certificates, signer).keys_match();
    fits.map_err(|_| "its private key does not fit its certificate")?;
    Ok(Some(KeyPair { chain: chain.clone(), key: key.clone(), validity }))
}

fn private_key(key: &Confidential) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
        .map_err(|_| "its private key is not in PEM".to_owned())
}

fn authorities(texts: &SecretTexts) -> Result<Option<Authorities>, String> {
    let Some(text) = &texts.authorities else { return Ok(None) };
    let all = certificates(text).map_err(|()| "its authorities are not in PEM".to_owned())?;
    let ends: Option<Vec<Validity>> = all.iter().map(validity).collect();
    let Some(validity) = ends.and_then(|ends| ends.into_iter().min_by_key(|one| one.until)) else {
        return Err("its authorities cannot be read".to_owned());
    };
    if let Some(revoked) = &texts.revoked {
        let mut lists = CertificateRevocationListDer::pem_slice_iter(revoked.as_bytes()).peekable();
        if lists.peek().is_none() || lists.any(|list| list.is_err()) {
            return Err("its list of revoked certificates is not in PEM".to_owned());
        }
    }
    Ok(Some(Authorities { certificates: text.clone(), revoked: texts.revoked.clone(), validity }))
}

fn certificates(text: &Arc<str>) -> Result<Vec<CertificateDer<'static>>, ()> {
    CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>().map_err(|_| ())
}

fn validity(certificate: &CertificateDer<'static>) -> Option<Validity> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let (from, until) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
    let text = |second| Timestamp::from_second(second).ok().map(|time| time.to_string().into());
    Some(Validity { from, from_text: text(from)?, until, until_text: text(until)? })
}
