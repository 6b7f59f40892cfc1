//! The annotation in the files of a folder that umbra serves, which stay as they are but for it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use serde_json::{Map, Value};
use umbra_api::Object;
use umbra_inject::yaml::{change, documents, read};
use umbra_ir::{Kind, ObjectId};
use umbra_istio::STOP;

use super::target::{Target, wanted};
use super::{AllWritten, Verb, Wanted, Written, annotation};
use crate::failure::usage;

/// The namespace of objects that name none.
const NAMESPACE: &str = "default";
/// Lists in lists beyond this are nonsense.
const MAX_LISTS: usize = 4;

/// Writes it into the files of a folder; `targets` are all that have mirrors when there are none.
pub(crate) fn write(
    verb: Verb,
    dir: &Path,
    namespace: Option<&str>,
    targets: &[Target],
) -> anyhow::Result<AllWritten> {
    let loaded = umbra_source::load(std::slice::from_ref(&dir.to_path_buf())).map_err(usage)?;
    let places = loaded.places.iter().filter_map(|(id, place)| Some((id, place.as_ref()?)));
    let mut files: BTreeMap<ObjectId, Arc<str>> = BTreeMap::new();
    let mut every = Wanted::new();
    for (id, place) in places.filter(|(id, _)| id.kind == Kind::VirtualService) {
        files.insert(id.clone(), place.file.clone());
        if namespace.is_none_or(|name| *id.namespace == *name) && is_meant(verb, &place.value) {
            every.insert(id.clone(), Vec::new());
        }
    }
    let wanted = if targets.is_empty() { every } else { wanted(targets, namespace.unwrap_or(NAMESPACE)) };
    let nobody = |_: &ObjectId| format!("no file in {} has it", dir.display());
    Ok(write_all(verb, &files, wanted, nobody))
}

/// Writes it where these files have the objects; of one that none has, `nobody` says so.
pub(crate) fn write_all(
    verb: Verb,
    files: &BTreeMap<ObjectId, Arc<str>>,
    wanted: Wanted,
    nobody: impl Fn(&ObjectId) -> String,
) -> AllWritten {
    let mut by_file: BTreeMap<Arc<str>, Wanted> = BTreeMap::new();
    let mut all = AllWritten::new();
    for (id, names) in wanted {
        match files.get(&id) {
            None => drop(all.insert(id.clone(), Err(nobody(&id)))),
            Some(file) => drop(by_file.entry(file.clone()).or_default().insert(id, names)),
        }
    }
    for (file, wanted) in by_file {
        match write_file(verb, Path::new(&*file), &wanted) {
            Ok(written) => all.extend(written),
            Err(error) => all.extend(wanted.into_keys().map(|id| (id, Err(format!("{error:#}"))))),
        }
    }
    all
}

/// Whether `--all` means it.
fn is_meant(verb: Verb, object: &Object) -> bool {
    let Object::VirtualService(vs) = object else { return false };
    match verb {
        Verb::Stop => vs
            .spec
            .http
            .iter()
            .any(|rule| rule.mirror.is_some() || !rule.mirrors.is_empty() || rule.delegate.is_some()),
        Verb::Resume => vs.meta.annotations.contains_key(STOP),
    }
}

fn write_file(verb: Verb, path: &Path, wanted: &Wanted) -> anyhow::Result<AllWritten> {
    // A link goes on to lead to it.
    let path = path.canonicalize().with_context(|| format!("cannot read {}", path.display()))?;
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (new, written) = edit(verb, &text, wanted)?;
    if new != text {
        replace(&path, &new).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(written)
}

/// The text of a file with the annotations of these VirtualServices as they should be. Of one object that is there twice the first
/// counts.
fn edit(verb: Verb, text: &str, wanted: &Wanted) -> anyhow::Result<(String, AllWritten)> {
    let (mut out, mut all) = (String::new(), AllWritten::new());
    for document in documents(text) {
        let before = read(document)?;
        let mut new = before.clone();
        each_metadata(&mut new, 0, &mut |id, metadata| {
            let Some(names) = wanted.get(&id).filter(|_| !all.contains_key(&id)) else { return };
            let was = metadata.get("annotations").and_then(|all| all.get(STOP));
            let was = was.map(|text| text.as_str().unwrap_or_default().to_owned());
            let written = annotation(verb, was.as_deref(), names).map(|now| {
                annotate(metadata, now.as_deref());
                Written { changed: was != now, annotation: now }
            });
            all.insert(id, written);
        });
        if new == before {
            out.push_str(document);
        } else {
            out.push_str(&change(document, &new)?);
        }
    }
    for id in wanted.keys().filter(|id| !all.contains_key(*id)).cloned().collect::<Vec<_>>() {
        all.insert(id, Err("it is not there any longer".to_owned()));
    }
    Ok((out, all))
}

/// Goes through the metadata of the VirtualServices of a document, which may be a list of objects.
fn each_metadata(value: &mut Value, depth: usize, found: &mut impl FnMut(ObjectId, &mut Map<String, Value>)) {
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default();
    if kind.ends_with("List") && depth < MAX_LISTS {
        let items = value.get_mut("items").and_then(Value::as_array_mut);
        items.into_iter().flatten().for_each(|item| each_metadata(item, depth + 1, found));
        return;
    }
    if kind != Kind::VirtualService.as_str() {
        return;
    }
    let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let text = |key: &str| metadata.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let Some(name) = text("name") else { return };
    let id = ObjectId::new(Kind::VirtualService, text("namespace").unwrap_or(NAMESPACE), name);
    found(id, metadata);
}

/// Sets the annotation, or takes it away, and all annotations with it when it was the only one.
fn annotate(metadata: &mut Map<String, Value>, text: Option<&str>) {
    match text {
        Some(text) => {
            let all = metadata.entry("annotations").or_insert(Value::Null);
            if !all.is_object() {
                *all = Value::Object(Map::new());
            }
            all[STOP] = text.into();
        }
        None => {
            if let Some(all) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                all.remove(STOP);
                if all.is_empty() {
                    metadata.remove("annotations");
                }
            }
        }
    }
}

/// Puts another text in the place of a file: whoever reads it sees one or the other.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let folder = path.parent().context("it is in no folder")?;
    let name = path.file_name().context("it has no name")?.to_string_lossy();
    // Not a name that umbra would read.
    let beside = folder.join(format!(".{name}.{}.new", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = fs::File::create(&beside)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(fs::metadata(path)?.permissions())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&beside)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# Two rules.
apiVersion: v1
kind: Service
metadata: {name: web}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: web # ours
  namespace: shop
spec: {hosts: [web]}
";

    /// What comes of it when `shop/web` is stopped or resumed.
    #[track_caller]
    fn check(verb: Verb, text: &str, names: &[&str], want: &str) {
        let id = ObjectId::new(Kind::VirtualService, "shop", "web");
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let (got, written) = edit(verb, text, &Wanted::from([(id.clone(), names)])).unwrap();
        assert!(written[&id].is_ok(), "{written:?}");
        assert_eq!(got, want, "{got}");
    }

    #[test]
    fn only_the_annotation_changes() {
        let stopped = FILE.replace(
            "metadata:\n  name: web # ours",
            "metadata:\n  annotations:\n    umbra.io/stop: all\n  name: web # ours",
        );
        check(Verb::Stop, FILE, &[], &stopped);
        check(Verb::Stop, &stopped, &[], &stopped);
        check(Verb::Resume, &stopped, &[], FILE);
        check(Verb::Resume, FILE, &[], FILE);
        let canary = stopped.replace("stop: all", "stop: canary");
        check(Verb::Stop, FILE, &["canary"], &canary);
        check(Verb::Stop, &canary, &["rest"], &stopped.replace("stop: all", "stop: \"canary,rest\""));
        let other = FILE.replace("  namespace: shop", "  namespace: shop\n  annotations:\n    a: b # mine");
        let both = other.replace("    a: b # mine", "    umbra.io/stop: all\n    a: b # mine");
        check(Verb::Stop, &other, &[], &both);
        check(Verb::Resume, &both, &[], &other);
    }

    #[test]
    fn all_of_a_file_in_one_go() {
        let list = "kind: List\napiVersion: v1\nitems:\n- kind: VirtualService\n  metadata: {name: a}\n- kind: VirtualService\n  metadata: {name: b}\n";
        let id = |name: &str| ObjectId::new(Kind::VirtualService, "default", name);
        let wanted = ["a", "b", "gone"].map(|name| (id(name), Vec::new())).into_iter().collect();
        let (text, written) = edit(Verb::Stop, list, &wanted).unwrap();
        assert_eq!(text.matches("umbra.io/stop").count(), 2, "{text}");
        let done: Vec<bool> = written.values().map(Result::is_ok).collect();
        assert_eq!(done, [true, true, false], "{written:?}");
        // What is refused of one leaves the file as it is.
        let part = Wanted::from([(id("a"), vec!["canary".to_owned()])]);
        let (same, written) = edit(Verb::Resume, &text, &part).unwrap();
        assert!(same == text && written[&id("a")].is_err(), "{written:?}");
    }
}
