//! Values of a traffic policy that Envoy would refuse, and with one the whole cluster.

use super::Problem;
use umbra_ir::Code;

/// A status that a response can have.
pub fn check_status(status: u32) -> Result<(), Problem> {
    if (100..=599).contains(&status) {
        return Ok(());
    }
    Err(Problem::new(Code::InvalidStatus, format!("{status} is no status code (100 to 599)")))
}
