//! What must hold whatever objects there are, in whatever order they come and go.
//!
//! `make test` plays the same cases each time, by a fixed `PROPTEST_RNG_SEED`; without it they are new in each run. `PROPTEST_CASES`
//! raises the number of cases of every property. A case that fails is shrunk to the few steps that make it fail, and
//! printed as manifests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::process::Command;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use umbra_api::{Change, parse_documents, parse_value};
use umbra_engine::{Engine, Options};
use umbra_ir::{Kind, ObjectId};
use umbra_tests::random::{
    Op, Output, Tape, World, bootstrap, change_percentages, mangle, manifest, object, output, script,
    turn_readiness, virtual_service,
};
use umbra_xds::{ResourceType, Snapshot};

/// As many cases as asked for, else this many: enough for every run, few enough for a busy machine.
fn cases(few: u32) -> Config {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    Config {
        cases: asked.unwrap_or(few),
        failure_persistence: None,
        max_shrink_iters: 4000,
        max_shrink_time: 60_000,
        ..Config::default()
    }
}

/// Does the steps, in the usual mesh or in an empty one, and settles, as the script says and at the end; `check` sees
/// every settled mesh.
fn play(usual: bool, ops: &[(Op, bool)], mut check: impl FnMut(&World)) -> World {
    let mut world = if usual { World::usual() } else { World::new() };
    for (index, (op, settle)) in ops.iter().enumerate() {
        world.apply(op);
        if *settle || index + 1 == ops.len() {
            world.settle();
            check(&world);
        }
    }
    world
}

fn check_same(what: &str, kept: &Output, other: &Output) {
    assert!(
        kept == other,
        "kept up to date, but not {what}: {:#?}\n{what}, but not kept up to date: {:#?}",
        kept.beyond(other),
        other.beyond(kept),
    );
}

proptest! {
    #![proptest_config(cases(50))]

    /// After every step of every kind, what was kept up to date is what comes out from scratch; what was said to
    /// have changed is what changed (that is in `World::settle`); and the output is sound.
    #[test]
    fn kept_up_to_date_equals_rebuilt(usual: bool, ops in script(24)) {
        play(usual, &ops, |world| {
            check_same("rebuilt", &world.output(), &output(&world.engine.rebuilt()));
            world.check_output();
        });
    }

    /// What namespaces share is what each of them would have alone: a policy of nobody, for proxies with a label, takes the
    /// sharing away from those that have it, and nothing else.
    #[test]
    fn what_namespaces_share_changes_nothing(usual: bool, ops in script(24)) {
        let world = play(usual, &ops, |_| {});
        let (mut sharing, mut alone) = (World::new(), World::new());
        for mut op in world.steps() {
            if let Op::Connect(_, node, _) = &mut op {
                node.labels.get_or_insert_default().insert("alone".to_owned(), "yes".to_owned());
                alone.put(&json!({
                    "apiVersion": "networking.istio.io/v1",
                    "kind": "DestinationRule",
                    "metadata": {"name": "alone", "namespace": &*node.namespace},
                    "spec": {
                        "host": "nobody.invalid",
                        "exportTo": ["."],
                        "workloadSelector": {"matchLabels": {"alone": "yes"}},
                    },
                }));
            }
            sharing.apply(&op);
            alone.apply(&op);
        }
        sharing.settle();
        alone.settle();
        let (sharing, alone) = (sharing.output().resources, alone.output().resources);
        prop_assert_eq!(sharing, alone);
    }

    /// The order in which objects and proxies arrive changes nothing.
    #[test]
    fn arrival_order_changes_nothing(usual: bool, ops in script(24), order in vec(any::<u16>(), 60)) {
        let world = play(usual, &ops, |_| {});
        let mut t = Tape::new(&order);
        let (mut left, mut other) = (world.steps(), World::new());
        while !left.is_empty() {
            other.apply(&left.swap_remove(t.below(left.len())));
            if t.one_in(4) {
                other.settle();
            }
        }
        other.settle();
        check_same("arrived in another order", &world.output(), &other.output());
    }

    /// When everything has gone, so has what was computed from it.
    #[test]
    fn nothing_stays_behind(usual: bool, ops in script(24)) {
        let mut world = play(usual, &ops, |_| {});
        world.clear();
        world.engine.settle();
        let mut fresh = Engine::new(Options::default());
        fresh.settle();
        let (left, none) = (world.engine.sizes(), fresh.sizes());
        prop_assert_eq!((left.objects, left.indexes, left.keys), (none.objects, none.indexes, none.keys));
        prop_assert_eq!((left.reads, left.sources), (0, 0));
        prop_assert_eq!(world.engine.class_count(), 0);
        prop_assert!(world.engine.diagnostics().is_empty());
        prop_assert!(world.engine.object_counts().values().all(|count| *count == 0));
    }

    /// A percentage is one resource to a proxy with the runtime layer. One without gets routes, and at 0 no copy, so
    /// no cluster for it.
    #[test]
    fn a_percentage_touches_the_runtime_layer_alone(ops in script(12), numbers in vec(any::<u16>(), 20)) {
        let mut world = play(true, &ops, |_| {});
        let mut t = Tape::new(&numbers);
        let manifests: Vec<_> = world.manifests().values().cloned().collect();
        edit(&mut world, manifests.into_iter().filter_map(|mut m| change_percentages(&mut m, &mut t).then_some(m)), |world, ty, id, _| {
            let rtds = world.engine.class(id).unwrap().rtds.any();
            if rtds { ty == ResourceType::Runtime } else { ty != ResourceType::Listener }
        });
    }

    /// An edit of a delegate reaches the tables of everybody who takes its rules, as if all had been read anew; and so does
    /// its going.
    #[test]
    fn an_edit_of_a_delegate_reaches_its_roots(ops in prop_oneof![Just(Vec::new()), script(8)], tapes in vec(vec(any::<u16>(), 0..120), 1..4)) {
        let mut world = play(true, &ops, |_| {});
        let root = |name: &str, namespace: &str, host: &str| json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"hosts": [host], "http": [{"name": "root", "delegate": {"name": "shared", "namespace": "default"}}]},
        });
        world.put(&root("a-root", "default", "web.default.svc.cluster.local"));
        world.put(&root("b-root", "prod", "api.prod.svc.cluster.local"));
        for (index, tape) in tapes.iter().enumerate() {
            let mut delegate = virtual_service(&mut Tape::new(tape), "default", "shared");
            delegate["spec"].as_object_mut().unwrap().remove("hosts");
            delegate["spec"].as_object_mut().unwrap().remove("exportTo");
            let marker = format!("/marker-{index}");
            let marked = json!({"match": [{"uri": {"exact": marker}}], "directResponse": {"status": 200}});
            let mut http = vec![marked];
            http.extend(delegate["spec"]["http"].as_array().cloned().unwrap_or_default());
            delegate["spec"]["http"] = http.into();
            world.put(&delegate);
            world.settle();
            check_same("rebuilt", &world.output(), &output(&world.engine.rebuilt()));
            world.check_output();
            let served = world.snapshots().into_iter().any(|(_, snapshot)| {
                let mut tables = snapshot.map(ResourceType::Route).values().chain(snapshot.map(ResourceType::VirtualHost).values());
                tables.any(|table| table.body.windows(marker.len()).any(|bytes| bytes == marker.as_bytes()))
            });
            // What cannot be read changes nothing; where steps were made the hosts may be other rules' by now, or gone.
            let expected = ops.is_empty() && !parse_value(delegate.clone()).objects.is_empty();
            prop_assert!(served || !expected, "{marker} is nowhere: {delegate}");
        }
        let id = ObjectId::new(Kind::VirtualService, "default", "shared");
        // One that could never be read is not there.
        if let Some(index) = world.manifests().keys().position(|other| *other == id) {
            world.apply(&Op::Delete(index));
        }
        world.settle();
        check_same("rebuilt", &world.output(), &output(&world.engine.rebuilt()));
    }

    /// Readiness touches load assignments alone: a mirror of one pod must not push routes when it restarts.
    #[test]
    fn readiness_touches_load_assignments_alone(ops in script(12)) {
        let mut world = play(true, &ops, |_| {});
        let manifests: Vec<_> = world.manifests().values().cloned().collect();
        // Endpoints of a cluster that resolves names stand in the cluster itself.
        let inline = manifests.iter().any(|m| {
            let dns = m["spec"]["resolution"].as_str().is_some_and(|resolution| resolution.starts_with("DNS"));
            dns && !m["spec"]["workloadSelector"].is_null()
        });
        edit(&mut world, manifests.into_iter().filter_map(|mut m| turn_readiness(&mut m).then_some(m)), |_, ty, _, name| {
            match ty {
                ResourceType::Endpoint => true,
                // Each ready Pod of a Service without an address of its own has a listener at captured sidecars, where whoever
                // calls one Pod means that one.
                ResourceType::Listener => !name.starts_with("0.0.0.0_"),
                ResourceType::Cluster => inline || name.starts_with("direct|"),
                _ => false,
            }
        });
    }

    /// What only says who wrote an object and when computes nothing; labels and annotations of rules change nothing.
    #[test]
    fn metadata_changes_nothing(usual: bool, ops in script(12)) {
        let mut world = play(usual, &ops, |_| {});
        let manifests: Vec<_> = world.manifests().values().cloned().collect();
        for mut manifest in manifests.clone() {
            manifest["metadata"]["resourceVersion"] = "7".into();
            manifest["metadata"]["generation"] = 7.into();
            manifest["metadata"]["managedFields"] = serde_json::json!([{"manager": "kubectl"}]);
            world.put(&manifest);
        }
        prop_assert_eq!(world.settle().recomputed, 0);
        let before = world.output();
        for mut manifest in manifests {
            // A WorkloadEntry's labels are those of its endpoint.
            let rule = manifest["kind"] != "WorkloadEntry";
            let istio = manifest["apiVersion"].as_str().is_some_and(|v| v.starts_with("networking.istio.io/"));
            if rule && istio {
                manifest["metadata"]["labels"] = serde_json::json!({"app.kubernetes.io/managed-by": "Helm"});
                // Beside those that say something to umbra.
                manifest["metadata"]["annotations"]["note"] = "x".into();
                world.put(&manifest);
            }
        }
        let settled = world.settle();
        prop_assert!(settled.snapshots.is_empty() && !settled.diagnostics_changed);
        check_same("with labels", &before, &world.output());
    }
}

/// Puts the manifests and settles; whatever differs after that must be something that `may` differ.
fn edit(
    world: &mut World,
    manifests: impl Iterator<Item = serde_json::Value>,
    may: impl Fn(&World, ResourceType, umbra_engine::ProxyId, &str) -> bool,
) {
    let before = world.snapshots();
    manifests.for_each(|manifest| world.put(&manifest));
    world.settle();
    for ((id, before), (same, after)) in before.iter().zip(world.snapshots()) {
        assert_eq!(*id, same);
        for ty in ResourceType::ALL {
            let names =
                before.map(ty).keys().chain(after.map(ty).keys()).filter(|name| !may(world, ty, *id, name));
            let differs: Vec<_> = names.filter(|name| before.get(ty, name) != after.get(ty, name)).collect();
            assert!(differs.is_empty(), "{id:?}: {ty} {differs:?}");
        }
    }
}

/// Reads a text as a directory would and puts what it holds into a mesh with proxies.
fn check_text(text: &str) {
    let mut world = World::usual();
    let parsed = parse_documents(text, "random.yaml");
    for diagnostic in &parsed.diagnostics {
        assert!(!diagnostic.message.is_empty(), "{diagnostic}");
    }
    for located in parsed.objects {
        world.engine.apply(Change::Upsert(Arc::new(located.value)));
    }
    world.settle();
    world.check_output();
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn mangled_manifests_do_no_harm(
        tapes in vec(vec(any::<u16>(), 0..120), 1..4),
        how in vec(any::<u16>(), 0..40),
    ) {
        let objects: Vec<_> = tapes.iter().map(|tape| object(&mut Tape::new(tape))).collect();
        check_text(&mangle(&manifest(&objects), &mut Tape::new(&how)));
    }

    #[test]
    fn any_text_does_no_harm(text in "[-{}:,#\\[\\]&*!|>'\"%@` \n\ta-z0-9]{0,120}", other in ".{0,60}") {
        check_text(&text);
        check_text(&other);
    }
}

/// Whether Envoy takes all of this; if not, what it says.
fn validate(envoy: &std::path::Path, snapshots: &[Arc<Snapshot>]) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bootstrap.json");
    std::fs::write(&file, bootstrap(snapshots).unwrap().to_string()).unwrap();
    let mut command = Command::new(envoy);
    let out = command.args(["--mode", "validate", "-l", "error", "-c"]).arg(&file).output().unwrap();
    if out.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&out.stderr).into_owned()) }
}

/// What the envoy under test is given loads, whatever it was made from.
#[test]
fn output_loads_in_a_real_envoy() {
    let Some(envoy) = umbra_testkit::gate::require_envoy() else { return };
    let mut runner = TestRunner::new(cases(24));
    let strategy = (any::<bool>(), script(30));
    let count = runner.config().cases;
    let plays: Vec<_> = (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect();
    let of = |(usual, ops): &(bool, Vec<(Op, bool)>)| -> Vec<Arc<Snapshot>> {
        play(*usual, ops, |_| {}).snapshots().into_iter().map(|(_, snapshot)| snapshot).collect()
    };
    for batch in plays.chunks(40) {
        let all: Vec<_> = batch.iter().flat_map(of).collect();
        let Err(said) = validate(&envoy, &all) else { continue };
        // Which mesh is it, and how few steps does it take?
        let bad = batch.iter().find(|p| validate(&envoy, &of(p)).is_err());
        let Some((usual, ops)) = bad else { panic!("only all together: {said}") };
        let mut few = ops.clone();
        for index in (0..few.len()).rev() {
            let mut fewer = few.clone();
            fewer.remove(index);
            if !fewer.is_empty() && validate(&envoy, &of(&(*usual, fewer.clone()))).is_err() {
                few = fewer;
            }
        }
        let said = validate(&envoy, &of(&(*usual, few.clone()))).unwrap_err();
        panic!("Envoy refuses it: {said}\nusual mesh: {usual}, {few:#?}");
    }
}
