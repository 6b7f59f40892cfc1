//! Manifests as text, whole and mangled, and small edits of one.

use serde_json::Value;

use super::Tape;

/// Values that fit some fields and not others.
const ODD: &[&str] = &[
    "null",
    "true",
    "0",
    "-1",
    "1e400",
    "\"\"",
    "\"x\"",
    "[]",
    "{}",
    "[[]]",
    "{\"a\":{}}",
    "50",
    "\"web\"",
    "\"v2\"",
    "18446744073709551616",
    "\"\\u0000\"",
];

/// Changes one place of a manifest: another value, or one taken out. Its identity mostly stays.
pub(super) fn edit(manifest: &mut Value, t: &mut Tape<'_>) {
    let mut paths = Vec::new();
    leaves(manifest, String::new(), &mut paths);
    paths.retain(|path| {
        !["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"].contains(&path.as_str())
    });
    if paths.is_empty() {
        return;
    }
    let path = t.pick(&paths);
    if t.one_in(3) {
        remove(manifest, &path);
        return;
    }
    let others: Vec<Value> = paths.iter().filter_map(|p| manifest.pointer(p).cloned()).collect();
    let odd = t.one_in(8).then(|| serde_json::from_str(t.pick(ODD)).unwrap_or(Value::Null));
    let Some(place) = manifest.pointer_mut(&path) else { return };
    *place = match place {
        _ if odd.is_some() => odd.unwrap_or_default(),
        Value::Bool(b) => (!*b).into(),
        Value::Number(_) => {
            t.pick(&[10.into(), 0.into(), 8000.into(), 90.into(), 1.into(), Value::from(0.5)])
        }
        _ => {
            let texts: Vec<Value> = others.into_iter().filter(Value::is_string).collect();
            if texts.is_empty() { Value::Null } else { t.pick(&texts) }
        }
    };
}

fn leaves(value: &Value, path: String, found: &mut Vec<String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, inner) in map {
                leaves(inner, format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for (index, inner) in list.iter().enumerate() {
                leaves(inner, format!("{path}/{index}"), found);
            }
        }
        _ => found.push(path),
    }
}

fn remove(manifest: &mut Value, path: &str) {
    let Some((parent, key)) = path.rsplit_once('/') else { return };
    match manifest.pointer_mut(parent) {
        Some(Value::Object(map)) => {
            map.remove(&key.replace("~1", "/").replace("~0", "~"));
        }
        Some(Value::Array(list)) => {
            if let Ok(index) = key.parse::<usize>() {
                list.remove(index);
            }
        }
        _ => {}
    }
}

/// Changes every percentage that is one to another that is one; true when there was any.
pub fn change_percentages(manifest: &mut Value, t: &mut Tape<'_>) -> bool {
    let mut paths = Vec::new();
    leaves(manifest, String::new(), &mut paths);
    paths.retain(|path| path.contains("/mirror") && path.ends_with("ercentage/value"));
    let mut any = false;
    for path in paths {
        let Some(place) = manifest.pointer_mut(&path) else { continue };
        if place.as_f64().is_some_and(|p| p == 0.0 || (0.0001..=100.0).contains(&p)) {
            *place = t.pick(&[25.0, 0.0, 100.0, 0.0001, 66.667]).into();
            any = true;
        }
    }
    any
}

/// Turns the readiness of a Pod, or of the endpoints of a slice, around; true when there was any.
pub fn turn_readiness(manifest: &mut Value) -> bool {
    match manifest["kind"].as_str() {
        Some("Pod") => {
            let ready = manifest["status"]["conditions"][0]["status"] == "True";
            let status = if ready { "False" } else { "True" };
            manifest["status"]["conditions"] = serde_json::json!([{"type": "Ready", "status": status}]);
            true
        }
        Some("EndpointSlice") => {
            let endpoints = manifest["endpoints"].as_array_mut();
            for endpoint in endpoints.into_iter().flatten().filter(|e| e.is_object()) {
                let ready = endpoint["conditions"]["ready"] != false;
                endpoint["conditions"] = serde_json::json!({"ready": !ready});
            }
            true
        }
        _ => false,
    }
}

/// Manifests as one YAML text, in blocks.
pub fn manifest(objects: &[Value]) -> String {
    let text = |object: &Value| serde_saphyr::to_string(object).unwrap_or_default();
    objects.iter().map(text).collect::<Vec<_>>().join("---\n")
}

/// Bits of YAML and of other things that stand where they should not.
const TOKENS: &[&str] = &[
    "\t",
    "\n",
    "---\n",
    "...\n",
    "&a ",
    "*a",
    "<<: *a\n",
    "!!binary ",
    "!x ",
    "{",
    "}",
    "[",
    "]",
    ": ",
    "- ",
    "? ",
    "| \n",
    ">-\n",
    "\"",
    "'",
    "#",
    "%YAML 1.2\n",
    "null",
    "~",
    ".nan",
    "-.inf",
    "0x10",
    "1_000",
    "\u{feff}",
    "\u{0}",
    "\u{1f980}",
    "\r\n",
    "kind: List\nitems:\n",
    "apiVersion: v1\n",
    "  ",
    "weight: 99999999999999999999\n",
    "name: 1\n",
    "\u{85}",
    "mirror: {host: web}\n",
    "é",
];

/// The text with things cut out, doubled and put in at a few places.
pub fn mangle(text: &str, t: &mut Tape<'_>) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=t.below(6) {
        let place = |t: &mut Tape<'_>, len: usize| {
            (usize::from(t.number()) * 7 + usize::from(t.number())) % (len + 1)
        };
        let from = place(t, chars.len());
        let to = (from + t.below(40)).min(chars.len());
        match t.below(5) {
            0 => drop(chars.drain(from..to)),
            1 => {
                let copy: Vec<char> = chars[from..to].to_vec();
                chars.splice(from..from, copy);
            }
            2 => chars.truncate(from),
            3 => {
                let copy: Vec<char> = chars[from..to].to_vec();
                let at = place(t, chars.len());
                chars.splice(at..at, copy);
            }
            _ => {
                let token: Vec<char> = t.pick(TOKENS).chars().collect();
                chars.splice(from..from, token);
            }
        }
    }
    chars.into_iter().collect()
}
