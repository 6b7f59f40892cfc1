//! Paths: what Envoy makes of one before it looks at routes (`normalize_path`), and its parts.

/// Letters, digits and what else is the same with and without an escape.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// What is written as an escape although nobody wrote it so.
fn is_escaped(byte: u8) -> bool {
    byte <= b' ' || byte >= 0x7f || b"\"#<>?^`{|}".contains(&byte)
}

/// The path in its normal form, its query untouched; `None`: Envoy answers 400.
///
/// As Chromium's library does it, which Envoy uses: escapes of plain characters are opened, `.` and `..` are resolved, also
/// escaped ones, a backslash is a slash. Slashes are not merged.
pub(crate) fn normalize(path: &str) -> Option<String> {
    let (path, query) = match path.find('?') {
        Some(at) => path.split_at(at),
        None => (path, ""),
    };
    let bytes = path.as_bytes();
    let mut out: Vec<u8> = Vec::with_capacity(bytes.len());
    let mut at = 0;
    if !bytes.first().is_some_and(|byte| is_slash(*byte)) {
        out.push(b'/');
    }
    while at < bytes.len() {
        let dot = dot_at(bytes, at);
        if dot > 0 {
            at = take_dot(bytes, at + dot, &mut out);
            continue;
        }
        match bytes[at] {
            b'\\' => out.push(b'/'),
            b'%' => match escape_at(bytes, at) {
                Some(0) => return None,
                Some(byte) if is_plain(byte) => {
                    out.push(byte);
                    at += 2;
                }
                Some(_) => {
                    out.extend_from_slice(&bytes[at..at + 3]);
                    at += 2;
                }
                None => out.push(b'%'),
            },
            0 => return None,
            byte if is_escaped(byte) => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            byte => out.push(byte),
        }
        at += 1;
    }
    let path = String::from_utf8(out).ok()?;
    Some(path + query)
}

fn is_slash(byte: u8) -> bool {
    byte == b'/' || byte == b'\\'
}

/// The byte that is written as `%XX`.
fn escape_at(bytes: &[u8], at: usize) -> Option<u8> {
    let digits = bytes.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The length of a dot, also of an escaped one; 0: there is none.
fn dot_at(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at) {
        Some(b'.') => 1,
        Some(b'%') if escape_at(bytes, at) == Some(b'.') => 3,
        _ => 0,
    }
}

/// What a dot that ends at `behind` comes to; answers where to go on.
fn take_dot(bytes: &[u8], behind: usize, out: &mut Vec<u8>) -> usize {
    if out.last() != Some(&b'/') {
        out.push(b'.');
        return behind;
    }
    let ends = |at: usize| match bytes.get(at) {
        None => Some(at),
        Some(byte) if is_slash(*byte) => Some(at + 1),
        Some(_) => None,
    };
    if let Some(next) = ends(behind) {
        return next;
    }
    let second = dot_at(bytes, behind);
    match (second > 0).then(|| ends(behind + second)).flatten() {
        Some(next) => {
            // Up to the slash before the last name.
            out.pop();
            while out.last().is_some_and(|byte| *byte != b'/') {
                out.pop();
            }
            if out.is_empty() {
                out.push(b'/');
            }
            next
        }
        None => {
            out.push(b'.');
            behind
        }
    }
}

/// The path without query.
pub(crate) fn without_query(path: &str) -> &str {
    path.split(['?', '#']).next().unwrap_or_default()
}

/// The query with its `?`, or nothing.
pub(crate) fn query(path: &str) -> &str {
    path.find('?').map_or("", |at| &path[at..])
}

/// The first value of a parameter; one without `=` is empty. Nothing is unescaped.
pub(crate) fn parameter<'a>(path: &'a str, name: &str) -> Option<&'a str> {
    let all = query(path).strip_prefix('?')?.split('&');
    all.map(|one| one.split_once('=').unwrap_or((one, "")))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_forms() {
        for (path, want) in [
            ("/", Some("/")),
            ("/a/./b", Some("/a/b")),
            ("/a/../b", Some("/b")),
            ("/a/b/..", Some("/a/")),
            ("/..", Some("/")),
            ("/../..//a", Some("//a")),
            ("/%2e%2E/a", Some("/a")),
            ("/%41%2f%c3%bc", Some("/A%2f%c3%bc")),
            ("/a\\b", Some("/a/b")),
            ("/a//b", Some("/a//b")),
            ("/a.b/...", Some("/a.b/...")),
            ("/%zz%", Some("/%zz%")),
            ("/%00", None),
            ("/a?x=/../%41", Some("/a?x=/../%41")),
            ("/{a}|^", Some("/%7Ba%7D%7C%5E")),
        ] {
            assert_eq!(normalize(path).as_deref(), want, "{path}");
        }
    }

    #[test]
    fn parameters() {
        for (path, name, want) in [
            ("/a", "x", None),
            ("/a?x", "x", Some("")),
            ("/a?x=1&x=2", "x", Some("1")),
            ("/a?y=1&x=a=b", "x", Some("a=b")),
            ("/a?%78=1", "x", None),
        ] {
            assert_eq!(parameter(path, name), want, "{path}");
        }
    }
}
