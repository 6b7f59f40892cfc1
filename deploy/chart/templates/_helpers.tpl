{{/* Labels of every object. */}}
{{- define "umbra.labels" -}}
app.kubernetes.io/name: umbra
app.kubernetes.io/instance: {{ .Release.Name | toYaml }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: umbra
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* What selects the Pods of the control plane. */}}
{{- define "umbra.selector" -}}
app.kubernetes.io/name: umbra
app.kubernetes.io/instance: {{ .Release.Name | toYaml }}
app.kubernetes.io/component: control-plane
{{- end }}

{{/* What selects the Pods of the gateway. */}}
{{- define "umbra.gateway.selector" -}}
app.kubernetes.io/name: umbra
app.kubernetes.io/instance: {{ .Release.Name | toYaml }}
app.kubernetes.io/component: gateway
{{- end }}

{{/* What selects the Pod of the judge. */}}
{{- define "umbra.judge.selector" -}}
app.kubernetes.io/name: umbra
app.kubernetes.io/instance: {{ .Release.Name | toYaml }}
app.kubernetes.io/component: judge
{{- end }}

{{/* The base of every name: the release's, as the name of a Service may be (no dots, a letter first). */}}
{{- define "umbra.name" -}}
{{- $name := .Release.Name | replace "." "-" }}
{{- if not (regexMatch "^[a-z]" $name) }}{{ $name = printf "umbra-%s" $name }}{{ end }}
{{- $name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Names of objects that belong to no namespace: whole, so that releases in two namespaces never share one. */}}
{{- define "umbra.clusterName" -}}
{{- printf "%s-%s" (include "umbra.name" .) .Release.Namespace }}
{{- end }}

{{/* The labels by which rules and Gateways know the gateway's proxies, in order. */}}
{{- define "umbra.gateway.proxyLabels" -}}
{{- toYaml (merge (deepCopy .Values.gateway.labels) (dict "app" (printf "%s-gateway" (include "umbra.name" .)))) }}
{{- end }}

{{/* The constraints of the PodSecurity level "restricted", for a container. */}}
{{- define "umbra.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* One Pod for each node and zone, as far as there are some. */}}
{{- define "umbra.spread" -}}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector: {matchLabels: {{ $.labels | fromYaml | toJson }}}
{{- end }}
{{- end }}

{{/* Where the certificate of xDS over TLS comes from: `secret`, `made` by umbra itself, or nowhere. */}}
{{- define "umbra.tls" -}}
{{- if .Values.tls.secretName }}secret{{ else if eq .Values.identity "token" }}made{{ end }}
{{- end }}

{{/* Whether proxies may come in plaintext: never with a token. */}}
{{- define "umbra.plaintext" -}}
{{- if not (or .Values.tls.only (eq .Values.identity "token")) }}true{{ end }}
{{- end }}

{{/* umbra.yaml. What Pods are given that get a sidecar has the chart's own image and Service, unless `config` says otherwise. */}}
{{- define "umbra.config" -}}
{{- $config := deepCopy (.Values.config | default dict) }}
{{- if .Values.injector.enabled }}
{{- $host := printf "%s.%s.svc" (include "umbra.name" .) .Release.Namespace }}
{{- $own := dict "image" (include "umbra.image" .) "server" (printf "%s:15010" $host) }}
{{- if include "umbra.tls" . }}{{ $own = set $own "server" (printf "%s:15012" $host) }}{{ end }}
{{- if .Values.tls.secretName }}{{ $own = set $own "caFile" "/etc/umbra-tls/ca.crt" }}{{ end }}
{{- if .Values.judge.enabled }}{{ $own = set $own "judge" (printf "%s-judge.%s.svc:15016" (include "umbra.name" .) .Release.Namespace) }}{{ end }}
{{- $config = set $config "injection" (merge ($config.injection | default dict) $own) }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{/* umbra's image. */}}
{{- define "umbra.image" -}}
{{ .Values.image.repository }}{{ with .Values.image.digest }}@{{ . }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}
