//! The environment of a container: `env`, `envFrom`, the downward API, and `$(NAME)` in arguments.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod};

use super::super::site::{HOST, Site};
use super::objects::Objects;

/// A field of the Pod as the downward API names it, such as `metadata.name` or `metadata.labels['app']`.
pub(super) fn field(pod: &Pod, address: &str, path: &str) -> Result<String> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let text = |value: Option<&String>| value.cloned().unwrap_or_default();
    let entry = |map: &Option<BTreeMap<String, String>>, key: &str| {
        let key = key.trim_end_matches("']");
        map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default()
    };
    Ok(match path {
        "metadata.name" => text(meta.name.as_ref()),
        "metadata.namespace" => text(meta.namespace.as_ref()),
        "metadata.uid" => text(meta.uid.as_ref()),
        "metadata.labels" => listed(meta.labels.as_ref()),
        "metadata.annotations" => listed(meta.annotations.as_ref()),
        "spec.nodeName" => text(spec.and_then(|s| s.node_name.as_ref())),
        "spec.serviceAccountName" => text(spec.and_then(|s| s.service_account_name.as_ref())),
        "status.podIP" | "status.podIPs" => address.to_owned(),
        "status.hostIP" | "status.hostIPs" => HOST.to_string(),
        _ => match path.split_once("['") {
            Some(("metadata.labels", key)) => entry(&meta.labels, key),
            Some(("metadata.annotations", key)) => entry(&meta.annotations, key),
            _ => bail!("the test node does not know the field {path}"),
        },
    })
}

/// One `key="value"` a line, as a downward API file has it.
fn listed(map: Option<&BTreeMap<String, String>>) -> String {
    map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}\n")).collect()
}

/// The variables of a container, without those of the machine.
///
/// # Errors
/// What is missing, in the words that kubelet's `CreateContainerConfigError` would have.
pub(super) async fn variables(
    pod: &Pod,
    container: &Container,
    address: &str,
    site: Site,
    objects: &Objects,
) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::from([
        ("KUBERNETES_SERVICE_HOST".to_owned(), site.server.ip().to_string()),
        ("KUBERNETES_SERVICE_PORT".to_owned(), site.server.port().to_string()),
        ("HOSTNAME".to_owned(), pod.metadata.name.clone().unwrap_or_default()),
        ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".to_owned()),
    ]);
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let data = match (&from.config_map_ref, &from.secret_ref) {
            (Some(map), _) => objects.config_map(&map.name, map.optional).await?,
            (None, Some(secret)) => objects.secret(&secret.name, secret.optional).await?,
            (None, None) => BTreeMap::new(),
        };
        all.extend(
            data.into_iter().map(|(k, v)| (format!("{prefix}{k}"), String::from_utf8_lossy(&v).into_owned())),
        );
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) => expand(value, &all),
            (None, Some(source)) => from_source(pod, source, address, objects).await?,
            (None, None) => String::new(),
        };
        all.insert(variable.name.clone(), value);
    }
    Ok(all)
}

async fn from_source(pod: &Pod, source: &EnvVarSource, address: &str, objects: &Objects) -> Result<String> {
    if let Some(reference) = &source.field_ref {
        return field(pod, address, &reference.field_path);
    }
    if let Some(reference) = &source.resource_field_ref {
        // Cores and bytes that every machine has.
        return Ok(if reference.resource.ends_with("memory") { "1073741824" } else { "1" }.to_owned());
    }
    let (data, key) = if let Some(r) = &source.config_map_key_ref {
        (objects.config_map(&r.name, r.optional).await?, &r.key)
    } else if let Some(r) = &source.secret_key_ref {
        (objects.secret(&r.name, r.optional).await?, &r.key)
    } else {
        bail!("the test node does not know this source of a variable: {source:?}");
    };
    let value = data.get(key).with_context(|| format!("no key {key}"))?;
    Ok(String::from_utf8_lossy(value).into_owned())
}

/// Puts variables for `$(NAME)`; what is not known stays, `$$(` is `$(`.
pub(super) fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let name = rest.strip_prefix("$(").and_then(|after| after.split_once(')'));
        if let Some(after) = rest.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = name {
            match variables.get(name) {
                Some(value) => out.push_str(value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expansion() {
        let variables = BTreeMap::from([("POD".to_owned(), "a-1".to_owned())]);
        for (text, want) in [
            ("--id=$(POD)", "--id=a-1"),
            ("$(POD)$(POD)", "a-1a-1"),
            ("$(NONE)", "$(NONE)"),
            ("$$(POD)", "$(POD)"),
            ("$5 $", "$5 $"),
            ("", ""),
        ] {
            assert_eq!(expand(text, &variables), want, "{text}");
        }
    }

    #[test]
    fn fields() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "a", "namespace": "n", "labels": {"app": "x"}, "annotations": {"b/c": "d"}},
            "spec": {"nodeName": "node", "containers": []},
        }))
        .expect("a Pod");
        for (path, want) in [
            ("metadata.name", Some("a")),
            ("metadata.labels['app']", Some("x")),
            ("metadata.labels['none']", Some("")),
            ("metadata.annotations['b/c']", Some("d")),
            ("metadata.labels", Some("app=\"x\"\n")),
            ("spec.nodeName", Some("node")),
            ("status.podIP", Some("10.244.0.1")),
            ("spec.hostname", None),
        ] {
            assert_eq!(field(&pod, "10.244.0.1", path).ok().as_deref(), want, "{path}");
        }
    }
}
