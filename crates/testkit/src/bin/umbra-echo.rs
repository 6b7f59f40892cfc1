//! `umbra-echo NAME=ADDRESS…`: echo services that write an access log, as the user documents' services do.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use umbra_testkit::{echo::Echo, net::Net};

const USAGE: &str =
    "usage: umbra-echo NAME=IP:PORT [NAME=IP:PORT …], for example v1=127.0.1.1:8080 v2=127.0.1.2:8080";

fn print(name: &str, line: &str) {
    println!("[{name}] {line}");
}

#[tokio::main]
async fn main() -> Result<()> {
    let services: Vec<String> = std::env::args().skip(1).collect();
    ensure!(!services.is_empty(), USAGE);
    let mut running = Vec::new();
    for service in &services {
        let (name, address) = service.split_once('=').context(USAGE)?;
        let address: SocketAddr =
            address.parse().with_context(|| format!("{address}: no IP:PORT; {USAGE}"))?;
        running.push(Echo::with_log(&Net::here(), name, address, Some(print))?);
        println!("[{name}] listening on {address}");
    }
    tokio::signal::ctrl_c().await?;
    Ok(())
}
