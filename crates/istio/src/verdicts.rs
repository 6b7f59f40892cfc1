//! The annotations by which copies are judged.

use umbra_api::VirtualService;
use umbra_ir::Verdicts;

/// On a VirtualService: how many requests a second are judged, of each of its rules that has mirrors; nothing or `on`: 20.
pub const VERDICTS: &str = "umbra.io/verdicts";

/// On a VirtualService that has the other one: the bodies of what is answered are compared, too.
pub const CONTENTS: &str = "umbra.io/contents";

/// On a VirtualService that has the first one: what pairs that differ may show: `queries`, `values`, or both with a comma.
pub const EXAMPLES: &str = "umbra.io/examples";

/// Whether pairs that differ may show queries, and fields that differ values.
///
/// # Errors
/// A part of it is not understood, or there is nothing that it could show; the text says so. The rest counts.
pub(crate) fn examples(vs: &VirtualService) -> ((bool, bool), Result<(), String>) {
    let Some(written) = vs.meta.annotations.get(EXAMPLES) else { return ((false, false), Ok(())) };
    let (mut queries, mut values, mut problem) = (false, false, Ok(()));
    for part in written.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match part {
            "queries" => queries = true,
            "values" if contents(vs) == Ok(true) => values = true,
            "values" => {
                problem =
                    Err("values are those of contents, which are not compared: none is shown".to_owned());
            }
            other => problem = Err(format!("{other:?} is neither queries nor values: it shows nothing")),
        }
    }
    if problem.is_ok() && !vs.meta.annotations.contains_key(VERDICTS) {
        problem = Err(format!("there is no {VERDICTS}: nothing is shown"));
    }
    ((queries, values), problem)
}

/// What a VirtualService says about the bodies of what is answered.
///
/// # Errors
/// It is not understood, or nothing is judged; the text says so.
pub(crate) fn contents(vs: &VirtualService) -> Result<bool, String> {
    match vs.meta.annotations.get(CONTENTS).map(|written| (written, written.trim())) {
        None | Some((_, "off")) => Ok(false),
        Some((_, "" | "on")) if !vs.meta.annotations.contains_key(VERDICTS) => Err(format!(
            "contents are those of judged requests, and there is no {VERDICTS}: no body is compared"
        )),
        Some((_, "" | "on")) => Ok(true),
        Some((written, _)) => Err(format!("{written:?} is neither on nor off: no body is compared")),
    }
}

/// What a VirtualService's annotations say; `Ok(None)`: it is not there, or says `off`.
///
/// # Errors
/// It is not understood; the text says what it may be.
pub(crate) fn verdicts(vs: &VirtualService) -> Result<Option<Verdicts>, String> {
    let Some(written) = vs.meta.annotations.get(VERDICTS) else { return Ok(None) };
    let contents = contents(vs).unwrap_or_default();
    let ((queries, values), _) = examples(vs);
    let judged = Verdicts { contents, queries, values, ..Verdicts::default() };
    match written.trim() {
        "" | "on" => Ok(Some(judged)),
        "off" | "0" => Ok(None),
        number => match number.parse() {
            Ok(rate @ 1..=Verdicts::MAX_RATE) => Ok(Some(Verdicts { rate, ..judged })),
            _ => Err(format!(
                "{written:?} is neither on, off nor a number of requests a second from 1 to {}: nothing is judged",
                Verdicts::MAX_RATE
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written() {
        for (written, want) in [
            (None, Ok(None)),
            (Some(""), Ok(Some(20))),
            (Some("on"), Ok(Some(20))),
            (Some("off"), Ok(None)),
            (Some("0"), Ok(None)),
            (Some(" 5 "), Ok(Some(5))),
            (Some("1000"), Ok(Some(1000))),
            (Some("1001"), Err(())),
            (Some("-1"), Err(())),
            (Some("20/s"), Err(())),
        ] {
            let annotation = written.map_or(String::new(), |text: &str| {
                format!("annotations: {{umbra.io/verdicts: \"{text}\"}}")
            });
            let text = format!(
                "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: web\n  {annotation}\nspec: {{hosts: [web]}}\n"
            );
            let parsed = umbra_api::parse_documents(&text, "a.yaml").objects.remove(0).value;
            let umbra_api::Object::VirtualService(vs) = parsed else { panic!("{text}") };
            let got = verdicts(&vs).map(|it| it.map(|it| it.rate)).map_err(drop);
            assert_eq!(got, want, "{written:?}");
        }
    }

    #[test]
    fn what_may_be_shown() {
        for (beside, written, shown, said) in [
            ("verdicts: on", "queries", (true, false), ""),
            ("verdicts: on, contents: on", "values, queries", (true, true), ""),
            ("verdicts: on", "queries, values", (true, false), "not compared"),
            ("verdicts: on", "queries, bodies", (true, false), "neither queries nor values"),
            ("verdicts: on", "", (false, false), ""),
            ("contents: on", "queries", (true, false), "no umbra.io/verdicts"),
        ] {
            let mut annotations = format!("umbra.io/examples: '{written}'");
            for (key, value) in beside.split(", ").filter_map(|it| it.split_once(": ")) {
                annotations += &format!(", umbra.io/{key}: '{value}'");
            }
            let text = format!(
                "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: web\n  annotations: {{{annotations}}}\nspec: {{hosts: [web]}}\n"
            );
            let parsed = umbra_api::parse_documents(&text, "a.yaml").objects.remove(0).value;
            let umbra_api::Object::VirtualService(vs) = parsed else { panic!("{text}") };
            let (got, problem) = examples(&vs);
            let words = problem.err().unwrap_or_default();
            assert_eq!(got, shown, "{annotations}");
            assert!(words.contains(said) && words.is_empty() == said.is_empty(), "{annotations}: {words}");
        }
    }

    #[test]
    fn whether_bodies_are_compared() {
        for (verdicts, written, want) in [
            ("on", "on", Ok(true)),
            ("5", " on ", Ok(true)),
            ("on", "", Ok(true)),
            ("on", "off", Ok(false)),
            ("on", "json", Err("neither on nor off")),
            ("", "on", Err("no umbra.io/verdicts")),
        ] {
            let beside = if verdicts.is_empty() { "" } else { &format!("umbra.io/verdicts: '{verdicts}', ") };
            let text = format!(
                "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: web\n  annotations: {{{beside}umbra.io/contents: '{written}'}}\nspec: {{hosts: [web]}}\n"
            );
            let parsed = umbra_api::parse_documents(&text, "a.yaml").objects.remove(0).value;
            let umbra_api::Object::VirtualService(vs) = parsed else { panic!("{text}") };
            let got = contents(&vs);
            match (&got, want) {
                (Ok(got), Ok(want)) => assert_eq!(*got, want, "{written:?}"),
                (Err(got), Err(want)) => assert!(got.contains(want), "{got}"),
                _ => panic!("{written:?}: {got:?}"),
            }
        }
    }
}
