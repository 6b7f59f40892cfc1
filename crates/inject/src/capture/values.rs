//! What annotations may say of capture. Everything here is written by tenants, and comes near a program that runs with
//! rights: so it is parsed to what it means, and only that is ever written out again.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Family;

/// The longest name of a network interface (`IFNAMSIZ`, less the end).
const INTERFACE_LENGTH: usize = 15;

/// A range of addresses, such as `10.0.0.0/8`. Bits behind the prefix are 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Reads `ADDRESS/PREFIX`, or an address alone.
    ///
    /// # Errors
    /// It is neither, in words for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no range of addresses, such as 10.0.0.0/8");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| wrong())?
            }
            Some(_) => return Err(wrong()),
            None => bits,
        };
        if prefix > bits {
            return Err(wrong());
        }
        let address = match address {
            IpAddr::V4(it) => {
                let mask = u32::MAX.checked_shl(u32::from(bits - prefix)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(it.to_bits() & mask))
            }
            IpAddr::V6(it) => {
                let mask = u128::MAX.checked_shl(u32::from(bits - prefix)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(it.to_bits() & mask))
            }
        };
        Ok(Cidr { address, prefix })
    }

    /// Which family it is of.
    pub fn family(self) -> Family {
        if self.address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Addresses that are captured.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Ranges {
    /// `*`
    #[default]
    All,
    /// These; empty: none.
    Of(Vec<Cidr>),
}

impl Ranges {
    /// Reads `*` or a list of ranges.
    ///
    /// # Errors
    /// The part that is no range, in words for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == "*" { Ok(Ranges::All) } else { cidrs(text).map(Ranges::Of) }
    }
}

/// The name of a network interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface(String);

impl Interface {
    /// Reads a name.
    ///
    /// # Errors
    /// No interface of a Pod is called so, in words for people. The kernel would take more, but neither quotes nor the
    /// signs by which `nft` and `iptables` mean several of them.
    pub fn parse(text: &str) -> Result<Self, String> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.@".contains(&b);
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if first && text.len() <= INTERFACE_LENGTH && text.bytes().all(allowed) {
            Ok(Interface(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is no network interface: letters, digits and -_.@, {INTERFACE_LENGTH} at most"
            ))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A list of ranges, with commas between; empty is a list without any.
pub(super) fn cidrs(text: &str) -> Result<Vec<Cidr>, String> {
    list(text, Cidr::parse)
}

/// A list of ports.
pub(super) fn ports(text: &str) -> Result<Vec<u16>, String> {
    list(text, |part| {
        let digits = part.bytes().all(|b| b.is_ascii_digit());
        match part.parse::<u16>() {
            Ok(port) if digits && port > 0 => Ok(port),
            _ => Err(format!("{part:?} is no port: a number from 1 to 65535")),
        }
    })
}

/// A list of interfaces.
pub(super) fn interfaces(text: &str) -> Result<Vec<Interface>, String> {
    list(text, Interface::parse)
}

fn list<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(parse).collect()
}
