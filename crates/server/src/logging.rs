//! Logs: standard error, one line each, for people or as JSON.

use std::io::IsTerminal;

use anyhow::Context;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// The form of log lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Turns a level (`debug`) or a filter (`info,umbra_source=debug`) into a filter. A bare level is about umbra;
/// the libraries below it keep to warnings, but for kube's client: it reports each failed request as an error
/// without saying which, and umbra says what a failure means itself.
fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    let text = match level.parse::<LevelFilter>() {
        Ok(bare) => {
            let below = bare.min(LevelFilter::WARN);
            format!(
                "{below},kube_client::client::builder=off,umbra={bare},umbra_server={bare},umbra_source={bare}"
            )
        }
        Err(_) => level.to_owned(),
    };
    EnvFilter::try_new(text)
        .with_context(|| format!("log level {level:?}: expected error, warn, info, debug, trace, off or a filter such as info,umbra_source=debug"))
}

/// Starts logging for this process.
///
/// # Errors
/// The level is none, or logging has been started already.
pub fn start(level: &str, format: LogFormat) -> anyhow::Result<()> {
    let colours = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(level)?)
        .with_writer(std::io::stderr)
        .with_ansi(colours);
    let started = match format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn levels_and_filters() {
        for (level, ok) in
            [("info", true), ("off", true), ("info,umbra_source=debug", true), ("info,=x=", false)]
        {
            assert_eq!(filter(level).is_ok(), ok, "{level}");
        }
    }
}
