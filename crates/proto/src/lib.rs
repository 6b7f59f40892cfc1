//! Envoy's API messages and services, generated at build time
