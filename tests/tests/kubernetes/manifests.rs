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
      terminationGracePeriodSeconds: 10
      containers:
      - name: app
        image: example.com/{app}:{version}
        ports: [{{containerPort: 8080, name: http}}]
        readinessProbe: {{httpGet: {{path: /healthy, port: http}}, periodSeconds: 1, failureThreshold: 1}}
        lifecycle: {{preStop: {{sleep: {{seconds: 2}}}}}}
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
