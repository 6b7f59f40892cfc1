//! Who works with the cluster: `kubectl` and `helm` with a kubeconfig file.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::assets;
use super::world::PATIENCE;

/// How often `kubectl` is run when its write comes too late.
const TRIES: usize = 10;

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
        self.run_kubectl(arguments, "")
    }

    /// `kubectl VERB -f -` for these manifests, such as `apply`, `create`, `replace` or `delete`.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub fn on_manifests(&self, verb: &[&str], manifests: &str) -> Result<String> {
        self.run_kubectl(&[verb, &["-f", "-"]].concat(), manifests)
    }

    /// Runs `kubectl`, and again where somebody else wrote the object between its reading and its writing: umbra's statuses
    /// come at any time, and a person would do the same.
    fn run_kubectl(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut tries = 0;
        loop {
            let done = succeeded("kubectl", arguments, self.run("kubectl", arguments, input)?);
            tries += 1;
            match done {
                Err(error) if tries < TRIES && error.to_string().contains("the object has been modified") => {
                }
                done => return done,
            }
        }
    }

    /// `kubectl apply -f -`.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub fn apply(&self, manifests: &str) -> Result<String> {
        self.on_manifests(&["apply"], manifests)
    }

    /// `kubectl apply --server-side -f FILE`, as CRDs of their size need it, until they are Established and listed: the API
    /// server lists each version a little later, and until then `kubectl apply` knows no such kind.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub fn install_crds(&self, file: &Path) -> Result<()> {
        let file = file.to_str().context("a path in UTF-8")?;
        self.kubectl(&["apply", "--server-side", "-f", file])?;
        self.kubectl(&["wait", "--for=condition=Established", "--timeout=240s", "-f", file])?;
        let crds = self.json(&["-f", file])?;
        let one = std::slice::from_ref(&crds);
        for crd in crds["items"].as_array().map_or(one, Vec::as_slice) {
            let (spec, start) = (&crd["spec"], Instant::now());
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let resource = json!(text(&spec["names"]["plural"]));
            for version in spec["versions"].as_array().into_iter().flatten().filter(|v| v["served"] == true) {
                let path = format!("/apis/{}/{}", text(&spec["group"]), text(&version["name"]));
                let listed = || -> Result<bool> {
                    let list: Value = serde_json::from_str(&self.kubectl(&["get", "--raw", &path])?)?;
                    Ok(list["resources"].as_array().into_iter().flatten().any(|r| r["name"] == resource))
                };
                while !listed().unwrap_or_default() {
                    ensure!(start.elapsed() < PATIENCE, "{path} does not list {resource}");
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
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
