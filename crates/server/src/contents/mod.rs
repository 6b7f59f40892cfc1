//! `umbra judge`: whether the answers of shadows say what those of their primaries say. Envoys send it what was answered to judged
//! requests and to their copies; it compares, forgets the bodies, and tells umbra what that comes to (docs/contents.md).
//!
//! It is a process of its own: what it holds are the bodies of answers. Start reading at: `exchange.rs` (one answer), then `hold.rs`
//! (what belongs together), `ledger.rs` (what it comes to). How umbra asks is in `verdicts/told.rs`.

mod body;
mod exchange;
mod hold;
mod ledger;
mod service;

pub(crate) use service::{JudgeOptions, run};
