//! `make demo`: a real Envoy mirrors live traffic under `deploy/examples/httpbin-mirror`, before your eyes.

#[path = "demo/mod.rs"]
mod demo;

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    let keep = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--keep") => true,
        Some(other) => {
            eprintln!("umbra-demo: unknown argument {other}; there is only --keep (stay until Ctrl-C)");
            return ExitCode::from(2);
        }
    };
    // Everything is ended by drop, so an interrupted demo leaves nothing running either.
    let interrupted = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminated) => {
                tokio::select! { _ = terminated.recv() => {}, _ = tokio::signal::ctrl_c() => {} }
            }
            Err(_) => std::future::pending().await,
        }
    };
    let outcome = tokio::select! {
        outcome = demo::run(keep) => outcome,
        () = interrupted => { println!(); return ExitCode::SUCCESS }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("umbra-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}
