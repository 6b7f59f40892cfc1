//! What reads from strangers, given anything at all: it must answer, and may never panic.
//!
//! *Owns*: one function for each kind of input, and what must hold of every answer. *Does not own*: good inputs and what
//! comes of them (the other tiers). *Invariants*: a function takes any bytes and does the same each time. *Start reading
//! at*: [`documents`]. `make fuzz` has libFuzzer look for inputs that make one panic, guided by what code they reach, and
//! writes such an input into `corpus/`; everything there is tried again with every `make test`.

mod session;

use std::sync::Arc;

use umbra_api::Change;
use umbra_engine::{Engine, Options, ProxyId};
use umbra_ir::{Interception, ProxyKind, ProxyNode, Severity};
use umbra_xds::{ResourceType, Variant};

/// Longer inputs find nothing that shorter ones don't, and take long.
const LONGEST: usize = 16 << 10;

/// A file of YAML or JSON: read, computed for a sidecar and for a gateway, and told about.
pub fn documents(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if text.len() > LONGEST {
        return;
    }
    let parsed = umbra_api::parse_documents(text, "fuzz.yaml");
    for diagnostic in &parsed.diagnostics {
        assert!(!diagnostic.message.is_empty() && diagnostic.file.is_some(), "{diagnostic:?}");
    }
    let said = parsed.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    assert!(parsed.refused.is_empty() || said, "an object is refused without a word");
    let mut engine = Engine::new(Options { pods_as_endpoints: true, ..Options::default() });
    for (id, kind) in [(1, ProxyKind::Sidecar), (2, ProxyKind::Router)] {
        let labels = Some([("app".to_owned(), "web".to_owned())].into());
        let node = ProxyNode {
            kind,
            namespace: "default".into(),
            pod: None,
            labels,
            unprivileged: false,
            trusted_proxies: None,
            interception: Interception::None,
            locality: None,
            takes_hosts: false,
            edits_copies: true,
            may_have_keys: true,
            http10: false,
            judges: umbra_ir::Judges::Bodies,
        };
        engine.connect(ProxyId(id), node, id == 1);
    }
    for object in parsed.objects {
        engine.apply(Change::Upsert(Arc::new(object.value)));
    }
    engine.settle();
    for diagnostic in engine.diagnostics() {
        assert!(!diagnostic.message.is_empty() && diagnostic.object.is_some(), "{diagnostic:?}");
    }
    for id in [1, 2] {
        let snapshot = engine.snapshot(ProxyId(id)).expect("a proxy that is connected has a snapshot");
        for ty in ResourceType::ALL {
            for (name, resource) in snapshot.map(ty) {
                assert!(!name.is_empty() && *name == resource.name, "{ty} {name}");
                let may = |it: &umbra_xds::Requirement| ty.requires().contains(&it.resource_type);
                assert!(resource.requires.iter().all(may), "{ty} {name}: {:?}", resource.requires);
            }
        }
    }
}

/// The requests of a delta stream, in any order with snapshots, answers and the clock.
pub fn delta(data: &[u8]) {
    session::play(Variant::Delta, data);
}

/// The same of a state-of-the-world stream.
pub fn sotw(data: &[u8]) {
    session::play(Variant::Sotw, data);
}

/// A node: its id in the first line, its metadata as JSON in the rest.
pub fn node(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (id, metadata) = text.split_once('\n').unwrap_or((text, "null"));
    let Ok(metadata) = serde_json::from_str(metadata) else { return };
    match umbra_istio::parse_node(id, &metadata) {
        Ok(node) => assert!(!node.namespace.is_empty(), "{node:?}"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that was ever found, and what the search begins with.
    #[test]
    fn the_corpus_breaks_nothing() {
        type Target = fn(&[u8]);
        let targets = [("documents", documents as Target), ("delta", delta), ("sotw", sotw), ("node", node)];
        for (name, target) in targets {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
            let mut count = 0;
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                eprintln!("{}", path.display());
                target(&std::fs::read(&path).unwrap());
                count += 1;
            }
            assert!(count > 0, "{name} has no corpus");
        }
    }
}
