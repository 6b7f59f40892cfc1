use super::*;

fn annotations(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn capture(list: &[(&str, &str)]) -> Capture {
    Capture::default().annotated(&annotations(list)).unwrap()
}

/// The rules of `nft`, and those of `iptables` for each family: what is between the first and the last lines of each.
#[track_caller]
fn check(list: &[(&str, &str)], nft: &[&str], v4: &[&str], v6: &[&str]) {
    let capture = capture(list);
    let lines = |text: &str, prefix: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.strip_prefix(prefix)).map(str::to_owned).collect()
    };
    let got = lines(&render_nft(&capture), "\t\t");
    assert_eq!(got.get(2..).unwrap_or_default(), nft, "{list:?}");
    let rules = |family| lines(&render_iptables(&capture, family, false), "-A UMBRA_OUTPUT -p tcp ");
    assert_eq!(rules(Family::V4), v4, "{list:?}");
    assert_eq!(rules(Family::V6), v6, "{list:?}");
}

const TAKE: &str = "meta l4proto tcp redirect to :15001";
const REDIRECT: &str = "-j REDIRECT --to-ports 15001";

#[test]
fn everything_by_default() {
    let own = ["oifname \"lo\" return", "meta skuid 1337 return", "meta skgid 1337 return"];
    let owners =
        ["-o lo -j RETURN", "-m owner --uid-owner 1337 -j RETURN", "-m owner --gid-owner 1337 -j RETURN"];
    let nft = [&own[..], &[TAKE]].concat();
    let tables = [&owners[..], &[REDIRECT]].concat();
    check(&[], &nft, &tables, &tables);
    // Ports to include say nothing where all are.
    check(&[(words::INCLUDE_PORTS, "80")], &nft, &tables, &tables);
    check(&[(words::INCLUDE_IP_RANGES, " * ")], &nft, &tables, &tables);
    // Nothing at all is captured, but the table is there.
    check(&[(words::INCLUDE_IP_RANGES, "")], &own, &owners, &owners);
    check(&[(words::INTERCEPTION_MODE, "NONE")], &[], &[], &[]);
}

#[test]
fn what_annotations_say() {
    check(
        &[
            (words::INCLUDE_IP_RANGES, "10.0.0.0/8,fd00::/8"),
            (words::EXCLUDE_IP_RANGES, "10.1.2.3/16, 10.9.9.9"),
            (words::INCLUDE_PORTS, "8080"),
            (words::EXCLUDE_PORTS, "22,25"),
            (words::EXCLUDE_INTERFACES, "net1"),
            ("other.io/annotation", "; flush ruleset"),
        ],
        &[
            "oifname \"net1\" return",
            "oifname \"lo\" return",
            "meta skuid 1337 return",
            "meta skgid 1337 return",
            "tcp dport 22 return",
            "tcp dport 25 return",
            "ip daddr 10.1.0.0/16 return",
            "ip daddr 10.9.9.9/32 return",
            "tcp dport 8080 meta l4proto tcp redirect to :15001",
            "ip daddr 10.0.0.0/8 meta l4proto tcp redirect to :15001",
            "ip6 daddr fd00::/8 meta l4proto tcp redirect to :15001",
        ],
        &[
            "-o net1 -j RETURN",
            "-o lo -j RETURN",
            "-m owner --uid-owner 1337 -j RETURN",
            "-m owner --gid-owner 1337 -j RETURN",
            "--dport 22 -j RETURN",
            "--dport 25 -j RETURN",
            "-d 10.1.0.0/16 -j RETURN",
            "-d 10.9.9.9/32 -j RETURN",
            "--dport 8080 -j REDIRECT --to-ports 15001",
            "-d 10.0.0.0/8 -j REDIRECT --to-ports 15001",
        ],
        &[
            "-o net1 -j RETURN",
            "-o lo -j RETURN",
            "-m owner --uid-owner 1337 -j RETURN",
            "-m owner --gid-owner 1337 -j RETURN",
            "--dport 22 -j RETURN",
            "--dport 25 -j RETURN",
            "--dport 8080 -j REDIRECT --to-ports 15001",
            "-d fd00::/8 -j REDIRECT --to-ports 15001",
        ],
    );
}

#[test]
fn the_text_around_the_rules() {
    let nft = render_nft(&Capture::default());
    let start = "add table inet umbra\nflush table inet umbra\ntable inet umbra {\n\tchain output {\n\
                 \t\ttype nat hook output priority -100; policy accept;\n\t\tmeta l4proto != tcp return\n";
    assert!(nft.starts_with(start) && nft.ends_with("\n\t}\n}\n"), "{nft}");
    let none = Capture { mode: Interception::None, ..Capture::default() };
    assert_eq!(render_nft(&none), "add table inet umbra\nflush table inet umbra\n");
    for (there, end) in [(false, &*format!("{JUMP}\nCOMMIT\n")), (true, "15001\nCOMMIT\n")] {
        let text = render_iptables(&Capture::default(), Family::V4, there);
        assert!(text.starts_with("*nat\n:UMBRA_OUTPUT - [0:0]\n-A") && text.ends_with(end), "{text}");
    }
}

#[test]
fn values_that_cannot_be() {
    for (name, value) in [
        (words::INTERCEPTION_MODE, "TPROXY"),
        (words::INTERCEPTION_MODE, ""),
        (words::INCLUDE_IP_RANGES, "*,10.0.0.0/8"),
        (words::INCLUDE_IP_RANGES, "10.0.0.0/33"),
        (words::INCLUDE_IP_RANGES, "10.0.0.0/+8"),
        (words::INCLUDE_IP_RANGES, "10.0.0.0/"),
        (words::INCLUDE_IP_RANGES, "10.0.0/8"),
        (words::EXCLUDE_IP_RANGES, "::/129"),
        (words::EXCLUDE_IP_RANGES, "fe80::1%eth0"),
        (words::EXCLUDE_IP_RANGES, "10.0.0.0/8 return; flush ruleset"),
        (words::EXCLUDE_IP_RANGES, "host.example.com"),
        (words::INCLUDE_PORTS, "*"),
        (words::INCLUDE_PORTS, "0"),
        (words::EXCLUDE_PORTS, "65536"),
        (words::EXCLUDE_PORTS, "+22"),
        (words::EXCLUDE_PORTS, "22-25"),
        (words::EXCLUDE_PORTS, "22\nflush ruleset"),
        (words::EXCLUDE_INTERFACES, "eth0\" return; flush ruleset; \""),
        (words::EXCLUDE_INTERFACES, "eth0 -j ACCEPT"),
        (words::EXCLUDE_INTERFACES, "eth*"),
        (words::EXCLUDE_INTERFACES, "eth+"),
        (words::EXCLUDE_INTERFACES, "-o"),
        (words::EXCLUDE_INTERFACES, "an-interface-that-is-too-long"),
    ] {
        let bad = Capture::default().annotated(&annotations(&[(name, value)])).unwrap_err();
        assert_eq!(bad.len(), 1, "{value:?}");
        assert_eq!(bad[0].name, name, "{value:?}");
    }
    // All of them at once.
    let bad = [(words::EXCLUDE_PORTS, "x"), (words::EXCLUDE_INTERFACES, "/"), (words::INCLUDE_PORTS, "1")];
    assert_eq!(Capture::default().annotated(&annotations(&bad)).unwrap_err().len(), 2);
}

#[test]
fn ranges_are_what_they_mean() {
    for (text, want) in [
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("255.255.255.255/0", "0.0.0.0/0"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("10.1.2.3/32", "10.1.2.3/32"),
        ("::/0", "::/0"),
        ("fd00:1::5/16", "fd00::/16"),
        ("fd00::5", "fd00::5/128"),
        ("10.1.2.3/031", "10.1.2.2/31"),
    ] {
        assert_eq!(Cidr::parse(text).unwrap().to_string(), want, "{text}");
    }
}
