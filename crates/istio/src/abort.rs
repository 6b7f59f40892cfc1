//! The annotations by which mirrors stop by themselves (docs/decisions/0053): the limits, and the record of what they stopped. The
//! stop itself is that of `stop.rs`.

use umbra_api::{Duration, VirtualService, check_abort_limit};
use umbra_ir::{AbortLimit, AbortLimits, AbortReason, Aborted, RuntimeKey};

/// On a VirtualService: limits as `shadowErrors=5%/30s/100, copiesLost=1%`, for all of its mirrors; behind `NAME:`, and divided by
/// `;`, for one rule's, or for the mirror with this runtime key, instead of those.
pub const ABORT: &str = "umbra.io/abort";
/// What umbra writes beside `umbra.io/stop`: a line for each mirror that it stopped.
pub const ABORTED: &str = "umbra.io/aborted";

/// Lines that are kept, the newest first.
const LINES: usize = 32;

/// The limits of a VirtualService's mirrors.
#[derive(Debug, Default)]
pub(crate) struct Abort<'a> {
    sections: Vec<(Option<&'a str>, AbortLimits)>,
    /// What is wrong with the text; each names what it is about.
    pub(crate) problems: Vec<String>,
}

impl<'a> Abort<'a> {
    /// What a VirtualService's annotation says.
    pub(crate) fn of(vs: &'a VirtualService) -> Self {
        let text = vs.meta.annotations.get(ABORT).map_or("", String::as_str);
        let mut abort = Abort::default();
        for section in text.split(';').map(str::trim).filter(|section| !section.is_empty()) {
            // No limit has a colon in it; a name may.
            let (name, terms) = match section.rsplit_once(':') {
                Some((name, terms)) => (Some(name.trim()), terms),
                None => (None, section),
            };
            let mut limits = AbortLimits::default();
            for term in terms.split(',').map(str::trim).filter(|term| !term.is_empty()) {
                match parse_limit(term) {
                    Ok((reason, Some(limit))) => limits.set(reason, limit),
                    Ok((_, None)) => limits.different = true,
                    Err(why) => abort.problems.push(format!("{term:?} {why}")),
                }
            }
            abort.sections.push((name, limits));
        }
        abort
    }

    /// The limits of a mirror of a rule of this name.
    pub(crate) fn limits(&self, rule: &str, key: &RuntimeKey) -> AbortLimits {
        let is = |name: &&str| *name == rule || *name == key.as_str();
        let own = self.sections.iter().find(|(name, _)| name.as_ref().is_some_and(is));
        let all = || self.sections.iter().find(|(name, _)| name.is_none());
        own.or_else(all).map(|(_, limits)| *limits).unwrap_or_default()
    }

    /// What it names although there is no such mirror.
    pub(crate) fn unknown<'m>(
        &self,
        mirrors: impl Iterator<Item = (&'m str, &'m RuntimeKey)> + Clone,
    ) -> Vec<&'a str> {
        let known = |name: &str| mirrors.clone().any(|(rule, key)| name == rule || name == key.as_str());
        self.sections.iter().filter_map(|(name, _)| *name).filter(|name| !known(name)).collect()
    }
}

/// `NAME=PERCENT%`, then maybe `/WINDOW` and `/SAMPLE`; or `verdict=different`, which has no figures.
fn parse_limit(term: &str) -> Result<(AbortReason, Option<AbortLimit>), String> {
    let form = "is not NAME=PERCENT%/WINDOW/SAMPLE, such as shadowErrors=5%/30s/100";
    let (name, value) = term.split_once('=').ok_or(form)?;
    let reason = AbortReason::ALL.into_iter().find(|it| it.limit_name() == name.trim());
    let names = || AbortReason::ALL.map(AbortReason::limit_name).join(", ");
    let reason = reason.ok_or_else(|| format!("names no limit; there are {}", names()))?;
    if reason == AbortReason::Verdict {
        let other = || "is not verdict=different, the only verdict that stops a mirror".to_owned();
        return (value.trim() == "different").then_some((reason, None)).ok_or_else(other);
    }
    let mut parts = value.split('/').map(str::trim);
    let percent = parts.next().and_then(|part| part.strip_suffix('%')?.trim().parse::<f64>().ok());
    let percent = percent.ok_or(form)?;
    // What is no time at all is no window either.
    let parse = |text: &str| text.parse::<Duration>().ok().and_then(Duration::to_std).unwrap_or_default();
    let window = parts.next().map(parse);
    let sample = parts.next().map(|text| text.parse().unwrap_or_default());
    if parts.next().is_some() {
        return Err(form.to_owned());
    }
    let limit = check_abort_limit(reason, percent, window, sample).map_err(|(_, why)| why)?;
    Ok((reason, Some(limit)))
}

/// What the record says of the mirror with this key; `None`: its limits have not stopped it.
pub(crate) fn aborted(vs: &VirtualService, key: &str) -> Option<Aborted> {
    let text = vs.meta.annotations.get(ABORTED)?;
    text.lines().find_map(|line| {
        let (reason, words, of) = parse_line(line)?;
        (of == key).then(|| Aborted { reason, words: words.to_owned() })
    })
}

/// `LIMIT; WORDS; KEY`: a key may hold anything.
fn parse_line(line: &str) -> Option<(AbortReason, &str, &str)> {
    let mut parts = line.splitn(3, "; ");
    let (name, words, key) = (parts.next()?, parts.next()?, parts.next()?);
    let reason = AbortReason::ALL.into_iter().find(|it| it.limit_name() == name)?;
    Some((reason, words, key))
}

/// The record with this mirror in it, the newest first.
pub fn record_abort(before: Option<&str>, key: &RuntimeKey, aborted: &Aborted) -> String {
    let Aborted { reason, words } = aborted;
    let words = words.replace([';', '\n'], ",");
    let new = format!("{}; {words}; {key}", reason.limit_name());
    let others = before.unwrap_or_default().lines();
    let others = others.filter(|line| parse_line(line).is_some_and(|(.., of)| of != key.as_str()));
    std::iter::once(new.as_str()).chain(others).take(LINES).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vs(annotations: &[(&str, &str)]) -> VirtualService {
        let all = annotations.iter().map(|(key, text)| format!("    {key}: {text:?}\n"));
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: web\n  annotations:\n{}spec: {{hosts: [web]}}\n",
            all.collect::<String>()
        );
        let parsed = umbra_api::parse_documents(&text, "a.yaml").objects.remove(0).value;
        let umbra_api::Object::VirtualService(vs) = parsed else { panic!("{text}") };
        vs
    }

    fn key(rule: &str) -> RuntimeKey {
        RuntimeKey::new(format!("mirror/default/web/{rule}/|v2|web"))
    }

    /// The limits of a mirror of the rule `canary`, and what is not understood.
    #[track_caller]
    fn check(annotation: &str, want: &str, problems: &[&str]) {
        let vs = vs(&[(ABORT, annotation)]);
        let abort = Abort::of(&vs);
        let limits = abort.limits("canary", &key("canary"));
        let words: Vec<_> = limits.words().into_iter().map(|(_, words)| words).collect();
        assert_eq!(words.join(", "), want, "{annotation}");
        let known = key("canary");
        let mut said = abort.problems.clone();
        said.extend(abort.unknown(std::iter::once(("canary", &known))).iter().map(|name| name.to_string()));
        assert_eq!(said.len(), problems.len(), "{annotation}: {said:?}");
        for (said, part) in said.iter().zip(problems) {
            assert!(said.contains(part), "{annotation}: {said}");
        }
    }

    #[test]
    fn limits_as_people_write_them() {
        check("", "", &[]);
        check("shadowErrors=5%", "shadowErrors 5% in 30s of 100", &[]);
        check(
            " copiesLost = 0.5% / 1m / 20 , primaryLatency=200%",
            "copiesLost 0.5% in 60s of 20, primaryLatency 200% in 30s of 100",
            &[],
        );
        check("shadowErrors=5%; canary: primaryErrors=1%/10s", "primaryErrors 1% in 10s of 100", &[]);
        check("shadowErrors=5%; rest: copiesLost=1%", "shadowErrors 5% in 30s of 100", &["rest"]);
        check("mirror/default/web/canary/|v2|web: copiesLost=0%", "copiesLost 0% in 30s of 100", &[]);
        check("canary:", "", &[]);
        check("verdict=different, copiesLost=1%", "copiesLost 1% in 30s of 100, verdict different", &[]);
        check("verdict=same", "", &["only verdict"]);
        check("errors=5%, copiesLost=1%", "copiesLost 1% in 30s of 100", &["names no limit"]);
        for (term, part) in [
            ("shadowErrors", "is not NAME"),
            ("shadowErrors=5", "is not NAME"),
            ("shadowErrors=101%", "from 0% to 100%"),
            ("shadowErrors=-1%", "from 0% to 100%"),
            ("shadowErrors=NaN%", "from 0% to 100%"),
            ("shadowErrors=5%/1s", "window"),
            ("shadowErrors=5%/soon", "window"),
            ("shadowErrors=5%/30s/0", "sample"),
            ("shadowErrors=5%/30s/1/1", "is not NAME"),
            ("primaryLatency=10001%", "to 10000%"),
        ] {
            check(term, "", &[part]);
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let one = Aborted { reason: AbortReason::CopiesLost, words: "12% lost; really".to_owned() };
        let two = Aborted { reason: AbortReason::ShadowErrors, words: "9% of 100".to_owned() };
        let odd = key("a; b");
        let text = record_abort(None, &odd, &one);
        let text = record_abort(Some(&text), &key("canary"), &one);
        let text = record_abort(Some(&text), &key("canary"), &two);
        assert_eq!(text.lines().count(), 2, "{text}");
        let vs = vs(&[(ABORTED, &text)]);
        assert_eq!(aborted(&vs, key("canary").as_str()), Some(two));
        assert_eq!(aborted(&vs, odd.as_str()).map(|it| it.words), Some("12% lost, really".to_owned()));
        assert_eq!(aborted(&vs, key("rest").as_str()), None);
        let many =
            (0..50).fold(String::new(), |text, n| record_abort(Some(&text), &key(&n.to_string()), &one));
        assert_eq!(many.lines().count(), LINES);
    }
}
