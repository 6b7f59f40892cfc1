//! Where the programs and files that tests use are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

/// The version of Envoy that umbra is tested with; `tests/tools/fetch_envoy.py` pins its hash.
pub const ENVOY_VERSION: &str = "1.40.0";

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    // crates/testkit is two folders below the root.
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."))
}

/// A folder of `deploy/examples`.
pub fn example(name: &str) -> PathBuf {
    workspace().join("deploy/examples").join(name)
}

/// The Envoy to test with: `UMBRA_ENVOY`, else what `make tools` put into `.tools/`. `None` when there is none.
pub fn envoy() -> Option<PathBuf> {
    let path = match std::env::var_os("UMBRA_ENVOY") {
        Some(path) => PathBuf::from(path),
        None => workspace().join(format!(".tools/envoy-{ENVOY_VERSION}/envoy")),
    };
    path.is_file().then_some(path)
}

/// The `umbra` binary: `UMBRA_BIN`, else built by cargo (a moment when nothing changed, so that a test never
/// runs a binary that is older than the code).
///
/// # Errors
/// When the build fails; the message is the compiler's.
pub fn umbra() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if let Some(path) = std::env::var_os("UMBRA_BIN") {
        return Ok(PathBuf::from(path));
    }
    BUILT.get_or_init(|| build_umbra().map_err(|e| format!("{e:#}"))).clone().map_err(anyhow::Error::msg)
}

fn build_umbra() -> Result<PathBuf> {
    let path = target_folder()?.join("umbra");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    // With the tests' package, so that cargo picks the features that it has just built the libraries with.
    build.args([
        "build",
        "--quiet",
        "--package",
        "umbra-server",
        "--package",
        "umbra-tests",
        "--bin",
        "umbra",
    ]);
    build.current_dir(workspace());
    if path.parent().is_some_and(|p| p.ends_with("release")) {
        build.arg("--release");
    }
    let out = build.output().context("cannot run cargo to build umbra")?;
    if !out.status.success() {
        bail!("building umbra failed:\n{}", String::from_utf8_lossy(&out.stderr));
    }
    Ok(path)
}

/// The folder with the workspace's binaries, beside the program that runs now.
///
/// # Errors
/// When the running program is not in a target folder.
pub fn target_folder() -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let mut folder = exe.parent().context("the program has no folder")?;
    if folder.ends_with("deps") {
        folder = folder.parent().context("the program has no target folder")?;
    }
    Ok(folder.to_path_buf())
}
