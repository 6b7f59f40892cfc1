//! core Secret, cut down to certificates, keys and authorities. Nothing of its data is ever part of a message.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use umbra_ir::Confidential;

use super::object::Meta;

/// core Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Identity.
    pub meta: Meta,
    /// What it holds.
    pub held: SecretTexts,
    /// Parts of earlier versions that stay in force, since the newest are broken or missing.
    pub before: SecretTexts,
    /// It was deleted; what it held stays in force.
    pub gone: bool,
}

/// The texts of a Secret that mean something to a gateway, by the keys of `kubernetes.io/tls` or Istio's older ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretTexts {
    /// `tls.crt` or `cert`.
    pub certificate: Option<Arc<str>>,
    /// `tls.key` or `key`.
    pub key: Option<Confidential>,
    /// `ca.crt` or `cacert`.
    pub authorities: Option<Arc<str>>,
    /// `ca.crl` or `crl`.
    pub revoked: Option<Arc<str>>,
}

/// `data` or `stringData`: what is no text stays out, without a word that could repeat it.
#[derive(Default)]
pub(crate) struct Texts<const BASE64: bool>(BTreeMap<String, String>);

/// A value of whatever type.
struct Lenient(Option<String>);

impl<'de> Deserialize<'de> for Lenient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyText;
        impl<'de> Visitor<'de> for AnyText {
            type Value = Lenient;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text")
            }

            fn visit_str<E>(self, text: &str) -> Result<Lenient, E> {
                Ok(Lenient(Some(text.to_owned())))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Lenient, E> {
                Ok(Lenient(None))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Lenient, E> {
                Ok(Lenient(None))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Lenient, E> {
                Ok(Lenient(None))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Lenient, E> {
                Ok(Lenient(None))
            }

            fn visit_unit<E>(self) -> Result<Lenient, E> {
                Ok(Lenient(None))
            }

            fn visit_none<E>(self) -> Result<Lenient, E> {
                Ok(Lenient(None))
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Lenient, D::Error> {
                deserializer.deserialize_any(AnyText)
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Lenient, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Lenient(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Lenient, A::Error> {
                while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Lenient(None))
            }
        }
        deserializer.deserialize_any(AnyText)
    }
}

impl<'de, const BASE64: bool> Deserialize<'de> for Texts<BASE64> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use base64::Engine as _;
        let written = Option::<BTreeMap<String, Lenient>>::deserialize(deserializer)?.unwrap_or_default();
        let read = |text: String| match BASE64 {
            false => Some(text),
            true => {
                let packed: String = text.split_ascii_whitespace().collect();
                String::from_utf8(base64::engine::general_purpose::STANDARD.decode(packed).ok()?).ok()
            }
        };
        let texts = written.into_iter().filter_map(|(key, value)| Some((key, read(value.0?)?)));
        Ok(Texts(texts.collect()))
    }
}

impl SecretTexts {
    /// `stringData` counts before `data`, as in the API server.
    pub(crate) fn of(data: Texts<true>, plain: Texts<false>) -> Self {
        let mut all = data.0;
        all.extend(plain.0);
        let mut text = |names: [&str; 2]| {
            names.into_iter().find_map(|name| all.remove(name)).filter(|it| !it.is_empty())
        };
        SecretTexts {
            certificate: text(["tls.crt", "cert"]).map(Arc::from),
            key: text(["tls.key", "key"]).map(Confidential::new),
            authorities: text(["ca.crt", "cacert"]).map(Arc::from),
            revoked: text(["ca.crl", "crl"]).map(Arc::from),
        }
    }
}
