//! Where the programs and files that tests use are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};

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

/// The browser to test pages with: `UMBRA_BROWSER`, else the smallest Chromium in `PATH`. `None` when there is none.
pub fn browser() -> Option<PathBuf> {
    const NAMES: [&str; 4] = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];
    if let Some(path) = std::env::var_os("UMBRA_BROWSER") {
        return Some(PathBuf::from(path)).filter(|path| path.is_file());
    }
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    NAMES
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|path| path.is_file())
}

/// The `umbra` binary: `UMBRA_BIN`, else the one beside this program. Tests have it built by cargo first (a moment when
/// nothing changed), so that they never run a binary that is older than the code.
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
    let exe = std::env::current_exe()?;
    let folder = exe.parent().context("the program has no folder")?;
    // Tests are in target/…/deps, programs one level above.
    if !folder.ends_with("deps") {
        let beside = folder.join("umbra");
        ensure!(beside.is_file(), "no umbra beside {}; run `make build`", exe.display());
        return Ok(beside);
    }
    let path = folder.with_file_name("umbra");
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
