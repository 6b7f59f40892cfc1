//! What Envoy does not ask for, row by row.

use umbra_xds::{ResourceType, Variant};

use crate::world::{World, echoes};

/// What is done in a row.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A snapshot with these changes.
    Change(&'static str),
    /// The stream is lost, these changes come, and Envoy is back.
    Away(&'static str),
    /// A snapshot with these changes; the stream is lost just behind the next CDS response, so that clusters warm
    /// while there is none.
    LostWhileWarming(&'static str),
}

use Step::{Away, Change, LostWhileWarming};

/// A row: its title, what Envoy starts cold with, and what happens then. /x is asked for all the time.
type Row = (&'static str, &'static str, &'static [Step]);

const REPLACED_WHILE_AWAY: &str = "reconnect, A was replaced by B";

const ROWS: &[Row] = &[
    ("cold start with one assignment for two", "+A=S +B=S x:A", &[]),
    ("B is added and shares", "+A=S x:A", &[Change("+B=S")]),
    ("B is added and has its own", "+A=S x:A", &[Change("+B=T")]),
    ("A is updated", "+A=S x:A", &[Change("A~"), Change("A~")]),
    ("A is updated, B shares", "+A=S +B=S x:A", &[Change("A~"), Change("B~"), Change("A~ B~")]),
    ("nothing has changed", "+A=S +B=S x:A", &[Change(""), Change("")]),
    (
        "B is removed and added again",
        "+A=S +B=S x:A",
        &[Change("-B"), Change("+B=S"), Change("-B"), Change("+B=S")],
    ),
    ("the last user goes and comes back", "+A=S +B=T x:A", &[Change("-B"), Change("+B=T")]),
    ("another user after the last", "+A=S +B=T x:A", &[Change("-B"), Change("+C=T")]),
    ("A is replaced by B at once", "+A=S x:A", &[Change("+B=S -A x:B"), Change("+A=S -B x:A")]),
    ("A reads another assignment", "+A=S +B=T x:A", &[Change("A=T"), Change("A=S B=S")]),
    (
        "endpoints change with the cluster",
        "+A=S +B=S x:B",
        &[Change("S! A~"), Change("S! +C=S -A"), Change("S!")],
    ),
    ("reconnect, nothing has changed", "+A=S +B=S x:A", &[Away("")]),
    ("reconnect, the cluster changed", "+A=S +B=S x:A", &[Away("A~"), Away("+C=S"), Away("A~ S!")]),
    ("reconnect, a cluster is gone", "+A=S +B=S x:A", &[Away("-B"), Away("+B=T"), Away("-B")]),
    (REPLACED_WHILE_AWAY, "+A=S x:A", &[Away("+B=S -A x:B"), Away("+A=T -B x:A")]),
    ("lost while B warms, it shares", "+A=S x:A", &[LostWhileWarming("+B=S")]),
    ("lost while B warms, it has its own", "+A=S x:A", &[LostWhileWarming("+B=T")]),
    ("lost while A warms anew", "+A=S +B=S x:A", &[LostWhileWarming("A~"), LostWhileWarming("A~ B~ +C=S")]),
];

async fn check(variant: Variant) {
    let _echoes = echoes();
    for (title, start, steps) in ROWS {
        let mut world = World::start(variant, start).await;
        world.whole(title).await;
        let traffic = World::traffic();
        let mut took = Vec::new();
        for (n, step) in steps.iter().enumerate() {
            match step {
                Change(words) => world.change(words),
                Away(words) => {
                    world.server.cut();
                    world.change(words);
                }
                LostWhileWarming(words) => {
                    world.server.cut_after(ResourceType::Cluster);
                    world.change(words);
                }
            }
            took.push(world.whole(&format!("{title}, step {n}: {step:?}")).await);
            assert!(!world.server.forget_cut(), "{title}, step {n}: {step:?} led to no CDS response");
        }
        let tally = traffic.stop().await;
        let asked = tally.statuses.values().sum();
        // In state of the world a client that comes back does not say what it has. So umbra cannot keep a cluster
        // for routes that it does not know of, and says the whole truth at once.
        let lost = variant == Variant::Sotw && *title == REPLACED_WHILE_AWAY;
        let why = format!("{title}: {:?} {:?}", tally.statuses, tally.failures);
        assert!(tally.all_ok(asked) || lost, "{why}");
        world.assert_clean().await;
        println!("{variant:?}: {title}: {took:.0?}, {asked} requests");
    }
}

in_both_variants!(check);
