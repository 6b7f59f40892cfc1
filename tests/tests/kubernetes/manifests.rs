//! Manifests that several of these tests use.

/// A Deployment called `name` with the labels `app` and `version`, whose Pods listen on 8080, are probed, and leave
/// slowly enough for those who still know them.
pub(crate) fn deployment(name: &str, app: &str, version: &str, replicas: usize) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {app}, version: {version}}}}}
  strategy: {{rollingUpdate: {{maxUnavailable: 0, maxSurge: 1}}}}
  template:
    metadata: {{labels: {{app: {app}, version: {version}}}}}
    spec:
      terminationGracePeriodSeconds: 20
      containers:
      - name: app
        image: example.com/{app}:{version}
        ports: [{{containerPort: 8080, name: http}}]
        readinessProbe: {{httpGet: {{path: /healthy, port: http}}, periodSeconds: 1, failureThreshold: 1}}
        lifecycle: {{preStop: {{sleep: {{seconds: 8}}}}}}
---
"
    )
}

/// A Service called `name` on port 8000 for the Pods with the label `app`.
pub(crate) fn service(name: &str, app: &str) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {app}}}
  ports: [{{name: http, port: 8000, targetPort: http}}]
---
"
    )
}

/// A Deployment of one Pod with these labels (`k: v, k: v`), which listens on `port`; 0 is none. It is neither probed
/// nor does it wait at its end, as those of the documents.
pub(crate) fn plain(name: &str, labels: &str, image: &str, port: u16) -> String {
    let ports = if port == 0 { String::new() } else { format!("{{containerPort: {port}}}") };
    let container = name.rsplit_once("-v").map_or(name, |(name, _)| name);
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{{labels}}}}}
  template:
    metadata: {{labels: {{{labels}}}}}
    spec: {{containers: [{{name: {container}, image: \"{image}\", ports: [{ports}]}}]}}
---
"
    )
}

/// The Service `name` on `port`, which is `target` at the Pods with this label.
pub(crate) fn plain_service(name: &str, selector: &str, port: u16, target: u16) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{{selector}}}
  ports: [{{name: http, port: {port}, targetPort: {target}}}]
---
"
    )
}
