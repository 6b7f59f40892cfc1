//! Whether Envoy takes a regular expression: RE2's syntax, checked without building anything.
//!
//! One expression that RE2 refuses makes Envoy refuse a whole route table, so this must not be more
//! generous than RE2. Rust's own regex crate is another dialect in both directions (`/users/{id}`, `a**`,
//! `\Q`, `\u0041`), hence a reader of the syntax (<https://github.com/google/re2/wiki/Syntax>). Time is linear
//! and nothing is compiled, so hostile patterns cost nothing. The table in the tests, and 40,000 random
//! patterns (all that pass, a sample of the rest), were put to a real Envoy 1.40.

use super::Problem;

use umbra_ir::Code;

/// The longest pattern, in bytes: Istio's limit.
pub const MAX_REGEX_BYTES: usize = 1024;
/// The largest RE2 program that a proxy with umbra's bootstrap takes (its runtime setting
/// `re2.max_program_size.error_level`, with Istio's value).
pub const MAX_PROGRAM: u32 = 32_768;
/// The largest RE2 program that Envoy takes without that setting.
pub const STOCK_PROGRAM: u32 = 100;
/// RE2's limit on repetition, the product of nested ones included.
const MAX_REPEAT: u32 = 1000;

/// Checks a pattern and returns the approximate size of its RE2 program.
pub fn check_regex(pattern: &str) -> Result<u32, Problem> {
    let problem = |code, reason: String| {
        let start: String = pattern.chars().take(60).collect();
        Problem::new(code, format!("the regular expression {start:?} {reason}"))
    };
    if pattern.is_empty() {
        return Err(Problem::new(Code::InvalidRegex, "an empty regular expression".to_owned()));
    }
    if pattern.len() > MAX_REGEX_BYTES {
        return Err(problem(Code::InvalidRegex, format!("is longer than {MAX_REGEX_BYTES} bytes")));
    }
    let mut parser = Parser { rest: pattern, stack: vec![Group::default()] };
    let size = parser.run().map_err(|why| problem(Code::InvalidRegex, format!("is not RE2: {why}")))?;
    if size > MAX_PROGRAM {
        return Err(problem(Code::InvalidRegex, format!("is too large when compiled ({size} instructions)")));
    }
    Ok(size)
}

/// What was read of one group so far.
#[derive(Default)]
struct Group {
    captures: bool,
    /// Size of the finished alternatives and of the current one.
    size: u32,
    /// Largest product of repetitions inside.
    repeat: u32,
    /// The last item, to which a repetition would apply.
    last: Option<Item>,
    /// Whether that item is itself a repetition.
    repeated: bool,
}

#[derive(Clone, Copy)]
struct Item {
    size: u32,
    repeat: u32,
}

impl Group {
    fn push(&mut self, item: Item) {
        self.settle();
        self.last = Some(item);
    }

    /// The last item can no longer be repeated by what follows.
    fn settle(&mut self) {
        if let Some(item) = self.last.take() {
            self.size = self.size.saturating_add(item.size);
            self.repeat = self.repeat.max(item.repeat);
        }
        self.repeated = false;
    }
}

struct Parser<'a> {
    rest: &'a str,
    stack: Vec<Group>,
}

type Checked<T> = Result<T, String>;

impl Parser<'_> {
    fn run(&mut self) -> Checked<u32> {
        while let Some(c) = self.next() {
            match c {
                '(' => self.open()?,
                ')' => self.close()?,
                '|' => {
                    let group = self.group()?;
                    group.settle();
                    group.size = group.size.saturating_add(1);
                }
                '[' => self.class()?,
                '*' | '+' | '?' => self.repeat(c, 1, 1)?,
                '{' => match self.bounds()? {
                    Some((text, copies, optional)) => {
                        let size = |item: u32| {
                            item.saturating_mul(copies).saturating_add(optional.saturating_mul(item + 1))
                        };
                        self.counted(&text, copies.saturating_add(optional), size)?;
                    }
                    None => self.push(1)?,
                },
                '\\' => self.escape()?,
                '.' => self.push(2)?,
                // Envoy's RE2 reads bytes.
                c => self.push(c.len_utf8() as u32)?,
            }
        }
        match (self.stack.pop(), self.stack.is_empty()) {
            (Some(mut group), true) => {
                group.settle();
                Ok(group.size.saturating_add(4))
            }
            _ => Err("a ( without its )".to_owned()),
        }
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn skip(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn group(&mut self) -> Checked<&mut Group> {
        self.stack.last_mut().ok_or_else(|| "a ) without its (".to_owned())
    }

    fn push(&mut self, size: u32) -> Checked<()> {
        self.group()?.push(Item { size, repeat: 1 });
        Ok(())
    }

    /// After `(`.
    fn open(&mut self) -> Checked<()> {
        if !self.skip("?") {
            self.stack.push(Group { captures: true, ..Group::default() });
            return Ok(());
        }
        if self.skip("P<") || self.skip("<") {
            let (name, rest) = self.rest.split_once('>').ok_or("(?< without a name")?;
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err(format!("(?<{name}> is no name for a group"));
            }
            self.rest = rest;
            self.stack.push(Group { captures: true, ..Group::default() });
            return Ok(());
        }
        let (mut negated, mut flag) = (false, false);
        loop {
            match self.next() {
                Some('i' | 'm' | 's' | 'U') => flag = true,
                Some('-') if !negated => (negated, flag) = (true, false),
                Some(end @ (':' | ')')) if flag || !negated => {
                    if end == ':' {
                        self.stack.push(Group::default());
                    }
                    return Ok(());
                }
                Some(c) => return Err(format!("(?…{c} is not supported")),
                None => return Err("(? without an end".to_owned()),
            }
        }
    }

    /// After `)`.
    fn close(&mut self) -> Checked<()> {
        let mut group = self.stack.pop().ok_or("a ) without its (")?;
        if self.stack.is_empty() {
            return Err("a ) without its (".to_owned());
        }
        group.settle();
        let size = group.size.saturating_add(if group.captures { 2 } else { 0 });
        self.group()?.push(Item { size: size.max(1), repeat: group.repeat.max(1) });
        Ok(())
    }

    /// `*`, `+`, `?` and `{n,m}` on the last item.
    fn repeat(&mut self, operator: char, times: u32, extra: u32) -> Checked<()> {
        self.counted(&operator.to_string(), times, |size| size.saturating_add(extra))
    }

    fn counted(&mut self, text: &str, times: u32, size: impl Fn(u32) -> u32) -> Checked<()> {
        let lazy = self.skip("?");
        let group = self.group()?;
        let Some(item) = group.last else { return Err(format!("{text} has nothing to repeat")) };
        if group.repeated {
            return Err(format!("{text}{} repeats a repetition", if lazy { "?" } else { "" }));
        }
        let repeat = item.repeat.saturating_mul(times.max(1));
        if repeat > MAX_REPEAT {
            return Err(format!("{text} repeats more than {MAX_REPEAT} times (nested repetitions multiply)"));
        }
        group.last = Some(Item { size: size(item.size).max(1), repeat });
        group.repeated = true;
        Ok(())
    }

    /// After `{`: the text, how many copies, how many more that are optional. `None`: a brace like any other.
    fn bounds(&mut self) -> Checked<Option<(String, u32, u32)>> {
        let Some((inside, rest)) = self.rest.split_once('}') else { return Ok(None) };
        let number = |text: &str| {
            let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
            (plain && !text.is_empty()).then(|| text.parse().unwrap_or(u32::MAX))
        };
        let (least, most) = match inside.split_once(',') {
            None => (number(inside), number(inside)),
            Some((least, "")) => (number(least), number(least)),
            Some((least, most)) => (number(least), number(most)),
        };
        let (Some(least), Some(most)) = (least, most) else { return Ok(None) };
        if least > MAX_REPEAT || most > MAX_REPEAT || least > most {
            return Err(format!("{{{inside}}} is no valid repetition (at most {MAX_REPEAT})"));
        }
        self.rest = rest;
        Ok(Some((format!("{{{inside}}}"), least, most - least)))
    }

    /// After `\`, outside a class.
    fn escape(&mut self) -> Checked<()> {
        if self.skip("Q") {
            let (quoted, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
            for c in quoted.chars() {
                self.push(c.len_utf8() as u32)?;
            }
            self.rest = rest;
            return Ok(());
        }
        if self.rest.starts_with(['b', 'B', 'A', 'z', 'C']) {
            self.next();
            return self.push(1);
        }
        if self.class_escape()? {
            return self.push(8);
        }
        self.literal_escape()?;
        self.push(2)
    }

    /// `\d` and the like, `\pL`, `\p{Greek}`; false when it is something else.
    fn class_escape(&mut self) -> Checked<bool> {
        if self.rest.starts_with(['d', 'D', 's', 'S', 'w', 'W']) {
            self.next();
            return Ok(true);
        }
        if !self.skip("p") && !self.skip("P") {
            return Ok(false);
        }
        let name = if self.skip("{") {
            let (name, rest) = self.rest.split_once('}').ok_or("\\p{ without its }")?;
            self.rest = rest;
            name.strip_prefix('^').unwrap_or(name).to_owned()
        } else {
            self.next().map(String::from).unwrap_or_default()
        };
        if UNICODE_CLASSES.contains(&name.as_str()) {
            Ok(true)
        } else {
            Err(format!("\\p{{{name}}} is not a class that every RE2 knows"))
        }
    }

    /// A single character: its code, as far as it is known.
    fn literal_escape(&mut self) -> Checked<u32> {
        let c = self.next().ok_or("a \\ at the end")?;
        let bad = Err(format!("\\{c} is not supported"));
        match c {
            '0'..='7' => {
                let digits = self.rest.bytes().take(2).take_while(|b| (b'0'..=b'7').contains(b)).count();
                if c != '0' && digits == 0 {
                    return Err(format!("\\{c} is a back-reference, which is not supported"));
                }
                let code = u32::from_str_radix(&self.rest[..digits], 8).unwrap_or(0);
                self.rest = &self.rest[digits..];
                Ok((c as u32 - '0' as u32) * 8_u32.pow(digits as u32) + code)
            }
            'x' => self.hex(),
            'n' => Ok(10),
            'r' => Ok(13),
            't' => Ok(9),
            'a' => Ok(7),
            'f' => Ok(12),
            'v' => Ok(11),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(c as u32),
            _ => bad,
        }
    }

    /// After `\x`: two digits, or some in braces. Envoy's RE2 reads bytes, so nothing above FF exists.
    fn hex(&mut self) -> Checked<u32> {
        let bad = || "\\x needs two hexadecimal digits, or some in braces".to_owned();
        let (digits, rest) = if self.skip("{") {
            self.rest.split_once('}').ok_or_else(bad)?
        } else {
            let two = self.rest.get(..2).ok_or_else(bad)?;
            (two, &self.rest[2..])
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        let code = u32::from_str_radix(digits, 16).ok().filter(|code| *code <= 0xFF).ok_or_else(bad)?;
        self.rest = rest;
        Ok(code)
    }

    /// After `[`.
    fn class(&mut self) -> Checked<()> {
        const UNCLOSED: &str = "a [ without its ]";
        self.skip("^");
        let mut size = 1;
        let mut first = true;
        loop {
            if !first && self.skip("]") {
                return self.push(size);
            }
            first = false;
            size += 1;
            if self.rest.starts_with("[:") && self.posix()? {
                size += 4;
                continue;
            }
            if let Some(rest) = self.rest.strip_prefix('\\') {
                let before = std::mem::replace(&mut self.rest, rest);
                if self.class_escape()? {
                    size += 8;
                    continue;
                }
                self.rest = before;
            }
            let low = self.class_char()?.ok_or(UNCLOSED)?;
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") && self.rest.len() > 1 {
                self.next();
                let high = self.class_char()?.ok_or(UNCLOSED)?;
                if high < low {
                    return Err("a range in [ ] that runs backwards".to_owned());
                }
            }
        }
    }

    /// `[:alpha:]` inside a class; false when it is only a bracket.
    fn posix(&mut self) -> Checked<bool> {
        let Some((name, rest)) = self.rest[2..].split_once(":]") else { return Ok(false) };
        if !POSIX_CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(format!("[:{name}:] is no class"));
        }
        self.rest = rest;
        Ok(true)
    }

    fn class_char(&mut self) -> Checked<Option<u32>> {
        match self.next() {
            Some('\\') => self.literal_escape().map(Some),
            other => Ok(other.map(u32::from)),
        }
    }
}

const POSIX_CLASSES: &[&str] = &[
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// General categories, and the scripts that people match for.
const UNICODE_CLASSES: &[&str] = &[
    "Any",
    "C",
    "Cc",
    "Cf",
    "Co",
    "Cs",
    "L",
    "Ll",
    "Lm",
    "Lo",
    "Lt",
    "Lu",
    "M",
    "Mc",
    "Me",
    "Mn",
    "N",
    "Nd",
    "Nl",
    "No",
    "P",
    "Pc",
    "Pd",
    "Pe",
    "Pf",
    "Pi",
    "Po",
    "Ps",
    "S",
    "Sc",
    "Sk",
    "Sm",
    "So",
    "Z",
    "Zl",
    "Zp",
    "Zs",
    "Arabic",
    "Armenian",
    "Bengali",
    "Common",
    "Cyrillic",
    "Devanagari",
    "Georgian",
    "Greek",
    "Han",
    "Hangul",
    "Hebrew",
    "Hiragana",
    "Katakana",
    "Latin",
    "Tamil",
    "Thai",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_envoys() {
        // As Envoy 1.40 answered, its limit on program size raised.
        let good = [
            "/users/{id}",
            "a{",
            "a{,5}",
            "a{1000}",
            "(a{10}){100}",
            r"\p{Greek}",
            r"\Qa.b\E",
            r"\x{41}",
            "(?<n>a)",
            "(?P<n>a)",
            "(a*)*",
            "^*",
            "a||b",
            "[a-z&&[^b]]",
            r"\<a",
            r"\b{start}a",
            "(?i)a",
            "(?s).",
            "[[:alpha:]]",
            "é",
            r"\C",
            r"\123",
            r"\07",
            r"\z",
            r"\A",
            r"[]a]",
            r"\/",
            r"\-",
            r"\ ",
            "(?m)^a$",
            "(?-s).",
            "(?i:a)",
            "x{0}",
            r"[\d-z]",
            r"\pN",
            r"\p{L}",
            r"\p{^L}",
            r"\PL",
            r"\p{Any}",
            "(?)",
            "[^]a]",
            "a\nb",
            r"\a\f\v\t",
            "$^",
            r"(\d{1,3}\.){3}\d{1,3}",
            "(a{500}|b){2}",
            "a*?",
            "a{2}?",
            "(a{1000})*",
            "(?:)*",
            "()",
        ];
        let bad = [
            "",
            "a{1001}",
            "(a{100}){100}",
            r"\p{greek}",
            r"\p{Alphabetic}",
            r"\u0041",
            "(?P<n.m>a)",
            "a**",
            "a*+",
            "(?=a)",
            r"\1",
            "(?x)a b",
            "(?u)a",
            "(?R)a",
            "[[:foo:]]",
            "[a",
            "a)",
            "*a",
            r"\Z",
            "a{2}{3}",
            "(?#c)a",
            r"\h",
            r"\R",
            r"\X",
            r"\K",
            r"\G",
            r"[a-\d]",
            r"\p{Script=Greek}",
            "(?P=n)",
            "a{5,2}",
            r"\x4",
            r"\c",
            "(?i",
            r"\e",
            "(a{501}|b){2}",
            "((a{2}){2}){251}",
            "(?<!a)b",
            "a|*",
            "(*)",
            r"a\",
            "(",
            "[z-a]",
            "(?-)",
            r"\x{999}",
        ];
        for pattern in good {
            assert_eq!(check_regex(pattern).err(), None, "{pattern}");
        }
        for pattern in bad {
            assert!(check_regex(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn sizes_are_near_envoys() {
        for (pattern, envoys) in [
            ("a".repeat(150), 154),
            ("a{1000}".to_owned(), 1004),
            ("(a{10}){100}".to_owned(), 1204),
            (".{1000}".to_owned(), 2004),
            (r"\pL{1000}".to_owned(), 7004),
            ("a{1,1000}b{1,1000}".to_owned(), 4002),
            ("(a{1,30}){1,33}".to_owned(), 2049),
        ] {
            let size = check_regex(&pattern).unwrap();
            assert!(size >= envoys && size <= envoys * 3 / 2, "{pattern:.20}: {size}, Envoy {envoys}");
        }
        assert!(check_regex(&r"\w{999}".repeat(100)).is_err());
        assert!(check_regex(&"(".repeat(1024)).is_err());
        assert!(check_regex(&"a".repeat(100_000)).is_err());
    }
}
