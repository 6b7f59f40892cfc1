use super::*;

const NOW: i64 = 10_000;

fn line(words: &str) -> Line {
    let parts: Vec<&str> = words.split(' ').collect();
    Line {
        field: format!("spec.http[0].mirrors.{}", parts[0]),
        name: parts[0].to_owned(),
        share: parts[1].to_owned(),
        asks: parts[1].ends_with('%'),
        ..Line::default()
    }
}

/// `REQUESTS WANTED COPIES ERRORS [LOST-TIMEOUT LOST-RESET [SINCE]]`.
fn counts(words: &str) -> Option<v1::Observed> {
    let numbers: Vec<u64> = words.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let [primaries, wanted, copies, server_error] = numbers[..].first_chunk::<4>().copied()?;
    let at = |place: usize| numbers.get(place).copied().unwrap_or_default();
    let lost = v1::Lost { timeout: at(4), reset: at(5), ..v1::Lost::default() };
    let since = NOW - i64::try_from(at(6)).unwrap();
    let success = copies.saturating_sub(server_error + at(4) + at(5));
    Some(v1::Observed {
        since: Some(umbra_proto::google::protobuf::Timestamp { seconds: since, nanos: 0 }),
        primaries,
        copies,
        wanted: wanted as f64,
        copy_answers: Some(v1::Answers { success, server_error, ..v1::Answers::default() }),
        lost: Some(lost),
        seen_per_million: (primaries > 0).then(|| 1e6 * copies as f64 / primaries as f64),
        ..v1::Observed::default()
    })
}

fn id() -> ObjectId {
    ObjectId::new(Kind::VirtualService, "shop", "web")
}

/// A mirror as `NAME SHARE: COUNTS`; what was said before, as `REASON MESSAGE`; then what is said.
struct Case {
    mirrors: Vec<&'static str>,
    off: bool,
    long: bool,
    before: Option<(String, String)>,
    /// Of five proxies.
    uncounted: u32,
}

impl Case {
    fn new(mirrors: &[&'static str]) -> Self {
        Case { mirrors: mirrors.to_vec(), off: false, long: false, before: None, uncounted: 0 }
    }

    fn after(mut self, reason: &str, message: &str) -> Self {
        self.before = Some((reason.to_owned(), message.to_owned()));
        self
    }

    #[track_caller]
    fn check(self, want: &str) {
        let parts: Vec<(&str, &str)> =
            self.mirrors.iter().map(|words| words.split_once(':').unwrap()).collect();
        let lines: Vec<Line> = parts.iter().map(|(words, _)| line(words)).collect();
        let told = parts.iter().zip(&lines).map(|((_, words), line)| v1::Mirror {
            rule: Some(crate::messages::reference(&id())),
            field: line.field.clone(),
            observed: counts(words),
            total: 5,
            uncounted: self.uncounted,
            ..v1::Mirror::default()
        });
        let counted = Counted::new(told.collect(), self.off, self.long, NOW);
        let said = self.before.iter().map(|(reason, message)| Said {
            reason,
            message,
            generation: 7,
            mirrors: "column, seen before",
        });
        let words = observed(&lines, &id(), (7, "column"), &counted, said);
        let got = words.condition.map_or("nothing".to_owned(), |it| {
            format!("{} {}: {}{}", it.reason.holds.as_str(), it.reason.word, it.message, words.summary)
        });
        assert_eq!(got, want, "{:?} after {:?}", self.mirrors, self.before);
    }
}

#[test]
fn what_is_said_of_counts() {
    let all = "v2 25%: seen 24.8%, 0.20% 5xx of 2480 copies";
    for (mirrors, want) in [
        (&["v2 off:", "v3 stopped:"][..], "nothing"),
        (&["v2 25%:"], "nothing"),
        (&["v2 25%:10000 2500 2480 5"], &format!("True Copying: {all}, seen 24.8%, 0.20% 5xx")),
        (&["v2 25%:0 0 0 0"], "Unknown TooFewRequests: v2 25%: too few requests to tell"),
        (&["v2 25%:70 18 0 0"], "Unknown TooFewRequests: v2 25%: too few requests to tell"),
        (
            &["v2 25%:80 20 0 0"],
            "False NothingCopied: v2 25%: nothing copied where 20 copies should be, seen nothing",
        ),
        (
            &["v2 25%:1000 250 100 0"],
            "False FewerCopied: v2 25%: seen 10.0%, 0% 5xx of 100 copies, seen 10.0%, 0% 5xx",
        ),
        (
            &["v2 25%:10000 2500 2480 5 6 30"],
            "False LostReset: v2 25%: seen 24.8%, 0.20% 5xx of 2480 copies, 1.45% lost (LostReset), \
             seen 24.8%, 0.20% 5xx, 1.45% lost",
        ),
        (&["v2 25%:10000 2500 2480 5 6 3"], &format!("True Copying: {all}, seen 24.8%, 0.20% 5xx")),
        // The worst is the condition, one that copies is more than one that nobody calls.
        (
            &["v2 25%:10000 2500 2480 5", "v3 5%:0 0 0 0", "v4 off:"],
            &format!("True Copying: {all}; v3 5%: too few requests to tell, seen v2 24.8%, 0.20% 5xx"),
        ),
        (
            &["v2 25%:10000 2500 2480 5", "v3 5%:10000 500 0 0"],
            &format!(
                "False NothingCopied: {all}; v3 5%: nothing copied where 500 copies should be, \
                 seen v2 24.8%, 0.20% 5xx; v3 nothing"
            ),
        ),
    ] {
        Case::new(mirrors).check(want);
    }
    let unseen = |off, long| Case { off, long, ..Case::new(&["v2 25%:"]) };
    unseen(true, false).check("Unknown NotObserved: mirror.observe is off");
    unseen(false, true).check("Unknown NotObserved: no proxy has told a count: there was no request yet, or its bootstrap has no sink for statistics");
}

#[test]
fn figures_say_that_they_are_of_several_mirrors() {
    let line = line("v2 25%");
    let shared = v1::Observed {
        shared: true,
        seen_per_million: Some(248_000.0),
        ..counts("10000 2500 2480 5").unwrap()
    };
    let mirror = v1::Mirror {
        rule: Some(crate::messages::reference(&id())),
        field: line.field.clone(),
        observed: Some(shared),
        ..v1::Mirror::default()
    };
    let counted = Counted::new(vec![mirror], false, false, NOW);
    let said = observed(&[line], &id(), (7, "column"), &counted, std::iter::empty());
    let want = "v2 25%: seen 24.8%, 0.20% 5xx of 2480 copies of all mirrors to its cluster";
    assert_eq!(said.condition.map(|it| it.message), Some(want.to_owned()));
}

#[test]
fn figures_say_of_how_many_proxies_they_are_not() {
    let some = |uncounted| Case { uncounted, ..Case::new(&["v2 25%:10000 2500 2480 5"]) };
    let words = |uncounted| {
        format!("v2 25%: seen 24.8%, 0.20% 5xx of 2480 copies, {uncounted} of 5 proxies not counted")
    };
    let column = ", seen 24.8%, 0.20% 5xx";
    some(2).check(&format!("True Copying: {}{column}", words(2)));
    // That it is another one is no reason to say it anew, that it is one is.
    some(3).after("Copying", &words(2)).check(&format!("True Copying: {}, seen before", words(2)));
    let none = "v2 25%: seen 24.8%, 0.20% 5xx of 2480 copies";
    some(2).after("Copying", none).check(&format!("True Copying: {}{column}", words(2)));
    some(0).after("Copying", &words(2)).check(&format!("True Copying: {none}{column}"));
}

/// Requests that nobody could answer are not copied.
#[test]
fn a_service_that_is_down_is_no_alarm() {
    let mut observed = counts("1000 250 0 0").unwrap();
    assert_eq!(Sight::of(Some(&observed), false, NOW), Sight::Nothing { wanted: 250 });
    observed.primary_answers = Some(v1::Answers { server_error: 950, ..v1::Answers::default() });
    assert_eq!(Sight::of(Some(&observed), false, NOW), Sight::Few { settled: false });
}

#[test]
fn what_was_said_is_kept_as_long_as_it_means_the_same() {
    let copying = "v2 25%: seen 25%, 0% 5xx of 9 copies";
    let kept = |reason: &str| format!("True {reason}: {copying}, seen before");
    let case = |mirror| Case::new(&[mirror]);
    case("v2 25%:10000 2500 2480 5").after("Copying", copying).check(&kept("Copying"));
    case("v2 25%:10000 2500 2480 99")
        .after("Copying", copying)
        .check("True Copying: v2 25%: seen 24.8%, 3.99% 5xx of 2480 copies, seen 24.8%, 3.99% 5xx");
    // A replica that has just begun to count, or to write, knows nothing yet.
    case("v2 25%:0 0 0 0").after("Copying", copying).check(&kept("Copying"));
    case("v2 25%:").after("Copying", copying).check(&kept("Copying"));
    case("v2 25%:").after("NotObserved", "why").check("Unknown NotObserved: why, seen before");
    let unseen = Case { long: true, ..case("v2 25%:") };
    unseen.after("Copying", copying).check("Unknown NotObserved: no proxy has told a count: there was no request yet, or its bootstrap has no sink for statistics");
    case("v2 25%:0 0 0 0 0 0 300")
        .after("Copying", copying)
        .check("Unknown TooFewRequests: v2 25%: too few requests to tell");
    // Another share is another matter.
    case("v2 30%:0 0 0 0")
        .after("Copying", copying)
        .check("Unknown TooFewRequests: v2 30%: too few requests to tell");
    // An alarm ends well below where it began.
    let lost = "v2 25%: seen 25%, 0% 5xx of 9 copies, 1.00% lost (LostTimeout)";
    for (mirror, want) in [
        ("v2 25%:4000 1000 1000 0 8", format!("False LostTimeout: {lost}, seen before")),
        (
            "v2 25%:4000 1000 1000 0 4",
            "True Copying: v2 25%: seen 25.0%, 0% 5xx of 1000 copies, seen 25.0%, 0% 5xx".to_owned(),
        ),
        ("v2 25%:0 0 0 0", format!("False LostTimeout: {lost}, seen before")),
    ] {
        case(mirror).after("LostTimeout", lost).check(&want);
    }
    case("v2 25%:4000 1000 1000 0 8")
        .check("True Copying: v2 25%: seen 25.0%, 0% 5xx of 1000 copies, seen 25.0%, 0% 5xx");
    let nothing = "v2 25%: nothing copied where 20 copies should be";
    case("v2 25%:1000 250 0 0")
        .after("NothingCopied", nothing)
        .check(&format!("False NothingCopied: {nothing}, seen before"));
}
