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

/// Writes it; `targets` are all that have mirrors when there are none.
pub(super) fn write(
    verb: Verb,
    dir: &Path,
    namespace: Option<&str>,
    targets: &[Target],
) -> anyhow::Result<AllWritten> {
    let loaded = umbra_source::load(std::slice::from_ref(&dir.to_path_buf())).map_err(usage)?;
    let places = loaded.places.iter().filter_map(|(id, place)| Some((id, place.as_ref()?)));
    let mut files: BTreeMap<&ObjectId, Arc<str>> = BTreeMap::new();
    let mut every = Wanted::new();
    for (id, place) in places.filter(|(id, _)| id.kind == Kind::VirtualService) {
        files.insert(id, place.file.clone());
        if namespace.is_none_or(|name| *id.namespace == *name) && is_meant(verb, &place.value) {
            every.insert(id.clone(), Vec::new());
        }
    }
    let wanted = if targets.is_empty() { every } else { wanted(targets, namespace.unwrap_or(NAMESPACE)) };
    let mut all = AllWritten::new();
    for (id, names) in wanted {
        let written = match files.get(&id) {
            None => Err(format!("no file in {} has it", dir.display())),
            Some(file) => {
                write_one(verb, Path::new(&**file), &id, &names).map_err(|error| format!("{error:#}"))
            }
        };
        all.insert(id, written);
    }
    Ok(all)
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

fn write_one(verb: Verb, path: &Path, id: &ObjectId, names: &[String]) -> anyhow::Result<Written> {
    // A link goes on to lead to it.
    let path = path.canonicalize().with_context(|| format!("cannot read {}", path.display()))?;
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (new, written) = edit(verb, &text, id, names)?;
    if new != text {
        replace(&path, &new).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(written)
}

/// The text of a file with the annotation of one VirtualService as it should be.
fn edit(verb: Verb, text: &str, id: &ObjectId, names: &[String]) -> anyhow::Result<(String, Written)> {
    let (mut out, mut written) = (String::new(), None);
    for document in documents(text) {
        let before = read(document)?;
        let mut new = before.clone();
        if written.is_none()
            && let Some(metadata) = metadata_of(&mut new, id, 0)
        {
            let was = metadata.get("annotations").and_then(|all| all.get(STOP));
            let was = was.map(|text| text.as_str().unwrap_or_default().to_owned());
            let now = annotation(verb, was.as_deref(), names).map_err(anyhow::Error::msg)?;
            annotate(metadata, now.as_deref());
            written = Some(Written { changed: was != now, annotation: now });
        }
        if new == before {
            out.push_str(document);
        } else {
            out.push_str(&change(document, &new)?);
        }
    }
    let written = written.with_context(|| "it is not there any longer")?;
    Ok((out, written))
}

/// The metadata of an object in a document, which may be a list of objects.
fn metadata_of<'a>(value: &'a mut Value, id: &ObjectId, depth: usize) -> Option<&'a mut Map<String, Value>> {
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    if kind.ends_with("List") && depth < MAX_LISTS {
        let items = value.get_mut("items").and_then(Value::as_array_mut)?;
        return items.iter_mut().find_map(|item| metadata_of(item, id, depth + 1));
    }
    let metadata = value.get_mut("metadata").and_then(Value::as_object_mut)?;
    let text = |key: &str| metadata.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let is = kind == id.kind.as_str()
        && text("name") == Some(&*id.name)
        && text("namespace").unwrap_or(NAMESPACE) == &*id.namespace;
    is.then_some(metadata)
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
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let (got, _) = edit(verb, text, &id, &names).unwrap();
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
        let id = ObjectId::new(Kind::VirtualService, "shop", "other");
        assert!(edit(Verb::Stop, FILE, &id, &[]).is_err());
    }
}
