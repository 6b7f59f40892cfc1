//! Golden cases: a folder of `tests/golden` each, objects in and Envoy's configuration out.
//!
//! `input.yaml` begins with a comment that says what must come out and why; lines such as
//! `# proxy: router/istio-system/istio=ingressgateway` or `# proxy: sidecar/default without rtds` (`with hosts`: one that takes virtual hosts as resources of their own) say for whom (none:
//! `sidecar/default` with RTDS). `umbra.yaml` holds settings. What came out is in `envoy.yaml` (with several proxies a
//! file each) and `diagnostics.txt`; `ir.yaml` has what the front ends made of the objects, so that a fault shows on which
//! side of it it lies. `make golden` writes them anew; a test's name is its folder's, so
//! `cargo test --test golden -- mirror` runs those that have it in their name.
//!
//! Besides the comparison every case is held to [`invariants`], computed in several orders, and given to a real Envoy.

#![allow(clippy::expect_used, clippy::panic, reason = "a test")]

mod case;
mod compute;
mod fields;
mod invariants;
mod ir;
mod pages;
mod validate;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use libtest_mimic::{Arguments, Trial};
use umbra_testkit::paths::workspace;

use crate::case::Case;

fn main() -> ExitCode {
    let envoy = umbra_testkit::gate::require_envoy();
    let update = std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1");
    let mut trials: Vec<Trial> = folders()
        .into_iter()
        .map(|folder| {
            let envoy = envoy.clone();
            let name = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            Trial::test(name, move || {
                Ok(check(&folder, envoy.as_deref(), update).map_err(|e| format!("{e:#}"))?)
            })
        })
        .collect();
    trials.push(Trial::test("every_difference_is_on_the_compatibility_page", || {
        Ok(pages::check_differences()?)
    }));
    trials.push(Trial::test("every_field_not_acted_on_is_on_the_compatibility_page", || {
        Ok(pages::check_fields()?)
    }));
    trials.push(Trial::test("every_field_is_in_the_table_and_in_a_case", || Ok(fields::check_table()?)));
    trials.push(Trial::test("there_are_enough_cases", || {
        let cases = folders().len();
        if cases < 280 { Err(format!("only {cases} cases").into()) } else { Ok(()) }
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Every case, sorted by name.
fn folders() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(workspace().join("tests/golden")).expect("the folder of cases");
    let mut folders: Vec<PathBuf> =
        entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn check(folder: &Path, envoy: Option<&Path>, update: bool) -> Result<()> {
    let case = Case::read(folder)?;
    let outcome = compute::outcome(&case)?;
    if update {
        write(folder, &outcome.files)?;
    } else {
        compare(folder, &outcome.files)?;
    }
    for (proxy, config) in case.proxies.iter().zip(&outcome.configs) {
        let broken = invariants::broken(proxy, config);
        if !broken.is_empty() {
            bail!("{proxy}:\n{}", broken.join("\n"));
        }
        if let Some(envoy) = envoy {
            validate::validate(envoy, config)
                .with_context(|| format!("{proxy}: the real Envoy refuses it"))?;
        }
    }
    Ok(())
}

/// The names of the files that a case may hold as output.
fn is_output(name: &str) -> bool {
    name != "input.yaml" && name != "umbra.yaml"
}

fn outputs(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if is_output(&name) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Writes the files and deletes those that are no longer computed.
fn write(folder: &Path, files: &[(String, String)]) -> Result<()> {
    for name in outputs(folder)? {
        if !files.iter().any(|(wanted, _)| *wanted == name) {
            std::fs::remove_file(folder.join(name))?;
        }
    }
    for (name, text) in files {
        std::fs::write(folder.join(name), text)?;
    }
    Ok(())
}

fn compare(folder: &Path, files: &[(String, String)]) -> Result<()> {
    let mut differences = String::new();
    for name in outputs(folder)? {
        if !files.iter().any(|(wanted, _)| *wanted == name) {
            writeln!(differences, "{name}: no longer computed; `make golden` deletes it")?;
        }
    }
    for (name, text) in files {
        // A file that is missing is an empty one: everything is new.
        let stored = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        if stored != *text {
            let diff = similar::TextDiff::from_lines(stored.as_str(), text.as_str());
            let mut diff = diff.unified_diff();
            writeln!(
                differences,
                "{}",
                diff.context_radius(4).header(&format!("stored {name}"), "computed")
            )?;
        }
    }
    if !differences.is_empty() {
        bail!("{differences}If this is meant: `make golden`, and read the difference before you commit it.");
    }
    Ok(())
}
