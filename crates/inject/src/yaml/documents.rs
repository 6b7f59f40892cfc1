//! A text of several documents, cut where they begin.

/// The parts of a text, each with one document at most; together they are the text. A line that begins with `---` always
/// begins a document, also inside of a block of text (YAML 1.2, 9.1.2).
pub fn documents(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut at = 0;
    // Whether the part holds more than what belongs to a document that is yet to begin: comments, blanks, directives.
    let mut begun = false;
    for line in text.split_inclusive('\n') {
        let marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if marker && begun {
            parts.push(&text[start..at]);
            start = at;
        }
        let first = line.trim_start().chars().next();
        begun |= marker || !matches!(first, None | Some('#' | '%'));
        at += line.len();
    }
    if start < text.len() {
        parts.push(&text[start..]);
    }
    parts
}
