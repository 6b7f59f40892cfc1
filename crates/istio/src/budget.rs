//! How much routes are, and which of them a host can hold (`umbra_ir::budget`).

use std::io;

use serde::Serialize;
use umbra_ir::budget::ROUTES_ON_A_HOST;
use umbra_ir::{RouteFilters, Rule, RuleAction, RuleMatch, Surplus};

/// What every route has, whatever is written.
const ROUTE: usize = 128;

/// Counts what is written to it.
#[derive(Default)]
struct Count(usize);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How much a value is as text: in step with what any of its fields costs, those of the future too.
fn size_of(value: &impl Serialize) -> usize {
    let mut count = Count::default();
    // Neither a count nor a plain value can fail.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

/// Keeps the routes that a host can hold, in the order written. With their size, and what is left out.
pub(crate) fn keep_routes(rules: Vec<Rule>) -> (Vec<Rule>, usize, Option<Surplus>) {
    let (mut all, mut full) = (0, false);
    let mut surplus: Option<Surplus> = None;
    let mut leave_out = |field: &str, routes: usize| {
        surplus.get_or_insert_with(|| Surplus { field: field.to_owned(), routes: 0 }).routes += routes;
    };
    let mut kept = Vec::with_capacity(rules.len());
    for mut rule in rules {
        let filters = if rule.filters == RouteFilters::default() { 0 } else { size_of(&rule.filters) };
        let each = ROUTE + size_of(&rule.action) + size_of(&rule.headers) + filters;
        let pieces = match &rule.action {
            RuleAction::Forward(forward) => forward.most_routes(),
            RuleAction::Redirect(_) | RuleAction::Direct(_) => 1,
        };
        let mut fits = |condition: Option<&RuleMatch>| {
            let size = (each + condition.map_or(0, size_of)) * pieces;
            // What comes later is left out too, however small it is: nothing may overtake what stood before it.
            full |= all + size > ROUTES_ON_A_HOST;
            all += if full { 0 } else { size };
            !full
        };
        let routes = rule.matches.len().max(1);
        let first_out = match rule.matches.is_empty() {
            true => usize::from(fits(None)),
            false => rule.matches.iter().take_while(|condition| fits(Some(condition))).count(),
        };
        if first_out < routes {
            let field = if rule.matches.is_empty() { String::new() } else { format!(".match[{first_out}]") };
            leave_out(&format!("{}{field}", rule.field), routes - first_out);
            rule.matches.truncate(first_out);
        }
        // Without its matches it would take every request.
        if first_out > 0 {
            kept.push(rule);
        }
    }
    (kept, all, surplus)
}
