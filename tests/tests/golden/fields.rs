//! The table of every field on the compatibility page, held to the types that read the objects and to the cases.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use umbra_testkit::paths::workspace;

/// A field as the table names it: its kind, and its path below `spec` with `[]` for any item of a list.
type Field = (String, String);

/// What the table says of a field begins with one of these.
const VERDICTS: &[&str] = &["acted on", "differs: ", "reported: ", "without effect"];

/// The table has every field of every kind, each is in some case, and what is said to be reported is.
pub(crate) fn check_table() -> Result<(), String> {
    let table = table()?;
    let (written, real) = (used(), schemas());
    let mut wrong = Vec::new();
    let documented: BTreeSet<Field> = table.keys().cloned().collect();
    for (kind, path) in real.difference(&documented) {
        wrong.push(format!("{kind} {path} is not in the table"));
    }
    for (kind, path) in documented.difference(&real) {
        wrong.push(format!("{kind} {path} is no field"));
    }
    for (kind, path) in real.difference(&written) {
        wrong.push(format!("{kind} {path} is in no case"));
    }
    let said = not_acted_on();
    for (field @ (kind, path), verdict) in &table {
        if !VERDICTS.iter().any(|word| verdict.starts_with(word)) {
            wrong.push(format!("{kind} {path}: {verdict:?} is none of {VERDICTS:?}"));
        }
        let reported = verdict.starts_with("reported");
        // A block that is reported is so with all that is in it.
        let above = said.iter().any(|(of, it)| of == kind && covers(it, path));
        if reported && !above {
            wrong.push(format!("{kind} {path} is said to be reported, and no case reports it"));
        }
        if said.contains(field) && verdict == "acted on" {
            wrong
                .push(format!("{kind} {path} is said to be acted on, and a case reports it as not acted on"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("docs/fields.md:\n{}", wrong.join("\n"))) }
}

fn covers(block: &str, path: &str) -> bool {
    path.strip_prefix(block).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The rows of the table, with what is said of each.
fn table() -> Result<BTreeMap<Field, String>, String> {
    let page = std::fs::read_to_string(workspace().join("docs/fields.md")).map_err(|e| e.to_string())?;
    let rows = page.split("| kind | field | |\n").nth(1).ok_or("no table of fields")?;
    let rows = rows.lines().skip(1).take_while(|line| line.starts_with('|'));
    let mut table = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').splitn(3, '|').map(str::trim).collect();
        let [kind, path, verdict] = cells[..] else { return Err(format!("an odd row: {row}")) };
        let field = (kind.to_owned(), path.trim_matches('`').to_owned());
        if table.insert(field, verdict.to_owned()).is_some() {
            return Err(format!("twice in the table: {row}"));
        }
    }
    Ok(table)
}

/// Every field of every kind, by the schemas that the types give.
fn schemas() -> BTreeSet<Field> {
    let mut fields = BTreeSet::new();
    for (kind, spec) in specs() {
        walk(&spec, "", &mut |path, _| {
            fields.insert((kind.clone(), path.to_owned()));
        });
    }
    fields
}

/// The schema of each kind's `spec`.
fn specs() -> BTreeMap<String, Value> {
    let text = umbra_api::crds();
    let of = |crd: &Value| {
        let kind = crd["spec"]["names"]["kind"].as_str()?.to_owned();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        Some((kind, schema["properties"]["spec"].clone()))
    };
    text.iter().filter_map(of).collect()
}

/// The same policy stands in three places; the table names its fields once.
fn is_repeated(path: &str) -> bool {
    let inside = |place: &str, kept: &[&str]| {
        path.strip_prefix(place)
            .is_some_and(|rest| !kept.contains(&rest.split('.').next().unwrap_or_default()))
    };
    inside("subsets[].trafficPolicy.", &[]) || inside("trafficPolicy.portLevelSettings[].", &["port"])
}

/// The place where the table names a field: that of the policy, wherever it stands.
fn folded(path: &str) -> String {
    let policy = path.strip_prefix("subsets[].").unwrap_or(path);
    if !policy.starts_with("trafficPolicy.") {
        return path.to_owned();
    }
    match policy.strip_prefix("trafficPolicy.portLevelSettings[].").filter(|rest| !rest.starts_with("port")) {
        Some(rest) => format!("trafficPolicy.{rest}"),
        None => policy.to_owned(),
    }
}

/// Calls `found` with every field below a schema.
fn walk(schema: &Value, above: &str, found: &mut impl FnMut(&str, &Value)) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
        if is_repeated(&path) {
            continue;
        }
        found(&path, property);
        if property["type"] == "array" {
            walk(&property["items"], &format!("{path}[]"), found);
        } else {
            walk(property, &path, found);
        }
    }
}

/// The fields that some case's objects have.
fn used() -> BTreeSet<Field> {
    let mut used = BTreeSet::new();
    let specs = specs();
    for folder in crate::folders() {
        let text = std::fs::read_to_string(folder.join("input.yaml")).unwrap_or_default();
        for document in serde_saphyr::from_multiple::<Value>(&text).unwrap_or_default() {
            let kind = document["kind"].as_str().unwrap_or_default();
            if let Some(schema) = specs.get(kind) {
                collect(kind, schema, &document["spec"], "", &mut used);
            }
        }
    }
    used
}

fn collect(kind: &str, schema: &Value, value: &Value, above: &str, used: &mut BTreeSet<Field>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let Some(inner) = value.get(name).filter(|inner| !inner.is_null()) else { continue };
        let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
        used.insert((kind.to_owned(), folded(&path)));
        match inner.as_array() {
            Some(items) => {
                items.iter().for_each(|it| collect(kind, &property["items"], it, &format!("{path}[]"), used));
            }
            None => collect(kind, property, inner, &path, used),
        }
    }
}

/// The fields that some case's diagnostics call not acted on.
fn not_acted_on() -> BTreeSet<Field> {
    let mut fields = BTreeSet::new();
    for folder in crate::folders() {
        let said = std::fs::read_to_string(folder.join("diagnostics.txt")).unwrap_or_default();
        // `warning: Kind ns/name: field: message [Code]`
        for line in
            said.lines().filter(|line| line.ends_with("[NotActedOn]") || line.ends_with("[TlsUnsupported]"))
        {
            let parts: Vec<&str> = line.splitn(4, ": ").collect();
            let [_, object, field, _] = parts[..] else { continue };
            let kind = object.split(' ').next().unwrap_or_default();
            fields.insert((kind.to_owned(), folded(&plain(field))));
        }
    }
    fields
}

/// `spec.http[0].match[1].headers["x"]` as `http[].match[].headers`.
fn plain(field: &str) -> String {
    let field = field.strip_prefix("spec.").unwrap_or(field).split("[\"").next().unwrap_or_default();
    let mut inside = false;
    let keep = |c: &char| {
        let digit = inside && c.is_ascii_digit();
        inside = *c == '[' || digit;
        !digit
    };
    field.chars().filter(keep).collect()
}
