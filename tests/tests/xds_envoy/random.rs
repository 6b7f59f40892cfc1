//! Batches of changes at random, streams lost at random: nothing is ever stuck.

use std::time::Duration;

use umbra_xds::{ResourceType, Variant};

use crate::model::{ASSIGNMENTS, Model};
use crate::server::Server;
use crate::world::{World, echoes};

/// Another seed for other batches; what is printed can be given back.
pub(crate) const SEED: &str = "UMBRA_SEED";
/// Another number of batches, for a long search.
pub(crate) const COUNT: &str = "UMBRA_BATCHES";
const BATCHES: u64 = 300;

/// A small generator: random, and the same in every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn assignment(&mut self) -> char {
        ASSIGNMENTS[self.below(3) as usize]
    }

    /// One to four changes that make sense one after the other.
    fn batch(&mut self, model: &Model) -> String {
        let (mut words, mut model) = (Vec::new(), model.clone());
        for _ in 0..=self.below(4) {
            let name = char::from(b'A' + self.below(5) as u8);
            let word = match (model.clusters.contains_key(&name), self.below(6)) {
                (_, 0) => format!("{}!", self.assignment()),
                (false, _) => format!("+{name}={}", self.assignment()),
                (true, 1 | 2) => format!("-{name}"),
                (true, 3) => format!("{name}={}", self.assignment()),
                (true, _) => format!("{name}~"),
            };
            model.change(&word);
            words.push(word);
        }
        words.join(" ")
    }
}

pub(crate) fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// Loses streams, or has them lost a little later; says which. The numbers from 7 on lose none.
fn lose(server: &Server, number: u64) -> Option<&'static str> {
    use ResourceType::{Cluster, Endpoint, Listener, Route};
    let (now, then, what) = match number {
        0 => (true, None, "away"),
        1 => (false, Some(Cluster), "lost after CDS"),
        2 => (false, Some(Endpoint), "lost after EDS"),
        // The stream after that is lost too, as soon as it has told something of what changed.
        3 => (true, Some(Cluster), "away, lost after CDS"),
        4 => (true, Some(Endpoint), "away, lost after EDS"),
        5 => (true, Some(Listener), "away, lost after LDS"),
        6 => (true, Some(Route), "away, lost after RDS"),
        _ => return None,
    };
    if now {
        server.cut();
    }
    if let Some(ty) = then {
        server.cut_after(ty);
    }
    Some(what)
}

async fn check(variant: Variant) {
    let seed = number(SEED).unwrap_or(0x00c0_ffee);
    let batches = number(COUNT).unwrap_or(BATCHES);
    println!("{variant:?}: {SEED}={seed}");
    let mut dice = Dice(seed);
    let _echoes = echoes();
    let mut world = World::start(variant, "+A=S +B=S").await;
    let (mut worst, mut worst_lost, mut lost) = (Duration::ZERO, Duration::ZERO, 0);
    for n in 0..batches {
        let mut what = Vec::new();
        // Some batches come faster than Envoy can follow.
        for _ in 0..=dice.below(8).saturating_sub(5) {
            let words = dice.batch(&world.model);
            what.push(match lose(&world.server, dice.below(28)) {
                Some(lost) => format!("{lost} {words}"),
                None => words.clone(),
            });
            world.change(&words);
        }
        let what = what.join(", ");
        let took = world.whole(&format!("{SEED}={seed}, batch {n}: {what}")).await;
        // Where nothing of that type was to be sent, the stream lives.
        world.server.forget_cut();
        if what.contains("away") || what.contains("lost") {
            (lost, worst_lost) = (lost + 1, worst_lost.max(took));
        } else {
            worst = worst.max(took);
        }
    }
    world.assert_clean().await;
    println!(
        "{variant:?}: {batches} batches, the slowest took {worst:.0?}; of {lost} with lost streams {worst_lost:.0?}"
    );
}

in_both_variants!(check);
