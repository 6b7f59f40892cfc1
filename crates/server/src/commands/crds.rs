//! `umbra crds`.

use std::process::ExitCode;

use super::print;

/// Prints the custom resource definitions, for `kubectl apply --server-side -f -`.
pub(super) fn crds() -> anyhow::Result<ExitCode> {
    print(&render()?)?;
    Ok(ExitCode::SUCCESS)
}

fn render() -> anyhow::Result<String> {
    let mut text = String::from("# Made by `umbra crds`; a test compares the two.\n");
    for crd in umbra_api::crds() {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(&crd)?);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_GOLDEN=1` writes the file anew.
    #[test]
    fn the_rendered_file_is_what_the_types_say() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../deploy/crds/networking.istio.io.yaml");
        let want = render().unwrap();
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &want).unwrap();
        }
        let is = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(is == want, "deploy/crds is out of date: umbra crds > deploy/crds/networking.istio.io.yaml");
        // What is written reads back as the same.
        let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&want).unwrap();
        assert_eq!(documents, umbra_api::crds());
    }
}
