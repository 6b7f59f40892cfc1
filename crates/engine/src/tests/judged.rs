//! What part of requests is judged: nothing until somebody says so, and a change of it is a change of the runtime alone.

use umbra_ir::{RuntimeFraction, RuntimeKey};

use super::*;

#[test]
fn a_decided_share_is_a_layer_of_the_runtime() {
    let text = MIRROR.replace(
        "metadata: {name: httpbin}",
        "metadata: {name: httpbin, annotations: {umbra.io/verdicts: 'on'}}",
    );
    let mut engine = engine(&text);
    engine.connect(ProxyId(2), ProxyNode { judges: umbra_ir::Judges::Lines, ..sidecar("default") }, true);
    engine.settle();
    let before = engine.snapshot(ProxyId(2)).unwrap();
    let control = names(&before, ResourceType::Cluster).into_iter().filter(|name| name.ends_with("|control"));
    assert_eq!(control.count(), 1);
    let keys = |engine: &Engine| -> Vec<RuntimeKey> {
        let mirrors = engine.mirrors();
        mirrors.values().flat_map(|all| all.iter().map(|mirror| mirror.key.judging())).collect()
    };
    let [key] = &keys(&engine)[..] else { panic!("one mirror") };
    let told = |engine: &Engine, id| {
        let snapshot = engine.snapshot(ProxyId(id)).unwrap();
        let layer = snapshot.get(ResourceType::Runtime, "umbra").unwrap();
        umbra_envoy::fraction_in(&layer.body, key)
    };
    assert_eq!((told(&engine, 1), told(&engine, 2)), (None, Some(0)));
    let share = RuntimeFraction::from_millionths(1234);
    engine.set_judged(&BTreeMap::from([(key.clone(), share)]));
    let settled = engine.settle();
    let after = engine.snapshot(ProxyId(2)).unwrap();
    let changed: Vec<_> =
        after.changed_from(&before).unwrap().map(|(ty, name)| format!("{ty} {name}")).collect();
    assert_eq!((changed, settled.recomputed), (vec!["rtds umbra".to_owned()], 1));
    assert_eq!((told(&engine, 1), told(&engine, 2)), (None, Some(1234)));
    assert_eq!(told(&engine.rebuilt(), 2), Some(1234));
    // With the shares of its mirrors it goes down in the same step: who waits for the next decision asks a service for copies of nothing.
    apply(&mut engine, &text.replace("value: 50", "value: 0.01"));
    assert_eq!((told(&engine, 2), told(&engine.rebuilt(), 2)), (Some(100), Some(100)));
    apply(
        &mut engine,
        &text.replace("umbra.io/verdicts: 'on'", "umbra.io/verdicts: 'on', umbra.io/stop: all"),
    );
    assert_eq!((told(&engine, 2), told(&engine.rebuilt(), 2)), (Some(0), Some(0)));
    apply(&mut engine, &text);
    assert_eq!(told(&engine, 2), Some(1234));
    // The same once more is no change, and who is not named is judged no longer.
    engine.set_judged(&BTreeMap::from([(key.clone(), share)]));
    assert_eq!(engine.settle().recomputed, 0);
    engine.set_judged(&BTreeMap::new());
    engine.settle();
    assert_eq!(told(&engine, 2), Some(0));
}
