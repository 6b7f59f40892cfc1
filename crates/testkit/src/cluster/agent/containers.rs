//! Starts what stands for a container: the real binary for the images of umbra and Envoy, echo services for all others.

use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use super::environment::{expand, variables};
use super::network::Network;
use super::objects::Objects;
use super::pod::{PodState, held};
use super::security;
use super::volumes::Volumes;
use crate::echo::Echo;
use crate::net::Net;
use crate::paths;
use crate::process::Process;

/// Builds the container's root and starts its program in it.
const ROOT: &str = include_str!("root.sh");

/// The machine's own curl, which stands for the image of that name.
const CURL: &str = "/usr/bin/curl";

/// What is run for a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An echo service for each of its TCP ports.
    Echo,
    /// This binary.
    Process(PathBuf),
}

/// The binary that an image stands for: the last part of its name, without tag and digest, says it. Of curl's the command
/// has to say it too, since people use it to run a shell or to sleep.
pub(super) fn kind(container: &Container) -> Result<Kind> {
    let image = container.image.as_deref().unwrap_or_default();
    let first = container.command.iter().flatten().next();
    let name = image.split('@').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    Ok(match name.split(':').next().unwrap_or_default() {
        "umbra" => Kind::Process(paths::umbra()?),
        "envoy" => Kind::Process(paths::envoy().context("no Envoy; run `make tools`")?),
        "curl" if first.is_some_and(|word| word == "curl") => Kind::Process(CURL.into()),
        _ => Kind::Echo,
    })
}

/// The name of a Pod's echo services in their answers: its label `version`, else the Pod's own name.
fn version(pod: &PodState) -> String {
    pod.labels().remove("version").unwrap_or_else(|| pod.name.clone())
}

/// Starts an echo service for every TCP port of the container.
pub(super) fn start_echoes(state: &PodState, container: &Container, network: &Network) -> Result<()> {
    for port in container.ports.iter().flatten() {
        if port.protocol.as_deref().unwrap_or("TCP") != "TCP" {
            continue;
        }
        let port = u16::try_from(port.container_port)?;
        // Inside its own network an application listens everywhere, as most do: a sidecar beside it calls 127.0.0.1.
        let address = match network.link {
            Some(_) => SocketAddr::from(([0, 0, 0, 0], port)),
            None => (network.address, port).into(),
        };
        held(&state.echoes).push(Echo::start(&network.net, &version(state), address)?);
    }
    Ok(())
}

/// Starts the binary with the container's arguments, variables and mounts in its own root.
pub(super) async fn start_process(
    state: &PodState,
    pod: &Pod,
    container: &Container,
    network: &Network,
    binary: &Path,
    objects: &Objects,
) -> Result<()> {
    let variables = variables(pod, container, &network.address.to_string(), state.site, objects).await?;
    // Whoever serves proxies, or is one, finds the Pods behind a name; an application its Service.
    let dns = if binary == Path::new(CURL) { state.site.names } else { state.site.dns };
    // The first word of `command` is the program, which the image's binary stands for.
    let command = container.command.iter().flatten().skip(1);
    let words = command.chain(container.args.iter().flatten());
    let words: Vec<_> = words.map(|word| expand(word, &variables)).collect();
    let spec = pod.spec.clone().unwrap_or_default();
    let mut command = in_root(state, network, (&spec, container), binary, dns)?;
    command.args(words).envs(variables);
    let log = state.folder.join(format!("{}.log", container.name));
    // Whoever it runs as may open its /dev/stdout once more, as Envoy does for its access log.
    File::options().create(true).append(true).open(&log)?.set_permissions(Permissions::from_mode(0o666))?;
    let name = format!("{}/{} {}", state.namespace, state.name, container.name);
    let process = Process::start(&name, command, &log)?;
    held(&state.processes).insert(container.name.clone(), process);
    Ok(())
}

/// `curl` as a person runs it by `kubectl exec` in a container that has no mounts of interest.
pub(super) fn curl(state: &PodState, network: &Network) -> Result<Command> {
    let container = Container { name: "exec".to_owned(), ..Container::default() };
    in_root(state, network, (&PodSpec::default(), &container), Path::new(CURL), state.site.names)
}

/// A binary in a root of the container's own, as the user that it names, with a DNS server to ask.
fn in_root(
    state: &PodState,
    network: &Network,
    (spec, container): (&PodSpec, &Container),
    binary: &Path,
    dns: Ipv4Addr,
) -> Result<Command> {
    let folder = &state.folder;
    let root = folder.join(format!("{}.root", container.name));
    std::fs::create_dir_all(&root)?;
    let (hosts, resolv) = (folder.join("hosts"), folder.join(format!("{}.resolv.conf", container.name)));
    let own = format!("127.0.0.1 localhost\n{} {}\n{}", network.address, state.name, state.aliases);
    std::fs::write(&hosts, own)?;
    std::fs::write(&resolv, resolv_conf(&state.namespace, dns))?;
    let script = folder.join("root.sh");
    std::fs::write(&script, ROOT)?;
    let mut arguments: Vec<OsString> =
        vec!["-m".into(), "--".into(), "sh".into(), script.into(), root.into()];
    arguments.extend([binary.into(), hosts.into(), resolv.into()]);
    for mount in container.volume_mounts.iter().flatten() {
        let source = Volumes::folder(folder, &mount.name);
        let source = mount.sub_path.as_ref().map_or(source.clone(), |path| source.join(path));
        arguments.extend([source.into(), (&mount.mount_path).into()]);
    }
    arguments.push("--".into());
    if security::has_users() {
        arguments.extend(security::as_whom(spec, container).into_iter().map(OsString::from));
    }
    arguments.push("/image/program".into());
    let mut command: Command = network.net.command(Path::new("unshare"));
    command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    Ok(command)
}

/// Where the Pods of a namespace ask for names.
fn resolv_conf(namespace: &str, dns: Ipv4Addr) -> String {
    format!(
        "nameserver {dns}\nsearch {namespace}.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
    )
}

/// The network that a container's ports are reached from: the node's own.
pub(super) fn prober() -> Net {
    Net::here()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images() {
        for (image, command, want) in [
            ("nginx", "", Kind::Echo),
            ("docker.io/kennethreitz/httpbin", "", Kind::Echo),
            ("example.com/umbra-app:1", "", Kind::Echo),
            ("envoyproxy/envoy-build:x", "", Kind::Echo),
            ("curlimages/curl:8.10.1", "", Kind::Echo),
            ("curlimages/curl:8.10.1", "/bin/sleep", Kind::Echo),
            ("curlimages/curl:8.10.1", "curl", Kind::Process(CURL.into())),
        ] {
            let command = Some(vec![command.to_owned()]).filter(|words| words != &[""]);
            let container = Container { image: Some(image.to_owned()), command, ..Container::default() };
            assert_eq!(kind(&container).ok(), Some(want), "{image}");
        }
    }
}
