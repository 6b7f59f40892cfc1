//! `umbra crds`.

use std::process::ExitCode;

use serde_json::Value;

use super::print;

/// Prints the custom resource definitions, for `kubectl apply --server-side -f -`.
pub(super) fn crds() -> anyhow::Result<ExitCode> {
    print(&render(umbra_api::crds())?)?;
    Ok(ExitCode::SUCCESS)
}

fn render(crds: Vec<Value>) -> anyhow::Result<String> {
    let mut text = String::from("# Made by `umbra crds`; a test compares the two.\n");
    for crd in crds {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(&crd)?);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One file for each API group: where Istio is, only our own is missing. `UPDATE_GOLDEN=1` writes them anew.
    #[test]
    fn the_rendered_files_are_what_the_types_say() {
        let all = umbra_api::crds();
        let mut written = 0;
        for group in [umbra_ir::ISTIO_GROUP, umbra_ir::UMBRA_GROUP] {
            let own: Vec<Value> = all.iter().filter(|crd| crd["spec"]["group"] == group).cloned().collect();
            written += own.len();
            let file = format!("deploy/crds/{group}.yaml");
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(&file);
            let want = render(own.clone()).unwrap();
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                std::fs::write(&path, &want).unwrap();
            }
            let is = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(is == want, "{file} is out of date: UPDATE_GOLDEN=1 cargo test --workspace --lib");
            // What is written reads back as the same.
            let documents: Vec<Value> = serde_saphyr::from_multiple(&want).unwrap();
            assert_eq!(documents, own);
        }
        assert_eq!(written, all.len());
    }
}
