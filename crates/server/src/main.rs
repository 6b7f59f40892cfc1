//! The binary `umbra`. Everything is in the library, so that tests can run it in their own process.

use std::process::ExitCode;

/// Gives memory back when many proxies have left or a large change is over; why this one, docs/performance.md says.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    umbra_server::commands::run()
}
