//! Kubernetes and Istio objects as umbra reads them
