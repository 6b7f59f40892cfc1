//! What Envoy needs: ir to resources
