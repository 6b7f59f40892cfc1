//! A resource that Envoy refuses takes those beside it along, and they come once more.

use umbra_testkit::wait;
use umbra_xds::Variant;

use crate::world::{World, echoes};

async fn check(variant: Variant) {
    let _echoes = echoes();
    let mut world = World::start(variant, "+A=S +B=T +C=U").await;
    world.whole("the beginning").await;
    // One response: S and U are good.
    world.change("S! T? U!");
    world.served("the good ones").await;
    let sent = world.server.log();
    let bad = world.server.bad();
    assert!(
        bad.len() == 1 && bad[0].contains("constraint validation failed"),
        "{variant:?}: {bad:#?}\n{sent:#?}"
    );
    world.change("T? T!");
    world.served("the mended one").await;
    let taken = wait::until(wait::PATIENCE, || async {
        (world.server.acked() == world.server.snapshot().generation()).then_some(())
    });
    assert!(taken.await.is_some(), "{variant:?}: {:#?}", world.server.log());
    assert_eq!(world.server.bad().len(), 1, "{variant:?}: {:#?}", world.server.bad());
}

in_both_variants!(check);
