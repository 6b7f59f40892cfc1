//! Secrets: certificates and authorities.

use std::sync::Arc;

use umbra_ir::{Credential, SecretHead};
use umbra_proto::envoy::config::core::v3::{DataSource, data_source::Specifier};
use umbra_proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate, secret::Type,
};

use crate::Built;
use crate::convert::file;
use crate::tls::certificate;

/// One of them (`envoy.extensions.transport_sockets.tls.v3.Secret`), of these Secrets. Files are read by the proxy, and again
/// when they are replaced. `None`: the Secrets do not have it.
pub fn build_credential(credential: &Credential, secrets: &[Arc<SecretHead>]) -> Option<Built> {
    let name = credential.name();
    let content = match credential {
        Credential::Files { chain, key } => Type::TlsCertificate(certificate(chain, key)),
        Credential::AuthorityFile { authorities, crl } => {
            Type::ValidationContext(CertificateValidationContext {
                trusted_ca: Some(file(authorities)),
                crl: crl.as_deref().map(file),
                ..Default::default()
            })
        }
        Credential::Secret(_) => {
            let pair = secrets.iter().find_map(|secret| secret.pair.as_ref())?;
            Type::TlsCertificate(TlsCertificate {
                certificate_chain: Some(text(&pair.chain)),
                private_key: Some(text(pair.key.expose())),
                ..Default::default()
            })
        }
        Credential::AuthoritySecrets(_) => {
            let authorities = secrets.iter().find_map(|secret| secret.authorities.as_ref())?;
            Type::ValidationContext(CertificateValidationContext {
                trusted_ca: Some(text(&authorities.certificates)),
                crl: authorities.revoked.as_deref().map(text),
                ..Default::default()
            })
        }
    };
    let message = Secret { name: name.to_string(), r#type: Some(content) };
    Some(Built::new(name, &message, Vec::new()))
}

fn text(content: &str) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineString(content.to_owned())), ..Default::default() }
}
