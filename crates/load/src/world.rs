//! A mesh of a given size as files of YAML, one for each service, and changes to it by rename.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;

/// How large a mesh is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Args)]
pub struct Size {
    /// How many Services there are
    #[arg(long, default_value_t = 100)]
    pub services: usize,
    /// How many endpoints each of them has
    #[arg(long, default_value_t = 5)]
    pub endpoints: usize,
    /// How many of them have a VirtualService and a DestinationRule with two subsets
    #[arg(long, default_value_t = 20)]
    pub rules: usize,
    /// How many of those have a mirror
    #[arg(long, default_value_t = 10)]
    pub mirrors: usize,
    /// Over how many namespaces Services and proxies are spread
    #[arg(long, default_value_t = 1)]
    pub namespaces: usize,
    /// Each is visible in its own namespace alone (exportTo)
    #[arg(long)]
    pub private: bool,
}

/// What can be different about a service.
#[derive(Clone, Default, Debug)]
struct Service {
    rule: bool,
    /// Percent of the requests that are copied to v2.
    mirror: Option<u32>,
    /// Of v1 and v2.
    weights: Option<(u32, u32)>,
    /// The address of the first endpoint, when it was replaced.
    replaced: Option<String>,
}

/// See the module.
pub struct World {
    folder: PathBuf,
    /// Its size at the start.
    pub size: Size,
    services: Vec<Service>,
}

/// The address that stands for the change with this number.
fn marked_address(marker: u32) -> String {
    let [_, a, b, c] = marker.to_be_bytes();
    format!("11.{a}.{b}.{c}")
}

/// The number of the change that an address stands for, if it is of that sort.
pub fn marker_of(address: &str) -> Option<u32> {
    let mut parts = address.strip_prefix("11.")?.splitn(3, '.').map(|part| part.parse::<u8>().ok());
    Some(u32::from_be_bytes([0, parts.next()??, parts.next()??, parts.next()??]))
}

impl World {
    /// One whose files will be in `folder`.
    pub fn new(folder: &Path, size: Size) -> Self {
        let service = |n: usize| Service {
            rule: n < size.rules,
            mirror: (n < size.mirrors.min(size.rules)).then_some(10),
            ..Service::default()
        };
        Self { folder: folder.to_owned(), size, services: (0..size.services).map(service).collect() }
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self) -> Result<()> {
        std::fs::create_dir_all(&self.folder).with_context(|| format!("{}", self.folder.display()))?;
        (0..self.services.len()).try_for_each(|n| self.put(n).map(drop))
    }

    /// Puts the file of a service in its place in one step; when.
    fn put(&self, n: usize) -> Result<Instant> {
        let (path, half) = (self.file(n), self.folder.join(format!(".svc-{n}.half")));
        std::fs::write(&half, self.render(n)?)?;
        std::fs::rename(&half, &path).with_context(|| format!("{}", path.display()))?;
        Ok(Instant::now())
    }

    fn file(&self, n: usize) -> PathBuf {
        self.folder.join(format!("svc-{n}.yaml"))
    }

    fn service(&mut self, n: usize) -> Result<&mut Service> {
        self.services.get_mut(n).with_context(|| format!("no service {n}"))
    }

    /// Sets or removes the mirror of a service that has a rule.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn mirror(&mut self, n: usize, percent: Option<u32>) -> Result<Instant> {
        self.service(n)?.mirror = percent;
        self.put(n)
    }

    /// Sets the weights of a service that has a rule.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn weights(&mut self, n: usize, v1: u32, v2: u32) -> Result<Instant> {
        self.service(n)?.weights = Some((v1, v2));
        self.put(n)
    }

    /// Replaces the first endpoint of a service by one that stands for a change.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn endpoint(&mut self, n: usize, marker: u32) -> Result<Instant> {
        self.service(n)?.replaced = Some(marked_address(marker));
        self.put(n)
    }

    /// Adds a service with the number [`World::count`].
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add(&mut self) -> Result<Instant> {
        self.services.push(Service::default());
        self.put(self.services.len() - 1)
    }

    /// Takes the file of a service away.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&mut self, n: usize) -> Result<Instant> {
        std::fs::remove_file(self.file(n))?;
        Ok(Instant::now())
    }

    /// The number that the next service will have.
    pub fn count(&self) -> usize {
        self.services.len()
    }

    /// The host of a service.
    pub fn host(&self, n: usize) -> String {
        format!("svc-{n}.ns-{}.svc.cluster.local", n % self.size.namespaces.max(1))
    }

    /// The file of a service as YAML.
    ///
    /// # Errors
    /// When there is no such service.
    pub fn render(&self, n: usize) -> Result<String> {
        let service = self.services.get(n).with_context(|| format!("no service {n}"))?;
        let (name, namespace) = (format!("svc-{n}"), format!("ns-{}", n % self.size.namespaces.max(1)));
        let address = |e: usize| format!("10.{}.{}.{}", n / 250, n % 250, e + 1);
        let (annotation, export) = match self.size.private {
            true => (", annotations: {networking.istio.io/exportTo: .}", "  exportTo: ['.']\n"),
            false => ("", ""),
        };
        let mut out = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}{annotation}}}\n\
             spec: {{selector: {{app: {name}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}-a\n  namespace: {namespace}\n  \
             labels: {{kubernetes.io/service-name: {name}}}\naddressType: IPv4\nports: [{{name: http, port: 8080}}]\nendpoints:\n"
        );
        for e in 0..self.size.endpoints {
            let address = service.replaced.clone().filter(|_| e == 0).unwrap_or_else(|| address(e));
            writeln!(
                out,
                "- addresses: [{address}]\n  targetRef: {{kind: Pod, name: {name}-{e}, namespace: {namespace}}}"
            )?;
        }
        for e in 0..self.size.endpoints {
            write!(
                out,
                "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}-{e}\n  namespace: {namespace}\n  \
                 labels: {{app: {name}, version: v{}}}\nstatus: {{podIP: {}}}\n",
                e % 2 + 1,
                address(e)
            )?;
        }
        if service.rule {
            let (v1, v2) = service.weights.unwrap_or((100, 0));
            let second = match service.weights {
                Some(_) => format!(", {{destination: {{host: {name}, subset: v2}}, weight: {v2}}}"),
                None => String::new(),
            };
            let mirror = service.mirror.map(|percent| {
                format!(
                    "    mirror: {{host: {name}, subset: v2}}\n    mirrorPercentage: {{value: {percent}}}\n"
                )
            });
            write!(
                out,
                "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n\
                 metadata: {{name: {name}, namespace: {namespace}}}\nspec:\n{export}  hosts: [{name}]\n  http:\n  \
                 - route: [{{destination: {{host: {name}, subset: v1}}, weight: {v1}}}{second}]\n{}---\n\
                 apiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
                 metadata: {{name: {name}, namespace: {namespace}}}\nspec:\n{export}  host: {name}\n  \
                 subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]\n",
                mirror.unwrap_or_default()
            )?;
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_known_by_its_address() {
        for marker in [0, 255, 256, 70_000] {
            assert_eq!(marker_of(&marked_address(marker)), Some(marker));
        }
        assert_eq!(marker_of("10.0.0.1"), None);
        assert_eq!(marker_of("11.0.0.300"), None);
    }
}
