//! The show: what is started, the steps, the table.

mod screen;
mod stage;

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use anyhow::Result;
use umbra_testkit::client::Tally;
use umbra_testkit::echo::Mode;
use umbra_testkit::share;

use self::screen::Screen;
use self::stage::Stage;

/// One row of the closing table.
struct Row {
    step: &'static str,
    sent: usize,
    answered: usize,
    copies: usize,
    expected: RangeInclusive<usize>,
}

impl Row {
    fn good(&self) -> bool {
        self.answered == self.sent && self.expected.contains(&self.copies)
    }
}

/// Plays the demo; `false` when something did not come out as it should.
pub(crate) async fn run(keep: bool) -> Result<bool> {
    let (screen, start) = (Screen::new(), Instant::now());
    screen.title("umbra: mirror live traffic with a stock Envoy");
    let mut stage = Stage::build(keep).await?;
    stage.describe(&screen);
    let mut rows = Vec::new();

    screen.step("1. v1 alone", "the first state of the example: no mirror");
    rows.push(measure(&screen, &mut stage, "v1 alone", 200, 0.0).await?.0);

    screen.step("2. mirror every request to v2", "cp steps/mirror.yaml mesh/virtualservice.yaml");
    let took = stage.mirror(100).await?;
    screen.line(&format!("Envoy mirrors {} after the file changed", screen::time(took)));
    let (row, flowing) = measure(&screen, &mut stage, "mirror 100 %", 1000, 1.0).await?;
    rows.push(row);
    screen.line(&stage.hosts());

    let pushes = stage.envoy().route_pushes().await?;
    for (name, percent, n) in [("mirror 25 %", 25, 2000), ("mirror 0 %", 0, 1000)] {
        screen.step(&format!("{}. {name}", rows.len() + 1), &format!("mirrorPercent: {percent}"));
        let took = stage.mirror(percent).await?;
        screen.line(&format!("in force {} after the file changed", screen::time(took)));
        rows.push(measure(&screen, &mut stage, name, n, f64::from(percent) / 100.0).await?.0);
    }

    screen.step("5. a mirror that hangs", "mirrorPercent: 100, and v2 takes requests but never answers");
    stage.v2().set_mode(Mode::Hang);
    stage.mirror(100).await?;
    let (row, hanging) = measure(&screen, &mut stage, "mirror hangs", 300, 1.0).await?;
    rows.push(row);
    let flat = is_flat(&flowing, &hanging);
    for (what, tally) in [("mirror answers", &flowing), ("mirror hangs", &hanging)] {
        let [median, high] = [0.5, 0.99].map(|share| screen::time(tally.quantile(share)));
        screen.line(&format!("answers while the {what}: half within {median}, 99 % within {high}"));
    }
    let pushed = stage.envoy().route_pushes().await? - pushes;

    screen.title("What came out");
    let mut good = table(&screen, &rows);
    good &= screen.verdict(flat, "the primary's latency stays flat while the mirror hangs");
    good &= screen.verdict(pushed == 0, &format!("3 changes of the percentage pushed {pushed} route tables"));
    screen.line(&format!("{} in all", screen::time(start.elapsed())));
    if !good {
        screen.line(&stage.logs());
    }
    if keep {
        stage.v2().set_mode(Mode::Normal);
        stage.mirror(50).await?;
        stage.invite(&screen);
        std::future::pending::<()>().await;
    }
    Ok(good)
}

/// Sends `n` requests, of which `share` should be copied to v2, and shows what arrived where.
async fn measure(
    screen: &Screen,
    stage: &mut Stage,
    step: &'static str,
    n: usize,
    share: f64,
) -> Result<(Row, Tally)> {
    let expected = share::expected(n, share);
    let tally = stage.send(n, *expected.start()).await?;
    let (copies, answered) = (stage.v2().take().len(), stage.v1().take().len().min(tally.by("v1")));
    screen.bars(&[("sent", n), ("v1 answered", answered), ("copies at v2", copies)], n);
    for failure in tally.failures.iter().take(3) {
        screen.line(failure);
    }
    let answered = if tally.all_ok(n) { answered } else { tally.statuses.get(&200).copied().unwrap_or(0) };
    Ok((Row { step, sent: n, answered, copies, expected }, tally))
}

/// A mirror that held the primary up would hold it for as long as it hangs, which is for ever. What is left is
/// noise: the slack is for a busy machine, and the slowest of a hundred get more of it, since each hanging copy needs
/// a new connection.
fn is_flat(flowing: &Tally, hanging: &Tally) -> bool {
    [(0.5, 500), (0.99, 5000)].iter().all(|(share, slack)| {
        hanging.quantile(*share) <= 3 * flowing.quantile(*share) + Duration::from_millis(*slack)
    })
}

fn table(screen: &Screen, rows: &[Row]) -> bool {
    screen.line(&format!("{:<16}{:>8}{:>14}{:>10}{:>16}", "", "sent", "v1 answered", "mirrored", "expected"));
    for row in rows {
        let (low, high) = (row.expected.start(), row.expected.end());
        let expected = if low == high { low.to_string() } else { format!("{low} to {high}") };
        let text =
            format!("{:<16}{:>8}{:>14}{:>10}{expected:>16}", row.step, row.sent, row.answered, row.copies);
        screen.verdict(row.good(), &text);
    }
    screen
        .line("expected: the share of what was sent, and to either side what chance does but once in a billion runs");
    rows.iter().all(Row::good)
}
