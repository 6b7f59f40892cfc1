//! Every mirror with how far it has come and what became of its copies, of one replica and of several together.
//!
//! Start reading at: [`list`], then `figures.rs` (what people read).

mod figures;
mod history;
mod limits;
mod observed;

use umbra_ir::RuntimeKey;
use umbra_proto::umbra::v1;

use crate::live::{Live, MirrorLive};
use crate::messages;
use crate::observe::Observed;
use crate::verdicts;

pub(crate) use figures::{
    contents_coverage, errors, lost, percent, primary_errors, quantile, seen, share_words, uncounted,
    verdict_words,
};
pub(crate) use history::{add_history, histories};
pub(crate) use limits::limit_note;

/// Every mirror of a namespace (empty: of all) as this replica knows it, in the order of namespace, name and place.
pub(crate) async fn list(live: &Live, observed: &Observed, namespace: &str) -> Vec<v1::Mirror> {
    observed.refresh().await;
    let all = live.mirrors().await;
    let wanted = all.iter().filter(|it| namespace.is_empty() || *it.rule.namespace == *namespace);
    let told = |it: &MirrorLive| v1::Mirror {
        verdict: verdict(observed, &it.state.key),
        limits: limits::of(observed, it),
        ..messages::mirror(it, observed::of(observed, it))
    };
    wanted.map(told).collect()
}

/// The verdict on a mirror, by the proxies of this replica; `None`: nobody asked for one.
pub(crate) fn verdict(observed: &Observed, key: &RuntimeKey) -> Option<v1::Verdict> {
    let known = observed.verdicts().known(key)?;
    let counted = observed.requests(&known.rule).zip(known.begun);
    let counted = counted.map_or(0, |((_, judged), begun)| judged.saturating_sub(begun));
    Some(verdicts::of(&known, counted))
}

/// Adds what another replica says of the same mirror.
pub(crate) fn add(to: &mut v1::Mirror, other: &v1::Mirror) {
    to.total += other.total;
    to.live += other.live;
    to.away += other.away;
    to.uncounted += other.uncounted;
    if to.written_parts_per_million.is_some() || other.written_parts_per_million.is_some() {
        // Each replica holds it down for its own proxies; that of the busiest stands for all.
        to.parts_per_million = to.parts_per_million.max(other.parts_per_million);
        to.written_parts_per_million = to.written_parts_per_million.max(other.written_parts_per_million);
    }
    match (&mut to.observed, &other.observed) {
        (Some(observed), Some(more)) => add_observed(observed, more, to.parts_per_million),
        (observed @ None, Some(_)) => observed.clone_from(&other.observed),
        (_, None) => {}
    }
    match (&mut to.verdict, &other.verdict) {
        (Some(verdict), Some(more)) => verdicts::add(verdict, more),
        (verdict @ None, Some(_)) => verdict.clone_from(&other.verdict),
        (_, None) => {}
    }
    limits::add(&mut to.limits, &other.limits);
    if to.problem.is_none() {
        to.problem.clone_from(&other.problem);
    }
}

fn add_observed(to: &mut v1::Observed, other: &v1::Observed, share: Option<u32>) {
    let seconds = |it: &v1::Observed| it.since.map_or(i64::MAX, |since| since.seconds);
    if seconds(other) < seconds(to) {
        to.since = other.since;
    }
    add_to(&mut to.primaries, other.primaries);
    add_to(&mut to.copies, other.copies);
    to.wanted += other.wanted;
    to.shared |= other.shared;
    to.primaries_per_second += other.primaries_per_second;
    to.copies_per_second += other.copies_per_second;
    add_answers(&mut to.primary_answers, other.primary_answers.as_ref());
    add_answers(&mut to.copy_answers, other.copy_answers.as_ref());
    add_times(&mut to.primary_times, other.primary_times.as_ref());
    add_times(&mut to.copy_times, other.copy_times.as_ref());
    if let Some(more) = &other.lost {
        let lost = to.lost.get_or_insert_default();
        add_to(&mut lost.no_endpoint, more.no_endpoint);
        add_to(&mut lost.overflow, more.overflow);
        add_to(&mut lost.refused, more.refused);
        add_to(&mut lost.timeout, more.timeout);
        add_to(&mut lost.reset, more.reset);
    }
    to.seen_per_million = observed::seen_per_million(to, share);
}

fn add_answers(to: &mut Option<v1::Answers>, other: Option<&v1::Answers>) {
    let (to, Some(more)) = (to.get_or_insert_default(), other) else { return };
    add_to(&mut to.informational, more.informational);
    add_to(&mut to.success, more.success);
    add_to(&mut to.redirection, more.redirection);
    add_to(&mut to.client_error, more.client_error);
    add_to(&mut to.server_error, more.server_error);
}

fn add_times(to: &mut Option<v1::Times>, other: Option<&v1::Times>) {
    let (to, Some(more)) = (to.get_or_insert_default(), other) else { return };
    to.sum += more.sum;
    if to.bounds.is_empty() {
        (to.bounds, to.counts) = (more.bounds.clone(), more.counts.clone());
    } else if to.bounds == more.bounds {
        to.counts.iter_mut().zip(&more.counts).for_each(|(to, more)| add_to(to, *more));
    }
}

fn add_to(to: &mut u64, more: u64) {
    *to = to.saturating_add(more);
}

#[cfg(test)]
mod tests {
    use umbra_proto::umbra::v1::{Answers, Mirror, Observed};

    use super::*;

    #[test]
    fn replicas_count_together() {
        let one = |primaries, copies, server_error| Observed {
            primaries,
            copies,
            copy_answers: Some(Answers {
                success: copies - server_error,
                server_error,
                ..Answers::default()
            }),
            ..Observed::default()
        };
        let mirror = |observed| Mirror { observed, parts_per_million: Some(250_000), ..Mirror::default() };
        let mut all = mirror(None);
        add(&mut all, &mirror(Some(one(1000, 240, 0))));
        add(&mut all, &mirror(None));
        add(&mut all, &mirror(Some(one(1000, 260, 5))));
        let observed = all.observed.as_ref().expect("it is observed");
        assert_eq!((seen(observed), errors(observed), lost(observed)), (Some(0.25), Some(0.01), Vec::new()));
        let shared = Observed { shared: true, wanted: 400.0, seen_per_million: None, ..one(0, 0, 0) };
        add(&mut all, &mirror(Some(shared)));
        assert_eq!(seen(all.observed.as_ref().expect("it is observed")), Some(0.3125));
    }
}
