//! A DNS server that knows a handful of names: A records only, every other name does not exist (RFC 1035).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use tokio::task::JoinHandle;

use crate::net::Net;

/// A DNS server over UDP; it ends on drop.
#[derive(Debug)]
pub struct Dns {
    task: JoinHandle<()>,
}

impl Dns {
    /// Answers at `address` in `net` for `names`, which are compared without case.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(net: &Net, address: SocketAddr, names: &[(&str, Ipv4Addr)]) -> Result<Self> {
        let socket = net.datagrams(address)?;
        let names: BTreeMap<_, _> = names.iter().map(|(name, ip)| (name.to_lowercase(), *ip)).collect();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let look = |name: &str| names.get(name).map(|ip| vec![*ip]);
                if let Some(answer) = answer(&buffer[..length], look) {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Ok(Self { task })
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The answer to a query with one question (RFC 1035), by the addresses of a name in lower case; `None` for what is no query.
pub(crate) fn answer(query: &[u8], lookup: impl Fn(&str) -> Option<Vec<Ipv4Addr>>) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    const TYPE_A: [u8; 2] = [0, 1];
    /// As many as a message of 512 bytes has room for.
    const MOST: usize = 24;
    let mut at = HEADER;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let question = query.get(HEADER..at + 4)?;
    let known = lookup(&labels.join("."));
    // A response, authoritative; 3 is "no such name", an empty answer "no such record".
    let code = if known.is_some() { 0x80 } else { 0x83 };
    let mut addresses = known.filter(|_| query.get(at..at + 2) == Some(&TYPE_A[..])).unwrap_or_default();
    addresses.truncate(MOST);
    let mut out = query.get(..2)?.to_vec();
    out.extend([0x85, code, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
    out.extend(question);
    for address in addresses {
        // The name by reference to the question, type A, class IN, 1 s to live, four bytes.
        out.extend([0xc0, HEADER as u8, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        out.extend(address.octets());
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, kind: u8) -> Vec<u8> {
        let mut out = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            out.push(label.len() as u8);
            out.extend(label.bytes());
        }
        out.extend([0, 0, kind, 0, 1]);
        out
    }

    #[test]
    fn answers() {
        let look = |name: &str| (name == "b.example").then(|| vec![Ipv4Addr::new(10, 0, 0, 2)]);
        for (name, kind, code, records) in
            [("B.example", 1, 0, 1), ("b.example", 28, 0, 0), ("c.example", 1, 3, 0), ("b.example", 1, 0, 1)]
        {
            let out = answer(&query(name, kind), look).expect("an answer");
            assert_eq!((out[0], out[1], out[3] & 15, out[7]), (7, 9, code, records), "{name} {kind}");
            assert_eq!(out.ends_with(&[10, 0, 0, 2]), records == 1, "{name} {kind}");
        }
        for broken in [&[][..], &[1, 2, 3], &[0; 12], &[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 63, 1]] {
            assert_eq!(answer(broken, look), None, "{broken:?}");
        }
    }
}
