//! How an Envoy proves to umbra who it is: a filter before umbra's cluster puts a token into each stream. The token is a secret
//! that Envoy follows in a file, so that a renewed one counts for the next stream; without a token no stream is opened.

use std::collections::BTreeMap;

use prost::{Message, Name};
use umbra_proto::envoy::config::core::v3::{
    ApiVersion, ConfigSource, PathConfigSource, TypedExtensionConfig, config_source::ConfigSourceSpecifier,
};
use umbra_proto::envoy::extensions::filters::http::credential_injector::v3::CredentialInjector;
use umbra_proto::envoy::extensions::filters::http::upstream_codec::v3::UpstreamCodec;
use umbra_proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpFilter, http_filter::ConfigType,
};
use umbra_proto::envoy::extensions::http::injected_credentials::generic::v3::Generic;
use umbra_proto::envoy::extensions::transport_sockets::tls::v3::{
    GenericSecret, SdsSecretConfig, Secret, secret,
};
use umbra_proto::envoy::service::discovery::v3::DiscoveryResponse;
use umbra_proto::json::{JsonError, to_json};
use umbra_proto::pack_any;

use crate::convert::file;

/// The secret's name.
const NAME: &str = "umbra-token";

/// Where an Envoy finds its token, on its own machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BootstrapToken {
    /// The token, as a projected volume holds it.
    pub token: String,
    /// The file that leads Envoy there: [`token_secret_json`]. Envoy does not start without it.
    pub secret: String,
}

/// The filters of umbra's cluster.
pub(super) fn filters(token: &BootstrapToken) -> Vec<HttpFilter> {
    let source = PathConfigSource { path: token.secret.clone(), ..Default::default() };
    let generic = Generic {
        credential: Some(SdsSecretConfig {
            name: NAME.to_owned(),
            sds_config: Some(ConfigSource {
                config_source_specifier: Some(ConfigSourceSpecifier::PathConfigSource(source)),
                resource_api_version: ApiVersion::V3.into(),
                ..Default::default()
            }),
        }),
        header_value_prefix: "Bearer ".to_owned(),
        ..Default::default()
    };
    let credential = TypedExtensionConfig {
        name: "envoy.http.injected_credentials.generic".to_owned(),
        typed_config: Some(pack_any(&generic)),
    };
    // `allow_request_without_credential` stays false: who has no token opens no stream.
    let injector = CredentialInjector { overwrite: true, credential: Some(credential), ..Default::default() };
    let filter = |name: &str, config| HttpFilter {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(config)),
        ..Default::default()
    };
    vec![
        filter("envoy.filters.http.credential_injector", pack_any(&injector)),
        filter("envoy.filters.http.upstream_codec", pack_any(&UpstreamCodec {})),
    ]
}

/// The file of [`BootstrapToken::secret`].
///
/// # Errors
/// None that input can cause: the embedded descriptors do not load.
pub fn token_secret_json(token: &str) -> Result<serde_json::Value, JsonError> {
    let generic = GenericSecret { secret: Some(file(token)), secrets: BTreeMap::new() };
    let secret = Secret { name: NAME.to_owned(), r#type: Some(secret::Type::GenericSecret(generic)) };
    let response = DiscoveryResponse { resources: vec![pack_any(&secret)], ..Default::default() };
    to_json(&DiscoveryResponse::type_url(), &response.encode_to_vec())
}
