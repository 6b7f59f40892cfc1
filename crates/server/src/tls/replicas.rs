//! How replicas know each other: all of them show one certificate, which they read from the same Secret or the same files, on
//! either side of a connection. So a replica is whoever holds its key, or, while it is being renewed, that of one for the
//! same names from the same authority. Others need no certificate to be answered, and are not taken for replicas.

use std::sync::Arc;

use anyhow::Context;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{Contents, certificates};

/// Who is one of us, and both sides of TLS for `--api`. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Replicas {
    /// For whoever connects to `--api`.
    pub(crate) server: Arc<ServerConfig>,
    /// For connecting to another replica's.
    pub(crate) client: Arc<ClientConfig>,
    own: Arc<Own>,
}

/// What replicas have in common.
#[derive(Debug)]
struct Own {
    leaf: CertificateDer<'static>,
    /// The one before: others may show it for a while yet.
    before: Option<CertificateDer<'static>>,
    names: Vec<String>,
    /// Who vouches for one that is to come. `None`: nobody is known to.
    authority: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Replicas {
    /// Those that show what is in `contents`, or what was in those `before`.
    pub(super) fn new(contents: &Contents, before: Option<&Replicas>) -> anyhow::Result<Self> {
        let chain = certificates(&contents.certificate).context("--tls-cert")?;
        let key = || PrivateKeyDer::from_pem_slice(&contents.key).ok().context("--tls-key");
        let provider = Arc::new(crypto::ring::default_provider());
        let (leaf, above) = chain.split_first().context("--tls-cert")?;
        let before = before.map(|before| match before.own.leaf == *leaf {
            true => before.own.before.clone(),
            false => Some(before.own.leaf.clone()),
        });
        let mut roots = RootCertStore::empty();
        let told = [&contents.client_authority, &contents.authority].into_iter().flatten();
        let told = told.filter_map(|pem| certificates(pem).ok()).flatten();
        roots.add_parsable_certificates(told.chain(above.iter().cloned()));
        let authority = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone());
        let own = Arc::new(Own {
            leaf: leaf.clone(),
            before: before.flatten(),
            names: names(leaf),
            authority: authority.build().ok(),
            provider: provider.clone(),
        });
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let builder = builder.with_client_cert_verifier(Arc::new(Shown(own.clone())));
        let mut server = builder.with_single_cert(chain.clone(), key()?)?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Nobody is known by a handshake of long ago.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Shown(own.clone())));
        let mut client = builder.with_client_auth_cert(chain, key()?)?;
        client.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Replicas { server: Arc::new(server), client: Arc::new(client), own })
    }

    /// Whether that is what a replica shows, its own certificate first.
    pub(crate) fn are(&self, shown: &[CertificateDer<'_>]) -> bool {
        shown.split_first().is_some_and(|(leaf, above)| self.own.is(leaf, above, UnixTime::now()))
    }
}

impl Own {
    fn is(&self, leaf: &CertificateDer<'_>, above: &[CertificateDer<'_>], now: UnixTime) -> bool {
        if *leaf == self.leaf || self.before.as_ref().is_some_and(|before| before == leaf) {
            return true;
        }
        let Some((authority, name)) = self.authority.as_ref().zip(self.names.first()) else { return false };
        // A name that can be no server's says nothing.
        let Ok(name) = ServerName::try_from(name.as_str()) else { return false };
        names(leaf) == self.names && authority.verify_server_cert(leaf, above, &name, &[], now).is_ok()
    }
}

/// The host names that a certificate is for, sorted.
fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, read)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let extension = read.subject_alternative_name().ok().flatten();
    let all = extension.iter().flat_map(|names| &names.value.general_names);
    let hosts = all.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    let mut hosts: Vec<String> = hosts.collect();
    hosts.sort();
    hosts
}

/// What the other side has shown, and has the key of.
#[derive(Debug)]
struct Shown(Arc<Own>);

impl ServerCertVerifier for Shown {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0.is(leaf, above, now) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(Error::General("what listens there shows no certificate of this umbra".to_owned())),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signed, &self.0.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.0.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Whatever a client shows is taken, and then [`Replicas::are`] it, or are not.
impl ClientCertVerifier for Shown {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls12_signature(self, message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(self)
    }
}

#[cfg(test)]
mod tests {
    use umbra_testkit::gate;
    use umbra_testkit::tls::{Authority, Issued};

    use super::*;

    fn contents(issued: &Issued, authority: Option<&Authority>) -> Contents {
        let read = |path: &std::path::Path| std::fs::read(path).unwrap();
        Contents {
            certificate: read(&issued.certificate),
            key: read(&issued.key),
            client_authority: None,
            authority: authority.map(|authority| read(&authority.certificate())),
        }
    }

    #[test]
    fn a_replica_shows_what_this_one_shows() {
        if !gate::require_openssl() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let [ours, other] = ["ours", "other"].map(|name| Authority::make(folder.path(), name).unwrap());
        let issue = |by: &Authority, name, hosts| by.issue(name, hosts).unwrap();
        let first = issue(&ours, "first", "DNS:umbra.x.svc");
        let renewed = issue(&ours, "renewed", "DNS:umbra.x.svc");
        let neighbour = issue(&ours, "neighbour", "DNS:web.shop.svc");
        let more = issue(&ours, "more", "DNS:umbra.x.svc,DNS:web.shop.svc");
        let false_one = issue(&other, "false", "DNS:umbra.x.svc");
        let shown = |issued: &Issued| certificates(&std::fs::read(&issued.certificate).unwrap()).unwrap();
        let with = Replicas::new(&contents(&first, Some(&ours)), None).unwrap();
        let alone = Replicas::new(&contents(&first, None), None).unwrap();
        let after = Replicas::new(&contents(&renewed, None), Some(&alone)).unwrap();
        // The same read again is no other certificate.
        let again = Replicas::new(&contents(&renewed, None), Some(&after)).unwrap();
        for (title, issued, want) in [
            ("the same", &first, [true, true, true, true]),
            ("one that is to come", &renewed, [true, false, true, true]),
            ("somebody else's, of the same authority", &neighbour, [false; 4]),
            ("for more than this one", &more, [false; 4]),
            ("of another authority", &false_one, [false; 4]),
        ] {
            let got = [&with, &alone, &after, &again].map(|replicas| replicas.are(&shown(issued)));
            assert_eq!(got, want, "{title}");
        }
        assert!(!with.are(&[]));
    }
}
