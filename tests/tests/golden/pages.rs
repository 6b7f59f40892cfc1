//! The compatibility page knows every deliberate difference.

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

fn relative(path: &Path) -> String {
    path.strip_prefix(workspace()).unwrap_or(path).display().to_string()
}
