//! A network namespace with a control plane in it for one test.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "only tests call this, and to fail is its way to speak"
)]

use std::future::Future;
use std::sync::{Condvar, Mutex, PoisonError};

use super::{Cluster, assets};
use crate::gate;
use crate::isolate::{run_again, run_again_by, test_name};
use crate::net::Net;

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
    let name = test_name(&body);
    if std::env::var_os(INSIDE).is_none() {
        if assets::require_apiserver() && gate::require_envoy().is_some() {
            let _slot = Slot::take();
            run_again(&name, INSIDE);
        }
        return;
    }
    inside(body);
}

/// As [`on_cluster`], as root of the machine: containers are the users that their Pods name, and what they send can be
/// captured.
///
/// # Panics
/// When the test fails, or when it would be skipped and `REQUIRE_APISERVER=1` or `REQUIRE_CAPTURE=1`.
pub fn on_cluster_with_users<F: Future<Output = ()>>(body: impl FnOnce(Cluster) -> F) {
    let name = test_name(&body);
    if std::env::var_os(INSIDE).is_none() {
        if assets::require_apiserver() && gate::require_envoy().is_some() && gate::require_capture() {
            let _slot = Slot::take();
            run_again_by(&["-n", "--"], &name, INSIDE);
        }
        return;
    }
    inside(body);
}

fn inside<F: Future<Output = ()>>(body: impl FnOnce(Cluster) -> F) {
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

/// Leave to run a cluster. The harness starts as many tests as there are cores, but a cluster keeps several of them busy while
/// it starts, and needs 700 MB.
struct Slot;

static TAKEN: Mutex<usize> = Mutex::new(0);
static FREE: Condvar = Condvar::new();

impl Slot {
    /// Waits for one.
    fn take() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let most = (cores / 2).clamp(3, 8);
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = FREE.wait_while(taken, |taken| *taken >= most);
        *taken.unwrap_or_else(PoisonError::into_inner) += 1;
        Self
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        FREE.notify_one();
    }
}
