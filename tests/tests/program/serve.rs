//! `umbra serve`: readiness, metrics, views, shutdown.

use umbra_testkit::net::Net;
use umbra_testkit::umbra::{self, UmbraProcess, write};
use umbra_testkit::wait::{self, PATIENCE};
use umbra_tests::manifests::{all, rules, to_v1, web};

async fn serve(folder: &std::path::Path) -> UmbraProcess {
    let mesh = folder.join("mesh");
    let rule = rules("web", "web", &to_v1("mirror: {host: web, subset: v9}"));
    write(&mesh, "web.yaml", &all(&[web(), rule])).expect("manifests");
    UmbraProcess::start(&Net::here(), &mesh, None, folder).await.expect("umbra")
}

#[tokio::test]
async fn the_admin_port_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let umbra = serve(folder.path()).await;
    for path in ["/healthz", "/readyz"] {
        umbra.get(path).await.expect(path);
    }
    let metrics = umbra.get("/metrics").await.expect("metrics");
    for part in
        ["umbra_ready 1", "umbra_objects{kind=\"VirtualService\"} 1", "umbra_files 1", "umbra_diagnostics{"]
    {
        assert!(metrics.contains(part), "{part}: {metrics}");
    }
    let diagnostics = umbra.json("/debug/diagnostics").await.expect("diagnostics");
    assert!(diagnostics.to_string().contains("v9"), "{diagnostics:#}");
    assert!(umbra.get("/nonsense").await.is_err());
    assert!(umbra.json("/debug/proxies").await.is_ok());
    assert!(umbra.json("/debug/objects").await.expect("objects").to_string().contains("VirtualService"));
}

#[tokio::test]
async fn diagnostics_follow_the_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let umbra = serve(folder.path()).await;
    let says = |word: &'static str, wanted: bool| {
        let umbra = &umbra;
        async move {
            let look = || async {
                let all = umbra.get("/debug/diagnostics").await.unwrap_or_default();
                (all.contains(word) == wanted).then_some(())
            };
            assert!(wait::until(PATIENCE, look).await.is_some(), "{word}: {wanted}");
        }
    };
    says("v9", true).await;
    let mesh = folder.path().join("mesh");
    write(&mesh, "broken.yaml", "kind: [").expect("a file");
    says("broken.yaml", true).await;
    std::fs::remove_file(mesh.join("broken.yaml")).expect("a file");
    says("broken.yaml", false).await;
    write(&mesh, "web.yaml", &all(&[web(), rules("web", "web", &to_v1(""))])).expect("a file");
    says("v9", false).await;
}

#[tokio::test]
async fn it_ends_cleanly_when_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let umbra = serve(folder.path()).await;
    let (status, _) = umbra.terminate(PATIENCE).await.expect("an end");
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn settings_that_are_not_understood_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mesh = folder.path().join("mesh");
    std::fs::create_dir(&mesh).expect("a folder");
    for (settings, word) in
        [("mirrors: {}\n", "mirrors"), ("mirror: {maxStreamDuration: 0s}\n", "maxStreamDuration"), ("[", "")]
    {
        let config = folder.path().join("umbra.yaml");
        std::fs::write(&config, settings).expect("settings");
        let failed = UmbraProcess::start(&Net::here(), &mesh, Some(&config), folder.path()).await;
        let message = format!("{:#}", failed.expect_err("refused"));
        assert!(message.contains("umbra ended") && message.contains(word), "{settings}: {message}");
        std::fs::remove_file(folder.path().join("umbra.log")).expect("a log");
    }
}

/// What cannot be started as it is written ends at once, with 2 and a sentence that says each thing once.
#[test]
fn what_cannot_be_served_is_wrong_usage() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("kubeconfig.yaml");
    std::fs::write(&file, "apiVersion: v1\nkind: Config\n").expect("a file");
    let file = file.to_str().expect("a path in UTF-8");
    for (arguments, word) in [
        (&[][..], "nothing to serve"),
        (&["--dir", "/nowhere"], "No such file"),
        (&["--kubeconfig", "/nowhere"], "No such file"),
        (&["--kubeconfig", file], "current context"),
        (&["--kubeconfig", file, "--in-cluster"], "give one"),
        (&["--kubeconfig", file, "--watch-namespaces", "Shop"], "lower-case"),
        (&["--config", "/nowhere"], "No such file"),
    ] {
        let out = umbra::run(&[&["serve"], arguments].concat()).expect("umbra runs");
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{arguments:?}: {said}");
        assert_eq!(said.matches(word).count(), 1, "{arguments:?}: {said}");
        assert!(said.starts_with("umbra: ") && said.lines().count() == 1, "{arguments:?}: {said}");
    }
}
