//! What was measured, for people and for tools.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use super::{Bench, BenchArgs};
use crate::expect::Counts;
use crate::kind::Kind;
use crate::server::Usage;

/// One change, once.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// From the change to the ACK: of the proxy in the middle, in milliseconds.
    pub p50_ms: f64,
    /// Of all but one in a hundred.
    pub p99_ms: f64,
    /// Of the last.
    pub last_ms: f64,
    /// The server's time on a core, in milliseconds.
    pub cpu_ms: f64,
    /// The server's resident memory afterwards, in MB.
    pub rss_mb: f64,
    /// The most of it meanwhile.
    pub peak_mb: f64,
    /// Derived values that were computed.
    pub keys: u64,
    /// Bytes of responses for each proxy.
    pub bytes: f64,
    /// The same by type.
    pub bytes_by_type: BTreeMap<&'static str, f64>,
    /// Responses for each proxy.
    pub messages: f64,
    /// Bytes of requests of each proxy.
    pub request_bytes: f64,
    /// Streams that ended meanwhile.
    pub ended: u64,
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

impl Run {
    pub(super) fn new(
        mut times: Vec<Duration>,
        usage: Usage,
        keys: u64,
        counts: &Counts,
        proxies: usize,
    ) -> Self {
        times.sort_unstable();
        let last = times.len().saturating_sub(1);
        let quantile = |share: f64| {
            let at = (last as f64 * share).ceil() as usize;
            round(times.get(at).copied().unwrap_or_default().as_secs_f64() * 1e3)
        };
        let each = |count: u64| round(count as f64 / proxies.max(1) as f64);
        let by_type = Kind::ALL.into_iter().map(|kind| (kind.name(), each(counts.bytes[kind as usize])));
        Self {
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            last_ms: quantile(1.0),
            cpu_ms: round(usage.cpu.as_secs_f64() * 1e3),
            rss_mb: round(usage.rss as f64 / 1e6),
            peak_mb: round(usage.peak as f64 / 1e6),
            keys,
            bytes: each(counts.all_bytes()),
            bytes_by_type: by_type.filter(|(_, bytes)| *bytes > 0.0).collect(),
            messages: each(counts.all_messages()),
            request_bytes: each(counts.request_bytes),
            ended: counts.ended,
        }
    }
}

/// One change, each time that it was made.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What changed.
    pub event: String,
    /// What it cost each time.
    pub runs: Vec<Run>,
}

impl Row {
    /// The middle and the greatest of a value over the runs.
    fn spread(&self, value: impl Fn(&Run) -> f64) -> (f64, f64) {
        let mut values: Vec<f64> = self.runs.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.get(values.len() / 2).copied().unwrap_or_default();
        (middle, values.last().copied().unwrap_or_default())
    }

    /// The greatest of a value over the runs.
    pub(super) fn most(&self, value: impl Fn(&Run) -> f64) -> f64 {
        self.spread(value).1
    }
}

/// A whole run of the benchmark.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was measured, in words.
    pub setting: String,
    /// Resources that each proxy holds at the end, by type.
    pub held: BTreeMap<&'static str, usize>,
    /// From the start of the server's process until it was ready, in milliseconds.
    pub ready_ms: f64,
    /// The changes.
    pub rows: Vec<Row>,
}

impl Report {
    pub(super) fn new(args: &BenchArgs, bench: &Bench) -> Self {
        let size = bench.plan.size;
        let variant = match args.manner.variant() {
            "sotw" => "state of the world",
            "plain" => "delta with whole route tables",
            delta => delta,
        };
        let others = [(args.slow, "slow"), (args.nacking, "rejecting"), (args.flapping, "flapping")];
        let others = others.iter().filter(|(count, _)| *count > 0);
        let others: String = others.map(|(count, what)| format!(", {count} {what} beside them")).collect();
        let setting = format!(
            "{} services of {} endpoints, {} rules, {} mirrors, {} proxies in {} namespace(s){}, {variant}, {}{others}",
            size.services,
            size.endpoints,
            size.rules,
            size.mirrors,
            bench.plan.proxies,
            size.namespaces,
            if size.private { ", visible there alone" } else { "" },
            if bench.tls.is_some() { "TLS" } else { "plaintext" },
        );
        let ready_ms = round(bench.server.ready_after.as_secs_f64() * 1e3);
        Self { setting, held: bench.fleet.held(), ready_ms, rows: bench.rows.clone() }
    }

    /// Prints it as a table, or as JSON.
    ///
    /// # Errors
    /// None that input can cause.
    pub fn print(&self, json: bool) -> Result<()> {
        if json {
            println!("{}", serde_json::to_string_pretty(self)?);
            return Ok(());
        }
        println!("{}\n", self.setting);
        println!("{}\n", self.table());
        println!(
            "Each value: the middle of the runs / the worst. Times: from the change to the written ACK, of the middle"
        );
        println!(
            "proxy (p50), of all but one in a hundred (p99), of the last. CPU and memory are the server's; bytes are"
        );
        println!(
            "those of responses, for each proxy. The server was ready {:.0} ms after its start.",
            self.ready_ms
        );
        Ok(())
    }

    /// Puts setting and table into a page, between a mark and the end that follows it.
    ///
    /// # Errors
    /// When the page has no such marks.
    pub fn renew(&self, file: &Path, mark: &str) -> Result<()> {
        const END: &str = "<!-- end -->";
        let page = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
        let missing = || format!("{} has no {mark} with {END} behind it", file.display());
        let (before, rest) = page.split_once(mark).with_context(missing)?;
        let (_, after) = rest.split_once(END).with_context(missing)?;
        let text = format!("{before}{mark}\n{}:\n\n{}\n{END}{after}", self.setting, self.table());
        Ok(std::fs::write(file, text)?)
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header([
            "event", "runs", "p50 ms", "p99 ms", "last ms", "CPU ms", "bytes", "by type", "messages", "keys",
            "RSS MB", "peak MB",
        ]);
        for row in &self.rows {
            let pair = |value: fn(&Run) -> f64, digits: usize| {
                let (middle, worst) = row.spread(value);
                match row.runs.len() {
                    1 => format!("{middle:.digits$}"),
                    _ => format!("{middle:.digits$} / {worst:.digits$}"),
                }
            };
            let last = row.runs.last();
            let by_type = last.map(|run| &run.bytes_by_type).into_iter().flatten();
            let by_type: Vec<String> = by_type.map(|(kind, bytes)| format!("{kind} {bytes:.0}")).collect();
            table.add_row([
                row.event.clone(),
                row.runs.len().to_string(),
                pair(|run| run.p50_ms, 1),
                pair(|run| run.p99_ms, 1),
                pair(|run| run.last_ms, 1),
                pair(|run| run.cpu_ms, 0),
                pair(|run| run.bytes, 0),
                by_type.join(", "),
                pair(|run| run.messages, 1),
                pair(|run| run.keys as f64, 0),
                pair(|run| run.rss_mb, 0),
                pair(|run| run.peak_mb, 0),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}
