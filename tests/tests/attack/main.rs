//! Clients that mean harm, against the real binary. What one of them does, from one address and without any proof, must
//! not keep others out, hold memory, or stop a probe: see docs/security.md for what is promised. And what umbra itself must
//! not do to the replicas beside it.
//!
//! Attackers come from 127.0.0.66, everybody else from 127.0.0.1.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod bombs;
mod client;
mod drain;
mod flood;
mod gates;
mod good;
mod http;
mod long;
mod memory;
mod parts;
mod raw;
mod slots;
mod victim;
mod yaml;

use std::net::Ipv4Addr;
use std::time::Duration;

/// Where attackers are.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
/// Where the others are.
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// What a client may take to be served under attack, on a busy machine: half of the patience with those who say nothing, so
/// that nobody has got in because an attacker's time was up. The figure itself is printed.
const SOON: Duration = Duration::from_secs(5);
