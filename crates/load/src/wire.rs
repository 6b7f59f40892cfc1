//! As much of protobuf as a proxy without a data plane needs: fields of a response by number, and requests.

use anyhow::{Context, Result, bail};
use prost::encoding::{WireType, encode_key, encode_varint};

/// The fields of an encoded message that are strings, bytes or messages; others are passed over.
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Of an encoded message.
    pub fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().context("a message ends within a number")?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        bail!("a number of more than 64 bits")
    }

    fn bytes(&mut self, length: u64) -> Result<&'a [u8]> {
        let split = usize::try_from(length).ok().and_then(|length| self.0.split_at_checked(length));
        let (bytes, rest) = split.context("a message ends within a field")?;
        self.0 = rest;
        Ok(bytes)
    }

    fn field(&mut self) -> Result<Option<(u64, &'a [u8])>> {
        while !self.0.is_empty() {
            let key = self.varint()?;
            match key & 7 {
                0 => drop(self.varint()?),
                1 => drop(self.bytes(8)?),
                2 => {
                    let length = self.varint()?;
                    return Ok(Some((key >> 3, self.bytes(length)?)));
                }
                5 => drop(self.bytes(4)?),
                other => bail!("wire type {other}"),
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        self.field().transpose()
    }
}

/// A resource in a response.
#[derive(Clone, Copy, Default)]
pub struct Item<'a> {
    /// As subscribed to.
    pub name: &'a [u8],
    /// Delta only.
    pub version: &'a [u8],
    /// The encoded message.
    pub body: &'a [u8],
}

/// A response of either variant.
#[derive(Default)]
pub struct Response<'a> {
    /// The type of its resources.
    pub type_url: &'a [u8],
    /// By which it is answered.
    pub nonce: &'a [u8],
    /// State of the world: of all of it.
    pub version: &'a [u8],
    /// What is there.
    pub items: Vec<Item<'a>>,
    /// Delta: what is gone.
    pub removed: Vec<&'a [u8]>,
}

impl<'a> Response<'a> {
    /// Reads a `DeltaDiscoveryResponse`.
    ///
    /// # Errors
    /// When it is none.
    pub fn delta(message: &'a [u8]) -> Result<Self> {
        let mut response = Self::default();
        for field in Fields::of(message) {
            match field? {
                (2, resource) => response.items.push(Item::delta(resource)?),
                (4, url) => response.type_url = url,
                (5, nonce) => response.nonce = nonce,
                (6, name) => response.removed.push(name),
                _ => {}
            }
        }
        Ok(response)
    }

    /// Reads a `DiscoveryResponse`.
    ///
    /// # Errors
    /// When it is none.
    pub fn sotw(message: &'a [u8]) -> Result<Self> {
        let mut response = Self::default();
        for field in Fields::of(message) {
            match field? {
                (1, version) => response.version = version,
                (2, any) => response.items.push(Item::sotw(any)?),
                (4, url) => response.type_url = url,
                (5, nonce) => response.nonce = nonce,
                _ => {}
            }
        }
        Ok(response)
    }
}

impl<'a> Item<'a> {
    fn delta(resource: &'a [u8]) -> Result<Self> {
        let mut item = Self::default();
        for field in Fields::of(resource) {
            match field? {
                (1, version) => item.version = version,
                (2, any) => item.body = in_any(any)?,
                (3, name) => item.name = name,
                _ => {}
            }
        }
        Ok(item)
    }

    /// In all five types the first field is the name.
    fn sotw(any: &'a [u8]) -> Result<Self> {
        let body = in_any(any)?;
        for field in Fields::of(body) {
            if let (1, name) = field? {
                return Ok(Self { name, version: &[], body });
            }
        }
        Ok(Self { body, ..Self::default() })
    }
}

fn in_any(any: &[u8]) -> Result<&[u8]> {
    let mut body: &[u8] = &[];
    for field in Fields::of(any) {
        if let (2, value) = field? {
            body = value;
        }
    }
    Ok(body)
}

/// A message that is being written.
#[derive(Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Appends a string, bytes or message; nothing when it is empty, as proto3 does.
    pub fn put(&mut self, number: u32, value: &[u8]) -> &mut Self {
        if !value.is_empty() {
            self.always(number, value);
        }
        self
    }

    /// Appends an entry of a list, empty or not.
    pub fn always(&mut self, number: u32, value: &[u8]) -> &mut Self {
        encode_key(number, WireType::LengthDelimited, &mut self.0);
        encode_varint(value.len() as u64, &mut self.0);
        self.0.extend_from_slice(value);
        self
    }

    /// Appends a whole number; nothing when it is 0.
    pub fn number(&mut self, number: u32, value: u64) -> &mut Self {
        if value > 0 {
            encode_key(number, WireType::Varint, &mut self.0);
            encode_varint(value, &mut self.0);
        }
        self
    }

    /// Appends fields that were encoded before.
    pub fn fields(&mut self, encoded: &[u8]) -> &mut Self {
        self.0.extend_from_slice(encoded);
        self
    }

    /// What was written.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use umbra_proto::envoy::config::cluster::v3::Cluster;
    use umbra_proto::envoy::service::discovery::v3::{
        DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
    };
    use umbra_proto::pack_any;

    use super::*;

    #[test]
    fn responses_are_read_as_prost_writes_them() {
        let cluster = Cluster { name: "a".to_owned(), ..Cluster::default() };
        let any = pack_any(&cluster);
        let delta = DeltaDiscoveryResponse {
            resources: vec![Resource {
                name: "a".to_owned(),
                version: "1".to_owned(),
                resource: Some(any.clone()),
                ..Resource::default()
            }],
            type_url: any.type_url.clone(),
            removed_resources: vec!["b".to_owned()],
            nonce: "7".to_owned(),
            ..DeltaDiscoveryResponse::default()
        }
        .encode_to_vec();
        let sotw = DiscoveryResponse {
            version_info: "9".to_owned(),
            resources: vec![any.clone()],
            type_url: any.type_url.clone(),
            nonce: "7".to_owned(),
            ..DiscoveryResponse::default()
        }
        .encode_to_vec();
        for response in [Response::delta(&delta).unwrap(), Response::sotw(&sotw).unwrap()] {
            assert_eq!(response.type_url, any.type_url.as_bytes());
            assert_eq!(response.nonce, b"7");
            assert_eq!((response.items[0].name, response.items[0].body), (&b"a"[..], &any.value[..]));
        }
        assert_eq!(Response::delta(&delta).unwrap().removed, [b"b"]);
        assert!(Response::delta(&delta[..delta.len() - 1]).is_err());
    }

    #[test]
    fn requests_are_written_as_prost_reads_them() {
        let written = Writer::default().put(1, b"v").always(3, b"x").put(4, b"").take();
        let read = DiscoveryRequest::decode(written.as_slice()).unwrap();
        assert_eq!((read.version_info.as_str(), read.resource_names), ("v", vec!["x".to_owned()]));
    }
}
