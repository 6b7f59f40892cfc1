//! `umbra validate`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::json;
use umbra_engine::{Engine, Options};
use umbra_ir::{Diagnostic, Severity};
use umbra_source::Loaded;

use super::{load_config, print};
use crate::cli::{Output, ValidateArgs};
use crate::diagnostics;
use crate::failure::usage;

/// Prints every diagnostic; exit code 1 when one is an error.
pub(super) fn validate(args: &ValidateArgs) -> anyhow::Result<ExitCode> {
    let config = load_config(args.config.as_deref())?;
    let loaded = umbra_source::load(&args.paths).map_err(usage)?;
    let (objects, files) = (loaded.changes.len(), loaded.files);
    let (mut engine, assemble) =
        take_in(Engine::new(Options { settings: config.settings, pods_as_endpoints: true }), loaded);
    engine.settle();
    let all = assemble(&engine);
    let count = |severity| all.iter().filter(|d| d.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    match args.output {
        Output::Json => {
            print(&format!("{}\n", serde_json::to_string_pretty(&json!({ "diagnostics": all }))?))?
        }
        Output::Text => {
            let mut text: String =
                all.iter().map(|diagnostic| diagnostics::one_line(diagnostic) + "\n").collect();
            text.push_str(&format!(
                "{objects} objects in {files} files: {errors} errors, {warnings} warnings\n"
            ));
            print(&text)?;
        }
    }
    Ok(if errors > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Puts what was loaded into an engine; answers it and how to list all diagnostics after settling.
pub(super) fn take_in(mut engine: Engine, loaded: Loaded) -> (Engine, impl Fn(&Engine) -> Vec<Diagnostic>) {
    let Loaded { changes, places, diagnostics: files, .. } = loaded;
    for change in changes {
        engine.apply(change);
    }
    let places: BTreeMap<_, _> = places.into_iter().filter_map(|(id, place)| Some((id, place?))).collect();
    (engine, move |engine: &Engine| diagnostics::assemble(engine.diagnostics(), &files, &places))
}
