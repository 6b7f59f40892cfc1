//! Test support: processes, worlds, probes
