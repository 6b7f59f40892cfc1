//! The log is for whoever reads it: nothing waits for that.

use std::io::Write;
use std::process::{Command, Stdio};

use umbra_testkit::client::{Ask, Client};
use umbra_testkit::net::Net;
use umbra_testkit::paths;
use umbra_testkit::ports::Port;
use umbra_testkit::umbra::write;
use umbra_testkit::wait::{self, PATIENCE};
use umbra_tests::manifests::web;

/// A pipe that takes not one byte more.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    /// What a pipe of Linux holds.
    const CAPACITY: usize = 65_536;
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(&[b'\n'; CAPACITY]).expect("room for so much");
    (reader, writer)
}

#[tokio::test]
async fn a_standard_error_that_nobody_reads_holds_nothing_up() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "web.yaml", &web()).expect("a file");
    let (xds, admin) = (Port::free().expect("a port"), Port::free().expect("a port"));
    let (_reader, writer) = full_pipe();
    let mut umbra = Command::new(paths::umbra().expect("umbra"))
        .args(["serve", "--log", "umbra_server=debug", "--xds", &xds.local().to_string()])
        .args(["--admin", &admin.local().to_string(), "--dir"])
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(writer)
        .spawn()
        .expect("umbra starts");
    let net = Net::here();
    let objects = || async {
        let answer = Client::new(&net, admin.local()).ask(&Ask::get("localhost", "/metrics")).await.ok()?;
        let text = answer.text();
        let line = text.lines().find_map(|line| line.strip_prefix("umbra_objects{kind=\"Service\"} "))?;
        line.parse::<u32>().ok()
    };
    let before = wait::until(PATIENCE, || async { objects().await.filter(|count| *count > 0) }).await;
    let before = before.expect("umbra serves");
    let more = umbra_tests::manifests::service("default", "more", &[("http", 80, 80)]);
    write(folder.path(), "more.yaml", &more).expect("a file");
    let taken = wait::until(PATIENCE, || async { objects().await.filter(|count| *count > before) }).await;
    umbra.kill().expect("it lives");
    umbra.wait().expect("it ends");
    assert_eq!(taken, Some(before + 1), "a change is taken in");
}
