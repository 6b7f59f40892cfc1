//! The annotation by which copies are judged.

use umbra_api::VirtualService;
use umbra_ir::Verdicts;

/// On a VirtualService: how many requests a second are judged, of each of its rules that has mirrors; nothing or `on`: 20.
pub const VERDICTS: &str = "umbra.io/verdicts";

/// What a VirtualService's annotation says; `Ok(None)`: it is not there, or says `off`.
///
/// # Errors
/// It is not understood; the text says what it may be.
pub(crate) fn verdicts(vs: &VirtualService) -> Result<Option<Verdicts>, String> {
    let Some(written) = vs.meta.annotations.get(VERDICTS) else { return Ok(None) };
    match written.trim() {
        "" | "on" => Ok(Some(Verdicts::default())),
        "off" | "0" => Ok(None),
        number => match number.parse() {
            Ok(rate @ 1..=Verdicts::MAX_RATE) => Ok(Some(Verdicts { rate })),
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
}
