//! `umbra capture`: what it prints, and what becomes of it in the kernel, with the real `nft` and `iptables` in a network
//! namespace.

use std::process::Command;

use umbra_testkit::{gate, paths};

use super::{text, umbra};

#[test]
fn what_it_prints() {
    for (args, parts) in [
        (&[][..], &["add table inet umbra\nflush table inet umbra\n", "redirect to :15001"][..]),
        (&["--backend", "iptables"], &["# iptables-restore", "# ip6tables-restore", "--to-ports 15001"]),
        (&["--exclude-outbound-ports", "22,25"], &["tcp dport 22 return", "tcp dport 25 return"]),
        (&["--interception-mode", "NONE"], &["flush table inet umbra\n"]),
    ] {
        let out = umbra(&[&["capture"], args].concat(), "");
        assert!(out.status.success(), "{args:?}: {}", text(&out.stderr));
        parts.iter().for_each(|part| assert!(text(&out.stdout).contains(part), "{args:?}: {part}"));
    }
}

#[test]
fn a_pod_has_the_last_word() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("annotations");
    let said = "traffic.sidecar.istio.io/excludeOutboundPorts=\"5432\"\nother.io/x=\"\\\"\"\n";
    std::fs::write(&file, said).expect("annotations");
    let path = file.to_str().expect("a path");
    let out = umbra(&["capture", "--annotations", path, "--exclude-outbound-ports", "22"], "");
    let rules = text(&out.stdout);
    assert!(rules.contains("dport 5432 return") && !rules.contains("dport 22"), "{rules}");
    std::fs::write(&file, "traffic.sidecar.istio.io/excludeInterfaces=\"a; flush ruleset\"\n").expect("them");
    for (args, part) in [
        (&["--annotations", path][..], "excludeInterfaces: \"a; flush ruleset\" is no network interface"),
        (&["--annotations", "/no/such/file"], "/no/such/file"),
        (&["--exclude-outbound-ports", "x"], "--exclude-outbound-ports: \"x\" is no port"),
        (&["--interception-mode", "TPROXY"], "--interception-mode: \"TPROXY\""),
    ] {
        let out = umbra(&[&["capture"], args].concat(), "");
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        assert!(text(&out.stderr).contains(part), "{args:?}: {}", text(&out.stderr));
    }
}

/// Runs a script in a network namespace of its own, `$UMBRA` in it; `None` after a loud line where that is not allowed.
fn inside(script: &str) -> Option<String> {
    // Other users exist for the true root alone.
    let flag = if is_root() { "-n" } else { "-rn" };
    let run = |script: &str| {
        let mut command = Command::new("unshare");
        command.args([flag, "--", "bash", "-ec", script]).env("UMBRA", paths::umbra().expect("umbra"));
        command.output()
    };
    let probe =
        "nft add table inet probe && iptables-save -t nat >/dev/null && ip6tables-save -t nat >/dev/null";
    let why = match run(probe) {
        Ok(out) if out.status.success() => None,
        Ok(out) => Some(text(&out.stderr)),
        Err(error) => Some(error.to_string()),
    };
    if let Some(why) = why {
        gate::skip(&format!("rules of capture in the kernel: {}", why.trim()), "REQUIRE_CAPTURE");
        return None;
    }
    let out = run(script).expect("unshare runs");
    assert!(out.status.success(), "{script}\n{}\n{}", text(&out.stdout), text(&out.stderr));
    Some(text(&out.stdout))
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|out| text(&out.stdout).trim() == "0")
}

#[test]
fn a_second_time_replaces_the_first() {
    let script = r#"
        nft add table inet other
        for backend in nft iptables; do
          "$UMBRA" capture --apply --backend $backend --exclude-outbound-ports 22,23
          "$UMBRA" capture --apply --backend $backend --exclude-outbound-ports 22 --include-outbound-ip-ranges 10.0.0.0/8,fd00::/8
          "$UMBRA" capture --apply --backend $backend --exclude-outbound-ports 22 --include-outbound-ip-ranges 10.0.0.0/8,fd00::/8
        done
        nft list table inet umbra
        nft list table inet other
        iptables-save -t nat
        ip6tables-save -t nat"#;
    let Some(said) = inside(script) else { return };
    for (line, times) in [
        ("chain output {", 1),
        ("tcp dport 22 return", 1),
        ("tcp dport 23 return", 0),
        ("ip daddr 10.0.0.0/8 meta l4proto tcp redirect to :15001", 1),
        ("ip6 daddr fd00::/8 meta l4proto tcp redirect to :15001", 1),
        ("table inet other {", 1),
        // Of both programs, IPv4 and IPv6.
        ("-A OUTPUT -p tcp -j UMBRA_OUTPUT", 2),
        ("-A UMBRA_OUTPUT -p tcp -m tcp --dport 22 -j RETURN", 2),
        ("-A UMBRA_OUTPUT -d 10.0.0.0/8 -p tcp -j REDIRECT --to-ports 15001", 1),
        ("-A UMBRA_OUTPUT -d fd00::/8 -p tcp -j REDIRECT --to-ports 15001", 1),
    ] {
        let found = said.lines().filter(|it| it.trim() == line).count();
        assert_eq!(found, times, "{line}\n{said}");
    }
}

/// Who is called is told by the listeners: 15001 is the sidecar, 8000 is what was meant.
const CALLS: &str = r#"
import os, socket, sys, threading
def listen(family, address, port):
    s = socket.socket(family); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind((address, port)); s.listen(99)
    def serve():
        while True:
            c, _ = s.accept(); c.sendall(str(port).encode()); c.close()
    threading.Thread(target=serve, daemon=True).start()
for port in (15001, 8000):
    listen(socket.AF_INET, "0.0.0.0", port); listen(socket.AF_INET6, "::", port)
def call(address, port, uid, gid):
    r, w = os.pipe()
    if os.fork() == 0:
        if uid or gid: os.setgroups([]); os.setgid(gid); os.setuid(uid)
        try:
            s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)
            s.connect((address, port)); said = s.recv(9)
        except OSError: said = b"nobody"
        os.write(w, said); os._exit(0)
    os.close(w); return r
root = os.getuid() == 0 and open("/proc/self/uid_map").read().split()[2] != "1"
asked = []
for who, uid, gid in (("app", 0, 0), ("other", 2000, 2000), ("sidecar", 1337, 1337), ("group", 2000, 1337)):
    if uid and not root: continue
    for address in ("10.9.9.9", "fd00:9::9", "127.0.0.1", "::1", "10.1.1.1", "10.2.0.1"):
        for port in (8000, 8022): asked.append((who, address, port, call(address, port, uid, gid)))
for who, address, port, answer in asked: print(who, address, port, os.read(answer, 9).decode())
sys.stdout.flush(); os._exit(0)
"#;

#[test]
fn what_is_captured_and_what_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let calls = folder.path().join("calls.py");
    std::fs::write(&calls, CALLS).expect("the script");
    for backend in ["nft", "iptables"] {
        // What leads elsewhere is answered by nobody: its neighbour does not exist, which the kernel is told.
        let script = format!(
            "ip link set lo up; ip link add d0 type veth peer name d1; ip link set d1 up; ip addr add 10.1.1.1/24 dev d0; ip link set d0 up
             ip -6 addr add fd00:1::1/64 dev d0 nodad; ip route add default via 10.1.1.2; ip -6 route add default via fd00:1::2
             ip neigh add 10.1.1.2 dev d0 lladdr 02:00:00:00:00:02; ip neigh add fd00:1::2 dev d0 lladdr 02:00:00:00:00:02
             \"$UMBRA\" capture --apply --backend {backend} --exclude-outbound-ports 8022 --exclude-outbound-ip-ranges 10.2.0.0/16
             timeout 300 python3 {} ",
            calls.display()
        );
        let Some(said) = inside(&script) else { return };
        for line in said.lines() {
            let parts: Vec<_> = line.split(' ').collect();
            let [who, address, port, answer] = parts[..] else { panic!("{line}") };
            let own = ["127.0.0.1", "::1", "10.1.1.1"].contains(&address);
            let want = match (who, address, port) {
                // Calls of the Pod to itself meet whom they mean.
                (_, _, "8000") if own => "8000",
                (_, _, "8022") => "nobody",
                ("sidecar" | "group", _, _) => "nobody",
                (_, "10.2.0.1", _) => "nobody",
                _ => "15001",
            };
            assert_eq!(answer, want, "{backend}: {line}\n{said}");
        }
        assert!(said.contains("app fd00:9::9 8000 15001"), "{backend}: {said}");
    }
}
