//! "Did you mean".

/// Longer words are no typing mistakes, and comparing them costs.
const MAX_WORD: usize = 64;

/// `; did you mean X?` when one of `words` is close to `word`, else nothing.
pub(crate) fn did_you_mean(word: &str, words: &[&str]) -> String {
    if word.len() > MAX_WORD {
        return String::new();
    }
    // Case and underscores are not what makes two names different.
    let fold = |text: &str| text.replace('_', "").to_ascii_lowercase();
    let folded = fold(word);
    let best = words.iter().map(|w| (strsim::damerau_levenshtein(&folded, &fold(w)), *w)).min();
    match best {
        Some((distance, found)) if distance <= 2 && distance * 3 <= found.len() => {
            format!("; did you mean {found}?")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions() {
        let words = ["mirror", "mirrors", "mirrorPercentage", "route", "uri"];
        for (word, want) in [
            ("mirrorPercantage", "; did you mean mirrorPercentage?"),
            ("Mirror", "; did you mean mirror?"),
            ("routes", "; did you mean route?"),
            ("url", "; did you mean uri?"),
            ("shadow", ""),
            ("x", ""),
        ] {
            assert_eq!(did_you_mean(word, &words), want, "{word}");
        }
    }
}
