//! What is worked out of what was counted, as parts of one and as people read them.

use umbra_proto::umbra::v1::{Answers, Lost, Observed};

/// What part of the requests was really copied; `None`: it cannot be known.
pub(crate) fn seen(observed: &Observed) -> Option<f64> {
    observed.seen_per_million.map(|it| it / 1e6)
}

/// What part of the target's answers were 5xx; `None`: there was no answer.
pub(crate) fn errors(observed: &Observed) -> Option<f64> {
    let Answers { informational, success, redirection, client_error, server_error } =
        observed.copy_answers.as_ref()?;
    let all = informational + success + redirection + client_error + server_error;
    (all > 0).then(|| *server_error as f64 / all as f64)
}

/// How many copies got no whole answer, by reason, as the metrics name it; nothing where none was made.
pub(crate) fn lost(observed: &Observed) -> Vec<(&'static str, u64)> {
    let lost = observed.lost.as_ref().filter(|_| observed.copies > 0);
    let each = lost.map(|it| {
        let Lost { no_endpoint, overflow, refused, timeout, reset } = *it;
        let all = [
            ("no_endpoint", no_endpoint),
            ("overflow", overflow),
            ("refused", refused),
            ("timeout", timeout),
            ("reset", reset),
        ];
        all.to_vec()
    });
    each.unwrap_or_default()
}

/// Of a part of one: to three digits, and never to what it is not quite.
pub(crate) fn percent(part: f64) -> String {
    let percent = part * 100.0;
    let digits = match percent {
        it if it <= 0.0 || it >= 99.995 => 0,
        it if it >= 99.95 => 2,
        it if it >= 10.0 => 1,
        it if it >= 0.01 => 2,
        _ => 4,
    };
    format!("{percent:.digits$}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_as_people_read_them() {
        for (part, text) in [
            (0.0, "0%"),
            (1.0, "100%"),
            (0.99994, "99.99%"),
            (0.248, "24.8%"),
            (0.0021, "0.21%"),
            (0.00001, "0.0010%"),
            (1.04, "104%"),
        ] {
            assert_eq!(percent(part), text);
        }
    }
}
