//! `umbra capture`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use umbra_inject::capture::{BadValue, Capture, Family, render_iptables, render_nft};
use umbra_inject::pod_info::parse_pod_info;
use umbra_inject::words;

use super::print;
use crate::apply;
use crate::cli::{CaptureArgs, CaptureBackend, CaptureRules};
use crate::failure::usage;

/// Prints the rules, or applies them.
pub(super) fn capture(args: &CaptureArgs) -> anyhow::Result<ExitCode> {
    let annotations = args.annotations.as_deref().map(pod_info).transpose()?.unwrap_or_default();
    let capture = rules(&args.rules, &annotations)?;
    if args.apply {
        eprintln!("umbra: {}", apply::apply(&capture, args.rules.backend)?);
    } else if args.rules.backend == CaptureBackend::Iptables {
        for (family, program) in [(Family::V4, "iptables"), (Family::V6, "ip6tables")] {
            let rules = render_iptables(&capture, family, false);
            print(&format!("# {program}-restore --noflush\n{rules}"))?;
        }
    } else {
        print(&render_nft(&capture))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What options and a Pod's annotations say together.
pub(super) fn rules(rules: &CaptureRules, annotations: &BTreeMap<String, String>) -> anyhow::Result<Capture> {
    let options = [
        ("--interception-mode", words::INTERCEPTION_MODE, &rules.interception_mode),
        ("--include-outbound-ip-ranges", words::INCLUDE_IP_RANGES, &rules.include_outbound_ip_ranges),
        ("--exclude-outbound-ip-ranges", words::EXCLUDE_IP_RANGES, &rules.exclude_outbound_ip_ranges),
        ("--include-outbound-ports", words::INCLUDE_PORTS, &rules.include_outbound_ports),
        ("--exclude-outbound-ports", words::EXCLUDE_PORTS, &rules.exclude_outbound_ports),
        ("--exclude-interfaces", words::EXCLUDE_INTERFACES, &rules.exclude_interfaces),
    ];
    let given = options.iter().filter_map(|(_, word, value)| Some(((*word).to_owned(), (*value).clone()?)));
    let option = |bad: &BadValue| {
        let named = options.iter().find(|(_, word, _)| *word == bad.name);
        format!("{}: {}", named.map_or(bad.name.as_str(), |(option, ..)| option), bad.why)
    };
    let capture = Capture::default().annotated(&given.collect()).map_err(|bad| said(&bad, option))?;
    capture.annotated(annotations).map_err(|bad| said(&bad, BadValue::to_string))
}

fn said(bad: &[BadValue], one: impl Fn(&BadValue) -> String) -> anyhow::Error {
    usage(bad.iter().map(one).collect::<Vec<_>>().join("; "))
}

/// The labels or annotations in a file of the downward API.
pub(super) fn pod_info(path: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string()).map_err(usage)?;
    parse_pod_info(&text).map_err(|why| usage(format!("{}: {why}", path.display())))
}
