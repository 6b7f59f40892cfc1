//! What two configurations of a proxy differ in, in words.

use std::collections::{BTreeMap, BTreeSet};

use umbra_explain::{Config, HostSummary, percent};
use umbra_xds::{ResourceType, Snapshot};

/// Clusters whose endpoints are told one by one; of more, only the number.
const TOLD: usize = 20;

/// A line for each difference that a person would name.
pub(super) fn words(was: &Snapshot, is: &Snapshot) -> Vec<String> {
    let read = |snapshot: &Snapshot| {
        let of = |ty: ResourceType| snapshot.map(ty).values().map(move |it| (ty.type_url(), it.body.clone()));
        let all: Vec<_> = ResourceType::ALL.into_iter().flat_map(of).collect();
        Config::read(all.iter().map(|(url, body)| (*url, body.as_ref())))
    };
    let (was, is) = match (read(was), read(is)) {
        (Ok(was), Ok(is)) => (was, is),
        (Err(error), _) | (_, Err(error)) => return vec![error.to_string()],
    };
    let mut words = hosts(&was.hosts(), &is.hosts());
    words.extend(passing(&was.passing(), &is.passing()));
    words.extend(endpoints(&was.ready(), &is.ready()));
    words
}

/// Where listeners pass bytes on.
fn passing(was: &BTreeMap<String, Vec<String>>, is: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let names: BTreeSet<_> = was.keys().chain(is.keys()).collect();
    let mut words = Vec::new();
    for name in names {
        let (before, after) = (was.get(name), is.get(name));
        let line = |sign: char, line: &String| format!("  {sign} {line}");
        let (before, after) = (before.map_or(&[][..], Vec::as_slice), after.map_or(&[][..], Vec::as_slice));
        let gone = before.iter().filter(|it| !after.contains(it)).map(|it| line('-', it));
        let new = after.iter().filter(|it| !before.contains(it)).map(|it| line('+', it));
        let lines: Vec<String> = gone.chain(new).collect();
        if !lines.is_empty() {
            words.push(format!("bytes at the listener {name}"));
            words.extend(lines);
        }
    }
    words
}

type Hosts = BTreeMap<(String, String), HostSummary>;

fn hosts(was: &Hosts, is: &Hosts) -> Vec<String> {
    let mut words = Vec::new();
    let none = HostSummary::default();
    let keys: BTreeSet<_> = was.keys().chain(is.keys()).collect();
    for key in keys {
        let (before, after) = (was.get(key), is.get(key));
        if before == after {
            continue;
        }
        let what = match (before, after) {
            (None, _) => "is new",
            (_, None) => "goes",
            _ => "changes",
        };
        words.push(format!("host {} of {} {what}", key.1, key.0));
        let (before, after) = (before.unwrap_or(&none), after.unwrap_or(&none));
        let lines = |sign: char, these: &[String], others: &[String], words: &mut Vec<String>| {
            let beyond = these.iter().filter(|line| !others.contains(line));
            words.extend(beyond.map(|line| format!("  {sign} {line}")));
        };
        let start = words.len();
        lines('-', &before.domains, &after.domains, &mut words);
        lines('+', &after.domains, &before.domains, &mut words);
        lines('-', &before.routes, &after.routes, &mut words);
        lines('+', &after.routes, &before.routes, &mut words);
        if words.len() == start {
            words.push("  its routes stand in another order".to_owned());
        }
        copies(&key.1, before, after, &mut words);
    }
    words
}

/// Who starts or stops being copied.
fn copies(host: &str, before: &HostSummary, after: &HostSummary, words: &mut Vec<String>) {
    let clusters: BTreeSet<_> = before.copies.keys().chain(after.copies.keys()).collect();
    for cluster in clusters {
        let odds = |of: &HostSummary| of.copies.get(cluster).copied().unwrap_or(0.0);
        let (before, after) = (odds(before), odds(after));
        if before == after {
            continue;
        }
        words.push(match (before > 0.0, after > 0.0) {
            (false, _) => {
                format!("  requests to {host} START to be copied to {cluster} ({})", percent(after))
            }
            (_, false) => {
                format!("  requests to {host} STOP being copied to {cluster} (was {})", percent(before))
            }
            _ => format!(
                "  copies of requests to {host} to {cluster}: {} instead of {}",
                percent(after),
                percent(before)
            ),
        });
    }
}

fn endpoints(was: &BTreeMap<String, usize>, is: &BTreeMap<String, usize>) -> Vec<String> {
    let clusters: BTreeSet<_> = was.keys().chain(is.keys()).collect();
    let told = clusters.into_iter().filter_map(|cluster| match (was.get(cluster), is.get(cluster)) {
        (None, Some(ready)) => Some(format!("cluster {cluster} is new, {ready} ready")),
        (Some(_), None) => Some(format!("cluster {cluster} goes")),
        (Some(was), Some(is)) if was != is => Some(format!("cluster {cluster}: {is} ready instead of {was}")),
        _ => None,
    });
    let mut told: Vec<_> = told.collect();
    if let Some(more) = told.len().checked_sub(TOLD).filter(|more| *more > 0) {
        told.truncate(TOLD);
        told.push(format!("and {more} more clusters"));
    }
    told
}
