//! Where the programs and CRDs of the Kubernetes tests are, and what a test does without them.

#![allow(clippy::panic, reason = "only tests call this, and to fail is its way to speak")]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::{gate, paths};

/// The programs of a control plane that `tests/tools/kubernetes/go.mod` pins.
const CONTROL_PLANE: &[&str] = &["etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "helm"];

/// A folder of programs: named by its environment variable when that is set, else `.tools/bin`.
fn folder(variable: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| paths::workspace().join(".tools/bin"), PathBuf::from)
}

fn find(variable: &str, program: &str) -> Result<PathBuf, String> {
    let path = folder(variable).join(program);
    if path.is_file() {
        return Ok(path);
    }
    Err(format!(
        "{} is missing; run `make controlplane` (needs Go), or set {variable} to a folder with {program}",
        path.display()
    ))
}

/// A program of the control plane: `etcd`, `kube-apiserver`, `kube-controller-manager`, `kubectl` or `helm`.
///
/// # Errors
/// What to do to have it.
pub fn kubernetes(program: &str) -> Result<PathBuf, String> {
    find("UMBRA_KUBERNETES_BIN", program)
}

/// Flagger's binary.
///
/// # Errors
/// What to do to have it.
pub fn flagger() -> Result<PathBuf, String> {
    find("UMBRA_FLAGGER_BIN", "flagger")
}

/// The controller of Argo Rollouts.
///
/// # Errors
/// What to do to have it.
pub fn argo_rollouts() -> Result<PathBuf, String> {
    find("UMBRA_ARGO_ROLLOUTS_BIN", "rollouts-controller")
}

/// kwok, for thousands of Pods that are only numbers.
///
/// # Errors
/// What to do to have it.
pub fn kwok() -> Result<PathBuf, String> {
    find("UMBRA_KWOK_BIN", "kwok")
}

/// istiod, which umbra is compared with. `make test` does without.
///
/// # Errors
/// What to do to have it.
pub fn istiod() -> Result<PathBuf, String> {
    find("UMBRA_ISTIOD_BIN", "pilot-discovery").map_err(|why| why.replace("make controlplane", "make istiod"))
}

/// The CRDs that somebody else's module ships: `istio`, `flagger` or `argo-rollouts`.
///
/// # Errors
/// What to do to have them.
pub fn crds(name: &str) -> Result<PathBuf, String> {
    let folder = std::env::var_os("UMBRA_CRDS");
    let folder = folder.map_or_else(|| paths::workspace().join(".tools/crds"), PathBuf::from);
    let path = folder.join(format!("{name}.yaml"));
    if path.is_file() {
        return Ok(path);
    }
    Err(format!(
        "{} is missing; run `make controlplane` (needs Go), or set UMBRA_CRDS to a folder with it",
        path.display()
    ))
}

/// Whether a control plane can be started here, or why not.
///
/// # Errors
/// What is missing, and what to do.
pub fn available() -> Result<(), String> {
    for program in CONTROL_PLANE {
        kubernetes(program)?;
    }
    if !in_path("openssl") {
        return Err("no `openssl` in PATH, which makes the certificates".to_owned());
    }
    gate::namespaces().map_err(|why| format!("no network namespace of our own: {why}"))
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| Path::new(&folder).join(program).is_file())
}

/// Whether the Kubernetes tests can run; `false` comes after one loud line, however many tests ask.
///
/// # Panics
/// When they cannot and `REQUIRE_APISERVER=1`.
pub fn require_apiserver() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| require("real kube-apiserver", available()))
}

/// Passes on what a test needs further (such as [`flagger`]); `None` after a loud line.
///
/// # Panics
/// When it is missing and `REQUIRE_APISERVER=1`.
pub fn require_tool(tool: Result<PathBuf, String>) -> Option<PathBuf> {
    match tool {
        Ok(path) => Some(path),
        Err(why) => {
            require("a Kubernetes tool", Err(why));
            None
        }
    }
}

fn require(what: &str, answer: Result<(), String>) -> bool {
    match answer {
        Ok(()) => true,
        Err(why) => {
            gate::skip(&format!("{what}: {why}"), "REQUIRE_APISERVER");
            false
        }
    }
}
