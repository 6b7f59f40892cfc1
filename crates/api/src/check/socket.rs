//! Sockets of the Unix domain.

use umbra_ir::{Code, UNIX_SOCKET};

use super::Problem;

/// What the system has room for, the byte at the end apart (`sun_path`); Envoy refuses more.
const LONGEST: usize = 107;

/// Where a socket is, from an address such as `unix:///run/app.sock` or `unix://@abstract`.
///
/// # Errors
/// Why that cannot be one.
pub fn check_unix_socket(address: &str) -> Result<&str, Problem> {
    let wrong = |why: &str| Err(Problem::new(Code::InvalidAddress, format!("{address:?} {why}")));
    let Some(path) = address.strip_prefix(UNIX_SOCKET) else {
        return wrong("is no socket of the Unix domain: unix:///PATH");
    };
    let absolute = path.starts_with('/') && !path.ends_with('/');
    let abstract_name = path.starts_with('@') && path.len() > 1;
    if !absolute && !abstract_name {
        return wrong("names no file by its whole path");
    }
    if path.len() > LONGEST {
        return wrong("is longer than the 107 bytes that a socket's path may have");
    }
    if path.contains('\0') {
        return wrong("has a zero byte");
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::check_unix_socket;

    #[test]
    fn sockets() {
        let long = format!("unix:///{}", "a".repeat(106));
        let longer = format!("{long}a");
        for (address, path) in [
            ("unix:///run/app.sock", Some("/run/app.sock")),
            ("unix://@app", Some("@app")),
            (&long, Some(&long[7..])),
            (&longer, None),
            ("unix://", None),
            ("unix://@", None),
            ("unix:///", None),
            ("unix:///run/", None),
            ("unix://run/app.sock", None),
            ("unix:/run/app.sock", None),
            ("unix:///a\0b", None),
            ("/run/app.sock", None),
        ] {
            assert_eq!(check_unix_socket(address).ok(), path, "{address}");
        }
    }
}
