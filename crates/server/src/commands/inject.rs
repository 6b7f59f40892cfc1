//! `umbra inject`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use umbra_inject::manifests::inject_manifests;
use umbra_inject::settings::Settings;

use super::{load_config, print};
use crate::cli::InjectArgs;
use crate::failure::usage;

/// Prints manifests with sidecars.
pub(super) fn inject(args: &InjectArgs) -> anyhow::Result<ExitCode> {
    let settings = settings(args)?;
    let mut out = String::new();
    for path in files(&args.filenames).map_err(usage)? {
        let text = read(&path).with_context(|| format!("cannot read {}", path.display())).map_err(usage)?;
        let injected = inject_manifests(&text, &args.namespace, &settings).with_context(|| {
            if is_input(&path) { "standard input".to_owned() } else { path.display().to_string() }
        })?;
        for note in injected.notes {
            eprintln!("umbra: {}: {}", note.object, note.message);
        }
        if !out.is_empty() {
            if !out.ends_with('\n') {
                out.push('\n');
            }
            if !injected.text.starts_with("---") {
                out.push_str("---\n");
            }
        }
        out.push_str(&injected.text);
    }
    match &args.output {
        None => print(&out)?,
        Some(path) => {
            std::fs::write(path, out)
                .with_context(|| format!("cannot write {}", path.display()))
                .map_err(usage)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The settings' file, and the options over it.
fn settings(args: &InjectArgs) -> anyhow::Result<Settings> {
    let mut settings = load_config(args.config.as_deref())?.injection;
    if let Some(image) = &args.image {
        settings.image.clone_from(image);
    }
    if let Some(ca) = &args.ca {
        settings.ca_file = Some(ca.clone());
        // What the chart opens for that.
        if settings.server == Settings::default().server {
            settings.server = settings.server.replace(":15010", ":15012");
        }
    }
    if let Some(server) = &args.server {
        settings.server.clone_from(server);
    }
    settings.check().map_err(usage)?;
    read_ca(&mut settings).map_err(usage)?;
    Ok(settings)
}

/// Reads the file that `injection.caFile`, or the option, names.
fn read_ca(settings: &mut Settings) -> anyhow::Result<()> {
    if let Some(path) = &settings.ca_file {
        let read = std::fs::read_to_string(path);
        settings.ca = Some(read.with_context(|| {
            format!("the authorities of umbra's certificate: cannot read {}", path.display())
        })?);
    }
    Ok(())
}

fn is_input(path: &Path) -> bool {
    path == Path::new("-")
}

pub(super) fn read(path: &Path) -> std::io::Result<String> {
    if is_input(path) { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(path) }
}

/// The files that are named, and those in folders that are, in the order of their names.
pub(super) fn files(named: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in named {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut inside: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        inside.retain(|path| {
            let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
            ["yaml", "yml", "json"].contains(&end) && path.is_file()
        });
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}
