//! umbra's protocol session against a real Envoy, where clusters share load assignments: what Envoy does not ask for
//! again it must be given, in the right place, or a cluster warms for ever. All clusters wait without a time-out of
//! Envoy's own, so that nothing but the session can end a wait. The same where virtual hosts are resources of their own.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test")]

/// A test for each variant of xDS: `check` takes it.
macro_rules! in_both_variants {
    ($check:ident) => {
        #[test]
        fn delta() {
            umbra_testkit::isolate::isolated(async { $check(umbra_xds::Variant::Delta).await });
        }

        #[test]
        fn state_of_the_world() {
            umbra_testkit::isolate::isolated(async { $check(umbra_xds::Variant::Sotw).await });
        }
    };
}

mod hosts;
mod model;
mod random;
mod refused;
mod server;
mod table;
mod world;
