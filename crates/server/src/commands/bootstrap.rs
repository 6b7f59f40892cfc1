//! `umbra bootstrap`.

use std::process::ExitCode;

use anyhow::Context;
use umbra_envoy::{BootstrapOptions, BootstrapTls, BootstrapToken};
use umbra_inject::capture::Interception;

use super::print;
use super::proxy::ProxySpec;
use crate::cli::{BootstrapArgs, DumpOutput};
use crate::failure::usage;
use crate::resources;

/// Prints a bootstrap.
pub(super) fn bootstrap(args: &BootstrapArgs) -> anyhow::Result<ExitCode> {
    let proxy: ProxySpec = args.proxy.parse().map_err(usage)?;
    let (server_host, server_port) =
        host_port(&args.server).map_err(|why| usage(format!("--server: {why}")))?;
    let admin = args.envoy_admin.parse().context("--envoy-admin: expected IP:PORT").map_err(usage)?;
    let tls = args.tls_ca.as_ref().map(|ca| BootstrapTls {
        ca_certificates: ca.clone(),
        client_certificate: args.tls_cert.clone().zip(args.tls_key.clone()),
        name: args.tls_name.clone().unwrap_or_default(),
    });
    let ready = args.envoy_ready.as_deref().map(str::parse).transpose();
    let ready = ready.context("--envoy-ready: expected IP:PORT").map_err(usage)?;
    let mode = Interception::parse(&args.interception_mode)
        .map_err(|why| usage(format!("--interception-mode: {why}")))?;
    if let (Some(token), true) = (&args.token, args.print_token_secret) {
        let secret = umbra_envoy::token_secret_json(token)?;
        print(&format!("{}\n", serde_json::to_string_pretty(&secret)?))?;
        return Ok(ExitCode::SUCCESS);
    }
    let token = args.token.clone();
    let token = token.map(|token| BootstrapToken { token, secret: args.token_secret.clone() });
    let judge = args.judge.as_deref().map(host_port).transpose();
    let judge = judge.map_err(|why| usage(format!("--judge: {why}")))?;
    let options = BootstrapOptions {
        kind: proxy.kind,
        namespace: proxy.namespace,
        labels: proxy.labels,
        server_host,
        server_port,
        tls,
        token,
        admin,
        ready,
        pod: None,
        addresses: Vec::new(),
        captured: mode == Interception::Redirect,
        node_id: args.node_id.clone(),
        state_of_the_world: false,
        runtime_digits: args.runtime_layers,
        observe: !args.no_observe,
        verdicts: args.verdicts,
        judge,
    };
    let value = umbra_envoy::bootstrap_json(&options)?;
    match args.output {
        DumpOutput::Json => print(&format!("{}\n", serde_json::to_string_pretty(&value)?))?,
        DumpOutput::Yaml => {
            let start = match &args.node_id {
                Some(_) => "envoy -c FILE",
                None => "envoy -c FILE --service-node NAME (a name of its own for each replica)",
            };
            let yaml = resources::to_yaml(&value)?;
            print(&format!(
                "# A bootstrap for stock Envoy, made by: umbra bootstrap --proxy {}\n# Start it with: {start}\n{yaml}",
                args.proxy
            ))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `HOST:PORT`; an IPv6 address stands in brackets.
pub(super) fn host_port(text: &str) -> Result<(String, u16), String> {
    let wrong = || format!("{text:?} is not HOST:PORT");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() || (host.contains(':') && host.parse::<std::net::Ipv6Addr>().is_err()) {
        return Err(wrong());
    }
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::host_port;

    #[test]
    fn hosts_and_ports() {
        for (text, expected) in [
            ("127.0.0.1:15010", Some(("127.0.0.1", 15010))),
            ("umbra.umbra-system.svc:15010", Some(("umbra.umbra-system.svc", 15010))),
            ("[::1]:15010", Some(("::1", 15010))),
            ("umbra", None),
            (":15010", None),
            ("umbra:0", None),
            ("umbra:http", None),
            ("a:b:1", None),
        ] {
            let expected = expected.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(host_port(text).ok(), expected, "{text}");
        }
    }
}
