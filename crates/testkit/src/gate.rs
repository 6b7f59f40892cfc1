//! What a test does when a tool is missing: one loud line, or a failure where the tool must be there.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "only tests call this, and to fail is its way to speak"
)]

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::paths;

/// What a child process prints so that its parent repeats the line.
pub(crate) const SKIPPED: &str = "SKIPPED: ";

/// How a line begins that says what a test has measured.
pub(crate) const MEASURED: &str = "MEASURED: ";

/// Says what a test has measured, past the capture of the test harness.
pub fn measured(what: &str) {
    say(&format!("{MEASURED}{what}"));
}

/// Whether tests that take minutes are wanted (`UMBRA_LONG=1`): `make long` plays them, and nothing else does.
pub fn long() -> bool {
    std::env::var_os("UMBRA_LONG").is_some_and(|it| it == "1")
}

/// The real Envoy, or `None` after a loud line (and without one with `UMBRA_ENVOY=none`), and the test returns.
///
/// # Panics
/// When Envoy is missing and `REQUIRE_ENVOY=1`.
pub fn require_envoy() -> Option<PathBuf> {
    // Whoever says so knows what is not tested.
    if std::env::var_os("UMBRA_ENVOY").is_some_and(|named| named == "none") {
        return None;
    }
    let envoy = paths::envoy();
    if envoy.is_none() {
        skip("real Envoy: not found; run `make tools`, or set UMBRA_ENVOY to a binary", "REQUIRE_ENVOY");
    }
    envoy
}

/// A browser that is driven without a screen (`UMBRA_BROWSER`, else a Chromium in PATH), or `None` after a loud line.
///
/// # Panics
/// When there is none and `REQUIRE_BROWSER=1`.
pub fn require_browser() -> Option<PathBuf> {
    let browser = paths::browser();
    if browser.is_none() {
        skip("pages in a browser: no Chromium found; install one, or set UMBRA_BROWSER", "REQUIRE_BROWSER");
    }
    browser
}

/// Whether certificates can be made here; `false` comes after a loud line.
///
/// # Panics
/// When they cannot and `REQUIRE_ENVOY=1`.
pub fn require_openssl() -> bool {
    let found = Command::new("openssl").arg("version").output().is_ok();
    if !found {
        skip("xDS over TLS: no `openssl` in PATH, which makes the certificates", "REQUIRE_ENVOY");
    }
    found
}

/// Whether network namespaces of our own can be made here; `false` comes after a loud line.
///
/// # Panics
/// When they cannot and `REQUIRE_NETNS=1`.
pub fn require_namespaces() -> bool {
    match namespaces() {
        Ok(()) => true,
        Err(why) => {
            skip(&format!("network namespaces: {why}"), "REQUIRE_NETNS");
            false
        }
    }
}

/// Whether `unshare -rn` and `ip` work here, or why they don't. Asked once.
///
/// # Errors
/// What the system answered.
pub fn namespaces() -> Result<(), String> {
    static ALLOWED: OnceLock<Result<(), String>> = OnceLock::new();
    ALLOWED
        .get_or_init(|| {
            let probe = ["-rn", "--", "ip", "link", "set", "lo", "up"];
            let out = Command::new("unshare").args(probe).output().map_err(|e| format!("no unshare: {e}"))?;
            if out.status.success() {
                return Ok(());
            }
            Err(format!("`unshare {}`: {}", probe.join(" "), String::from_utf8_lossy(&out.stderr).trim()))
        })
        .clone()
}

/// Whether a Pod's traffic can be captured here, as [`crate::capture`] does it; `false` comes after a loud line.
///
/// # Panics
/// When it cannot and `REQUIRE_CAPTURE=1`.
pub fn require_capture() -> bool {
    static ALLOWED: OnceLock<Result<(), String>> = OnceLock::new();
    let allowed = ALLOWED.get_or_init(|| {
        // Another user needs a range of users: who is root has it, and a namespace of users with one user in it has not.
        let script = "ip link set lo up && nft 'add table inet probe; add chain inet probe output { type nat hook output priority -100; }; add rule inet probe output meta l4proto tcp redirect to :15001' && setpriv --reuid=1337 --regid=1337 --clear-groups -- true";
        let out = Command::new("unshare").args(["-n", "--", "sh", "-c", script]).output();
        let out = out.map_err(|e| format!("no unshare: {e}"))?;
        let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
        if out.status.success() { Ok(()) } else { Err(said) }
    });
    if let Err(why) = allowed {
        skip(
            &format!("captured traffic (network namespaces as root, `nft`, `setpriv`): {why}"),
            "REQUIRE_CAPTURE",
        );
    }
    allowed.is_ok()
}

/// Says that something was not tested, past the capture of the test harness.
///
/// # Panics
/// When the environment variable `required` is `1`.
pub fn skip(what: &str, required: &str) {
    assert!(std::env::var(required).as_deref() != Ok("1"), "{required}=1, but {what}");
    say(&format!("{SKIPPED}{what}"));
}

/// Writes a line to standard error itself: the harness captures only what its macros print.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
