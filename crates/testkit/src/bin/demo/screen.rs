//! Text for people: colour only where a terminal shows it.

use std::io::IsTerminal;
use std::time::Duration;

/// Standard output.
pub(super) struct Screen {
    colour: bool,
}

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const CYAN: &str = "36";

impl Screen {
    /// Colours when it is a terminal and `NO_COLOR` is not set.
    pub(super) fn new() -> Self {
        Self { colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(super) fn title(&self, text: &str) {
        println!("\n{}", self.paint(BOLD, text));
    }

    pub(super) fn step(&self, name: &str, how: &str) {
        println!("\n{}  {}", self.paint(BOLD, name), self.paint(DIM, how));
    }

    pub(super) fn line(&self, text: &str) {
        println!("   {text}");
    }

    /// One bar per number, as long as its part of `whole`.
    pub(super) fn bars(&self, numbers: &[(&str, usize)], whole: usize) {
        const WIDTH: usize = 40;
        for (name, n) in numbers {
            // Whatever is more than nothing shows.
            let length = (n * WIDTH).div_ceil(whole.max(1)).min(WIDTH);
            println!("   {name:<14}{n:>6}  {}", self.paint(CYAN, &"█".repeat(length)));
        }
    }

    /// A line with a sign for good or bad, which it returns.
    pub(super) fn verdict(&self, good: bool, text: &str) -> bool {
        let sign = if good { self.paint(GREEN, "✓") } else { self.paint(RED, "✗") };
        println!(" {sign} {text}");
        good
    }
}

/// `3.2 ms`, `12.1 s`
pub(super) fn time(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        return format!("{:.1} ms", time.as_secs_f64() * 1000.0);
    }
    format!("{:.1} s", time.as_secs_f64())
}
