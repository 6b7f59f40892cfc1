//! `umbra validate`.

mod excerpt;
mod github;
mod sarif;
mod worlds;

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::json;
use umbra_engine::{Engine, Options};
use umbra_ir::{Diagnostic, Severity};
use umbra_source::{Loaded, Loader};

use super::{load_config, print};
use crate::cli::{FailOn, ValidateArgs, ValidateOutput};
use crate::config::Config;
use crate::diagnostics::{self, Shown};
use crate::failure::usage;

use excerpt::Excerpts;
use worlds::{World, divide};

/// Prints every diagnostic; exit code 1 when one is as bad as `--fail-on` says.
pub(super) fn validate(args: &ValidateArgs) -> anyhow::Result<ExitCode> {
    let config = load_config(args.config.as_deref())?;
    let mut loader = Loader::default();
    let mut worlds = Vec::new();
    let mut all = Vec::new();
    for paths in divide(&args.paths, args.together) {
        let loaded = loader.load(&paths).map_err(usage)?;
        let (world, found) = judge(&config, paths, loaded);
        worlds.push(world);
        all.extend(found);
    }
    // Of a file that several worlds share, what is true in all of them is said once.
    all.sort_by(diagnostics::by_place);
    all.dedup();
    let text = match args.output {
        ValidateOutput::Text => text(&all, &worlds, &Excerpts::new(&loader)),
        ValidateOutput::Json => {
            let shown: Vec<Shown<'_>> = all.iter().map(Shown::from).collect();
            pretty(&json!({ "diagnostics": shown, "worlds": worlds }))?
        }
        ValidateOutput::Sarif => pretty(&sarif::log(&all))?,
        ValidateOutput::Github => all.iter().map(github::annotation).collect(),
    };
    print(&text)?;
    let failed = all.iter().any(|diagnostic| fails(args.fail_on, diagnostic.severity));
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What is to be said about the objects of one world.
fn judge(config: &Config, paths: Vec<std::path::PathBuf>, loaded: Loaded) -> (World, Vec<Diagnostic>) {
    let (objects, files) = (loaded.changes.len(), loaded.files);
    let options = Options { settings: config.settings.clone(), pods_as_endpoints: true };
    let (mut engine, assemble) = take_in(Engine::new(options), loaded);
    engine.set_time(jiff::Timestamp::now().as_second());
    engine.settle();
    let found = assemble(&engine);
    (World::new(paths, objects, files, &found), found)
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

fn fails(on: FailOn, severity: Severity) -> bool {
    match on {
        FailOn::Never => false,
        FailOn::Error => severity == Severity::Error,
        FailOn::Warning => severity != Severity::Info,
        FailOn::Info => true,
    }
}

fn pretty(value: &serde_json::Value) -> anyhow::Result<String> {
    Ok(format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// For people: a line for each diagnostic as compilers write them, where it stands, and what helps.
fn text(all: &[Diagnostic], worlds: &[World], excerpts: &Excerpts<'_>) -> String {
    let mut text = String::new();
    for diagnostic in all {
        text.push_str(&diagnostics::one_line(diagnostic));
        text.push('\n');
        text.push_str(&excerpts.of(diagnostic));
        text.push_str(&format!("  help: {}\n", diagnostic.code.remedy()));
    }
    for world in worlds {
        text.push_str(&world.summary(worlds.len() > 1));
        text.push('\n');
    }
    text
}
