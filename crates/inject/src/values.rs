//! What annotations and settings may say of the sidecar's container.

/// The units of Kubernetes' quantities.
const UNITS: [&str; 16] =
    ["n", "u", "m", "", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
/// Envoy's log levels.
const LEVELS: [&str; 8] = ["trace", "debug", "info", "warning", "warn", "error", "critical", "off"];

/// A quantity, such as `100m` or `1Gi`.
pub(crate) fn quantity(text: &str) -> Result<(), String> {
    let (number, unit) = match text.find(|c: char| !(c.is_ascii_digit() || c == '.')) {
        Some(end) => text.split_at(end),
        None => (text, ""),
    };
    let number = number.starts_with(|c: char| c.is_ascii_digit()) && number.parse::<f64>().is_ok();
    if number && UNITS.contains(&unit) {
        Ok(())
    } else {
        Err(format!("{text:?} is no quantity, such as 100m or 128Mi"))
    }
}

/// An image.
pub(crate) fn image(text: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts && text.len() <= 512 && text.chars().all(good) {
        Ok(())
    } else {
        Err(format!("{text:?} is no image"))
    }
}

/// A log level of Envoy.
pub(crate) fn log_level(text: &str) -> Result<(), String> {
    if LEVELS.contains(&text) { Ok(()) } else { Err(format!("{text:?} is none of {}", LEVELS.join(", "))) }
}

/// Log levels of Envoy's components: `http:debug,upstream:info`.
pub(crate) fn component_levels(text: &str) -> Result<(), String> {
    for part in text.split(',') {
        let good = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
        };
        match part.split_once(':') {
            Some((name, level)) if good(name) => log_level(level)?,
            _ => return Err(format!("{part:?} is not COMPONENT:LEVEL")),
        }
    }
    Ok(())
}

/// `true` or `false`.
pub(crate) fn flag(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_said() {
        type Check = fn(&str) -> Result<(), String>;
        for (check, good, bad) in [
            (
                quantity as Check,
                &["100m", "1", "0.5", "128Mi", "1e"[..1].into()][..],
                &["", "m", "1x", "-1", "1 Mi", ".5", "1.2.3"][..],
            ),
            (image, &["envoy", "docker.io/a/b:v1", "a@sha256:00"], &["", " a", "a b", "a\nb", "-a", "a\"b"]),
            (log_level, &["debug", "off"], &["", "loud", "debug,info"]),
            (
                component_levels,
                &["http:debug", "http:debug,conn_handler:info"],
                &["", "http", "http:loud", "http:debug,"],
            ),
        ] {
            good.iter().for_each(|text| assert_eq!(check(text), Ok(()), "{text:?}"));
            bad.iter().for_each(|text| assert!(check(text).is_err(), "{text:?}"));
        }
    }
}
