//! The rules for `iptables-restore --noflush` and `ip6tables-restore --noflush`, for kernels whose nat `nft` does not reach.

use std::fmt::Write;

use super::{Capture, Family, Meets, Verdict};

/// What leads to the chain of the rules, as `iptables-save -t nat` prints it.
pub const JUMP: &str = "-A OUTPUT -p tcp -j UMBRA_OUTPUT";

/// The text for one family. The chain `UMBRA_OUTPUT` is replaced as a whole; nothing else of the table is touched, but for
/// [`JUMP`], which is added when it is not `there` yet.
pub fn render_iptables(capture: &Capture, family: Family, there: bool) -> String {
    // A chain of one's own that is declared is emptied, also with --noflush.
    let mut text = "*nat\n:UMBRA_OUTPUT - [0:0]\n".to_owned();
    let of_family = |meets: &Option<Meets>| match meets {
        Some(Meets::To(range)) => range.family() == family,
        _ => true,
    };
    for rule in capture.rules().iter().filter(|rule| of_family(&rule.meets)) {
        let meets = match &rule.meets {
            None => String::new(),
            Some(Meets::Interface(name)) => format!(" -o {}", name.as_str()),
            Some(Meets::Loopback) => " -o lo".to_owned(),
            Some(Meets::User(id)) => format!(" -m owner --uid-owner {id}"),
            Some(Meets::Group(id)) => format!(" -m owner --gid-owner {id}"),
            Some(Meets::Port(port)) => format!(" --dport {port}"),
            Some(Meets::To(range)) => format!(" -d {range}"),
        };
        let verdict = match rule.verdict {
            Verdict::Return => "RETURN".to_owned(),
            Verdict::Redirect(port) => format!("REDIRECT --to-ports {port}"),
        };
        // Writing to a String does not fail.
        let _ = writeln!(text, "-A UMBRA_OUTPUT -p tcp{meets} -j {verdict}");
    }
    if !there {
        text.push_str(JUMP);
        text.push('\n');
    }
    text.push_str("COMMIT\n");
    text
}
