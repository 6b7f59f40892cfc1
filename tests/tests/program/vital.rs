//! Nothing vital dies in silence: each task and thread that `docs/runtime.md` lists, made to fail in a real process.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use umbra_testkit::paths::{self, workspace};
use umbra_testkit::process::Process;
use umbra_testkit::tls::Authority;
use umbra_testkit::wait::{self, PATIENCE};

/// The options of an `umbra serve` that does everything that it can do, the cluster at an address where nobody is.
fn everything(folder: &Path) -> Vec<OsString> {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a file");
        path
    };
    std::fs::create_dir_all(folder.join("mesh")).expect("a folder");
    let kubeconfig = write(
        "kubeconfig.yaml",
        "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}]\n\
         users: [{name: a, user: {}}]\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n",
    );
    let authority = Authority::make(folder, "ca").expect("openssl");
    let issued = authority.issue("umbra", "DNS:umbra").expect("openssl");
    let files: [(&str, PathBuf); 9] = [
        ("--injector-host", "umbra".into()),
        ("--judge", "127.0.0.1:1".into()),
        ("--injector-webhook", "umbra".into()),
        ("--dir", folder.join("mesh")),
        ("--kubeconfig", kubeconfig),
        ("--last-good", folder.join("last-good")),
        ("--config", write("umbra.yaml", "rootNamespace: mesh\n")),
        ("--tls-cert", issued.certificate),
        ("--tls-key", issued.key),
    ];
    let files = files.into_iter().flat_map(|(option, path)| [option.into(), path.into_os_string()]);
    let ports = ["--xds", "--xds-tls", "--admin", "--probe", "--api", "--injector"];
    let ports = ports.into_iter().flat_map(|option| [option.into(), "127.0.0.1:0".into()]);
    ["--log".into(), "umbra_server=debug".into()].into_iter().chain(files).chain(ports).collect()
}

/// The names of what a process has started, as its log tells.
fn started(log: &str) -> BTreeSet<String> {
    let lines = log.lines().filter(|line| line.contains("started name="));
    lines.filter_map(|line| Some(line.split('"').nth(1)?.to_owned())).collect()
}

/// The first column of the page's first table.
fn documented() -> BTreeSet<String> {
    let page = std::fs::read_to_string(workspace().join("docs/runtime.md")).expect("the page");
    let table = page.split("## Channels").next().unwrap_or_default();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    rows.flat_map(|names| names.split(", ")).map(|name| name.trim_matches('`').to_owned()).collect()
}

/// A name as the page has it.
fn row(name: &str) -> String {
    match name.strip_prefix("watch ") {
        Some(kind) if kind.starts_with(char::is_uppercase) => "watch KIND".to_owned(),
        _ => name.to_owned(),
    }
}

#[tokio::test]
async fn each_vital_task_that_ends_ends_the_process() {
    if !umbra_testkit::gate::require_openssl() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let options = everything(folder.path());
    let umbra = || {
        let mut command = Command::new(paths::umbra().expect("umbra"));
        command.arg("serve").args(&options);
        command
    };
    let process = Process::start("umbra", umbra(), &folder.path().join("log")).expect("umbra");
    let listed = documented();
    let all = || async {
        let names = started(&process.log());
        let rows: BTreeSet<String> = names.iter().map(|name| row(name)).collect();
        (rows == listed).then_some(names)
    };
    let names = wait::until(PATIENCE, all).await.unwrap_or_else(|| {
        panic!("docs/runtime.md lists {listed:?}, and started were {:?}", started(&process.log()))
    });
    drop(process);
    // One watch stands for all.
    let faults: BTreeMap<String, String> = names.into_iter().map(|name| (row(&name), name)).collect();
    for name in faults.values() {
        for (how, words) in [("panic", "panicked: a test told"), ("end", "ended early")] {
            let mut command = tokio::process::Command::from(umbra());
            command.env("UMBRA_TEST_FAULT", format!("{how} {name}")).kill_on_drop(true);
            let out = tokio::time::timeout(PATIENCE, command.output()).await;
            let out = out.unwrap_or_else(|_| panic!("{how} {name}: it goes on")).expect("umbra runs");
            let said = String::from_utf8_lossy(&out.stderr);
            assert_eq!(out.status.code(), Some(1), "{how} {name}: {said}");
            let last = said.lines().last().unwrap_or_default();
            assert!(
                last.starts_with("umbra: ") && last.contains(&format!("{name} {words}")),
                "{how} {name}: {said}"
            );
        }
    }
}
