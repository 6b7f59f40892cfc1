//! Plays docs/guide.md: every line of its `console` blocks that begins with `$ `, in order, as a reader would type it,
//! and compares what the guide shows with what is printed.
//!
//! What needs a kubelet is played by other means: for `kubectl exec … curl` the test runs curl inside of the Pod, for `curl` it asks
//! from the node; a `kubectl port-forward` is replaced by the address of the Pod that it would lead to, and who talks to umbra through one is
//! run in its Pod's network, since what a forward leads to is the loopback there.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use umbra_testkit::client::{Ask, Client};
use umbra_testkit::cluster::stage::on_cluster_with_users;
use umbra_testkit::cluster::{Cluster, assets};
use umbra_testkit::net::Net;
use umbra_testkit::paths;

/// A command and the lines that the guide shows below it.
#[derive(Default)]
struct Step {
    command: String,
    shown: Vec<String>,
}

fn steps(guide: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in guide.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step { command: command.to_owned(), shown: Vec::new() }),
                (None, Some(step)) => step.shown.push(line.to_owned()),
                (None, None) => panic!("output without a command: {line}"),
            },
        }
    }
    steps
}

/// Whether a printed line is what the guide shows: runs of blanks are one, `…` is anything.
fn is_shown(shown: &str, printed: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (shown, printed) = (words(shown), words(printed));
    let mut parts = shown.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = printed.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn shown_and_printed() {
    for (shown, printed, same) in [
        ("a b", "a   b", true),
        ("a b", "a b c", false),
        ("a … c", "a b b c", true),
        ("…v3…", "subset v3 of x", true),
        ("…v3…", "subset v2 of x", false),
        ("a…", "ab", true),
        ("…b", "abc", false),
    ] {
        assert_eq!(is_shown(shown, printed), same, "{shown:?} {printed:?}");
    }
}

/// A reader with a shell.
struct Reader<'a> {
    cluster: &'a Cluster,
    path: String,
    /// Local ports that a port-forward would open, and the address behind each.
    forwards: BTreeMap<String, String>,
    /// The network of umbra's Pod, and the local port that a port-forward leads there from.
    inside: Option<(String, Net)>,
    /// What has answered a `curl` already.
    answered: RefCell<BTreeSet<String>>,
}

impl Reader<'_> {
    async fn play(&mut self, step: &Step) {
        let words: Vec<&str> = step.command.split_whitespace().collect();
        let printed = match words.as_slice() {
            ["kubectl", "exec", ..] => self.exec(&step.command, &words).await,
            ["curl", ..] => self.curl(&step.command, &words).await,
            ["kubectl", "-n", namespace, "port-forward", to, ports, "&"] => {
                self.forward(namespace, to, ports);
                return;
            }
            _ => self.run(&step.command),
        };
        let mut lines = printed.lines().filter(|line| !line.trim().is_empty());
        for shown in &step.shown {
            assert!(
                lines.any(|line| is_shown(shown, line)),
                "$ {}\nthe guide shows:\n{}\nbut it prints:\n{printed}",
                step.command,
                step.shown.join("\n")
            );
        }
    }

    /// Runs a command in a shell, in a folder where the repository has its `deploy`.
    fn run(&self, command: &str) -> String {
        // A reader waits as long as the machine needs; a test says how long.
        let mut text =
            command.replace("--timeout=60s", "--timeout=300s").replace("--timeout=120s", "--timeout=300s");
        for (local, behind) in &self.forwards {
            text = text.replace(local, behind);
        }
        let within = self.inside.as_ref().filter(|(local, _)| text.contains(local.as_str()));
        let bash = Path::new("bash");
        let mut shell = within.map_or_else(|| Command::new(bash), |(_, net)| net.command(bash));
        shell.args(["-o", "pipefail", "-c", &text]).current_dir(self.cluster.folder());
        shell.env("PATH", &self.path).env("KUBECONFIG", self.cluster.admin().kubeconfig());
        shell.env("HOME", self.cluster.folder());
        let out = shell.output().expect("bash");
        let printed = String::from_utf8_lossy(&out.stdout).into_owned();
        let words = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "$ {command}\n{printed}{words}");
        printed
    }

    fn forward(&mut self, namespace: &str, to: &str, ports: &str) {
        let app = match to {
            "deployment/umbra" => "control-plane",
            "service/umbra-gateway" => "gateway",
            _ => panic!("a port-forward to {to}"),
        };
        let selector = format!("app.kubernetes.io/component={app}");
        let pods = self.cluster.agent().pods(namespace, &selector);
        let pod = pods.first().expect("a Pod");
        let (local, remote) = ports.split_once(':').unwrap_or((ports, ports));
        if app == "control-plane" {
            assert_eq!(local, remote, "in the Pod's network there is no other port");
            self.inside = Some((format!("127.0.0.1:{local}"), pod.net().expect("its network")));
            return;
        }
        let address = pod.address().expect("a Pod with an address");
        self.forwards.insert(format!("127.0.0.1:{local}"), format!("{address}:{remote}"));
    }

    /// `curl` inside of a Pod, by the name that its application calls.
    async fn exec(&self, command: &str, words: &[&str]) -> String {
        let app = words.iter().find_map(|word| word.strip_prefix("deployment/")).expect("a Deployment");
        let url = words.last().expect("a URL");
        let pods = self.cluster.wait_ready("default", &format!("app={app}"), 1).await;
        if self.is_first(url) {
            let answers = || async { pods[0].curl(url, 1).await.is_ok_and(|tally| tally.all_ok(1)) };
            self.cluster.wait_for(url, answers).await;
        }
        let tally = pods[0].curl(url, 1).await.unwrap_or_else(|e| panic!("$ {command}\n{e:#}"));
        assert!(tally.all_ok(1), "$ {command}\n{tally:?}");
        String::new()
    }

    /// `curl` on the node. Answers are never looked at closely: that they are there, and none fails, is what the guide
    /// promises.
    async fn curl(&self, command: &str, words: &[&str]) -> String {
        let url = words.iter().find_map(|word| word.strip_prefix("http://")).expect("a URL");
        let (authority, path) = url.split_once('/').expect("a path");
        let host = command.split("Host: ").nth(1).and_then(|rest| rest.split('\'').next());
        let ask = Ask::get(host.unwrap_or(authority), &format!("/{path}"));
        let behind = self.forwards[authority].parse().expect("an address");
        let ok = || async {
            let answer = Client::new(&Net::here(), behind).ask(&ask).await;
            answer.is_ok_and(|answer| answer.status == 200)
        };
        if self.is_first(url) {
            self.cluster.wait_for(url, ok).await;
        }
        let answer = Client::new(&Net::here(), behind).ask(&ask).await;
        let answer = answer.unwrap_or_else(|e| panic!("$ {command}\n{e:#}"));
        assert_eq!(answer.status, 200, "$ {command}\n{}", answer.text());
        answer.text()
    }

    /// A reader is slower than the news of Pods that have just become ready: what nothing has answered yet is waited for.
    fn is_first(&self, url: &str) -> bool {
        self.answered.borrow_mut().insert(url.to_owned())
    }
}

#[test]
fn the_guide_works_as_written() {
    on_cluster_with_users(|cluster| async move {
        let guide = std::fs::read_to_string(paths::workspace().join("docs/guide.md")).expect("the guide");
        let steps = steps(&guide);
        assert!(steps.len() > 25, "only {} commands found", steps.len());
        let kubectl = assets::kubernetes("kubectl").unwrap_or_else(|why| panic!("{why}"));
        let umbra = paths::umbra().unwrap_or_else(|e| panic!("{e:#}"));
        let folder = |file: &std::path::Path| file.parent().expect("a folder").display().to_string();
        let system = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{}:{system}", folder(&kubectl), folder(&umbra));
        std::os::unix::fs::symlink(paths::workspace().join("deploy"), cluster.folder().join("deploy"))
            .expect("a link");
        let mut reader = Reader {
            cluster: &cluster,
            path,
            forwards: BTreeMap::new(),
            inside: None,
            answered: RefCell::default(),
        };
        for step in &steps {
            reader.play(step).await;
        }
    });
}
