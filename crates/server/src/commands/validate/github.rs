//! Annotations of a GitHub workflow: lines that its runner shows in the changed files
//! (<https://docs.github.com/actions/reference/workflow-commands-for-github-actions>).

use umbra_ir::{Diagnostic, Severity};

/// One annotation, with its line break.
pub(super) fn annotation(diagnostic: &Diagnostic) -> String {
    let Diagnostic { severity, code, object, field, message, file, line, column, .. } = diagnostic;
    let command = match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "notice",
    };
    let mut properties = Vec::new();
    if let Some(file) = file {
        properties.push(format!("file={}", property(file)));
        properties.extend(line.map(|line| format!("line={line}")));
        properties.extend(column.map(|column| format!("col={column}")));
    }
    properties.push(format!("title={code}"));
    let object = object.as_ref().map(|object| format!("{object}: ")).unwrap_or_default();
    let field = if field.is_empty() { String::new() } else { format!("{field}: ") };
    let text = data(&format!("{object}{field}{message}\n{}", code.remedy()));
    format!("::{command} {}::{text}\n", properties.join(","))
}

/// Text behind the command: one line to the runner.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A value in the command's list of properties.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use umbra_ir::{Code, Kind, ObjectId};

    use super::*;

    #[test]
    fn no_object_can_write_a_command_of_its_own() {
        let id = ObjectId::new(Kind::VirtualService, "default", "a");
        let diagnostic = Diagnostic {
            file: Some("a,b:c.yaml".into()),
            line: Some(3),
            column: Some(7),
            ..Diagnostic::new(Code::UnknownField, &id, "spec.x", "100 %\n::error::forged")
        };
        let shown = annotation(&diagnostic);
        let head = "::warning file=a%2Cb%3Ac.yaml,line=3,col=7,title=UnknownField::";
        assert!(
            shown.starts_with(&format!("{head}VirtualService default/a: spec.x: 100 %25%0A::error")),
            "{shown}"
        );
        assert_eq!(shown.lines().count(), 1);
        let bare = annotation(&Diagnostic { file: None, ..diagnostic });
        assert!(bare.starts_with("::warning title=UnknownField::"), "{bare}");
    }
}
