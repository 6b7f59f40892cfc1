//! How far the shares of mirrors go that something holds down: at most so many copies a second, or step by step. No clock and no IO
//! of its own; the loop that asks is `judging.rs`.
//!
//! Start reading at: [`Pacer::step`], then `ramp.rs`.

mod ramp;

use std::collections::BTreeMap;
use std::time::Instant;

use umbra_ir::{MirrorState, ObjectId, Pacing, Ramp, RampState, RuntimeFraction, RuntimeKey};
use umbra_judge::{Looks, next_share};

use crate::engine_task::AllMirrors;

/// The part of what is allowed that is aimed at: the share stays where it is until it is wrong by a quarter, and must not be above.
const AIM: f64 = 0.8;

/// What is known of each mirror that something holds down.
#[derive(Debug, Default)]
pub(crate) struct Pacer(BTreeMap<RuntimeKey, Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// What the limit of copies a second allows, in millionths, and by what requests.
    share: u32,
    looks: Looks,
    /// At which step of the ramp counting began, how many requests there had been, and how many there were when somebody told last.
    begun: Option<(usize, u64, u64)>,
}

/// A ramp goes to another step: to be written down.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Step {
    pub(crate) object: ObjectId,
    pub(crate) key: RuntimeKey,
    pub(crate) ramp: Ramp,
    pub(crate) state: RampState,
}

/// What goes on outside.
pub(crate) struct World<'a> {
    /// How many requests of a rule there were since somebody began to count; `None`: nobody does.
    pub(crate) requests: &'a dyn Fn(&str) -> Option<u64>,
    /// Of how many proxies that one is of which a mirror's requests are counted, 1 or more: what the others take is not counted.
    pub(crate) uncounted: &'a dyn Fn(&RuntimeKey) -> f64,
    /// The verdicts by what all replicas know, of those mirrors that have one; `None`: a replica is silent, which may know better.
    pub(crate) verdicts: Option<&'a BTreeMap<String, String>>,
    /// How many replicas share the proxies.
    pub(crate) replicas: usize,
    pub(crate) now: Instant,
    /// In seconds since 1970.
    pub(crate) seconds: i64,
}

impl Pacer {
    /// How far each mirror goes from now on, and which ramps take a step.
    pub(crate) fn step(
        &mut self,
        all: &AllMirrors,
        world: &World<'_>,
    ) -> (BTreeMap<RuntimeKey, RuntimeFraction>, Vec<Step>) {
        let (mut shares, mut steps, mut kept) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        for (object, state) in all.iter().flat_map(|(id, all)| all.iter().map(move |state| (id, state))) {
            let Some(pacing) = state.pacing.as_deref() else { continue };
            let mut one = self.0.remove(&state.key).unwrap_or_default();
            let requests = (world.requests)(&state.key.rule());
            let (ceiling, step) = one.step(state, pacing, requests, world);
            shares.insert(state.key.clone(), ceiling);
            steps.extend(step.map(|step| Step {
                object: object.clone(),
                key: state.key.clone(),
                ramp: pacing.ramp.clone().unwrap_or_default(),
                state: step,
            }));
            kept.insert(state.key.clone(), one);
        }
        self.0 = kept;
        (shares, steps)
    }
}

impl Kept {
    fn step(
        &mut self,
        mirror: &MirrorState,
        pacing: &Pacing,
        requests: Option<u64>,
        world: &World<'_>,
    ) -> (RuntimeFraction, Option<RampState>) {
        let mut ceiling = RuntimeFraction::ALL;
        let mut next = None;
        if let Some(ramp) = &pacing.ramp {
            let at = mirror.ramp.map_or(0, |state| state.step);
            ceiling = ramp.share(at);
            let counted = if mirror.stopped { self.count_anew() } else { self.counted(at, requests) };
            next = match mirror.ramp {
                _ if mirror.stopped || ramp.steps.is_empty() => None,
                None => Some(RampState { step: 0, since: world.seconds }),
                Some(state) => world.verdicts.and_then(|verdicts| {
                    let verdict = verdicts.get(mirror.key.as_str()).map(String::as_str);
                    // Where nobody counts at the moment, nothing would stop what goes wrong either.
                    let counted = requests.is_some().then_some(counted);
                    ramp::goes_on(ramp, state, world.seconds, counted, verdict)
                        .then_some(RampState { step: state.step + 1, since: world.seconds })
                }),
            };
        }
        if let Some(most) = pacing.max_per_second {
            // Who does not count copies by the same share, as many requests as who does as far as anybody knows.
            let target =
                AIM * f64::from(most) / world.replicas.max(1) as f64 / (world.uncounted)(&mirror.key);
            let written = mirror.written.map_or(0, RuntimeFraction::millionths);
            let pace = self.looks.look(requests, world.now);
            // Down at once, up when it has been less for long.
            let both = pace.into_iter().chain(self.looks.lately());
            let pace = both.max_by(|a, b| a.rate().total_cmp(&b.rate()));
            self.share = next_share(self.share, pace, target, written);
            ceiling = ceiling.min(RuntimeFraction::from_millionths(self.share));
        }
        (ceiling, next)
    }

    /// How many requests there were since this step is known here; where counts begin anew, so does this. Who has nothing to tell is silent,
    /// and takes away nothing that was told.
    fn counted(&mut self, at: usize, requests: Option<u64>) -> u64 {
        let begun = self.begun.filter(|(step, ..)| *step == at);
        let now = match (begun, requests) {
            (Some((_, before, last)), Some(requests)) if requests >= last => Some((at, before, requests)),
            (_, Some(requests)) => Some((at, requests, requests)),
            (begun, None) => begun,
        };
        self.begun = now;
        now.map_or(0, |(_, before, last)| last - before)
    }

    /// Whoever was stopped has counted nothing.
    fn count_anew(&mut self) -> u64 {
        self.begun = None;
        0
    }
}

#[cfg(test)]
mod tests;
