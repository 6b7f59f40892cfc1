//! A real browser without a screen, driven by the DevTools protocol over a pipe: no port, no other program between.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;

use crate::wait::{self, PATIENCE};

/// How much room a page has, in pixels.
const SIZE: (u32, u32) = (1200, 800);

/// What has come from the browser.
#[derive(Debug, Default)]
struct Heard {
    /// Who waits for the answer to which command.
    waiting: HashMap<u64, oneshot::Sender<Value>>,
    /// Everything else.
    events: Vec<Value>,
}

/// A running browser; it is killed on drop.
#[derive(Debug)]
pub struct Browser {
    _child: Child,
    commands: tokio::sync::Mutex<ChildStdin>,
    heard: Arc<Mutex<Heard>>,
    next: AtomicU64,
}

/// A page of it.
#[derive(Debug)]
pub struct Page {
    browser: Arc<Browser>,
    session: String,
}

impl Browser {
    /// Starts `program` with a profile and a log in `folder`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &Path, folder: &Path) -> Result<Arc<Self>> {
        let log = File::options().create(true).append(true).open(folder.join("browser.log"))?;
        let mut command = Command::new("sh");
        // It reads commands from descriptor 3 and writes to 4.
        command.args(["-c", "exec 3<&0 4>&1 </dev/null >&2; exec \"$@\"", "sh"]).arg(program);
        command.args(["--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"]);
        command.args(["--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking"]);
        command.arg(format!("--user-data-dir={}", folder.join("profile").display())).arg("about:blank");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        let mut child = command.spawn().context("sh")?;
        let commands = child.stdin.take().context("its input")?;
        let answers = child.stdout.take().context("its output")?;
        let heard = Arc::new(Mutex::new(Heard::default()));
        tokio::spawn(listen(answers, heard.clone()));
        let commands = tokio::sync::Mutex::new(commands);
        Ok(Arc::new(Self { _child: child, commands, heard, next: AtomicU64::new(1) }))
    }

    /// What it answers to a command of the protocol, of a session (a page's) or its own.
    async fn call(&self, session: Option<&str>, method: &str, params: Value) -> Result<Value> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        lock(&self.heard).waiting.insert(id, reply);
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let mut text = message.to_string().into_bytes();
        text.push(0);
        self.commands.lock().await.write_all(&text).await.context("the browser has ended")?;
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        let answer = answer.with_context(|| format!("{method}: no answer within {PATIENCE:?}"))?;
        let mut answer = answer.map_err(|_| anyhow!("{method}: the browser has ended"))?;
        if let Some(error) = answer.get("error") {
            bail!("{method}: {error}");
        }
        Ok(answer["result"].take())
    }

    /// A new page, still empty.
    ///
    /// # Errors
    /// When the browser does not make one.
    pub async fn page(self: &Arc<Self>) -> Result<Page> {
        let made = self.call(None, "Target.createTarget", json!({ "url": "about:blank" })).await?;
        let attach = json!({ "targetId": made["targetId"], "flatten": true });
        let attached = self.call(None, "Target.attachToTarget", attach).await?;
        let session = attached["sessionId"].as_str().context("a session")?.to_owned();
        let page = Page { browser: self.clone(), session };
        for method in ["Page.enable", "Runtime.enable", "Log.enable"] {
            page.call(method, json!({})).await?;
        }
        page.size(SIZE.0, SIZE.1, false).await?;
        Ok(page)
    }
}

fn lock(heard: &Mutex<Heard>) -> std::sync::MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands on what the browser says until it ends.
async fn listen(answers: ChildStdout, heard: Arc<Mutex<Heard>>) {
    let mut answers = BufReader::new(answers);
    let mut text = Vec::new();
    while answers.read_until(0, &mut text).await.is_ok_and(|read| read > 0) {
        let message: Value =
            serde_json::from_slice(text.strip_suffix(&[0]).unwrap_or(&text)).unwrap_or_default();
        text.clear();
        let mut heard = lock(&heard);
        match message["id"].as_u64().and_then(|id| heard.waiting.remove(&id)) {
            Some(reply) => drop(reply.send(message)),
            None => heard.events.push(message),
        }
    }
    // Whoever waits is told that nothing comes.
    lock(&heard).waiting.clear();
}

impl Page {
    async fn call(&self, method: &str, params: Value) -> Result<Value> {
        self.browser.call(Some(&self.session), method, params).await
    }

    /// Goes to an address, and waits until everything there is loaded.
    ///
    /// # Errors
    /// When it does not load.
    pub async fn open(&self, url: &str) -> Result<()> {
        let gone = self.call("Page.navigate", json!({ "url": url })).await?;
        if let Some(why) = gone.get("errorText") {
            bail!("{url}: {why}");
        }
        self.wait_for("document.readyState === 'complete'").await
    }

    /// What a script comes to, promises included.
    ///
    /// # Errors
    /// It throws.
    pub async fn run(&self, script: &str) -> Result<Value> {
        let params = json!({ "expression": script, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", params).await?;
        if let Some(thrown) = answer.get("exceptionDetails") {
            bail!("{script}: {thrown}");
        }
        Ok(answer["result"]["value"].take())
    }

    /// Waits until a script comes to true.
    ///
    /// # Errors
    /// It does not within [`PATIENCE`]; the message has the page's text.
    pub async fn wait_for(&self, script: &str) -> Result<()> {
        // What fails while a page comes or goes is not true yet.
        let look = || async { self.run(script).await.is_ok_and(|it| it == true).then_some(()) };
        if wait::until(PATIENCE, look).await.is_some() {
            return Ok(());
        }
        let text = self.run("document.body.innerText").await.unwrap_or_default();
        bail!("{script} is not true after {PATIENCE:?}:\n{text}")
    }

    /// Gives it so much room, in pixels, as a phone does or a desk.
    ///
    /// # Errors
    /// When the browser refuses.
    pub async fn size(&self, width: u32, height: u32, phone: bool) -> Result<()> {
        let scale = if phone { 2 } else { 1 };
        let room = json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone });
        self.call("Emulation.setDeviceMetricsOverride", room).await.map(drop)
    }

    /// What its reader likes better, `light` or `dark`.
    ///
    /// # Errors
    /// When the browser refuses.
    pub async fn scheme(&self, scheme: &str) -> Result<()> {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", features).await.map(drop)
    }

    /// Presses and releases a key, such as `Enter`, or a letter.
    ///
    /// # Errors
    /// When the browser refuses.
    pub async fn press(&self, key: &str) -> Result<()> {
        let text = match key {
            "Enter" => Some("\r"),
            letter if letter.chars().count() == 1 => Some(letter),
            _ => None,
        };
        let code = if key == "Enter" {
            13
        } else if key == "Tab" {
            9
        } else {
            0
        };
        let event = |kind: &str, text: Option<&str>| {
            let mut event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            if let Some(text) = text {
                event["text"] = text.into();
            }
            event
        };
        self.call("Input.dispatchKeyEvent", event("keyDown", text)).await?;
        self.call("Input.dispatchKeyEvent", event("keyUp", None)).await.map(drop)
    }

    /// A picture of what is seen, as PNG in base64.
    ///
    /// # Errors
    /// When the browser takes none.
    pub async fn picture(&self) -> Result<String> {
        let answer = self.call("Page.captureScreenshot", json!({ "format": "png" })).await?;
        Ok(answer["data"].as_str().context("a picture")?.to_owned())
    }

    /// What the browser had to say against the page so far: errors, warnings and what was thrown.
    pub fn complaints(&self) -> Vec<String> {
        let heard = lock(&self.browser.heard);
        let own = heard.events.iter().filter(|event| event["sessionId"] == self.session.as_str());
        let bad = own.filter(|event| {
            let params = &event["params"];
            match event["method"].as_str().unwrap_or_default() {
                "Runtime.exceptionThrown" => true,
                "Runtime.consoleAPICalled" => params["type"] == "error" || params["type"] == "warning",
                "Log.entryAdded" => {
                    params["entry"]["level"] == "error" || params["entry"]["level"] == "warning"
                }
                _ => false,
            }
        });
        bad.map(|event| event["params"].to_string()).collect()
    }
}
