{{/* The gateway's bootstrap, as `umbra bootstrap` prints it; a test compares the two. */}}
{{- define "umbra.gateway.bootstrap" -}}
{{- $labels := include "umbra.gateway.proxyLabels" . | fromYaml }}
{{- $pairs := list }}
{{- range $key, $value := $labels }}{{ $pairs = append $pairs (printf "%s=%s" $key $value) }}{{ end }}
{{- $proxy := printf "router/%s/%s" .Release.Namespace (join "," $pairs) }}
{{- $tls := include "umbra.tls" . }}
{{- $host := printf "%s.%s.svc" (include "umbra.name" .) .Release.Namespace -}}
# A bootstrap for stock Envoy, made by: umbra bootstrap --proxy {{ $proxy }}
# Start it with: envoy -c FILE --service-node NAME (a name of its own for each replica)
admin:
  address:
    socketAddress:
      address: "127.0.0.1"
      portValue: 15000
deferredStatOptions:
  enableDeferredCreationStats: true
dynamicResources:
  adsConfig:
    apiType: DELTA_GRPC
    grpcServices:
    - envoyGrpc:
        clusterName: umbra-xds
        retryPolicy:
          retryBackOff:
            baseInterval: 0.500s
            maxInterval: 5s
    setNodeOnFirstMessageOnly: true
    transportApiVersion: V3
  cdsConfig:
    ads: {}
    initialFetchTimeout: 0s
    resourceApiVersion: V3
  ldsConfig:
    ads: {}
    initialFetchTimeout: 0s
    resourceApiVersion: V3
layeredRuntime:
  layers:
  - name: static
    staticLayer:
      re2.max_program_size.error_level: 32768.0
  {{- range $layer := until 64 }}
  - name: umbra-{{ printf "%02o" $layer }}
    rtdsLayer:
      name: umbra-{{ printf "%02o" $layer }}
      rtdsConfig:
        ads: {}
        initialFetchTimeout: 2s
        resourceApiVersion: V3
  {{- end }}
  - adminLayer: {}
    name: admin
node:
  cluster: {{ $labels.app }}.{{ .Release.Namespace }}
  metadata:
    LABELS: {{- toYaml $labels | nindent 6 }}
    NAMESPACE: {{ .Release.Namespace | toYaml }}
    OBSERVE: "on"
    PROXY_TYPE: router
staticResources:
  clusters:
  - connectTimeout: 5s
    dnsLookupFamily: V4_PREFERRED
    loadAssignment:
      clusterName: umbra-xds
      endpoints:
      - lbEndpoints:
        - endpoint:
            address:
              socketAddress:
                address: {{ $host }}
                portValue: {{ if $tls }}15012{{ else }}15010{{ end }}
    name: umbra-xds
    {{- if $tls }}
    transportSocket:
      name: envoy.transport_sockets.tls
      typedConfig:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        commonTlsContext:
          alpnProtocols:
          - h2
          {{- if .Values.tls.mutual }}
          tlsCertificates:
          - certificateChain:
              filename: /etc/umbra-tls/tls.crt
            privateKey:
              filename: /etc/umbra-tls/tls.key
          {{- end }}
          tlsParams:
            tlsMaximumProtocolVersion: TLSv1_3
            tlsMinimumProtocolVersion: TLSv1_2
          validationContext:
            matchTypedSubjectAltNames:
            - matcher:
                exact: {{ $host }}
              sanType: DNS
            trustedCa:
              filename: /etc/umbra-tls/ca.crt
        sni: {{ $host }}
    {{- end }}
    type: STRICT_DNS
    typedExtensionProtocolOptions:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicitHttpConfig:
          http2ProtocolOptions:
            connectionKeepalive:
              interval: 30s
              timeout: 5s
        {{- if eq .Values.identity "token" }}
        httpFilters:
        - name: envoy.filters.http.credential_injector
          typedConfig:
            "@type": type.googleapis.com/envoy.extensions.filters.http.credential_injector.v3.CredentialInjector
            credential:
              name: envoy.http.injected_credentials.generic
              typedConfig:
                "@type": type.googleapis.com/envoy.extensions.http.injected_credentials.generic.v3.Generic
                credential:
                  name: umbra-token
                  sdsConfig:
                    pathConfigSource:
                      path: /etc/envoy/token-secret.json
                    resourceApiVersion: V3
                headerValuePrefix: "Bearer "
            overwrite: true
        - name: envoy.filters.http.upstream_codec
          typedConfig:
            "@type": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec
        {{- end }}
  - connectTimeout: 1s
    loadAssignment:
      clusterName: umbra-ready
      endpoints:
      - lbEndpoints:
        - endpoint:
            address:
              socketAddress:
                address: "127.0.0.1"
                portValue: 15000
    name: umbra-ready
    type: STATIC
  listeners:
  - address:
      socketAddress:
        address: "0.0.0.0"
        portValue: 15021
    filterChains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typedConfig:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          httpFilters:
          - name: envoy.filters.http.router
            typedConfig:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          routeConfig:
            name: umbra-ready
            virtualHosts:
            - domains:
              - "*"
              name: umbra-ready
              routes:
              - match:
                  path: /ready
                route:
                  cluster: umbra-ready
              - match:
                  path: /stats/prometheus
                route:
                  cluster: umbra-ready
          statPrefix: umbra-ready
    name: umbra-ready
statsConfig:
  statsTags:
  - regex: ^cluster\.((.+?)\.)(?:(?:internal|external|canary|circuit_breakers\.\w+|retry_budget|default|outlier_detection|health_check|http[123]|ssl|zone\..+|grpc\..+)\.)?\w+$
    tagName: envoy.cluster_name
  - regex: ^vhost\.((.+?)\.)(?:route|vcluster)\.
    tagName: envoy.virtual_host
  - regex: ^vhost\..+?\.route\.((.+?)\.)\w+$
    tagName: envoy.route
  - regex: ^(?:listener\..+?\.)?http\.((.+?)\.)(?:(?:rds|tracing|user_agent|fault|cors|rbac|ext_authz)\..+|\w+)$
    tagName: envoy.http_conn_manager_prefix
  - regex: ^tcp\.((.+?)\.)\w+$
    tagName: envoy.tcp_prefix
  - tagName: envoy.response_code
  - tagName: envoy.response_code_class
  - tagName: envoy.listener_address
  - tagName: envoy.worker_id
  - tagName: envoy.rds_route_config
  - tagName: envoy.ssl_cipher
  useAllDefaultTags: false
statsSinks:
- name: envoy.stat_sinks.open_telemetry
  typedConfig:
    "@type": type.googleapis.com/envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig
    customMetricConversions:
      matcherList:
        matchers:
        - onMatch:
            action:
              name: drop
              typedConfig:
                "@type": type.googleapis.com/envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig.DropAction
          predicate:
            notMatcher:
              singlePredicate:
                input:
                  name: name
                  typedConfig:
                    "@type": type.googleapis.com/envoy.extensions.matching.common_inputs.stats.v3.StatFullNameMatchInput
                valueMatch:
                  safeRegex:
                    googleRe2: {}
                    regex: cluster\.mirror\|.*\.(upstream_rq_(total|completed|[1-5]xx|[1-5]\d\d|time|pending_overflow|pending_failure_eject|max_duration_reached|rx_reset)|upstream_cx_(none_healthy|destroy_remote_with_active_rq))|cluster\.outbound\|.*\.upstream_rq_([1-5]\d\d|time)|vhost\..*\.route\.[^/]+/[^/]+/[^/]+\.(upstream_rq_(completed|[1-5]xx|time))
        - onMatch:
            action:
              name: drop
              typedConfig:
                "@type": type.googleapis.com/envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig.DropAction
          predicate:
            singlePredicate:
              input:
                name: name
                typedConfig:
                  "@type": type.googleapis.com/envoy.extensions.matching.common_inputs.stats.v3.StatFullNameMatchInput
              valueMatch:
                safeRegex:
                  googleRe2: {}
                  regex: cluster\.(mirror|outbound)\|.*\.svc\.cluster\.local\.(internal|external|retry|canary|zone)\..*
    emitTagsAsAttributes: false
    grpcService:
      envoyGrpc:
        clusterName: umbra-xds
    maxDataPointsPerRequest: 2000
    reportCountersAsDeltas: true
    reportHistogramsAsDeltas: true
    useTagExtractedName: false
typedDnsResolverConfig:
  name: envoy.network.dns_resolver.cares
  typedConfig:
    "@type": type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig
    queryTimeoutSeconds: "2"
    queryTries: 2
{{- end }}
