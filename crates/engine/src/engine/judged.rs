//! What is judged of requests, and how far the shares of mirrors go that something holds down: an input beside the objects.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use umbra_ir::{RuntimeFraction, RuntimeKey};

use super::Engine;
use crate::input::{Input, InputId};

impl Engine {
    /// Says what part of each of these rules' requests is judged ([`RuntimeKey::judging`]), and how far the shares of these mirrors
    /// go; nothing of all others.
    pub fn set_judged(&mut self, shares: &BTreeMap<RuntimeKey, RuntimeFraction>) {
        let gone: Vec<_> = self.judged.keys().filter(|key| !shares.contains_key(key)).cloned().collect();
        for key in gone {
            self.dirty |= self.memo.apply(&InputId::Judged(key), None);
        }
        for (key, share) in shares.iter().filter(|(key, share)| self.judged.get(key) != Some(share)) {
            let input = Arc::new(Input::Judged(*share));
            self.dirty |= self.memo.apply(&InputId::Judged(key.clone()), Some(input));
        }
        self.judged = shares.clone();
    }

    /// How long a copy may take.
    pub fn max_stream_duration(&self) -> Duration {
        self.world.settings.mirror.max_stream_duration
    }
}
