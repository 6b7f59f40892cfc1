//! A Pod whose outbound traffic is captured: a network namespace with the rules of nftables that hand its connections to
//! Envoy, and Envoy as the user that they leave alone.

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::net::Net;

/// The user and group of a captured Pod's Envoy (Istio's).
pub const PROXY_ID: u32 = 1337;

/// What `umbra capture` does, for what leaves alone: the smallest rules that a captured Pod can have. A test of the listeners
/// must not depend on the program that makes rules from annotations.
const RULES: &str = r#"add table inet umbra
flush table inet umbra
table inet umbra {
  chain output {
    type nat hook output priority -100;
    oifname "lo" return
    meta skuid 1337 return
    meta skgid 1337 return
    ip daddr 127.0.0.1 return
    ip6 daddr ::1 return
    meta l4proto tcp redirect to :15001
  }
}
"#;

/// Captures all TCP that leaves a network of our own, but the proxy's.
///
/// # Errors
/// When `nft` refuses, with its words.
pub fn capture(net: &Net) -> Result<()> {
    let mut command = net.command(Path::new("nft"));
    command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut nft = command.spawn().context("nft")?;
    nft.stdin.take().context("nft's input")?.write_all(RULES.as_bytes())?;
    let out = nft.wait_with_output()?;
    ensure!(out.status.success(), "nft: {}", String::from_utf8_lossy(&out.stderr).trim());
    Ok(())
}

/// A Pod's network, joined to ours as [`Net::joined`] does it, through which everything else is reached.
///
/// # Errors
/// When the system refuses.
pub fn pod(name: &str, ours: IpAddr, theirs: IpAddr) -> Result<Net> {
    let pod = Net::joined(name, ours, theirs)?;
    // What has an address nowhere is captured before anybody looks for it, but there has to be a route.
    pod.ip(&["route", "add", "default", "via", &ours.to_string()])?;
    Ok(pod)
}

/// A bootstrap for a captured sidecar, from one for a sidecar without capture.
///
/// # Errors
/// When it is no YAML.
pub fn captured(bootstrap: &str, addresses: &[IpAddr]) -> Result<String> {
    let mut config: Value = serde_saphyr::from_str(bootstrap).context("the bootstrap is no YAML")?;
    let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    config["node"]["metadata"]["INTERCEPTION_MODE"] = json!("REDIRECT");
    config["node"]["metadata"]["INSTANCE_IPS"] = json!(addresses.join(","));
    Ok(config.to_string())
}
