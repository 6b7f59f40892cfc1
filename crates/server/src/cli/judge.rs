//! Arguments of `umbra judge`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;

use crate::logging::LogFormat;

pub(super) const HELP: &str = "\
What it holds are the bodies of answers: 256 KiB of each at most, 64 MiB in all, never on disk, and forgotten when they were compared.
It tells umbra (umbra serve --judge) names of fields and counts, and no value without --values.
Exit code: 0 told to end, 1 something failed, 2 wrong usage.";

/// Arguments of `umbra judge`.
#[derive(Debug, Args)]
pub struct JudgeArgs {
    /// Where Envoys send what is answered
    #[arg(long, env = "UMBRA_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:15016")]
    pub listen: String,
    /// Where umbra asks what that comes to; /livez, /readyz and /metrics are there too
    #[arg(long, env = "UMBRA_REPORT", value_name = "ADDR", default_value = "127.0.0.1:15018")]
    pub report: String,
    /// The certificate that Envoys are shown (PEM), read again when it changes: they connect over TLS; needs --tls-key
    #[arg(long, env = "UMBRA_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of that certificate (PEM)
    #[arg(long, env = "UMBRA_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Only Envoys with a certificate of these authorities (PEM) may show anything; needs --tls-cert
    #[arg(long, env = "UMBRA_TLS_CLIENT_CA", value_name = "FILE", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,
    /// Keep and tell some values of fields that differ, of mirrors whose rule's author allows it (annotation umbra.io/examples)
    #[arg(long, env = "UMBRA_VALUES", value_parser = BoolishValueParser::new())]
    pub values: bool,
    /// What to log: error, warn, info, debug, trace, or by module
    #[arg(long, env = "UMBRA_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// The form of the log
    #[arg(long, env = "UMBRA_LOG_FORMAT", value_name = "FORM", default_value = "text")]
    pub log_format: LogFormat,
}
