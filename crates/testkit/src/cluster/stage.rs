//! A network namespace with a control plane in it for one test.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "only tests call this, and to fail is its way to speak"
)]

use std::any::type_name_of_val;
use std::future::Future;
use std::process::Command;

use super::{Cluster, assets};
use crate::net::Net;
use crate::{gate, paths};

/// Set in the process that runs inside.
const INSIDE: &str = "UMBRA_TEST_CLUSTER";

/// Runs the body of a test with a [`Cluster`] in a network namespace of its own: the test program starts itself again
/// inside `unshare -rn`, for this one test. Without programs or namespaces the test is skipped with a loud line.
///
/// Call it as the one thing that a `#[test]` function does, with an `async` closure of that function: the test's name
/// is read from the closure's type.
///
/// # Panics
/// When the test fails, or when it would be skipped and `REQUIRE_APISERVER=1`.
pub fn on_cluster<F: Future<Output = ()>>(body: impl FnOnce(Cluster) -> F) {
    let name = test_name(type_name_of_val(&body));
    if std::env::var_os(INSIDE).is_none() {
        if assets::require_apiserver() && gate::require_envoy().is_some() {
            run_again(&name);
        }
        return;
    }
    let net = Net::here();
    net.ip(&["link", "set", "lo", "up"]).expect("the namespace's loopback");
    // Pods reach each other through this namespace.
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("forwarding between Pods");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let cluster = Cluster::start().await.unwrap_or_else(|e| panic!("{e:#}"));
        body(cluster).await;
    });
}

/// Starts this test program in a namespace, for the test `name` alone, and passes on how it went.
fn run_again(name: &str) {
    let umbra = paths::umbra().unwrap_or_else(|e| panic!("{e:#}"));
    let program = std::env::current_exe().expect("the path of this program");
    let mut command = Command::new("unshare");
    command.args(["-rn", "--"]).arg(program).args(["--exact", name, "--nocapture", "--test-threads=1"]);
    command.env(INSIDE, "1").env("UMBRA_BIN", umbra).env("RUST_BACKTRACE", "0");
    let out = command.output().expect("unshare runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    for line in stderr.lines().filter(|line| line.starts_with(gate::SKIPPED)) {
        gate::say(line);
    }
    let ran = stdout.contains("1 passed");
    assert!(
        out.status.success() && ran,
        "`{name}` on a cluster of its own: {}\n{stdout}\n{stderr}",
        out.status
    );
}

/// `tier::module::test::{{closure}}` is the test `module::test` of the program `tier`.
fn test_name(path: &str) -> String {
    let path = path.split("::{{").next().unwrap_or(path);
    path.split_once("::").map_or(path, |(_, name)| name).to_owned()
}
