//! `umbra-load`: see the library.

use std::process::ExitCode;

use clap::Parser as _;
use umbra_load::cli::{self, Cli};

fn main() -> ExitCode {
    match cli::run(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("umbra-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}
