//! Batches of changes at random, streams lost at random: nothing is ever stuck.

use std::time::Duration;

use umbra_xds::{ResourceType, Variant};

use crate::model::{ASSIGNMENTS, Model};
use crate::world::{World, echoes};

/// Another seed for other batches; what is printed can be given back.
const SEED: &str = "UMBRA_SEED";
const BATCHES: u32 = 300;

/// A small generator: random, and the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
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

async fn check(variant: Variant) {
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x00c0_ffee);
    println!("{variant:?}: {SEED}={seed}");
    let mut dice = Dice(seed);
    let _echoes = echoes();
    let mut world = World::start(variant, "+A=S +B=S").await;
    let (mut worst, mut worst_lost, mut lost) = (Duration::ZERO, Duration::ZERO, 0);
    for n in 0..BATCHES {
        let mut what = Vec::new();
        // Some batches come faster than Envoy can follow.
        for _ in 0..=dice.below(8).saturating_sub(5) {
            let words = dice.batch(&world.model);
            what.push(match dice.below(24) {
                0 => {
                    world.server.cut();
                    format!("away {words}")
                }
                1 => {
                    world.server.cut_after(ResourceType::Cluster);
                    format!("lost after CDS {words}")
                }
                2 => {
                    world.server.cut_after(ResourceType::Endpoint);
                    format!("lost after EDS {words}")
                }
                _ => words.clone(),
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
        "{variant:?}: {BATCHES} batches, the slowest took {worst:.0?}; of {lost} with lost streams {worst_lost:.0?}"
    );
}

in_both_variants!(check);
