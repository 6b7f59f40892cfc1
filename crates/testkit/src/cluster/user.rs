//! Who works with the cluster: `kubectl` and `helm` with a kubeconfig file.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::assets;

/// A kubeconfig file and who uses it.
#[derive(Clone, Debug)]
pub struct User {
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl User {
    pub(super) fn new(kubeconfig: PathBuf, home: &Path) -> Self {
        Self { kubeconfig, home: home.to_owned() }
    }

    /// The kubeconfig file.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Runs `kubectl` to its end, whatever comes of it. `input` is its standard input.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn try_kubectl(&self, arguments: &[&str], input: &str) -> Result<Output> {
        self.run("kubectl", arguments, input)
    }

    /// Runs `kubectl` and gives what it printed.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        succeeded("kubectl", arguments, self.run("kubectl", arguments, "")?)
    }

    /// `kubectl VERB -f -` for these manifests, such as `apply`, `create`, `replace` or `delete`.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub fn on_manifests(&self, verb: &[&str], manifests: &str) -> Result<String> {
        let arguments = [verb, &["-f", "-"]].concat();
        succeeded("kubectl", &arguments, self.run("kubectl", &arguments, manifests)?)
    }

    /// `kubectl apply -f -`.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub fn apply(&self, manifests: &str) -> Result<String> {
        self.on_manifests(&["apply"], manifests)
    }

    /// `kubectl apply --server-side -f FILE`, as CRDs of their size need it, until they are Established.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub fn install_crds(&self, file: &Path) -> Result<()> {
        let file = file.to_str().context("a path in UTF-8")?;
        self.kubectl(&["apply", "--server-side", "-f", file])?;
        self.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f", file])?;
        Ok(())
    }

    /// `kubectl get … -o json`.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let arguments = [&["get", "-o", "json"], arguments].concat();
        Ok(serde_json::from_str(&self.kubectl(&arguments)?)?)
    }

    /// Runs `helm` to its end, whatever comes of it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn try_helm(&self, arguments: &[&str]) -> Result<Output> {
        self.run("helm", arguments, "")
    }

    /// Runs `helm` and gives what it printed.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub fn helm(&self, arguments: &[&str]) -> Result<String> {
        succeeded("helm", arguments, self.try_helm(arguments)?)
    }

    fn run(&self, program: &str, arguments: &[&str], input: &str) -> Result<Output> {
        let path = assets::kubernetes(program).map_err(anyhow::Error::msg)?;
        let mut command = Command::new(path);
        // A home of the test's own: neither what a person has there is read, nor anything left.
        command.args(arguments).env("KUBECONFIG", &self.kubeconfig).env("HOME", &self.home);
        for variable in
            ["HELM_NAMESPACE", "HELM_KUBECONTEXT", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"]
        {
            command.env_remove(variable);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        if let Some(mut pipe) = child.stdin.take() {
            // Who ends without reading it has said why.
            let _ = pipe.write_all(input.as_bytes());
        }
        Ok(child.wait_with_output()?)
    }
}

fn succeeded(program: &str, arguments: &[&str], out: Output) -> Result<String> {
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let words = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "{program} {}: {text}{words}", arguments.join(" "));
    Ok(text)
}

/// Writes a kubeconfig file: JSON is YAML too.
pub(super) fn write_kubeconfig(file: &Path, server: &str, authority: &Path, token: &str) -> Result<()> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": authority}}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
        "current-context": "test",
    });
    std::fs::write(file, serde_json::to_vec_pretty(&config)?).with_context(|| format!("{}", file.display()))
}
