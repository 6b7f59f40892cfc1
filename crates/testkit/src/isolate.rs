//! One network for each test, so that tests run side by side on the ports that the documents name.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "only tests call this, and to fail is its way to speak"
)]

use std::any::type_name_of_val;
use std::fs::File;
use std::future::Future;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::{gate, net::Net, paths};

/// Set in the process that runs inside a namespace of its own.
const INSIDE: &str = "UMBRA_TEST_NAMESPACE";

/// Runs the body of a test with the real Envoy and umbra in a network namespace of its own: the test program
/// starts itself again inside `unshare -rn`, for this one test. Where that is not allowed, tests that need
/// just loopback addresses run one after the other in the machine's own network instead.
///
/// Call it as the one thing that a `#[test]` function does, with an `async` block of that function: the test's
/// name is read from the block's type.
///
/// # Panics
/// When the test fails.
pub fn isolated(body: impl Future<Output = ()>) {
    let name = test_name(&body);
    if gate::require_envoy().is_none() {
        return;
    }
    if std::env::var_os(INSIDE).is_some() {
        return run(body);
    }
    if gate::namespaces().is_ok() {
        return run_again(&name, INSIDE);
    }
    let lock = std::env::temp_dir().join("umbra-tests-network.lock");
    let lock = File::create(lock).expect("a lock file in the temporary folder");
    lock.lock().expect("the lock");
    run(body);
}

/// As [`isolated`], for tests that make further namespaces: without them they are skipped.
///
/// # Panics
/// When the test fails, or namespaces are missing and `REQUIRE_NETNS=1`.
pub fn isolated_in_namespaces(body: impl Future<Output = ()>) {
    if gate::require_namespaces() {
        isolated(body);
    }
}

/// As [`isolated`], for tests of captured traffic, as root in further namespaces.
///
/// # Panics
/// When the test fails, or traffic cannot be captured here and `REQUIRE_CAPTURE=1`.
pub fn isolated_with_capture(body: impl Future<Output = ()>) {
    let name = test_name(&body);
    if std::env::var_os(INSIDE).is_some() {
        run(body);
    } else if gate::require_envoy().is_some() && gate::require_capture() {
        run_again_by(&["-n", "--"], &name, INSIDE);
    }
}

fn run(body: impl Future<Output = ()>) {
    if std::env::var_os(INSIDE).is_some() {
        Net::here().ip(&["link", "set", "lo", "up"]).expect("the namespace's loopback");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(body);
}

/// Starts this test program in a namespace with the variable `inside` set, for the test `name` alone, and passes on how it
/// went and what it said past the harness.
///
/// # Panics
/// When the test fails or does not run.
pub(crate) fn run_again(name: &str, inside: &str) {
    run_again_by(&["-rn", "--"], name, inside);
}

/// As [`run_again`], by `unshare` with these arguments.
pub(crate) fn run_again_by(unshare: &[&str], name: &str, inside: &str) {
    let umbra = paths::umbra().unwrap_or_else(|e| panic!("{e:#}"));
    let program = std::env::current_exe().expect("the path of this program");
    let mut command = Command::new("unshare");
    command.args(unshare).arg(program).args(["--exact", name, "--nocapture", "--test-threads=1"]);
    command.env(inside, "1").env("UMBRA_BIN", umbra).env("RUST_BACKTRACE", "0");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("unshare runs");
    let errors = child.stderr.take().expect("a pipe");
    let errors = std::thread::spawn(move || std::io::read_to_string(errors).unwrap_or_default());
    let mut ran = false;
    // As it comes: some run for an hour, and the harness keeps what nobody wants to see.
    for line in BufReader::new(child.stdout.take().expect("a pipe")).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        ran |= line.contains("1 passed");
        println!("{line}");
    }
    let (status, stderr) = (child.wait().expect("it was started"), errors.join().expect("a reader"));
    let loud = |line: &&str| [gate::SKIPPED, gate::MEASURED].iter().any(|start| line.starts_with(start));
    stderr.lines().filter(loud).for_each(gate::say);
    assert!(status.success() && ran, "`{name}` in a namespace of its own: {status}\n{stderr}");
}

/// The name of the test that a closure or an `async` block stands in, from the name of its type: `tier::module::test::{{closure}}`
/// is the test `module::test` of the program `tier`.
pub(crate) fn test_name<T: ?Sized>(body: &T) -> String {
    let path = type_name_of_val(body);
    let path = path.split("::{{").next().unwrap_or(path);
    path.split_once("::").map_or(path, |(_, name)| name).to_owned()
}
