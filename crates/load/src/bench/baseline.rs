//! Counts of an earlier run: what must not grow without somebody saying so.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::report::{Report, Row};

/// What is counted of one change: the greatest of its runs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Counted {
    /// Bytes of responses for each proxy.
    pub bytes: f64,
    /// Responses for each proxy.
    pub messages: f64,
    /// Derived values that were computed.
    pub keys: f64,
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    setting: String,
    events: BTreeMap<String, Counted>,
}

/// By how much a count may exceed the baseline: changes that come close together are answered together or not.
const SHARE: f64 = 1.1;
/// And by how much besides: in bytes, messages and keys.
const BESIDE: Counted = Counted { bytes: 64.0, messages: 1.0, keys: 4.0 };

impl Counted {
    fn of(row: &Row) -> Self {
        Self {
            bytes: row.most(|run| run.bytes),
            messages: row.most(|run| run.messages),
            keys: row.most(|run| run.keys as f64),
        }
    }

    fn fields(self) -> [(&'static str, f64); 3] {
        [("bytes", self.bytes), ("messages", self.messages), ("keys", self.keys)]
    }

    /// What has grown beyond the limits, and what has shrunk so far that the baseline says nothing any more.
    fn against(self, base: Self) -> (Vec<String>, Vec<String>) {
        let (mut worse, mut better) = (Vec::new(), Vec::new());
        let all = self.fields().into_iter().zip(base.fields()).zip(BESIDE.fields());
        for (((what, now), (_, before)), (_, beside)) in all {
            if now > before * SHARE + beside {
                worse.push(format!("{what} {now:.0}, were {before:.0}"));
            } else if now < before / 2.0 - beside {
                better.push(format!("{what} {now:.0}, were {before:.0}"));
            }
        }
        (worse, better)
    }
}

/// What is answered together, and so how much is said, is a matter of time.
fn is_counted(row: &Row) -> bool {
    !row.event.contains("churn") && !row.event.starts_with("all mirrors")
}

pub(super) fn write(file: &Path, report: &Report) -> Result<()> {
    let rows = report.rows.iter().filter(|row| is_counted(row));
    let events = rows.map(|row| (row.event.clone(), Counted::of(row))).collect();
    let text = serde_json::to_string_pretty(&File { setting: report.setting.clone(), events })?;
    std::fs::write(file, text + "\n").with_context(|| format!("{}", file.display()))
}

/// Says on standard error what has grown and what has shrunk; whether nothing has grown.
pub(super) fn compare(file: &Path, report: &Report) -> Result<bool> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    let base: File = serde_json::from_str(&text).with_context(|| format!("{}", file.display()))?;
    if base.setting != report.setting {
        anyhow::bail!("{} is of another setting: {}", file.display(), base.setting);
    }
    let mut good = true;
    for row in &report.rows {
        let Some(before) = base.events.get(&row.event) else { continue };
        let (worse, better) = Counted::of(row).against(*before);
        if !worse.is_empty() {
            good = false;
            eprintln!("{} costs more than the baseline: {}", row.event, worse.join("; "));
        }
        if !better.is_empty() {
            eprintln!("{} costs half: {}; renew the baseline", row.event, better.join("; "));
        }
    }
    Ok(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(now: [f64; 3], worse: usize, better: usize) {
        let counted = |[bytes, messages, keys]: [f64; 3]| Counted { bytes, messages, keys };
        let (more, less) = counted(now).against(counted([10_000.0, 10.0, 100.0]));
        assert_eq!((more.len(), less.len()), (worse, better), "{more:?} {less:?}");
    }

    #[test]
    fn only_what_has_grown_is_worse() {
        check([10_000.0, 10.0, 100.0], 0, 0);
        check([11_000.0, 11.5, 110.0], 0, 0);
        check([11_100.0, 12.5, 120.0], 3, 0);
        check([4_000.0, 10.0, 100.0], 0, 1);
    }
}
