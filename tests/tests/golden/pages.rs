//! The compatibility page knows every deliberate difference, and every field that is not acted on yet.

use std::collections::BTreeSet;
use std::path::Path;

use umbra_testkit::paths::workspace;

/// Every `DIVERGES:` in the code is named on the page by its file.
pub(crate) fn check_differences() -> Result<(), String> {
    let page =
        std::fs::read_to_string(workspace().join("docs/compatibility.md")).map_err(|e| e.to_string())?;
    let mut missing = Vec::new();
    let mut pending = vec![workspace().join("crates")];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).map_err(|e| e.to_string())?;
            pending.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let name = relative(&path);
            let marks = text.matches("DIVERGES:").count();
            let named = page.matches(&format!("`{name}`")).count();
            if marks > named {
                missing.push(format!("{name}: {marks} differences in the code, {named} on the page"));
            }
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(format!("docs/compatibility.md:\n{}", missing.join("\n"))) }
}

/// Every field that some case's diagnostics call not acted on is named on the page.
pub(crate) fn check_fields() -> Result<(), String> {
    let page = page()?;
    let mut missing = BTreeSet::new();
    for folder in crate::folders() {
        let said = std::fs::read_to_string(folder.join("diagnostics.txt")).unwrap_or_default();
        // `warning: Kind ns/name: field: message [Code]`
        for line in said.lines().filter(|line| line.ends_with("[NotActedOn]")) {
            let path = line.split(": ").nth(2).unwrap_or_default();
            let path = path.split("[\"").next().unwrap_or_default();
            let field = path.rsplit('.').next().unwrap_or_default();
            let field = field.split('[').next().unwrap_or_default();
            if !page.contains(&format!("`{field}")) && !page.contains(&format!("{field}`")) {
                missing.insert(format!("{field}, in {path}"));
            }
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(format!("docs/compatibility.md lacks {missing:?}")) }
}

fn page() -> Result<String, String> {
    std::fs::read_to_string(workspace().join("docs/compatibility.md")).map_err(|e| e.to_string())
}

fn relative(path: &Path) -> String {
    path.strip_prefix(workspace()).unwrap_or(path).display().to_string()
}
