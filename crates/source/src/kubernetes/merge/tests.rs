use serde_json::json;

use super::*;
use crate::{Directory, Reading};

fn id(name: &str) -> ObjectId {
    ObjectId::new(umbra_ir::Kind::Service, "default", name)
}

fn cluster(word: &str) -> Step {
    let change = match word.split_once('=') {
        Some((name, port)) => {
            let value = json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
                "spec": {"ports": [{"port": port.parse::<i32>().unwrap()}]},
            });
            let object = umbra_api::parse_value(value).objects.remove(0).value;
            (name.to_owned(), Change::Upsert(Arc::new(object)))
        }
        None => (word.to_owned(), Change::Delete(id(word))),
    };
    Step { id: id(&change.0), change: Some(change.1), diagnostics: Vec::new(), seen: None }
}

fn said(update: Update) -> String {
    let changes = update.changes.iter().map(|change| match change {
        Change::Upsert(object) => match &**object {
            Object::Service(service) => format!("+{}={}", service.meta.name, service.spec.ports[0].port),
            other => panic!("{other:?}"),
        },
        Change::Delete(id) => format!("-{}", id.name),
    });
    let diagnostics = update.diagnostics.iter().map(|d| {
        let name = d.object.as_ref().map_or("", |id| &id.name);
        format!("{name}?{}:{}", d.code, d.line.unwrap_or(0))
    });
    changes.chain(diagnostics).collect::<Vec<_>>().join(" ")
}

/// Words `a=80` and `a` (gone) are the cluster's, `f:a=80` and `f:a` those of a file; `|` takes what changed.
fn check(script: &str, want: &[&str]) {
    let (mut merge, mut directory) = (Merge::default(), Directory::default());
    let mut got = Vec::new();
    for word in script.split_whitespace() {
        if word == "|" {
            got.push(said(merge.take()));
            assert!(!merge.is_dirty());
        } else if let Some(word) = word.strip_prefix("f:") {
            let (name, port) = word.split_once('=').unwrap_or((word, ""));
            let path: Arc<str> = format!("{name}.yaml").into();
            if port.is_empty() {
                directory.remove(&path);
            } else {
                let text = format!(
                    "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: {port}}}]}}\n"
                );
                directory.read(&path, Reading::parse(&text, &path, false));
            }
            merge.files(directory.settle());
        } else {
            merge.cluster(cluster(word));
        }
    }
    assert_eq!(got, want, "{script}");
}

#[test]
fn files_beside_a_cluster() {
    for (script, want) in [
        ("a=80 b=81 |", &["+a=80 +b=81"][..]),
        ("a=80 a=81 a |", &["-a"]),
        ("a=80 | a |", &["+a=80", "-a"]),
        // The file wins, whichever comes first, and says so with its place.
        ("f:a=90 a=80 |", &["+a=90 a?DuplicateObject:3"]),
        ("a=80 | f:a=90 |", &["+a=80", "+a=90 a?DuplicateObject:3"]),
        ("f:a=90 | a=80 | a=81 |", &["+a=90", "a?DuplicateObject:3", "a?DuplicateObject:3"]),
        // What the cluster does to it meanwhile has no effect, and comes to light with the file's end.
        ("f:a=90 a=80 | a |", &["+a=90 a?DuplicateObject:3", ""]),
        ("f:a=90 a=80 | a=81 f:a |", &["+a=90 a?DuplicateObject:3", "+a=81"]),
        ("f:a=90 a=80 | a f:a |", &["+a=90 a?DuplicateObject:3", "-a"]),
    ] {
        check(script, want);
    }
}
