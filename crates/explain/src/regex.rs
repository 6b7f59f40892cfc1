//! RE2's expressions by Rust's engine: the same matches, but another dialect, so each is written anew.

use regex::{Captures, Regex};

/// An expression that has to match a whole text.
///
/// # Errors
/// What this engine cannot do (RE2's `\C`), or cannot read.
pub(crate) fn whole(pattern: &str) -> Result<Regex, String> {
    compile(&format!(r"\A(?:{})\z", rewrite(pattern)?))
}

/// Every match is replaced, `\0` to `\9` standing for what groups took (`RE2::GlobalReplace`).
///
/// # Errors
/// As of [`whole`].
pub(crate) fn replace_all(pattern: &str, substitution: &str, text: &str) -> Result<String, String> {
    let regex = compile(&rewrite(pattern)?)?;
    Ok(regex.replace_all(text, |found: &Captures<'_>| substitute(substitution, found)).into_owned())
}

fn compile(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|error| format!("cannot be read here: {error}"))
}

fn substitute(substitution: &str, found: &Captures<'_>) -> String {
    let mut out = String::new();
    let mut chars = substitution.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some(digit) if digit.is_ascii_digit() => {
                    let group = digit.to_digit(10).unwrap_or_default() as usize;
                    out.push_str(found.get(group).map_or("", |group| group.as_str()));
                }
                Some(other) => out.push(other),
                None => {}
            },
            (c, false) => out.push(c),
        }
    }
    out
}

/// The same expression as Rust writes it.
fn rewrite(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => rest = escape(rest, &mut out, false)?,
            '[' => rest = class(rest, &mut out)?,
            '{' => match repetition(rest) {
                Some(length) => {
                    out.push('{');
                    out.push_str(&rest[..length]);
                    rest = &rest[length..];
                }
                None => out.push_str(r"\{"),
            },
            '}' => out.push_str(r"\}"),
            ']' => out.push_str(r"\]"),
            other => out.push(other),
        }
    }
    Ok(out)
}

/// The length of `2}`, `2,}` or `2,3}` at the beginning: everything else behind a brace is text.
fn repetition(rest: &str) -> Option<usize> {
    let inside = &rest[..rest.find('}')?];
    let (from, to) = inside.split_once(',').unwrap_or((inside, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    (!from.is_empty() && digits(from) && digits(to)).then_some(inside.len() + 1)
}

/// What stands behind a backslash; answers what is left. RE2's classes are ASCII's.
fn escape<'a>(rest: &'a str, out: &mut String, in_class: bool) -> Result<&'a str, String> {
    let Some(c) = rest.chars().next() else { return Err("ends with a backslash".to_owned()) };
    let left = &rest[c.len_utf8()..];
    let of_class = |inside: &str| if in_class { inside.to_owned() } else { format!("[{inside}]") };
    match c {
        'd' => out.push_str(&of_class("0-9")),
        'w' => out.push_str(&of_class("0-9A-Za-z_")),
        's' => out.push_str(&of_class(r"\t\n\x0C\r\x20")),
        'D' => out.push_str("[^0-9]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        'S' => out.push_str(r"[^\t\n\x0C\r\x20]"),
        'b' | 'B' => out.push_str(&format!(r"(?-u:\{c})")),
        'Q' => {
            let (text, left) = left.split_once(r"\E").unwrap_or((left, ""));
            out.push_str(&regex::escape(text));
            return Ok(left);
        }
        'C' => return Err(r"holds \C, which cannot be judged here".to_owned()),
        'A' | 'z' | 'p' | 'P' => out.extend(['\\', c]),
        'a' => out.push_str(r"\x07"),
        'f' => out.push_str(r"\x0C"),
        'n' => out.push_str(r"\n"),
        'r' => out.push_str(r"\r"),
        't' => out.push_str(r"\t"),
        'v' => out.push_str(r"\x0B"),
        'x' => out.push_str(r"\x"),
        '0'..='7' => {
            let length = rest.bytes().take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
            let number = u32::from_str_radix(&rest[..length], 8).unwrap_or_default();
            out.push_str(&format!(r"\x{{{number:X}}}"));
            return Ok(&rest[length..]);
        }
        other => out.push_str(&literal(other)),
    }
    // `\pL` and `\p{Greek}`, `\x41` and `\x{41}` go on with what is the same in both dialects.
    if matches!(c, 'p' | 'P' | 'x') && left.starts_with('{') {
        let end = left.find('}').map_or(left.len(), |at| at + 1);
        out.push_str(&left[..end]);
        return Ok(&left[end..]);
    }
    Ok(left)
}

fn literal(c: char) -> String {
    format!(r"\x{{{:X}}}", u32::from(c))
}

/// What stands behind an opening bracket; answers what is left. There are no sets inside of sets in RE2, and no `&&`.
fn class<'a>(rest: &'a str, out: &mut String) -> Result<&'a str, String> {
    out.push('[');
    let mut left = rest.strip_prefix('^').inspect(|_| out.push('^')).unwrap_or(rest);
    let mut first = true;
    loop {
        let Some(c) = left.chars().next() else { return Err("has an open bracket".to_owned()) };
        if c == ']' && !first {
            out.push(']');
            return Ok(&left[1..]);
        }
        first = false;
        if let Some(named) = left.strip_prefix("[:").and_then(|inside| inside.find(":]")) {
            out.push_str(&left[..named + 4]);
            left = &left[named + 4..];
            continue;
        }
        left = one(left, c, out)?;
        // A range.
        if let Some(behind) = left.strip_prefix('-')
            && let Some(to) = behind.chars().next().filter(|to| *to != ']')
        {
            out.push('-');
            left = one(behind, to, out)?;
        }
    }
}

fn one<'a>(text: &'a str, c: char, out: &mut String) -> Result<&'a str, String> {
    let left = &text[c.len_utf8()..];
    if c == '\\' {
        return escape(left, out, true);
    }
    out.push_str(&literal(c));
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_texts() {
        for (pattern, yes, no) in [
            ("/a.*", &["/a", "/ab"][..], &["/", "x/a"][..]),
            ("/users/{id}", &["/users/{id}"], &["/users/1"]),
            (r"\d+", &["12"], &["", "١", "a"]),
            (r"[\w-]+", &["a_b-1"], &["ü", "a.b"]),
            (r"[a&&b]+", &["a&b"], &["c"]),
            ("[[a]+", &["[a"], &["b"]),
            ("[]a]+", &["]a"], &["b"]),
            ("[^]a]", &["b"], &["]", "a"]),
            (r"\Q(a\E+", &["(a", "(aa"], &["a"]),
            ("(?i)x", &["x", "X"], &["y"]),
            ("a{2,3}", &["aa", "aaa"], &["a", "aaaa"]),
            ("[[:alpha:]]+", &["ab"], &["1"]),
            (r"\x41\x{42}\103", &["ABC"], &["abc"]),
            (r"\<a\>", &["<a>"], &["a"]),
            ("a|b", &["a", "b"], &["ab"]),
            (r"[+--]", &["+", ",", "-"], &["."]),
            ("", &[""], &["a"]),
        ] {
            let regex = whole(pattern).unwrap();
            assert!(yes.iter().all(|text| regex.is_match(text)), "{pattern}: {regex}");
            assert!(!no.iter().any(|text| regex.is_match(text)), "{pattern}: {regex}");
        }
        assert!(whole(r"\C").is_err());
    }

    #[test]
    fn replacing() {
        for (pattern, substitution, text, want) in [
            ("/a/(.*)", r"/b/\1", "/a/x/y", "/b/x/y"),
            ("a", "b", "/a/a", "/b/b"),
            ("(x)?", r"\1\\", "y", r"\y\"),
        ] {
            assert_eq!(replace_all(pattern, substitution, text).unwrap(), want, "{pattern}");
        }
    }
}
