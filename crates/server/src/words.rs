//! What proxies say, as it may stand in a log, a status, an answer: one line, no longer than somebody reads; and any text in a query.

/// The most of it that is shown.
const SHOWN: usize = 1000;
/// The most of it that is kept: enough for Envoy's words about many resources.
const KEPT: usize = 16 << 10;
/// At the end of what was cut; Envoy writes the same.
const CUT: &str = "...(truncated)";

/// One line: whatever would begin another, or is no letter, is a space.
pub(crate) fn one_line(words: &str) -> String {
    let line: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    cut(line.trim(), SHOWN)
}

/// Shortens what is to be kept.
pub(crate) fn keep(words: &mut String) {
    if words.len() > KEPT {
        *words = cut(words, KEPT);
    }
}

/// A text as a value of a query.
pub(crate) fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn cut(words: &str, most: usize) -> String {
    if words.len() <= most {
        return words.to_owned();
    }
    let most = most - CUT.len();
    let end = (0..=most).rev().find(|at| words.is_char_boundary(*at)).unwrap_or_default();
    format!("{}{CUT}", &words[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_queries() {
        for (text, want) in [("a.b-1", "a.b-1"), ("k=v,l=/é", "k%3Dv%2Cl%3D%2F%C3%A9")] {
            assert_eq!(escape(text), want);
        }
    }

    #[test]
    fn one_line_of_bounded_length() {
        for (words, line) in [("", ""), ("no\nluck\t\u{1b}[2J\r\n", "no luck  [2J"), ("\u{85}é", "é")] {
            assert_eq!(one_line(words), line, "{words:?}");
        }
        let long = one_line(&"é\n".repeat(10_000));
        assert!(long.len() <= SHOWN && long.ends_with(CUT) && !long.contains('\n'), "{long}");
        let mut kept = "é".repeat(100_000);
        keep(&mut kept);
        assert!(kept.len() <= KEPT && kept.ends_with(CUT));
    }
}
