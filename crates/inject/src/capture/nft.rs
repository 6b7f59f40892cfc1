//! The rules for `nft -f -`: one table of both families, replaced as a whole and at once.

use std::fmt::Write;

use super::{Capture, Family, Meets, Rule, Verdict};

/// The whole text. Whatever the table held before is gone afterwards; no other table is touched.
pub fn render_nft(capture: &Capture) -> String {
    // `add` makes it when it is not there, so that `flush` (of a table that is there) and the same text a second time work.
    let mut text = "add table inet umbra\nflush table inet umbra\n".to_owned();
    let rules = capture.rules();
    if rules.is_empty() {
        return text;
    }
    // nft 1.0.6 knows no name for this priority at this hook (`dstnat` is refused), and wants each chain on lines of its own.
    text.push_str(
        "table inet umbra {\n\tchain output {\n\t\ttype nat hook output priority -100; policy accept;\n",
    );
    text.push_str("\t\tmeta l4proto != tcp return\n");
    for rule in &rules {
        // Writing to a String does not fail.
        let _ = writeln!(text, "\t\t{}{}", meets(rule), verdict(rule.verdict));
    }
    text.push_str("\t}\n}\n");
    text
}

fn meets(rule: &Rule) -> String {
    match &rule.meets {
        None => String::new(),
        Some(Meets::Interface(name)) => format!("oifname \"{}\" ", name.as_str()),
        Some(Meets::Loopback) => "oifname \"lo\" ".to_owned(),
        Some(Meets::User(id)) => format!("meta skuid {id} "),
        Some(Meets::Group(id)) => format!("meta skgid {id} "),
        Some(Meets::Port(port)) => format!("tcp dport {port} "),
        Some(Meets::To(range)) => match range.family() {
            Family::V4 => format!("ip daddr {range} "),
            Family::V6 => format!("ip6 daddr {range} "),
        },
    }
}

fn verdict(verdict: Verdict) -> String {
    match verdict {
        Verdict::Return => "return".to_owned(),
        // Without the protocol before it `nft` refuses a port here.
        Verdict::Redirect(port) => format!("meta l4proto tcp redirect to :{port}"),
    }
}
