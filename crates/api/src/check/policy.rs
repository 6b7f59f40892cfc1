//! Values of a traffic policy that Envoy would refuse, and with one the whole cluster.

use super::Problem;
use super::headers::{check_header_name, check_text};
use umbra_ir::Code;

use crate::types::traffic_policy::{HttpCookie, LocalityDistribute};

/// The longest attribute of a cookie (Envoy `HashPolicy.CookieAttribute`), in bytes.
const MAX_ATTRIBUTE: usize = 16_384;

/// A status that a response can have.
pub fn check_status(status: u32) -> Result<(), Problem> {
    if (100..=599).contains(&status) {
        return Ok(());
    }
    Err(Problem::new(Code::InvalidStatus, format!("{status} is no status code (100 to 599)")))
}

/// The most entries of a hash ring (Envoy `RingHashLbConfig`).
const MAX_RING: u64 = 8 << 20;
/// The largest table of Maglev (Envoy `MaglevLbConfig`).
const MAX_MAGLEV: u64 = 5_000_011;

/// The size of a hash ring; 0: the default.
pub fn check_ring_size(size: u64) -> Result<(), Problem> {
    if size <= MAX_RING {
        return Ok(());
    }
    Err(Problem::new(Code::OutOfRange, format!("{size} is more than {MAX_RING}, the most that Envoy takes")))
}

/// The size of Maglev's table, a prime; 0: the default.
pub fn check_maglev_size(size: u64) -> Result<(), Problem> {
    let prime = |n: u64| n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
    if size == 0 || (size <= MAX_MAGLEV && prime(size)) {
        return Ok(());
    }
    let message = format!("{size} is no prime number up to {MAX_MAGLEV}");
    Err(Problem::new(Code::OutOfRange, message))
}

/// The name of a header that decides to which endpoint a request goes; a pseudo header too.
pub fn check_hash_header(name: &str) -> Result<(), Problem> {
    check_header_name(name.strip_prefix(':').unwrap_or(name))
}

/// A cookie that decides to which endpoint a request goes, and that Envoy writes when it is missing.
pub fn check_hash_cookie(cookie: &HttpCookie) -> Result<(), Problem> {
    check_header_name(&cookie.name)?;
    let plain = |text: &str| {
        if text.len() <= MAX_ATTRIBUTE && !text.chars().any(|c| c.is_control() || c == ';') {
            return Ok(());
        }
        Err(Problem::new(Code::InvalidHeader, format!("{text:?} cannot be part of a cookie")))
    };
    plain(&cookie.path)?;
    let mut seen = std::collections::HashSet::new();
    for attribute in &cookie.attributes {
        check_header_name(&attribute.name)?;
        plain(&attribute.value)?;
        if !seen.insert(attribute.name.to_ascii_lowercase()) {
            let message = format!("the attribute {} is given twice", attribute.name);
            return Err(Problem::new(Code::DuplicateName, message));
        }
    }
    Ok(())
}

/// The name of a query parameter that decides to which endpoint a request goes.
pub fn check_hash_query(name: &str) -> Result<(), Problem> {
    if name.is_empty() {
        return Err(Problem::new(Code::InvalidText, "an empty name of a query parameter"));
    }
    check_text(name)
}

/// A share of the whole, 0 included.
pub fn is_percent(number: f64) -> bool {
    (0.0..=100.0).contains(&number)
}

/// The shape of a warm-up; Istio takes none below 1.
pub fn is_aggression(number: f64) -> bool {
    (1.0..=1000.0).contains(&number)
}

/// The shares of places: each from 1 to 100, together 100.
pub fn check_distribute(distribute: &LocalityDistribute) -> Result<(), Problem> {
    let sum: u64 = distribute.to.values().map(|share| u64::from(*share)).sum();
    let good = |share: &u32| (1..=100).contains(share);
    if sum == 100 && distribute.to.values().all(good) {
        return Ok(());
    }
    let message = format!("the shares are not each from 1 to 100 and together 100 (they are {sum})");
    Err(Problem::new(Code::OutOfRange, message))
}
