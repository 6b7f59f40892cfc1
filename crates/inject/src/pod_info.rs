//! What the downward API says of a Pod: files with a line `key="value"` for each label or annotation.

use std::collections::BTreeMap;

/// Reads such a file. The values are quoted as Go's `%q` quotes.
///
/// # Errors
/// The line that is not so, in words for people.
pub fn parse_pod_info(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut map = BTreeMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let wrong = || format!("line {} is not key=\"value\"", number + 1);
        let (key, value) = line.split_once('=').ok_or_else(wrong)?;
        let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(wrong)?;
        map.insert(key.to_owned(), unquote(value).ok_or_else(wrong)?);
    }
    Ok(map)
}

/// The inside of a string that Go has quoted (`strconv.Quote`).
fn unquote(quoted: &str) -> Option<String> {
    // Bytes, since `\x` may be a part of a character.
    let mut bytes = Vec::with_capacity(quoted.len());
    let mut rest = quoted.chars();
    while let Some(char) = rest.next() {
        let char = match char {
            '"' => return None,
            '\\' => match rest.next()? {
                'a' => '\u{7}',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\u{b}',
                plain @ ('\\' | '"' | '\'') => plain,
                'x' => {
                    bytes.push(u8::try_from(hexadecimal(&mut rest, 2)?).ok()?);
                    continue;
                }
                'u' => char::from_u32(hexadecimal(&mut rest, 4)?)?,
                'U' => char::from_u32(hexadecimal(&mut rest, 8)?)?,
                _ => return None,
            },
            plain => plain,
        };
        bytes.extend(char.encode_utf8(&mut [0; 4]).bytes());
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn hexadecimal(rest: &mut impl Iterator<Item = char>, digits: usize) -> Option<u32> {
    (0..digits).try_fold(0u32, |number, _| Some((number << 4) | rest.next()?.to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kubelet_writes() {
        for (text, want) in [
            ("", Some(vec![])),
            ("app=\"sleep\"\n", Some(vec![("app", "sleep")])),
            ("a=\"b=c\"\nx.io/y=\"\"", Some(vec![("a", "b=c"), ("x.io/y", "")])),
            (r#"a="{\"b\":\"\\n\"}\n\t\u00e4\U0001f600\x41""#, Some(vec![("a", "{\"b\":\"\\n\"}\n\tä😀A")])),
            ("a=\"ä\"", Some(vec![("a", "ä")])),
            ("a", None),
            ("a=b", None),
            ("a=\"", None),
            ("a=\"b", None),
            (r#"a="\q""#, None),
            (r#"a="\u12""#, None),
            (r#"a="\ud800""#, None),
        ] {
            let got = parse_pod_info(text).ok();
            let want = want.map(|list| list.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect());
            assert_eq!(got, want, "{text}");
        }
    }
}
