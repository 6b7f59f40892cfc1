//! A real etcd, API server and controllers, with `kubectl` and `helm` as their user.

#![allow(clippy::expect_used, clippy::panic, reason = "a test")]

mod abort;
mod away;
mod captured;
mod changes;
mod chart;
mod crds;
mod documents;
mod flagger;
mod gate;
mod guide;
mod identity;
mod injected;
mod injection;
mod install;
mod judged;
mod kinds;
mod manifests;
mod metrics;
mod node;
mod observed;
mod outage;
mod pods;
mod poison;
mod policies;
mod rbac;
mod replicas;
mod rights;
mod rollouts;
mod scale;
mod scoping;
mod secrets;
mod status;
mod stop;
mod together;
mod web;
mod workloads;
