//! `umbra judge`.

use std::process::ExitCode;

use crate::cli::JudgeArgs;
use crate::contents::{self, JudgeOptions};
use crate::failure::usage;
use crate::logging;
use crate::tls::TlsFiles;

/// Runs a judge until SIGTERM or SIGINT.
pub(super) fn judge(args: &JudgeArgs) -> anyhow::Result<ExitCode> {
    // Till the end of the process: then what is still in its queue is written.
    let (_queue, _lost) = logging::start(&args.log, args.log_format).map_err(usage)?;
    let files = args.tls_cert.clone().zip(args.tls_key.clone());
    let client_authority = args.tls_client_ca.clone();
    let tls = files.map(|(certificate, key)| TlsFiles { certificate, key, client_authority });
    let options =
        JudgeOptions { listen: args.listen.clone(), report: args.report.clone(), tls, values: args.values };
    let runtime = tokio::runtime::Runtime::new()?;
    let result = runtime.block_on(contents::run(options));
    runtime.shutdown_background();
    result.map(|()| ExitCode::SUCCESS)
}
