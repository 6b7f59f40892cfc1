//! Input that means harm: the process lives, says what is wrong, and its memory stays bounded.

use std::fmt::Write as _;

use umbra_testkit::net::Net;
use umbra_testkit::umbra::{UmbraProcess, write};
use umbra_testkit::wait::{self, PATIENCE};
use umbra_tests::manifests::{all, istio, rules, service, to_v1, web};

/// Texts that want to be expensive or to surprise.
fn hostile() -> Vec<(&'static str, String)> {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        let earlier = vec![format!("*a{}", n - 1); 10].join(", ");
        writeln!(bomb, "a{n}: &a{n} [{earlier}]").expect("a string");
    }
    let many = |one: &str, n: usize| one.repeat(n);
    let wide = format!(
        "- match:\n{}  route:\n  - destination: {{host: web}}\n",
        many("  - uri: {prefix: /a}\n", 20_000)
    );
    vec![
        ("alias bomb", bomb),
        ("deep flow", many("[", 100_000)),
        ("deep block", (0..3000).map(|n| format!("{}a:\n", " ".repeat(n))).collect()),
        ("nul bytes", "kind: \0\0\0".into()),
        ("no UTF-8 text", "\u{feff}\u{fffe}: \u{1}".into()),
        ("huge scalar", format!("kind: {}", many("x", 5_000_000))),
        (
            "huge numbers",
            rules(
                "n",
                "n",
                &to_v1(&format!("mirror: {{host: web}}\nmirrorPercentage: {{value: 1e{}}}", many("9", 400))),
            ),
        ),
        ("not a number", rules("nan", "nan", &to_v1("mirror: {host: web}\nmirrorPercentage: {value: .nan}"))),
        ("many matches", rules("wide", "wide", &wide)),
        (
            "a terrible regex",
            rules("re", "re", &to_v1(&format!("match:\n- uri: {{regex: \"{}\"}}", many("(a*)*", 2000)))),
        ),
        (
            "odd names",
            istio(
                "VirtualService",
                "../..",
                "a/b|c\\u0000",
                "hosts: ['', '*', '*.*', '..', 'a b']\nhttp: []\n",
            ),
        ),
        ("wrong types", istio("VirtualService", "default", "types", "hosts: {a: b}\nhttp: 7\n")),
        ("ports out of range", service("default", "far", &[("http", 0, 0), ("", 65535, 1)])),
        ("merge keys", "a: &a {b: c}\n<<: *a\nkind: Service\n".into()),
        ("many documents", many("---\nkind: Service\n", 20_000)),
        ("tags", "!!python/object/apply:os.system ['true']\n".into()),
        ("recursive alias", "a: &a [*a]\n".into()),
        (
            "weights",
            rules(
                "w",
                "w",
                "- route:\n  - destination: {host: web}\n    weight: 2147483647\n  - destination: {host: web}\n    weight: 2147483647\n",
            ),
        ),
        ("negative weights", rules("nw", "nw", "- route:\n  - destination: {host: web}\n    weight: -5\n")),
    ]
}

#[test]
fn validate_answers_everything() {
    for (name, input) in hostile() {
        let out = super::umbra(&["validate", "-", "-o", "json"], &input);
        let (stdout, stderr) = (super::text(&out.stdout), super::text(&out.stderr));
        assert!(matches!(out.status.code(), Some(0 | 1)), "{name}: {}: {stderr}", out.status);
        assert!(serde_json::from_str::<serde_json::Value>(&stdout).is_ok(), "{name}: {stdout}");
        assert!(!stderr.contains("panicked"), "{name}: {stderr}");
    }
}

#[tokio::test]
async fn serve_lives_and_keeps_serving_the_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    let mesh = folder.path().join("mesh");
    write(&mesh, "web.yaml", &all(&[web(), rules("web", "web", &to_v1(""))])).expect("manifests");
    let umbra = UmbraProcess::start(&Net::here(), &mesh, None, folder.path()).await.expect("umbra");
    let quiet = resident_megabytes(&umbra);
    for (n, (name, input)) in hostile().into_iter().enumerate() {
        write(&mesh, "hostile.yaml", &input).expect("a file");
        // A marker behind it shows that umbra got this far.
        let marker = format!("marker-{n}");
        write(&mesh, "zz-marker.yaml", &rules(&marker, &marker, &to_v1(""))).expect("a file");
        let look = || async {
            let objects = umbra.get("/debug/objects").await.unwrap_or_default();
            objects.contains(&marker).then_some(())
        };
        assert!(wait::until(PATIENCE, look).await.is_some(), "{name}: {}", umbra.process().tail());
        assert!(umbra.ready().await, "{name}");
    }
    assert!(!umbra.process().log().contains("panicked"), "{}", umbra.process().tail());
    let grown = resident_megabytes(&umbra).saturating_sub(quiet);
    assert!(grown < 300, "{grown} MB more than before");
}

/// The largest memory that the process ever had resident.
fn resident_megabytes(umbra: &UmbraProcess) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", umbra.process().id())).expect("its status");
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).expect("a line");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).expect("a number") / 1024
}

#[tokio::test]
async fn garbage_on_the_ports_hurts_nobody() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let folder = tempfile::tempdir().expect("a folder");
    let mesh = folder.path().join("mesh");
    write(&mesh, "web.yaml", &web()).expect("manifests");
    let umbra = UmbraProcess::start(&Net::here(), &mesh, None, folder.path()).await.expect("umbra");
    let quiet = resident_megabytes(&umbra);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    // A HEADERS frame that says it is 16 MB long.
    let huge = [0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 1];
    let garbage = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(10_000_000)).into_bytes(),
        format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(500_000)).into_bytes(),
        vec![0; 1_000_000],
        (0..1_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect(),
        [preface.clone(), settings.to_vec(), huge.to_vec(), vec![0; 1_000_000]].concat(),
        [preface, settings.repeat(100_000)].concat(),
        Vec::new(),
    ];
    for address in [umbra.xds(), umbra.admin()] {
        for bytes in &garbage {
            let mut stream = Net::here().connect(address).await.expect("a connection");
            // Refused halfway is fine.
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let _ = tokio::time::timeout(std::time::Duration::from_secs(2), stream.read_to_end(&mut answer))
                .await;
        }
    }
    // Connections that say nothing, all at once.
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(Net::here().connect(umbra.xds()).await.expect("a connection"));
    }
    assert!(umbra.ready().await);
    assert!(!umbra.process().log().contains("panicked"), "{}", umbra.process().tail());
    let grown = resident_megabytes(&umbra).saturating_sub(quiet);
    assert!(grown < 100, "{grown} MB more than before");
}
