//! One object judged on its own: every rule of validation with its place and words.

mod mirror_policy;
mod others;
mod virtual_service;

use std::collections::BTreeSet;

use mirror_policy::MIRROR_POLICY;
use others::{DESTINATION_RULE, GATEWAY, SERVICE_ENTRY};
use umbra_api::{parse_documents, validate};
use virtual_service::VIRTUAL_SERVICE;

use umbra_ir::Code;

/// What a spec is about, the spec in YAML, and each complaint: `severity Code field~words`.
type Case = (&'static str, &'static str, &'static [&'static str]);

fn object(kind: &str, spec: &str) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    let version = if kind == "MirrorPolicy" { "umbra.io/v1alpha1" } else { "networking.istio.io/v1" };
    format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\nspec:\n{spec}")
}

/// The complaints about a manifest, reading and validation together.
fn complaints(text: &str) -> Vec<umbra_ir::Diagnostic> {
    let parsed = parse_documents(text, "f.yaml");
    let mut found = parsed.diagnostics;
    for object in &parsed.objects {
        found.extend(validate(&object.value).into_iter().map(|d| object.place(d)));
    }
    found
}

fn check(kind: &str, cases: &[Case]) {
    for (about, spec, want) in cases {
        let text = object(kind, spec);
        let found: Vec<String> = complaints(&text)
            .iter()
            .map(|d| {
                assert!(d.line.is_some(), "{d}");
                format!("{} {} {}: {}", d.severity, d.code, d.field, d.message)
            })
            .collect();
        assert_eq!(found.len(), want.len(), "{about}: {found:#?}");
        for (found, want) in found.iter().zip(*want) {
            let (start, words) = want.split_once('~').unwrap_or((want, ""));
            assert!(
                found.starts_with(&format!("{start}: ")) && found.contains(words),
                "{about}:\n{found}\nis not\n{want}"
            );
        }
    }
}

const KINDS: &[(&str, &[Case])] = &[
    ("VirtualService", VIRTUAL_SERVICE),
    ("DestinationRule", DESTINATION_RULE),
    ("ServiceEntry", SERVICE_ENTRY),
    ("Gateway", GATEWAY),
    ("MirrorPolicy", MIRROR_POLICY),
];

#[test]
fn virtual_services() {
    check("VirtualService", VIRTUAL_SERVICE);
}

#[test]
fn destination_rules() {
    check("DestinationRule", DESTINATION_RULE);
}

#[test]
fn service_entries() {
    check("ServiceEntry", SERVICE_ENTRY);
}

#[test]
fn gateways() {
    check("Gateway", GATEWAY);
}

#[test]
fn mirror_policies() {
    check("MirrorPolicy", MIRROR_POLICY);
}

#[test]
fn many_problems() {
    let spec = format!("hosts: [a]\nhttp:\n{}", "- name: x\n".repeat(1500));
    let found = complaints(&object("VirtualService", &spec));
    assert_eq!(found.len(), 1001);
    assert_eq!(
        (found[1000].code, found[1000].message.split(' ').next()),
        (Code::MoreDiagnostics, Some("500"))
    );
}

#[test]
fn a_large_body() {
    let body = |bytes: usize| {
        let spec = format!(
            "hosts: [a]\nhttp:\n- directResponse: {{status: 200, body: {{string: {}}}}}",
            "x".repeat(bytes)
        );
        complaints(&object("VirtualService", &spec))
            .iter()
            .map(|d| d.to_string())
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(body(1000), "");
    assert!(body(200 << 10).contains("warning"));
    assert!(body((1 << 20) + 1).contains("the rule is left out"));
}

/// What multiplies is told with its counts, and with what happens instead.
#[test]
fn what_multiplies_is_told() {
    let list = |n: usize, item: &str| {
        (0..n).map(|i| item.replace('N', &i.to_string())).collect::<Vec<_>>().join(", ")
    };
    let entry = |hosts, ports, endpoints| {
        format!(
            "hosts: [{}]\nresolution: STATIC\nports: [{}]\nendpoints: [{}]",
            list(hosts, "hN.com"),
            list(ports, "{number: 1N, name: http-N, protocol: HTTP}"),
            list(endpoints, "{address: 10.0.0.1}")
        )
    };
    let mirrors = |rules, count| {
        let targets = list(count, "{destination: {host: mN}}");
        let rule = "{match: [{uri: {prefix: /N}}], route: [{destination: {host: a}}], mirrors: [TARGETS]}";
        format!("hosts: [a]\nhttp: [{}]", list(rules, rule).replace("TARGETS", &targets))
    };
    for (kind, spec, want) in [
        ("ServiceEntry", entry(100, 20, 32), vec![]),
        (
            "ServiceEntry",
            entry(200, 20, 40),
            vec![
                "spec.endpoints: 40 endpoints for each of 2040 ports of hosts are 81600, more than the 65536 that one object may come to; the first 32 are used, the others are left out",
                "spec.hosts: 200 hosts of 20 ports are 4000 clusters, more than the 2048 that one object may come to; the first 102 hosts are served, the others are left out",
            ],
        ),
        ("VirtualService", mirrors(4, 1000), vec![]),
        (
            "VirtualService",
            mirrors(5, 1000),
            vec![
                "spec.http[4].mirrors: the mirrors of all routes of this object are more than 4096, the most that one object may have: of this rule's 1000 mirrors for 1 routes the first 96 are served, the others copy nothing",
            ],
        ),
    ] {
        let found = complaints(&object(kind, &spec)).into_iter().filter(|d| d.code == Code::OverBudget);
        let mut found: Vec<String> = found.map(|d| format!("{}: {}", d.field, d.message)).collect();
        found.sort();
        assert_eq!(found, want, "{kind}");
    }
}

/// Every code of reading and judging one object (those before the first about objects together) is one that somebody can
/// get, here or in the tests of reading.
#[test]
fn every_code_is_shown() {
    let reading = include_str!("../parse.rs");
    let mut shown: BTreeSet<Code> = BTreeSet::new();
    for (kind, cases) in KINDS {
        for (_, spec, _) in *cases {
            shown.extend(complaints(&object(kind, spec)).iter().map(|d| d.code));
        }
    }
    for code in Code::ALL.iter().take_while(|code| **code != Code::HostNotFound) {
        let elsewhere = reading.contains(&format!(" {code} "))
            || [Code::BodyTooLarge, Code::MoreDiagnostics, Code::OverBudget].contains(code);
        assert!(shown.contains(code) || elsewhere, "nobody shows {code}");
    }
}
