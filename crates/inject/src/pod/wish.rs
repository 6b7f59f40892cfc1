//! What one Pod asks for: its annotations, and the settings where they say nothing. Every value is checked.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Context;
use super::choice::strings;
use crate::capture::{Capture, Interception};
use crate::settings::Settings;
use crate::{values, words, yaml};

/// Checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wish {
    pub(super) mode: Interception,
    pub(super) native: bool,
    pub(super) image: String,
    /// Each `None` when nothing is said.
    pub(super) cpu: Option<String>,
    pub(super) cpu_limit: Option<String>,
    pub(super) memory: Option<String>,
    pub(super) memory_limit: Option<String>,
    pub(super) log_level: String,
    pub(super) component_log_level: Option<String>,
    pub(super) concurrency: u32,
    pub(super) warnings: Vec<String>,
}

impl Wish {
    /// # Errors
    /// All values that cannot be, with their annotations.
    pub(super) fn read(pod: &Value, context: &Context, settings: &Settings) -> Result<Self, String> {
        let annotations = strings(pod, "annotations");
        let mut wish = Wish {
            mode: Interception::parse(&settings.interception_mode)?,
            native: settings.native_sidecar,
            image: settings.proxy_image.clone(),
            cpu: Some(settings.cpu.clone()),
            cpu_limit: settings.cpu_limit.clone(),
            memory: Some(settings.memory.clone()),
            memory_limit: settings.memory_limit.clone(),
            log_level: settings.log_level.clone(),
            component_log_level: None,
            concurrency: settings.concurrency,
            warnings: Vec::new(),
        };
        let mut hold = false;
        let mut bad = Vec::new();
        if let Some(config) = annotations.get(words::PROXY_CONFIG)
            && let Err(why) = wish.config(config, &mut hold)
        {
            bad.push(format!("{}: {why}", words::PROXY_CONFIG));
        }
        match (Capture { mode: wish.mode, ..settings.capture()? }).annotated(&annotations) {
            Ok(capture) => wish.mode = capture.mode,
            Err(list) => bad.extend(list.iter().map(ToString::to_string)),
        }
        wish.resources(&annotations);
        for (name, value) in &annotations {
            if let Err(why) = wish.annotation(name, value) {
                bad.push(format!("{name}: {why}"));
            }
            if words::is_ours(name) && !words::KNOWN.contains(&name.as_str()) {
                wish.warnings.push(format!("the annotation {name} is not acted on"));
            }
        }
        if !bad.is_empty() {
            return Err(bad.join("; "));
        }
        if !wish.native && context.ends {
            return Err(
                "it is a Job's, which a classic sidecar would keep from ending: it needs a native one"
                    .to_owned(),
            );
        }
        if !wish.native && hold {
            let words =
                "holdApplicationUntilProxyStarts needs a native sidecar, which always holds: not acted on";
            wish.warnings.push(words.to_owned());
        }
        Ok(wish)
    }

    fn annotation(&mut self, name: &str, value: &str) -> Result<(), String> {
        let value = value.trim();
        match name {
            words::PROXY_IMAGE => {
                values::image(value)?;
                value.clone_into(&mut self.image);
            }
            words::LOG_LEVEL => {
                values::log_level(value)?;
                value.clone_into(&mut self.log_level);
            }
            words::COMPONENT_LOG_LEVEL => {
                values::component_levels(value)?;
                self.component_log_level = Some(value.to_owned());
            }
            words::NATIVE_SIDECAR => self.native = values::flag(value)?,
            words::PROXY_CPU | words::PROXY_CPU_LIMIT | words::PROXY_MEMORY | words::PROXY_MEMORY_LIMIT => {
                values::quantity(value)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Where one of a pair is said, the settings say nothing about the other: half of them and half of the Pod's might be
    /// a request above its limit, which the API server refuses.
    fn resources(&mut self, annotations: &BTreeMap<String, String>) {
        for (request, limit, wish, wish_limit) in [
            (words::PROXY_CPU, words::PROXY_CPU_LIMIT, &mut self.cpu, &mut self.cpu_limit),
            (words::PROXY_MEMORY, words::PROXY_MEMORY_LIMIT, &mut self.memory, &mut self.memory_limit),
        ] {
            let (request, limit) = (annotations.get(request), annotations.get(limit));
            if request.is_some() || limit.is_some() {
                (*wish, *wish_limit) = (request.cloned(), limit.cloned());
            }
        }
    }

    /// `proxy.istio.io/config`, a part of Istio's ProxyConfig.
    fn config(&mut self, text: &str, hold: &mut bool) -> Result<(), String> {
        let config = yaml::read(text).map_err(|error| error.to_string())?;
        let Some(config) = config.as_object() else { return Err("it is no map".to_owned()) };
        for (key, value) in config {
            let wrong = || format!("{key}: {value} cannot be");
            match key.as_str() {
                "concurrency" => {
                    let number = value.as_u64().and_then(|it| u32::try_from(it).ok());
                    self.concurrency = number.ok_or_else(wrong)?;
                }
                "interceptionMode" => {
                    self.mode = value.as_str().ok_or_else(wrong).and_then(Interception::parse)?
                }
                "holdApplicationUntilProxyStarts" => *hold = value.as_bool().ok_or_else(wrong)?,
                // A gateway's, read where gateways are.
                "gatewayTopology" => {}
                _ => self.warnings.push(format!("{} of {} is not acted on", key, words::PROXY_CONFIG)),
            }
        }
        Ok(())
    }
}
