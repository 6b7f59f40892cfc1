//! When a mirror stops by itself, and which of its limits decide nothing yet. Pure but for what is asked of [`Observed`].

use umbra_ir::AbortReason;
use umbra_proto::umbra::v1;

use crate::live::MirrorLive;
use crate::observe::Observed;

/// The limits of a mirror, as this replica judges them.
pub(super) fn of(observed: &Observed, mirror: &MirrorLive) -> Vec<v1::Limit> {
    let state = &mirror.state;
    let judged = state.verdicts.is_some();
    let one = |(reason, words): (AbortReason, String)| {
        let sample = state.limits.get(reason).map_or(0, |limit| limit.sample);
        let waits_for = match reason {
            AbortReason::Verdict if !judged => "verdicts, for which nobody asks".to_owned(),
            _ if observed.is_based(&state.key, reason) => String::new(),
            _ => format!("{sample} requests while nothing is copied"),
        };
        limit(reason, words, mirror.total, waits_for)
    };
    state.limits.words().into_iter().map(one).collect()
}

fn limit(reason: AbortReason, words: String, proxies: usize, waits_for: String) -> v1::Limit {
    let replicas = u32::from(proxies > 0);
    let waiting = if waits_for.is_empty() { 0 } else { replicas };
    // Where no proxy mirrors nothing is waited for.
    let waits_for = if waiting > 0 { waits_for } else { String::new() };
    v1::Limit { name: reason.limit_name().to_owned(), words, replicas, waiting, waits_for }
}

/// Adds what another replica says of the same mirror's limits.
pub(super) fn add(to: &mut [v1::Limit], other: &[v1::Limit]) {
    for limit in to {
        let Some(more) = other.iter().find(|it| it.name == limit.name) else { continue };
        limit.replicas += more.replicas;
        limit.waiting += more.waiting;
        if limit.waits_for.is_empty() {
            limit.waits_for.clone_from(&more.waits_for);
        }
    }
}

/// What is to be said behind a limit's words; empty: it decides.
pub(crate) fn limit_note(limit: &v1::Limit) -> String {
    let v1::Limit { replicas, waiting, waits_for, .. } = limit;
    match waiting {
        0 => String::new(),
        all if all == replicas => format!(" (does not decide yet: waits for {waits_for})"),
        some => format!(" (does not decide yet on {some} of {replicas} replicas: waits for {waits_for})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A limit as replicas have it: with so many proxies, and what it waits for.
    #[track_caller]
    fn check(replicas: &[(usize, &str)], note: &str) {
        let one = |(proxies, waits): &(usize, &str)| {
            vec![limit(
                AbortReason::PrimaryErrors,
                "primaryErrors 1%".to_owned(),
                *proxies,
                (*waits).to_owned(),
            )]
        };
        let mut all = one(&replicas[0]);
        replicas[1..].iter().for_each(|replica| add(&mut all, &one(replica)));
        assert_eq!(limit_note(&all[0]), note);
    }

    #[test]
    fn a_limit_that_waits_says_so() {
        check(&[(3, "")], "");
        check(&[(3, "100 requests")], " (does not decide yet: waits for 100 requests)");
        check(
            &[(3, ""), (2, "100 requests")],
            " (does not decide yet on 1 of 2 replicas: waits for 100 requests)",
        );
        // One without proxies that mirror has nothing to wait for.
        check(&[(3, ""), (0, "100 requests")], "");
        check(&[(0, "100 requests"), (2, "100 requests")], " (does not decide yet: waits for 100 requests)");
    }
}
