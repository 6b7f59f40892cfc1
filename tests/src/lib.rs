//! Shared by the tiers.
