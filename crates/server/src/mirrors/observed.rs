//! What was counted of a mirror, as a message of `umbra.v1`.

use jiff::Timestamp;
use umbra_proto::google;
use umbra_proto::umbra::v1;

use crate::live::MirrorLive;
use crate::observe::{BOUNDS, CLASSES, Observation, Observed, Times};

/// `None`: nobody counts.
pub(super) fn of(observed: &Observed, mirror: &MirrorLive) -> Option<v1::Observed> {
    let observation = observed.of(&mirror.state.key)?;
    let since = observed.time(observation.since);
    let mut message = message(&observation, since);
    message.seen_per_million = seen_per_million(&message, mirror.share().map(|share| share.millionths()));
    Some(message)
}

/// How many of a million requests were copied, by a mirror that should copy `share`; `None`: it cannot be known.
pub(super) fn seen_per_million(observed: &v1::Observed, share: Option<u32>) -> Option<f64> {
    let copies = observed.copies as f64;
    if observed.shared {
        return (observed.wanted > 0.0).then_some(f64::from(share?) * copies / observed.wanted);
    }
    (observed.primaries > 0).then(|| 1e6 * copies / observed.primaries as f64)
}

fn message(observation: &Observation, since: Timestamp) -> v1::Observed {
    let Observation { primaries, copies, wanted, shared, lately, .. } = observation;
    v1::Observed {
        since: Some(google::protobuf::Timestamp { seconds: since.as_second(), nanos: 0 }),
        primaries: primaries.completed,
        primary_answers: Some(answers(primaries.classes)),
        primary_times: Some(times(&primaries.times)),
        copies: copies.attempts(),
        copy_answers: Some(answers(copies.answers())),
        copy_times: Some(times(&copies.times)),
        lost: Some(v1::Lost {
            no_endpoint: copies.no_endpoint,
            overflow: copies.overflow,
            refused: copies.refused,
            timeout: copies.timeout,
            reset: copies.reset,
        }),
        shared: *shared,
        wanted: *wanted,
        seen_per_million: None,
        primaries_per_second: lately.0,
        copies_per_second: lately.1,
    }
}

fn answers(classes: [u64; CLASSES]) -> v1::Answers {
    let [informational, success, redirection, client_error, server_error] = classes;
    v1::Answers { informational, success, redirection, client_error, server_error }
}

fn times(times: &Times) -> v1::Times {
    v1::Times { bounds: BOUNDS.to_vec(), counts: times.counts.to_vec(), sum: times.sum }
}
