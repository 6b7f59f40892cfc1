//! Looks after `umbra.yaml` while serving: a good change counts, a bad one is said and changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};
use umbra_inject::settings::Settings as Injection;

use crate::config::Config;
use crate::engine_task::EngineHandle;
use crate::metrics::Metrics;

/// A content counts when two looks in a row see it: a half-written file may well be valid YAML.
const LOOK: Duration = Duration::from_millis(500);

/// Follows the file for ever.
pub(crate) async fn follow(
    path: PathBuf,
    config: Config,
    engine: EngineHandle,
    injection: watch::Sender<Arc<Injection>>,
    metrics: Arc<Metrics>,
) {
    let mut follower = Follower::new(config);
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let text = tokio::fs::read_to_string(&path).await.map_err(|error| error.to_string());
        match follower.look(text) {
            None => {}
            Some(Ok(News { settings_changed, restart_needed })) => {
                metrics.reloads.inc();
                info!(file = %path.display(), settings_changed, "umbra.yaml reloaded");
                if restart_needed {
                    warn!(
                        "the options of serve (dir, xds, admin, log and the like) take effect at the next start only"
                    );
                }
                if **injection.borrow() != follower.config.injection {
                    injection.send_replace(Arc::new(follower.config.injection.clone()));
                }
                if settings_changed {
                    engine.settings(follower.config.settings.clone()).await;
                }
            }
            Some(Err(why)) => {
                metrics.reload_failures.inc();
                refuse(&path, &why);
            }
        }
    }
}

fn refuse(path: &Path, why: &str) {
    // The rest is a picture of the place, good on a terminal.
    let why = why.lines().next().unwrap_or_default().trim_start_matches("error: ");
    error!(file = %path.display(), why, "umbra.yaml refused; the settings before stay");
}

/// What a reload changed.
#[derive(Debug, PartialEq)]
struct News {
    settings_changed: bool,
    restart_needed: bool,
}

/// The state between two looks. No IO, no clock.
struct Follower {
    config: Config,
    /// What the last look saw.
    seen: Option<Result<String, String>>,
    /// What was judged last.
    judged: Option<Result<String, String>>,
}

impl Follower {
    fn new(config: Config) -> Self {
        Follower { config, seen: None, judged: None }
    }

    /// Takes one look; answers when the content is new, steady and makes a difference.
    fn look(&mut self, text: Result<String, String>) -> Option<Result<News, String>> {
        if self.seen.as_ref() != Some(&text) {
            self.seen = Some(text);
            return None;
        }
        if self.judged.as_ref() == Some(&text) {
            return None;
        }
        self.judged = Some(text.clone());
        let new = text.and_then(|text| Config::parse(&text).map_err(|error| format!("{error:#}")));
        match new {
            Err(why) => Some(Err(why)),
            Ok(new) if new == self.config => None,
            Ok(new) => {
                let news = News {
                    settings_changed: new.settings != self.config.settings,
                    restart_needed: new.options != self.config.options,
                };
                self.config = new;
                Some(Ok(news))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_change_counts_once_and_a_bad_one_changes_nothing() {
        let news = |settings_changed, restart_needed| Some(Ok(News { settings_changed, restart_needed }));
        let mut follower = Follower::new(Config::default());
        for (number, (text, expected)) in [
            ("", None),
            ("", None),
            ("rootNamespace: a", None),
            ("rootNamespace: ab", None),
            ("rootNamespace: ab", news(true, false)),
            ("rootNamespace: ab", None),
            ("rootNamespace: ab # the same", None),
            ("rootNamespace: ab # the same", None),
            ("rootNamespace: ab\nxds: :1", None),
            ("rootNamespace: ab\nxds: :1", news(false, true)),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(follower.look(Ok(text.to_owned())), expected, "look {number}: {text:?}");
        }
        for text in [Ok("rootNamespac: x".to_owned()), Err("gone".to_owned())] {
            assert_eq!(follower.look(text.clone()), None);
            assert!(follower.look(text.clone()).is_some_and(|news| news.is_err()), "{text:?}");
            assert_eq!(follower.look(text), None, "said once");
        }
        assert_eq!(&*follower.config.settings.root_namespace, "ab");
    }
}
