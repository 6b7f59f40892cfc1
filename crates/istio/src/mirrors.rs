//! Mirrors as written: their fields, runtime keys and fractions (design "Mirroring", points 1 and 4).

use std::collections::BTreeMap;

use umbra_api::{HttpRoute, VirtualService};
use umbra_ir::{AbortLimits, Aborted, Destination, MirrorPlace, RuntimeFraction, RuntimeKey};

use crate::abort::{Abort, aborted};
use crate::delegates::ServedRule;
use crate::matches::{fingerprint, usable_matches};
use crate::names::{escape, resolve_destination, resolve_spelling};
use crate::stop::Stop;

/// One mirror of one rule.
pub(crate) struct WrittenMirror {
    /// Which one it is.
    pub(crate) place: MirrorPlace,
    /// The name of its rule.
    pub(crate) route: String,
    /// Whether it stands in a delegate.
    pub(crate) by_delegate: bool,
    /// The host as written.
    pub(crate) host: String,
    /// Where copies go, short name resolved.
    pub(crate) destination: Destination,
    /// Its stable name.
    pub(crate) key: RuntimeKey,
    /// Its fraction; `None`: not a percentage, so the mirror is left out.
    pub(crate) share: Option<RuntimeFraction>,
    /// Stopped by an annotation: its fraction is 0, whatever is written.
    pub(crate) stopped: bool,
    /// When it stops by itself.
    pub(crate) limits: AbortLimits,
    /// It has, and is stopped.
    pub(crate) aborted: Option<Aborted>,
}

/// Every mirror of a VirtualService's rules that names a destination, `mirror` before `mirrors`; as many as it may have.
pub(crate) fn written_mirrors(
    vs: &VirtualService,
    rules: &[ServedRule<'_>],
    domain: &str,
) -> Vec<WrittenMirror> {
    let namespace = &vs.meta.namespace;
    let (stop, abort) = (Stop::of(vs), Abort::of(vs));
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut mirrors = Vec::new();
    let kept = umbra_api::kept_mirrors(rules.iter().map(|served| &*served.rule));
    for (served, kept) in rules.iter().zip(kept) {
        let written = &*served.rule;
        let mut rule_name = None;
        for (entry, named, percent) in entries(written).take(kept) {
            let Some(destination) = resolve_destination(named, namespace, domain) else { continue };
            let rule_name = rule_name.get_or_insert_with(|| {
                if written.name.is_empty() {
                    fingerprint(&usable_matches(written, namespace).unwrap_or_default())
                } else {
                    escape(&written.name)
                }
            });
            let mut key = format!(
                "mirror/{}/{}/{}/{}|{}|{}",
                escape(namespace),
                escape(&vs.meta.name),
                rule_name,
                destination.port.map(|p| p.to_string()).unwrap_or_default(),
                destination.subset.as_ref().map(|s| s.as_str()).unwrap_or_default(),
                resolve_spelling(&named.host, namespace, domain),
            );
            let nth = seen.entry(key.clone()).or_default();
            *nth += 1;
            if *nth > 1 {
                key.push_str(&format!("/{nth}"));
            }
            let key = RuntimeKey::new(key);
            let share = RuntimeFraction::from_percent(percent);
            let limits = abort.limits(&written.name, &key);
            mirrors.push(WrittenMirror {
                place: MirrorPlace {
                    rule: served.index,
                    delegated: served.part.as_ref().map(|part| part.index),
                    entry,
                },
                route: written.name.clone(),
                by_delegate: served.part.as_ref().is_some_and(|part| match entry {
                    None => part.mirror,
                    Some(_) => part.mirrors,
                }),
                host: named.host.clone(),
                destination,
                key,
                share,
                stopped: false,
                limits,
                aborted: None,
            });
        }
    }
    if !stop.is_empty() {
        apply_stop(vs, stop, &mut mirrors);
    }
    mirrors
}

/// What is stopped has no share, and says why where it stopped by itself.
fn apply_stop(vs: &VirtualService, stop: Stop<'_>, mirrors: &mut [WrittenMirror]) {
    let keys: Vec<_> = mirrors.iter().map(|mirror| (mirror.route.as_str(), &mirror.key)).collect();
    let by = stop.stopped(&keys);
    for (mirror, by) in mirrors.iter_mut().zip(by) {
        let Some(name) = by else { continue };
        mirror.stopped = true;
        mirror.share = mirror.share.map(|_| RuntimeFraction::NONE);
        mirror.aborted = aborted(vs, mirror.key.as_str()).or_else(|| aborted(vs, name));
    }
}

/// With the index in `mirrors`: `mirror` with `mirrorPercentage` over `mirrorPercent`, then each of `mirrors`; absent is 100.
fn entries(written: &HttpRoute) -> impl Iterator<Item = (Option<usize>, &umbra_api::Destination, f64)> {
    let percent = match (written.mirror_percentage, written.mirror_percent) {
        (Some(percentage), _) => percentage.value,
        (None, Some(percent)) => percent as f64,
        (None, None) => 100.0,
    };
    let one = written.mirror.iter().map(move |d| (None, d, percent));
    let more = written.mirrors.iter().enumerate().filter_map(|(index, m)| {
        let percent = m.percentage.map_or(100.0, |p| p.value);
        Some((Some(index), m.destination.as_ref()?, percent))
    });
    one.chain(more)
}
