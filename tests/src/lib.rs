//! Shared by the tiers of tests.
//!
//! *Owns*: manifests to build worlds from. *Does not own*: processes and traffic (`umbra-testkit`), expectations (the
//! tiers). *Invariants*: what is built here loads without a diagnostic. *Start reading at*: [`manifests`].

pub mod manifests;
pub mod random;
