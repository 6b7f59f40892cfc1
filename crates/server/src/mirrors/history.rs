//! The last hour of mirrors by minutes, as messages of `umbra.v1`, of one replica and of several together.

use std::collections::BTreeMap;

use umbra_proto::umbra::v1;

use crate::live::Live;
use crate::observe::{Observed, Part};

/// What this replica's proxies counted of every mirror of a namespace (empty: of all), of those of which they counted anything.
pub(crate) async fn histories(live: &Live, observed: &Observed, namespace: &str) -> Vec<v1::History> {
    observed.refresh().await;
    let all = live.mirrors().await;
    let wanted = all.iter().filter(|it| namespace.is_empty() || *it.rule.namespace == *namespace);
    let minutes = observed.minutes(wanted.map(|it| &it.state.key));
    let history = |(key, minutes): (_, crate::observe::Minutes)| {
        let minute = |(minute, (primaries, copies)): (&u32, &(Part, Part))| v1::Minute {
            minute: *minute,
            primaries: Some(tally(primaries)),
            copies: Some(tally(copies)),
        };
        let key: &umbra_ir::RuntimeKey = key;
        v1::History { runtime_key: key.as_str().to_owned(), minutes: minutes.iter().map(minute).collect() }
    };
    minutes.into_iter().map(history).collect()
}

fn tally(part: &Part) -> v1::Tally {
    v1::Tally {
        count: part.count.into(),
        answers: part.answers().into(),
        server_errors: part.server_errors().into(),
        lost: part.lost().into(),
        times: part.times.iter().map(|count| u64::from(*count)).collect(),
    }
}

/// Adds what another replica says of the same mirror, minute by minute.
pub(crate) fn add_history(to: &mut Vec<v1::Minute>, other: Vec<v1::Minute>) {
    let mut all: BTreeMap<u32, v1::Minute> = to.drain(..).map(|it| (it.minute, it)).collect();
    for minute in other {
        match all.get_mut(&minute.minute) {
            None => drop(all.insert(minute.minute, minute)),
            Some(known) => {
                add_tally(&mut known.primaries, minute.primaries);
                add_tally(&mut known.copies, minute.copies);
            }
        }
    }
    to.extend(all.into_values());
}

fn add_tally(to: &mut Option<v1::Tally>, other: Option<v1::Tally>) {
    let (to, Some(more)) = (to.get_or_insert_default(), other) else { return };
    to.count += more.count;
    to.answers += more.answers;
    to.server_errors += more.server_errors;
    to.lost += more.lost;
    if to.times.len() < more.times.len() {
        to.times.resize(more.times.len(), 0);
    }
    to.times.iter_mut().zip(more.times).for_each(|(to, more)| *to += more);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_add_up_by_minutes() {
        let tally = |count| Some(v1::Tally { count, times: vec![count, 0], ..v1::Tally::default() });
        let minute = |minute, count| v1::Minute { minute, primaries: tally(count), copies: None };
        let mut all = vec![minute(10, 1), minute(12, 2)];
        add_history(&mut all, vec![minute(11, 4), minute(12, 8), minute(13, 16)]);
        let got: Vec<_> =
            all.iter().map(|it| (it.minute, it.primaries.clone().unwrap_or_default())).collect();
        let got: Vec<_> = got.iter().map(|(at, tally)| (*at, tally.count, tally.times[0])).collect();
        assert_eq!(got, [(10, 1, 1), (11, 4, 4), (12, 10, 10), (13, 16, 16)]);
    }
}
