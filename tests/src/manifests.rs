//! Manifests as text: a small mesh that most tests need, and the parts to build others from.

/// A Service in `namespace` that selects the Pods with the label `app: NAME`; `ports` are (name, port, target port).
pub fn service(namespace: &str, name: &str, ports: &[(&str, u16, u16)]) -> String {
    let port = |(name, port, target): &(&str, u16, u16)| {
        format!("  - name: {name}\n    port: {port}\n    targetPort: {target}\n")
    };
    let ports: String = ports.iter().map(port).collect();
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: {namespace}\nspec:\n  selector:\n    \
         app: {name}\n  ports:\n{ports}"
    )
}

/// A Pod with the labels `app` and `version`, called `APP-VERSION`.
pub fn pod(namespace: &str, app: &str, version: &str, ip: &str, ready: bool) -> String {
    let ready = if ready { "True" } else { "False" };
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {app}-{version}\n  namespace: {namespace}\n  labels:\n    \
         app: {app}\n    version: {version}\nspec:\n  containers:\n  - name: main\nstatus:\n  phase: Running\n  \
         podIP: {ip}\n  conditions:\n  - type: Ready\n    status: \"{ready}\"\n"
    )
}

/// An object of Istio's networking API; `spec` is YAML without indentation.
pub fn istio(kind: &str, namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\n  namespace: {namespace}\n\
         spec:\n{}",
        indented(spec, 2)
    )
}

/// A VirtualService in `default` for sidecars; `http` is the list of its rules.
pub fn rules(name: &str, host: &str, http: &str) -> String {
    istio("VirtualService", "default", name, &format!("hosts: [\"{host}\"]\nhttp:\n{}", indented(http, 0)))
}

/// Several objects in one text.
pub fn all(objects: &[String]) -> String {
    objects.join("---\n")
}

/// The text with every line moved to the right, and without the indentation that all its lines share.
fn indented(text: &str, by: usize) -> String {
    let lines = || text.lines().filter(|line| !line.trim().is_empty());
    let margin = lines().map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    lines().map(|line| format!("{}{}\n", " ".repeat(by), &line[margin..])).collect()
}

/// The Service `web` on port 8000 with the versions v1, v2 and v3 at 127.0.1.1, .2 and .3, port 8080, as subsets.
pub fn web() -> String {
    let pods = [("v1", "127.0.1.1"), ("v2", "127.0.1.2"), ("v3", "127.0.1.3")];
    let mut objects = vec![service("default", "web", &[("http", 8000, 8080)])];
    objects.extend(pods.map(|(version, ip)| pod("default", "web", version, ip, true)));
    objects.push(web_subsets("v1 v2 v3", ""));
    all(&objects)
}

/// The DestinationRule of `web`: subsets by version, and whatever else its spec says.
pub fn web_subsets(versions: &str, further: &str) -> String {
    let subsets: String =
        versions.split(' ').map(|v| format!("- name: {v}\n  labels:\n    version: {v}\n")).collect();
    istio("DestinationRule", "default", "web", &format!("host: web\nsubsets:\n{subsets}{further}"))
}

/// A rule that sends everything to v1 of `web`, and what else it says: lines of the rule such as `mirror: …`.
pub fn to_v1(further: &str) -> String {
    format!("- route:\n  - destination: {{host: web, subset: v1}}\n{}", indented(further, 2))
}

/// A rule for `web` whose requests are judged, answers too, with all of the primary's at v1 and copies to these subsets.
pub fn judged(subsets: &[&str]) -> String {
    let mirrors: Vec<_> =
        subsets.iter().map(|subset| format!("{{destination: {{host: web, subset: {subset}}}}}")).collect();
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web, annotations: {{umbra.io/verdicts: \"1000\", umbra.io/contents: \"on\"}}}}
spec:
  hosts: [web]
  http:
  - name: main
    route: [{{destination: {{host: web, subset: v1}}}}]
    mirrors: [{}]
",
        mirrors.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_text_is_yaml() {
        let mirror = "mirror: {host: web, subset: v2}\nmirrorPercentage:\n  value: 50";
        let text = all(&[web(), rules("web", "web", &to_v1(mirror))]);
        let objects = serde_saphyr::from_multiple::<serde_json::Value>(&text).expect("YAML");
        let kinds: Vec<_> = objects.iter().filter_map(|o| o["kind"].as_str()).collect();
        assert_eq!(kinds, ["Service", "Pod", "Pod", "Pod", "DestinationRule", "VirtualService"]);
        assert_eq!(objects[5]["spec"]["http"][0]["mirrorPercentage"]["value"], 50);
        assert_eq!(objects[5]["spec"]["http"][0]["route"][0]["destination"]["subset"], "v1");
    }
}
