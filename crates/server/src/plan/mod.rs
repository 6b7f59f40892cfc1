//! What would change if objects came, changed or went: the mesh before and after, compared.
//!
//! Pure but for the engine that it is given, which nobody else uses: `umbra plan` makes one of a folder, and a running umbra
//! one of what it knows.

mod compare;
mod text;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use umbra_api::{Change, Object};
use umbra_engine::{Engine, ProxyId};
use umbra_ir::{Diagnostic, MirrorState, ObjectId};
use umbra_source::{Loaded, Place};
use umbra_xds::Snapshot;

use crate::diagnostics::assemble;

pub(crate) use text::text;

/// What would change. Empty lists: nothing does.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plan {
    /// The objects that come, change or go.
    pub(crate) objects: Vec<ObjectChange>,
    /// Mirrors as their authors see them.
    pub(crate) mirrors: Vec<MirrorChange>,
    /// Proxies for which something changes; those for which the same changes stand together.
    pub(crate) proxies: Vec<ProxyChange>,
    /// How many proxies were looked at.
    pub(crate) looked_at: usize,
    /// What would be said of objects and files.
    pub(crate) diagnostics: DiagnosticsChange,
}

impl Plan {
    /// Whether somebody would notice.
    pub(crate) fn changes(&self) -> bool {
        let Plan { mirrors, proxies, diagnostics, .. } = self;
        !mirrors.is_empty() || !proxies.is_empty() || *diagnostics != DiagnosticsChange::default()
    }
}

/// How something changes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Action {
    /// It was not there.
    Added,
    /// It becomes another.
    Changed,
    /// It is there no more.
    Removed,
}

/// One object.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ObjectChange {
    /// How.
    pub(crate) action: Action,
    /// `VirtualService default/web`.
    pub(crate) object: String,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<Arc<str>>,
}

/// One mirror of a VirtualService.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MirrorChange {
    /// Added: it starts to copy; removed: it stops; changed: its share or what it comes to.
    pub(crate) action: Action,
    /// `VirtualService default/web`.
    pub(crate) object: String,
    /// `spec.http[0].mirror`.
    pub(crate) field: String,
    /// The hosts whose requests it copies.
    pub(crate) hosts: Vec<String>,
    /// Where copies go, as written.
    pub(crate) target: String,
    /// The percentage before; `None`: it did not copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<f64>,
    /// The percentage after; `None`: it does not copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<f64>,
    /// What keeps it from working, after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// What changes for some proxies.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProxyChange {
    /// Who they are, such as `sidecar/default/app=sleep`.
    pub(crate) proxies: Vec<String>,
    /// In words.
    pub(crate) words: Vec<String>,
    /// As resources.
    pub(crate) resources: Vec<ResourceChange>,
}

/// One resource.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResourceChange {
    /// How.
    pub(crate) action: Action,
    /// `cds`, `eds`, `lds`, `rds`, `vhds` or `rtds`.
    #[serde(rename = "type")]
    pub(crate) resource_type: &'static str,
    /// Its name.
    pub(crate) name: Arc<str>,
}

/// Diagnostics that appear and disappear; one that only moves to another line does neither.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DiagnosticsChange {
    /// Said after and not before.
    pub(crate) appear: Vec<Diagnostic>,
    /// Said before and not after.
    pub(crate) disappear: Vec<Diagnostic>,
}

/// What is wished.
#[derive(Default)]
pub(crate) struct Wish {
    /// Objects that come or change, with their places, and what is wrong with their files.
    pub(crate) apply: Loaded,
    /// Objects that go.
    pub(crate) delete: BTreeSet<ObjectId>,
    /// Whatever is not among those that come goes too.
    pub(crate) prune: bool,
}

/// Where objects stand.
pub(crate) type Places = BTreeMap<ObjectId, Place>;

/// The mesh as of one settle.
struct State {
    snapshots: BTreeMap<ProxyId, Arc<Snapshot>>,
    mirrors: BTreeMap<ObjectId, Arc<Vec<MirrorState>>>,
    diagnostics: Vec<Diagnostic>,
    objects: BTreeMap<ObjectId, Arc<Object>>,
}

impl State {
    fn of(
        engine: &mut Engine,
        proxies: &BTreeMap<ProxyId, String>,
        places: &Places,
        files: &[Diagnostic],
    ) -> Self {
        engine.settle();
        State {
            snapshots: proxies.keys().filter_map(|id| Some((*id, engine.snapshot(*id)?))).collect(),
            mirrors: engine.mirrors(),
            diagnostics: assemble(engine.diagnostics(), files, places),
            objects: engine.objects().into_iter().collect(),
        }
    }
}

/// Plays what is wished on a mesh that is nobody else's: `engine` holds its objects and `proxies`, by their names.
pub(crate) fn plan(
    mut engine: Engine,
    proxies: &BTreeMap<ProxyId, String>,
    (mut places, files): (Places, Vec<Diagnostic>),
    wish: Wish,
) -> Plan {
    let before = State::of(&mut engine, proxies, &places, &files);
    let Wish { apply, mut delete, prune } = wish;
    if prune {
        let kept: BTreeSet<&ObjectId> = apply.places.iter().map(|(id, _)| id).collect();
        delete.extend(before.objects.keys().filter(|id| !kept.contains(id)).cloned());
    }
    delete.iter().for_each(|id| engine.apply(Change::Delete(id.clone())));
    apply.changes.into_iter().for_each(|change| engine.apply(change));
    let gone = places.clone();
    places.extend(apply.places.into_iter().filter_map(|(id, place)| Some((id, place?))));
    // What is wrong with the files of before is wrong still.
    let files = [files, apply.diagnostics].concat();
    let after = State::of(&mut engine, proxies, &places, &files);
    compare::compare(&before, &after, proxies, |id| {
        places.get(id).or_else(|| gone.get(id)).map(|it| it.file.clone())
    })
}
