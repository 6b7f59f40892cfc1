//! Ports that nobody else takes: below the range that the kernel gives to outgoing connections, each held by a
//! locked file as long as its owner lives, so that neither tests nor test programs race for them.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Result, bail};

/// A port of this machine that is ours until this is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Takes a free port.
    ///
    /// # Errors
    /// When there is none.
    pub fn free() -> Result<Self> {
        const RANGE: std::ops::Range<u16> = 21_000..31_000;
        let folder = std::env::temp_dir().join("umbra-test-ports");
        std::fs::create_dir_all(&folder)?;
        // Processes start looking in different places.
        let start = (std::process::id().wrapping_mul(37) % u32::from(RANGE.end - RANGE.start)) as u16;
        for offset in 0..RANGE.end - RANGE.start {
            let number = RANGE.start + (start + offset) % (RANGE.end - RANGE.start);
            let Ok(lock) = File::create(folder.join(number.to_string())) else { continue };
            if lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _lock: lock });
            }
        }
        bail!("no free port in {RANGE:?}")
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// 127.0.0.1 with this port.
    pub fn local(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}
