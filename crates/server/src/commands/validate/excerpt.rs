//! The line that a diagnostic is about, with a mark under the offending part.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use umbra_ir::{Diagnostic, Severity};
use umbra_source::Loader;

/// The longest line that is shown, in bytes: a longer one was written by a program.
const MAX_LINE: usize = 2_000;

/// Lines of the files that were loaded.
pub(super) struct Excerpts<'a> {
    loader: &'a Loader,
    /// The file that was looked at last: diagnostics come file by file.
    last: RefCell<Option<(Arc<str>, Lines)>>,
}

/// A text, and where each of its lines begins.
struct Lines {
    text: String,
    starts: Vec<usize>,
}

impl Lines {
    fn new(text: String) -> Self {
        let breaks = text.match_indices('\n').map(|(index, _)| index + 1);
        let starts = std::iter::once(0).chain(breaks).collect();
        Lines { text, starts }
    }

    /// By its number, from 1.
    fn get(&self, number: u32) -> Option<&str> {
        let index = (number as usize).checked_sub(1)?;
        let start = *self.starts.get(index)?;
        self.text[start..].lines().next()
    }
}

impl<'a> Excerpts<'a> {
    pub(super) fn new(loader: &'a Loader) -> Self {
        Excerpts { loader, last: RefCell::new(None) }
    }

    /// Empty when there is no such line.
    pub(super) fn of(&self, diagnostic: &Diagnostic) -> String {
        let (Some(file), Some(number)) = (&diagnostic.file, diagnostic.line) else { return String::new() };
        let mut last = self.last.borrow_mut();
        if last.as_ref().is_none_or(|(name, _)| name != file) {
            *last = Some((file.clone(), Lines::new(self.loader.text(file).unwrap_or_default())));
        }
        let line = last.as_ref().and_then(|(_, lines)| lines.get(number));
        line.map_or_else(String::new, |line| excerpt(line, number, diagnostic.column, diagnostic.severity))
    }
}

fn excerpt(line: &str, number: u32, column: Option<u32>, severity: Severity) -> String {
    let line = line.trim_end();
    if line.trim_start().is_empty() || line.len() > MAX_LINE {
        return String::new();
    }
    let mark = mark(line, column.unwrap_or(1));
    let level = match severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Info => Level::INFO,
    };
    let snippet =
        Snippet::source(line).line_start(number as usize).annotation(AnnotationKind::Primary.span(mark));
    let shown = Renderer::plain().render(&[Group::with_level(level).element(snippet)]);
    shown.trim_end_matches('\n').to_owned() + "\n"
}

/// The bytes of what begins at a column (in characters, from 1): a value, or a key with its value.
fn mark(line: &str, column: u32) -> Range<usize> {
    let skipped = (column as usize).saturating_sub(1);
    let start = line.char_indices().nth(skipped).map_or(line.len(), |(index, _)| index);
    let rest = &line[start..];
    let value = rest.find(": ").filter(|_| !rest.starts_with(['{', '[', '"', '\''])).map_or(0, |key| key + 2);
    let length = match rest[value..].chars().next() {
        Some(open @ ('{' | '[')) => closing(&rest[value..], open).map(|length| value + length),
        Some(quote @ ('"' | '\'')) => rest[value + 1..].find(quote).map(|end| value + end + 2),
        _ => {
            let inside = line[..start].contains(['{', '[']);
            let ends = [rest.find(" #"), inside.then(|| rest.find([',', '}', ']'])).flatten()];
            ends.into_iter().flatten().min()
        }
    };
    let end = start + length.unwrap_or(rest.len());
    // Nothing to mark behind the end of the line: its last character is as near as it gets.
    if start < end {
        start..end
    } else {
        line.char_indices().last().map_or(0, |(index, _)| index)..line.len()
    }
}

/// The length of a flow collection that ends in this text; quotes are not looked into, since this only draws a mark.
fn closing(text: &str, open: char) -> Option<usize> {
    let close = if open == '{' { '}' } else { ']' };
    let mut depth = 0;
    text.char_indices().find_map(|(index, c)| {
        if c == open {
            depth += 1;
        } else if c == close {
            depth -= 1;
        }
        (depth == 0).then_some(index + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offending_part_is_marked() {
        for (line, column, marked) in [
            ("  mirrorPercentage: {value: 150}", 22, "value: 150"),
            ("  mirrorPercentage: {value: 150}", 3, "mirrorPercentage: {value: 150}"),
            ("  mirrorPercentage: {value: 150}", 21, "{value: 150}"),
            ("  weight: -1   # no", 3, "weight: -1  "),
            ("  - destination: {host: \"a b\", port: 1}", 19, "host: \"a b\""),
            ("  - destination: {host: 'a', port: 1}", 25, "'a'"),
            ("- {a: {b: c}, d: [e, f]}", 4, "a: {b: c}"),
            ("- {a: {b: c}, d: [e, f]}", 15, "d: [e, f]"),
            ("mirorr: {}", 1, "mirorr: {}"),
            ("kind: [", 7, "["),
            ("ä: ö", 4, "ö"),
            ("a:", 40, ":"),
            ("x: [a, [b]]", 4, "[a, [b]]"),
        ] {
            assert_eq!(&line[mark(line, column)], marked, "{line} {column}");
        }
    }

    #[test]
    fn excerpts() {
        let shown = excerpt("  mirrorPercentage: {value: 150}", 12, Some(22), Severity::Error);
        assert_eq!(
            shown,
            "   |\n12 |   mirrorPercentage: {value: 150}\n   |                      ^^^^^^^^^^\n"
        );
        assert_eq!(excerpt("   ", 1, Some(1), Severity::Info), "");
        let hostile = excerpt("a: \u{1b}[31m\u{7}", 1, Some(4), Severity::Info);
        assert!(!hostile.contains(['\u{1b}', '\u{7}']), "{hostile:?}");
    }
}
