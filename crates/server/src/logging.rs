//! Logs: standard error, one line each, for people or as JSON.
//!
//! Writing a line never holds anything up: lines wait in a queue for a thread of their own, and what does not fit, since
//! nobody reads, is counted instead. Nor do many lines of one kind push out the others ([`quota`]).

mod quota;

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Context;
use prometheus_client::metrics::counter::Counter;
use tracing::level_filters::LevelFilter;
use tracing::warn;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::FilterExt;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, registry};

use quota::Quota;

/// Lines that wait for whoever reads standard error: some megabytes at most.
const QUEUE: usize = 8192;
/// How often it is said that lines were lost.
const SAID_EVERY: Duration = Duration::from_secs(10);

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

/// Lines that were not written. The default of a process that logs nowhere counts nothing.
#[derive(Clone, Debug, Default)]
pub struct Lost {
    /// Further lines of one kind within a second: see [`quota`].
    pub repeated: Counter,
    /// Nobody read standard error.
    pub unread: Counter,
    queue: Option<ErrorCounter>,
}

/// Turns a level (`debug`) or a filter (`info,umbra_source=debug`) into a filter. A bare level is about umbra;
/// the libraries below it keep to warnings, but for kube's client: it reports each failed request as an error
/// without saying which, and umbra says what a failure means itself.
fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    let text = match level.parse::<LevelFilter>() {
        Ok(bare) => {
            let below = bare.min(LevelFilter::WARN);
            format!("{below},kube_client::client=off,umbra={bare},umbra_server={bare},umbra_source={bare}")
        }
        Err(_) => level.to_owned(),
    };
    EnvFilter::try_new(text)
        .with_context(|| format!("log level {level:?}: expected error, warn, info, debug, trace, off or a filter such as info,umbra_source=debug"))
}

/// Starts logging for this process. What is in the queue when the guard is dropped is written then, as far as somebody
/// reads.
///
/// # Errors
/// The level is none, or logging has been started already.
pub fn start(level: &str, format: LogFormat) -> anyhow::Result<(WorkerGuard, Lost)> {
    let colours = std::io::stderr().is_terminal();
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(QUEUE)
        .lossy(true)
        .thread_name("log")
        .finish(std::io::stderr());
    let lost = Lost { queue: Some(writer.error_counter()), ..Lost::default() };
    let wanted = filter(level)?.and(Quota::new(lost.repeated.clone()));
    let lines = fmt::layer().with_writer(writer).with_ansi(colours);
    let started = match format {
        LogFormat::Text => registry().with(lines.with_target(false).with_filter(wanted)).try_init(),
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false);
            registry().with(lines.with_filter(wanted)).try_init()
        }
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))?;
    Ok((guard, lost))
}

impl Lost {
    /// Says now and then how many lines were lost. Never ends.
    pub(crate) async fn report(self) {
        let mut said = (0, 0);
        loop {
            tokio::time::sleep(SAID_EVERY).await;
            if let Some(queue) = &self.queue {
                let all = queue.dropped_lines() as u64;
                self.unread.inc_by(all.saturating_sub(self.unread.get()));
            }
            let now = (self.repeated.get(), self.unread.get());
            if now != said {
                let (repeated, unread) = (now.0 - said.0, now.1 - said.1);
                warn!(repeated, unread, "lines of this log were left out");
            }
            said = now;
        }
    }
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
