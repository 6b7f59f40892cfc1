//! What is added to a Pod, as Kubernetes' own types: the one template of both ways in.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, DownwardAPIVolumeFile, DownwardAPIVolumeSource,
    EmptyDirVolumeSource, EnvVar, EnvVarSource, HTTPGetAction, Lifecycle, LifecycleHandler,
    ObjectFieldSelector, Probe, ProjectedVolumeSource, ResourceRequirements, SeccompProfile, SecurityContext,
    ServiceAccountTokenProjection, SleepAction, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::wish::Wish;
use crate::capture::{Interception, SIDECAR_ID};
use crate::settings::Settings;
use crate::words;

/// Where the bootstrap lies, in the init container and in the sidecar.
const BOOTSTRAP: &str = "/etc/umbra/envoy";
/// Where the init container reads the Pod's labels and annotations.
const POD_INFO: &str = "/etc/umbra/pod";
/// Where the sidecar's token lies.
const TOKEN: &str = "/var/run/secrets/umbra";
/// The volumes' names.
const BOOTSTRAP_VOLUME: &str = "umbra-envoy";
const POD_INFO_VOLUME: &str = "umbra-pod";
const TOKEN_VOLUME: &str = "umbra-token";
/// How long a token lives, in seconds; the kubelet renews it before. As Istio's.
const TOKEN_SECONDS: i64 = 43_200;
/// The port of `/healthz/ready`.
const READY_PORT: i32 = 15021;
/// The port of `/stats/prometheus`.
const STATS_PORT: i32 = 15090;
/// How long a classic sidecar goes on when its Pod ends, so that the application can finish its calls: as Istio's
/// `terminationDrainDuration`.
const DRAIN_SECONDS: i64 = 5;

/// What is added.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Parts {
    pub(super) init: Value,
    pub(super) proxy: Value,
    pub(super) volumes: Vec<Value>,
}

impl Parts {
    /// What the annotation says of it.
    pub(super) fn status(&self, native: bool) -> Value {
        let volumes: Vec<_> = self.volumes.iter().map(|volume| volume["name"].clone()).collect();
        let (init, beside) = if native {
            (json!([words::INIT_CONTAINER, words::PROXY_CONTAINER]), Value::Null)
        } else {
            (json!([words::INIT_CONTAINER]), json!([words::PROXY_CONTAINER]))
        };
        json!({"initContainers": init, "containers": beside, "volumes": volumes})
    }
}

/// Builds them.
pub(super) fn build_parts(wish: &Wish, settings: &Settings) -> serde_json::Result<Parts> {
    let volumes = [bootstrap_volume(), pod_info_volume(), token_volume()];
    Ok(Parts {
        init: serde_json::to_value(init(wish, settings))?,
        proxy: serde_json::to_value(proxy(wish))?,
        volumes: volumes.iter().map(serde_json::to_value).collect::<Result<_, _>>()?,
    })
}

fn init(wish: &Wish, settings: &Settings) -> Container {
    let mut args = vec![
        "prepare".to_owned(),
        format!("--server={}", settings.server),
        "--namespace=$(POD_NAMESPACE)".to_owned(),
        "--address=$(POD_IPS)".to_owned(),
        format!("--pod-info={POD_INFO}"),
        format!("--bootstrap={BOOTSTRAP}/bootstrap.yaml"),
    ];
    let mut options: BTreeMap<_, _> =
        settings.options().into_iter().map(|(option, _, value)| (option, value)).collect();
    options.insert("interception-mode", wish.mode.as_str().to_owned());
    args.extend(options.iter().map(|(option, value)| format!("--{option}={value}")));
    if settings.verdicts {
        args.push("--verdicts".to_owned());
        args.extend(settings.judge.as_ref().map(|judge| format!("--judge={judge}")));
    }
    let mut env = vec![
        from_field("POD_NAME", "metadata.name"),
        from_field("POD_NAMESPACE", "metadata.namespace"),
        from_field("POD_IPS", "status.podIPs"),
    ];
    if let Some(ca) = &settings.ca {
        env.push(EnvVar { name: "UMBRA_CA".to_owned(), value: Some(ca.clone()), ..EnvVar::default() });
        // In plaintext anybody on the way could read it.
        args.push(format!("--token={TOKEN}/token"));
    }
    let security = match wish.mode {
        Interception::None => restricted(),
        // Who sets rules has to be root, and needs no more of it than this.
        Interception::Redirect => SecurityContext {
            run_as_user: Some(0),
            run_as_group: Some(0),
            run_as_non_root: Some(false),
            capabilities: Some(Capabilities {
                add: Some(vec!["NET_ADMIN".to_owned(), "NET_RAW".to_owned()]),
                drop: Some(vec!["ALL".to_owned()]),
            }),
            ..restricted()
        },
    };
    Container {
        name: words::INIT_CONTAINER.to_owned(),
        image: Some(settings.image.clone()),
        args: Some(args),
        env: Some(env),
        resources: Some(resources(wish)),
        security_context: Some(security),
        volume_mounts: Some(vec![
            mount(BOOTSTRAP_VOLUME, BOOTSTRAP, false),
            mount(POD_INFO_VOLUME, POD_INFO, true),
        ]),
        ..Container::default()
    }
}

fn proxy(wish: &Wish) -> Container {
    let mut args = vec![
        "--config-path".to_owned(),
        format!("{BOOTSTRAP}/bootstrap.yaml"),
        "--service-node".to_owned(),
        "sidecar~$(POD_IP)~$(POD_NAME).$(POD_NAMESPACE)~$(POD_NAMESPACE).svc".to_owned(),
        "--disable-hot-restart".to_owned(),
        "--log-level".to_owned(),
        wish.log_level.clone(),
    ];
    if let Some(levels) = &wish.component_log_level {
        args.extend(["--component-log-level".to_owned(), levels.clone()]);
    }
    if wish.concurrency > 0 {
        args.extend(["--concurrency".to_owned(), wish.concurrency.to_string()]);
    }
    let ready = || HTTPGetAction {
        path: Some("/healthz/ready".to_owned()),
        port: IntOrString::Int(READY_PORT),
        ..HTTPGetAction::default()
    };
    let drain = LifecycleHandler {
        sleep: Some(SleepAction { seconds: DRAIN_SECONDS }),
        ..LifecycleHandler::default()
    };
    Container {
        name: words::PROXY_CONTAINER.to_owned(),
        image: Some(wish.image.clone()),
        command: Some(vec!["/usr/local/bin/envoy".to_owned()]),
        args: Some(args),
        env: Some(vec![
            from_field("POD_NAME", "metadata.name"),
            from_field("POD_NAMESPACE", "metadata.namespace"),
            from_field("POD_IP", "status.podIP"),
        ]),
        ports: Some(vec![ContainerPort {
            name: Some("http-envoy-prom".to_owned()),
            container_port: STATS_PORT,
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        resources: Some(resources(wish)),
        restart_policy: wish.native.then(|| "Always".to_owned()),
        // The application starts when Envoy has its configuration; until then it would call nobody.
        startup_probe: Some(Probe {
            http_get: Some(ready()),
            period_seconds: Some(1),
            timeout_seconds: Some(3),
            failure_threshold: Some(600),
            ..Probe::default()
        }),
        readiness_probe: Some(Probe {
            http_get: Some(ready()),
            period_seconds: Some(15),
            timeout_seconds: Some(3),
            failure_threshold: Some(4),
            ..Probe::default()
        }),
        // A native one ends after the others anyway.
        lifecycle: (!wish.native).then(|| Lifecycle { pre_stop: Some(drain), ..Lifecycle::default() }),
        security_context: Some(restricted()),
        volume_mounts: Some(vec![mount(BOOTSTRAP_VOLUME, BOOTSTRAP, true), mount(TOKEN_VOLUME, TOKEN, true)]),
        ..Container::default()
    }
}

/// As the Pod Security Standard `restricted` wants it.
fn restricted() -> SecurityContext {
    let id = i64::from(SIDECAR_ID);
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
        privileged: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_group: Some(id),
        run_as_non_root: Some(true),
        run_as_user: Some(id),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        ..SecurityContext::default()
    }
}

fn resources(wish: &Wish) -> ResourceRequirements {
    let pair = |cpu: &Option<String>, memory: &Option<String>| {
        let all = [("cpu", cpu), ("memory", memory)];
        let said =
            all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), Quantity(value.clone()?))));
        let said: BTreeMap<_, _> = said.collect();
        (!said.is_empty()).then_some(said)
    };
    ResourceRequirements {
        requests: pair(&wish.cpu, &wish.memory),
        limits: pair(&wish.cpu_limit, &wish.memory_limit),
        ..ResourceRequirements::default()
    }
}

fn from_field(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource { field_ref: Some(field(path)), ..EnvVarSource::default() }),
        ..EnvVar::default()
    }
}

fn field(path: &str) -> ObjectFieldSelector {
    ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: path.to_owned() }
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn bootstrap_volume() -> Volume {
    Volume {
        name: BOOTSTRAP_VOLUME.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    }
}

fn pod_info_volume() -> Volume {
    let file = |name: &str| DownwardAPIVolumeFile {
        path: name.to_owned(),
        field_ref: Some(field(&format!("metadata.{name}"))),
        ..DownwardAPIVolumeFile::default()
    };
    Volume {
        name: POD_INFO_VOLUME.to_owned(),
        downward_api: Some(DownwardAPIVolumeSource {
            items: Some(vec![file("labels"), file("annotations")]),
            ..DownwardAPIVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn token_volume() -> Volume {
    let token = ServiceAccountTokenProjection {
        audience: Some(words::TOKEN_AUDIENCE.to_owned()),
        expiration_seconds: Some(TOKEN_SECONDS),
        path: "token".to_owned(),
    };
    Volume {
        name: TOKEN_VOLUME.to_owned(),
        projected: Some(ProjectedVolumeSource {
            sources: Some(vec![VolumeProjection {
                service_account_token: Some(token),
                ..VolumeProjection::default()
            }]),
            ..ProjectedVolumeSource::default()
        }),
        ..Volume::default()
    }
}
