//! `umbra prepare`: the init container of an injected Pod.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use umbra_envoy::{BootstrapOptions, BootstrapTls, BootstrapToken};
use umbra_inject::capture::Interception;

use super::bootstrap::host_port;
use super::capture::{pod_info, rules};
use crate::apply;
use crate::cli::PrepareArgs;
use crate::failure::usage;
use crate::resources;

/// Writes the bootstrap, then applies the rules of capture: a Pod whose calls are captured has a sidecar that can start.
pub(super) fn prepare(args: &PrepareArgs) -> anyhow::Result<ExitCode> {
    let capture = rules(&args.rules, &pod_info(&args.pod_info.join("annotations"))?)?;
    let (server_host, server_port) =
        host_port(&args.server).map_err(|why| usage(format!("--server: {why}")))?;
    let folder = args.bootstrap.parent().unwrap_or(Path::new("."));
    let tls = args.ca.as_ref().map(|ca| write_ca(folder, ca)).transpose()?;
    let token = args.token.as_ref().map(|token| write_secret(folder, token)).transpose()?;
    // A Pod of one family has no addresses of the other to listen on.
    let any = if args.address.first().is_some_and(IpAddr::is_ipv6) {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    let judge = args.judge.as_deref().map(host_port).transpose();
    let judge = judge.map_err(|why| usage(format!("--judge: {why}")))?;
    let options = BootstrapOptions {
        namespace: args.namespace.clone(),
        labels: pod_info(&args.pod_info.join("labels"))?,
        server_host,
        server_port,
        tls,
        token,
        pod: Some(any),
        addresses: args.address.clone(),
        captured: capture.mode == Interception::Redirect,
        verdicts: args.verdicts,
        judge,
        ..BootstrapOptions::default()
    };
    let yaml = resources::to_yaml(&umbra_envoy::bootstrap_json(&options)?)?;
    write(&args.bootstrap, &yaml)?;
    eprintln!("umbra: wrote {}", args.bootstrap.display());
    if capture.mode == Interception::Redirect {
        eprintln!("umbra: {}", apply::apply(&capture, args.rules.backend)?);
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts the authorities beside the bootstrap, where the sidecar finds them.
fn write_ca(folder: &Path, ca: &str) -> anyhow::Result<BootstrapTls> {
    let path = folder.join("ca.crt");
    write(&path, ca)?;
    Ok(BootstrapTls {
        ca_certificates: path.display().to_string(),
        client_certificate: None,
        name: String::new(),
    })
}

/// Puts the file that leads Envoy to its token there too.
fn write_secret(folder: &Path, token: &str) -> anyhow::Result<BootstrapToken> {
    let path = folder.join("token-secret.json");
    write(&path, &umbra_envoy::token_secret_json(token)?.to_string())?;
    Ok(BootstrapToken { token: token.to_owned(), secret: path.display().to_string() })
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display())).map_err(usage)
}
