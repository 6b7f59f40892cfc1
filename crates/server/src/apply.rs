//! Gives the rules of capture to the programs that speak with the kernel, and tells which part is missing when they cannot.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use umbra_inject::capture::{Capture, Family, JUMP, render_iptables, render_nft};

use crate::cli::CaptureBackend;

/// Applies the rules in this network namespace, and answers what was done. A second time changes nothing.
///
/// # Errors
/// Nobody could: a program is missing, the kernel's nat, or the right to change it.
pub(crate) fn apply(capture: &Capture, backend: CaptureBackend) -> anyhow::Result<String> {
    match backend {
        CaptureBackend::Nft => nft(capture),
        CaptureBackend::Iptables => iptables(capture),
        CaptureBackend::Auto => nft(capture).or_else(|by_nft| {
            let done = iptables(capture).map_err(|error| anyhow::anyhow!("{by_nft:#}; {error:#}"))?;
            Ok(format!("{done} (not by nft: {by_nft:#})"))
        }),
    }
}

fn nft(capture: &Capture) -> anyhow::Result<String> {
    run("nft", &["-f", "-"], &render_nft(capture))?;
    Ok(format!("{} rules of capture applied by nft", capture.rules().len()))
}

fn iptables(capture: &Capture) -> anyhow::Result<String> {
    let mut done = Vec::new();
    for (family, program) in [(Family::V4, "iptables"), (Family::V6, "ip6tables")] {
        match restore(capture, family, program) {
            Ok(()) => done.push(program),
            // What a Pod cannot call need not be captured.
            Err(_) if family == Family::V6 && !has_ipv6() => {}
            Err(error) => return Err(error.context(family)),
        }
    }
    let count = capture.rules().len();
    Ok(format!("{count} rules of capture applied by {}", done.join(" and ")))
}

fn restore(capture: &Capture, family: Family, program: &str) -> anyhow::Result<()> {
    let saved = run(&format!("{program}-save"), &["-t", "nat"], "")?;
    let there = saved.lines().any(|line| line == JUMP);
    let rules = render_iptables(capture, family, there);
    run(&format!("{program}-restore"), &["--noflush"], &rules).map(drop)
}

/// Whether this network namespace has an IPv6 address beyond its own loopback and links (`if_inet6`: scope `20` is a
/// link's, `10` the loopback's). When that cannot be told, it has.
fn has_ipv6() -> bool {
    match std::fs::read_to_string("/proc/net/if_inet6") {
        Ok(text) => text.lines().filter_map(|line| line.split_whitespace().nth(3)).any(|scope| scope == "00"),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

/// Runs a program with this standard input, and answers what it printed.
fn run(program: &str, args: &[&str], input: &str) -> anyhow::Result<String> {
    let child = Command::new(program)
        .args(args)
        // A lock for a network namespace that nobody shares; the root may be read-only.
        .env("XTABLES_LOCKFILE", "/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("no program `{program}` in PATH")
        }
        child => child.with_context(|| format!("`{program}` does not start"))?,
    };
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends before it has read everything says why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let out = child.wait_with_output().with_context(|| format!("`{program}`"))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    let lines: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    bail!("`{program}`: {}{}", lines.join(" "), missing(&said))
}

/// Which part is missing, when a program's words tell.
fn missing(said: &str) -> &'static str {
    let said = said.to_lowercase();
    if said.contains("permi") {
        ": the right is missing (the capability NET_ADMIN)"
    } else if ["no such file", "not supported", "does not exist", "module", "protocol not"]
        .iter()
        .any(|part| said.contains(part))
    {
        ": the kernel's nat is missing for it (modules nf_tables, nft_chain_nat, nf_nat; or iptable_nat, ip6table_nat)"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told() {
        for (said, part) in [
            ("Operation not permitted (you must be root)", "NET_ADMIN"),
            ("iptables v1.8.9: can't initialize: Permission denied (you must be root)", "NET_ADMIN"),
            ("Error: Could not process rule: No such file or directory", "nft_chain_nat"),
            ("Table does not exist (do you need to insmod?)", "iptable_nat"),
            ("Protocol not supported", "nf_tables"),
        ] {
            assert!(missing(said).contains(part), "{said}");
        }
        assert_eq!(missing("syntax error"), "");
        assert!(run("no-such-program", &[], "").unwrap_err().to_string().contains("no program"));
    }
}
