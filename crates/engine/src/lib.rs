//! Store, indexes, keyed recompute and per-class snapshots
