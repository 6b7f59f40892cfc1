//! What a person names. Pure.

use umbra_ir::{Kind, ObjectId};

use super::Wanted;

/// A VirtualService, and what of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    /// `None`: the one that is meant where nobody says.
    namespace: Option<String>,
    name: String,
    /// The name of a rule, or a runtime key; `None`: everything.
    part: Option<String>,
}

impl Target {
    /// Reads `NAME`, `NAMESPACE/NAME`, `NAMESPACE/NAME/RULE` or a runtime key.
    ///
    /// # Errors
    /// It is none of these, in words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let wrong = || {
            format!(
                "{text:?} is no NAME, NAMESPACE/NAME, NAMESPACE/NAME/RULE or runtime key of a mirror (mirror/…)"
            )
        };
        if parts.iter().any(|part| part.is_empty()) {
            return Err(wrong());
        }
        let target = |namespace: Option<&str>, name: &str, part: Option<&str>| Target {
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
            part: part.map(str::to_owned),
        };
        let target = match parts[..] {
            [name] => target(None, name, None),
            [namespace, name] => target(Some(namespace), name, None),
            [namespace, name, rule] => target(Some(namespace), name, Some(rule)),
            ["mirror", namespace, name, _, _, ..] => target(Some(namespace), name, Some(text)),
            _ => return Err(wrong()),
        };
        match target.part.as_deref() {
            Some(part) if part.contains(',') => Err(format!(
                "{part:?} has a comma, which the annotation divides names by: name the VirtualService"
            )),
            Some("all") => {
                Err("a rule of the name \"all\" means all of them: name the VirtualService".to_owned())
            }
            _ => Ok(target),
        }
    }
}

impl Target {
    /// Whether it says in which namespace.
    pub(crate) fn is_whole(&self) -> bool {
        self.namespace.is_some()
    }
}

/// What is meant, by VirtualService; who names all of one and a part of it means all.
pub(crate) fn wanted(targets: &[Target], namespace: &str) -> Wanted {
    let mut all = Wanted::new();
    for target in targets {
        let namespace = target.namespace.as_deref().unwrap_or(namespace);
        let id = ObjectId::new(Kind::VirtualService, namespace, target.name.as_str());
        let whole = all.get(&id).is_some_and(Vec::is_empty);
        let names = all.entry(id).or_default();
        match &target.part {
            None => names.clear(),
            Some(_) if whole => {}
            Some(part) => names.push(part.clone()),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named() {
        let key = "mirror/shop/web/canary/80|v2|web.shop.svc.cluster.local";
        for (targets, want) in [
            (&["web"][..], "home/web:"),
            (&["shop/web", "web"], "home/web: shop/web:"),
            (&["shop/web/canary", "shop/web/rest"], "shop/web:canary,rest"),
            (&["shop/web/canary", "shop/web"], "shop/web:"),
            (&["shop/web", "shop/web/canary"], "shop/web:"),
            (&[key], &format!("shop/web:{key}")),
            (&["shop/web/a,b"], "an error"),
            (&["shop/web/all"], "an error"),
            (&["shop/web/a/b"], "an error"),
            (&["shop/"], "an error"),
            (&[""], "an error"),
        ] {
            let parsed: Result<Vec<_>, _> = targets.iter().map(|text| Target::parse(text)).collect();
            let got = parsed.map(|targets| {
                let all = wanted(&targets, "home").into_iter();
                let all = all.map(|(id, names)| format!("{}/{}:{}", id.namespace, id.name, names.join(",")));
                all.collect::<Vec<_>>().join(" ")
            });
            assert_eq!(got.unwrap_or("an error".to_owned()), want, "{targets:?}");
        }
    }
}
