//! Conditions on texts (`envoy.type.matcher.v3.StringMatcher`).

use umbra_proto::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};

use crate::regex;

/// Whether a text meets a condition; if not, in which words.
pub(crate) enum Verdict {
    /// It does.
    Meets,
    /// It does not, which reads on from what the text is: `is "a", not "b"`.
    Fails(String),
    /// Nobody here can tell.
    Unknown(String),
}

impl Verdict {
    fn of(meets: bool, words: impl FnOnce() -> String) -> Self {
        if meets { Verdict::Meets } else { Verdict::Fails(words()) }
    }
}

/// Judges a text by a condition.
pub(crate) fn judge(matcher: &StringMatcher, text: &str) -> Verdict {
    let fold = |text: &str| if matcher.ignore_case { text.to_ascii_lowercase() } else { text.to_owned() };
    let is = fold(text);
    match &matcher.match_pattern {
        Some(MatchPattern::Exact(want)) => {
            Verdict::of(is == fold(want), || format!("is {text:?}, not {want:?}"))
        }
        Some(MatchPattern::Prefix(want)) => Verdict::of(is.starts_with(&fold(want)), || {
            format!("is {text:?}, which does not begin with {want:?}")
        }),
        Some(MatchPattern::Suffix(want)) => Verdict::of(is.ends_with(&fold(want)), || {
            format!("is {text:?}, which does not end with {want:?}")
        }),
        Some(MatchPattern::Contains(want)) => {
            Verdict::of(is.contains(&fold(want)), || format!("is {text:?}, which does not hold {want:?}"))
        }
        Some(MatchPattern::SafeRegex(want)) => judge_regex(&want.regex, text),
        _ => Verdict::Unknown("has a condition of a kind that is not known here".to_owned()),
    }
}

/// Judges a text by an expression that has to match all of it.
pub(crate) fn judge_regex(pattern: &str, text: &str) -> Verdict {
    match regex::whole(pattern) {
        Ok(regex) => {
            Verdict::of(regex.is_match(text), || format!("is {text:?}, which does not match {pattern:?}"))
        }
        Err(why) => Verdict::Unknown(format!("has the regular expression {pattern:?}, which {why}")),
    }
}
