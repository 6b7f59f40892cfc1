//! Verbs that ask running replicas over `umbra.v1`.

pub(super) mod door;
mod mirrors;
mod proxies;
pub(super) mod replicas;
mod table;
mod watched;

use std::process::ExitCode;

use umbra_proto::umbra::v1::{Mirror, Proxy};

use self::watched::Shown;
use crate::cli::AskArgs;
use crate::failure::usage;

/// `umbra proxies`.
pub(super) fn proxies(args: &AskArgs) -> anyhow::Result<ExitCode> {
    ask::<Proxy>(args)
}

/// `umbra mirrors`.
pub(super) fn mirrors(args: &AskArgs) -> anyhow::Result<ExitCode> {
    ask::<Mirror>(args)
}

fn ask<T: Shown>(args: &AskArgs) -> anyhow::Result<ExitCode> {
    check_servers(&args.door.server)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(watched::show::<T>(args));
    // A name that does not resolve holds a thread.
    runtime.shutdown_background();
    result
}

/// Refuses what is no address of a replica.
pub(super) fn check_servers(servers: &[String]) -> anyhow::Result<()> {
    match servers.iter().find(|server| !is_address(server)) {
        Some(wrong) => Err(usage(format!("--server: {wrong:?} is not HOST:PORT, such as 127.0.0.1:15014"))),
        None => Ok(()),
    }
}

pub(super) fn is_address(server: &str) -> bool {
    server.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) && !host.contains('/')
    })
}

#[cfg(test)]
mod tests {
    use super::is_address;

    #[test]
    fn servers() {
        for (text, good) in [
            ("127.0.0.1:15014", true),
            ("umbra-peers.umbra-system.svc:15013", true),
            ("[::1]:15014", true),
            ("umbra", false),
            (":15014", false),
            ("umbra:0", false),
            ("umbra:http", false),
            ("http://umbra:15014", false),
        ] {
            assert_eq!(is_address(text), good, "{text}");
        }
    }
}
