//! Generates Envoy's API from the descriptors that the package `envoy-types` ships, and the rest from `proto`.
//!
//! That package is pinned in Cargo.toml under a target that never matches, so cargo locks and downloads it but
//! never compiles it. Its own generated code keeps protobuf maps in hash maps, so one resource would encode to
//! different bytes each time; here maps are ordered and byte fields are reference counted.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Imports that only carry options (validation rules, annotations), which the generated code does not use.
const OPTIONS_ONLY: &[&str] = &[
    "validate/",
    "udpa/annotations/",
    "xds/annotations/",
    "envoy/annotations/",
    "google/api/annotations.proto",
];

/// The packages of Envoy's whose gRPC services are generated: `umbra serve` serves ADS, `umbra judge` takes bodies.
const SERVICES: [&str; 2] = ["envoy.service.discovery.v3", "envoy.service.ext_proc.v3"];

/// Below `proto`: umbra's own API, and what it reads of OpenTelemetry's.
const OURS: [&str; 2] =
    ["umbra/v1/umbra.proto", "opentelemetry/proto/collector/metrics/v1/metrics_service.proto"];

fn main() -> Result<()> {
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let proto = manifest.join("../../proto");
    let roots = proto.join("envoy-roots.txt");
    for input in [&manifest.join("build.rs"), &manifest.join("Cargo.toml"), &roots, &proto] {
        println!("cargo::rerun-if-changed={}", input.display());
    }

    let package = envoy_types(&manifest)?;
    let all = FileDescriptorSet::decode(fs::read(package.join("src/generated/types.bin"))?.as_slice())?;
    let mut set = trim(all, &fs::read_to_string(&roots)?)?;
    add_ours(&mut set, &proto)?;
    fs::write(out.join("api.bin"), set.encode_to_vec())?;

    let mut config = prost_build::Config::new();
    config
        .compile_well_known_types()
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com")
        .btree_map(["."])
        .bytes(["."])
        .include_file("api.rs");
    tonic_prost_build::configure().compile_fds_with_config(set, config)?;
    Ok(())
}

/// Adds umbra's own files; those of Google's that both import are there once.
fn add_ours(set: &mut FileDescriptorSet, proto: &Path) -> Result<()> {
    for file in protox::compile(OURS, [proto])?.file {
        if !set.file.iter().any(|known| known.name() == file.name()) {
            set.file.push(FileDescriptorProto { source_code_info: None, ..file });
        }
    }
    Ok(())
}

/// The folder of the pinned package: without the network when it was fetched before, else with it.
fn envoy_types(manifest: &Path) -> Result<PathBuf> {
    let offline = metadata(manifest, &["--offline"]);
    let metadata = offline.or_else(|_| metadata(manifest, &[]))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let found = packages
        .iter()
        .find(|package| package["name"] == "envoy-types")
        .ok_or("envoy-types is not in the dependency graph")?;
    let file = found["manifest_path"].as_str().ok_or("envoy-types has no manifest_path")?;
    Ok(Path::new(file).parent().ok_or("envoy-types has no folder")?.to_path_buf())
}

fn metadata(manifest: &Path, extra: &[&str]) -> Result<serde_json::Value> {
    let output = Command::new(env::var("CARGO")?)
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(extra)
        .current_dir(manifest)
        .output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The files that the roots reach, in the order of the input, without comments: Envoy's would become failing
/// doctests, and double the output.
fn trim(all: FileDescriptorSet, roots: &str) -> Result<FileDescriptorSet> {
    let roots = roots
        .lines()
        .filter_map(|line| line.split('#').next())
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let mut todo: Vec<String> = roots.map(str::to_owned).collect();
    let mut wanted = BTreeSet::new();
    while let Some(name) = todo.pop() {
        if !wanted.insert(name.clone()) {
            continue;
        }
        let file = all.file.iter().find(|file| file.name() == name);
        let file = file.ok_or_else(|| format!("envoy-types has no file {name}"))?;
        todo.extend(imports(file).cloned());
    }
    let mut set = all;
    set.file.retain(|file| wanted.contains(file.name()));
    for file in &mut set.file {
        file.source_code_info = None;
        file.dependency = imports(file).cloned().collect();
        // Both are indexes into the list of imports that was just changed; neither has meaning for us.
        file.public_dependency.clear();
        file.weak_dependency.clear();
        if !SERVICES.contains(&file.package()) {
            file.service.clear();
        }
    }
    Ok(set)
}

fn imports(file: &FileDescriptorProto) -> impl Iterator<Item = &String> {
    file.dependency.iter().filter(|name| !OPTIONS_ONLY.iter().any(|prefix| name.starts_with(prefix)))
}
