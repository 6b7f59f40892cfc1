// Istio's API: only for the CRDs that its module ships. `make tools` copies them from the module cache.
module umbra.test/tools/istio

go 1.24.0

require istio.io/api v1.29.0
