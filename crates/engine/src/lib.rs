//! Store, indexes, keyed recompute and per-class snapshots

pub mod memo;
