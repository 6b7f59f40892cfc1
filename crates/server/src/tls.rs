//! The certificate that proxies are shown: read from files, read again when they change, never without one; or made by umbra
//! itself, and awaited.

mod replicas;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, bail};
use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, crypto};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_rustls::TlsAcceptor;
use tracing::{error, info, warn};
use umbra_source::kubernetes::Pair;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::Options;
use crate::metrics::Metrics;
use crate::supervise::blocking;

pub(crate) use self::replicas::Replicas;

/// Files count when two looks in a row see the same: a certificate and its key may be replaced one after the other.
const LOOK: Duration = Duration::from_millis(500);
/// How often the log says that a certificate runs out.
const SAY: Duration = Duration::from_secs(60 * 60);
/// It runs out when less than this part of its time is left: whoever renews it should have by then.
const LAST_PART: i64 = 10;

/// `--xds-tls` and what belongs to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsOptions {
    /// Where proxies connect over TLS; port 0 takes a free one.
    pub address: String,
    /// Where the certificate comes from.
    pub certificate: CertificateSource,
}

/// Where a server's certificate comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CertificateSource {
    /// Files.
    Files(TlsFiles),
    /// umbra makes it, for these host names, and keeps it in the cluster.
    Made(Vec<String>),
}

/// The files of a server's identity, all PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The certificate, then those of the authorities between it and the root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities that a client's certificate must come from; `None`: clients need no certificate.
    pub client_authority: Option<PathBuf>,
}

impl TlsOptions {
    /// What the options say; `None`: no TLS.
    ///
    /// # Errors
    /// Only some of the options are there; the message names those that are missing. Or some exclude each other.
    pub fn choose(options: &Options) -> Result<Option<Self>, String> {
        let Options { xds_tls: address, tls_cert: certificate, tls_key: key, .. } = options.clone();
        let client_authority = options.tls_client_ca.clone();
        if let Some(hosts) = &options.tls_made_for {
            let Some(address) = address else {
                return Err("--tls-made-for needs --xds-tls ADDR too".to_owned());
            };
            if certificate.is_some() || key.is_some() || client_authority.is_some() {
                return Err(
                    "--tls-made-for makes the certificate: without --tls-cert, --tls-key and --tls-client-ca"
                        .to_owned(),
                );
            }
            if options.kubeconfig.is_none() && !options.in_cluster.unwrap_or_default() {
                return Err("--tls-made-for keeps the certificate in a cluster: name it with --kubeconfig FILE or --in-cluster".to_owned());
            }
            let hosts: Vec<_> = hosts.split(',').map(|host| host.trim().to_owned()).collect();
            if hosts.iter().any(String::is_empty) {
                return Err("--tls-made-for: a host name is empty".to_owned());
            }
            return Ok(Some(TlsOptions { address, certificate: CertificateSource::Made(hosts) }));
        }
        let given = [
            ("--xds-tls ADDR", address.is_some()),
            ("--tls-cert FILE", certificate.is_some()),
            ("--tls-key FILE", key.is_some()),
        ];
        match (address, certificate, key) {
            (Some(address), Some(certificate), Some(key)) => {
                let files = TlsFiles { certificate, key, client_authority };
                Ok(Some(TlsOptions { address, certificate: CertificateSource::Files(files) }))
            }
            (None, None, None) if client_authority.is_none() => Ok(None),
            _ => {
                let missing: Vec<_> = given.iter().filter(|(_, is)| !is).map(|(name, _)| *name).collect();
                Err(format!("xDS over TLS needs {} too", missing.join(" and ")))
            }
        }
    }
}

/// What the files hold. It is compared, never shown: one of them is a secret.
#[derive(Clone, PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_authority: Option<Vec<u8>>,
    /// Who vouches for the certificate, where that is known.
    authority: Option<Vec<u8>>,
}

impl Contents {
    fn read(files: &TlsFiles) -> anyhow::Result<Self> {
        let read = |option: &str, path: &Path| {
            std::fs::read(path).with_context(|| format!("{option}: cannot read {}", path.display()))
        };
        Ok(Contents {
            certificate: read("--tls-cert", &files.certificate)?,
            key: read("--tls-key", &files.key)?,
            client_authority: files
                .client_authority
                .as_deref()
                .map(|path| read("--tls-client-ca", path))
                .transpose()?,
            authority: None,
        })
    }

    fn config(&self) -> anyhow::Result<Arc<ServerConfig>> {
        let chain = certificates(&self.certificate).context("--tls-cert")?;
        // The error must not quote the file.
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .ok()
            .context("--tls-key: no private key in PEM form (PKCS#8, PKCS#1 or SEC1)")?;
        let provider = Arc::new(crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = match self.verifier()? {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(verifier),
        };
        let built = builder.with_single_cert(chain, key);
        let mut config = built.context("--tls-cert and --tls-key cannot be used together")?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    /// Whose certificates clients may show; `None`: they need none.
    fn verifier(&self) -> anyhow::Result<Verifier> {
        let Some(pem) = &self.client_authority else { return Ok(None) };
        let mut roots = RootCertStore::empty();
        for root in certificates(pem).context("--tls-client-ca")? {
            roots.add(root).context("--tls-client-ca")?;
        }
        let provider = Arc::new(crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
        Ok(Some(verifier.context("--tls-client-ca")?))
    }

    /// The time of the certificate itself.
    fn validity(&self) -> Validity {
        let leaf = certificates(&self.certificate).ok().and_then(|chain| chain.into_iter().next());
        let read = leaf.as_ref().and_then(|leaf| X509Certificate::from_der(leaf).ok());
        let time = |seconds| Timestamp::from_second(seconds).unwrap_or_default();
        read.map_or_else(Validity::default, |(_, read)| Validity {
            from: time(read.validity().not_before.timestamp()),
            until: time(read.validity().not_after.timestamp()),
        })
    }
}

type Verifier = Option<Arc<dyn ClientCertVerifier>>;

/// From when until when a certificate is good.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Validity {
    /// Not before.
    pub from: Timestamp,
    /// Not after.
    pub until: Timestamp,
}

/// How a certificate stands at some time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It is good.
    Good,
    /// It should have been renewed by now.
    RunsOut,
    /// It is over: proxies refuse it.
    Over,
}

impl Validity {
    /// How it stands.
    pub fn standing(&self, now: Timestamp) -> Standing {
        let (life, left) =
            (self.until.as_second() - self.from.as_second(), self.until.as_second() - now.as_second());
        match left {
            left if left <= 0 => Standing::Over,
            left if left < life / LAST_PART => Standing::RunsOut,
            _ => Standing::Good,
        }
    }
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.ok().context("not PEM")?;
    if all.is_empty() {
        bail!("no certificate in PEM form");
    }
    Ok(all)
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity").field(&self.from()).finish()
    }
}

/// The identity in force, shared by the listener and whoever renews it. A connection keeps the one it began with.
#[derive(Clone)]
pub struct Identity {
    /// `None`: umbra makes it itself.
    watched: Option<Watched>,
    config: Arc<RwLock<Arc<ServerConfig>>>,
    validity: Arc<RwLock<Option<Validity>>>,
    /// Who vouches for clients.
    authority: Arc<watch::Sender<Verifier>>,
    /// Who is another replica; `None`: there is no certificate yet.
    replicas: Arc<RwLock<Option<Replicas>>>,
}

/// The files of an identity that comes from files.
#[derive(Clone)]
struct Watched {
    files: TlsFiles,
    follower: Arc<tokio::sync::Mutex<Follower>>,
}

/// The certificate that is not there yet.
#[derive(Debug)]
struct Awaited;

impl ResolvesServerCert for Awaited {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    /// One cannot be read or used; the message names its option.
    pub fn load(files: &TlsFiles) -> anyhow::Result<Self> {
        let contents = Contents::read(files)?;
        let config = contents.config()?;
        let (validity, authority) = (contents.validity(), watch::Sender::new(contents.verifier()?));
        let replicas = Replicas::new(&contents, None)?;
        let follower = Follower { seen: None, judged: Ok(contents) };
        let follower = Arc::new(tokio::sync::Mutex::new(follower));
        Ok(Identity {
            watched: Some(Watched { files: files.clone(), follower }),
            config: Arc::new(RwLock::new(config)),
            validity: Arc::new(RwLock::new(Some(validity))),
            authority: Arc::new(authority),
            replicas: Arc::new(RwLock::new(Some(replicas))),
        })
    }

    /// For a certificate that is yet to be made: until it is there, no handshake succeeds.
    ///
    /// # Errors
    /// There is no TLS at all.
    pub fn awaited() -> anyhow::Result<Self> {
        let provider = Arc::new(crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = builder.with_no_client_auth().with_cert_resolver(Arc::new(Awaited));
        Ok(Identity {
            watched: None,
            config: Arc::new(RwLock::new(Arc::new(config))),
            validity: Arc::default(),
            authority: Arc::new(watch::Sender::new(None)),
            replicas: Arc::default(),
        })
    }

    /// Where it comes from, in words.
    fn from(&self) -> String {
        let files = self.watched.as_ref().map(|watched| watched.files.certificate.display().to_string());
        files.unwrap_or_else(|| "made by umbra".to_owned())
    }

    /// From when until when the certificate in force is good; `None`: there is none yet.
    pub(crate) fn validity(&self) -> Option<Validity> {
        *self.validity.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is another replica, and how the ports for them speak TLS; `None`: there is no certificate yet.
    pub(crate) fn replicas(&self) -> Option<Replicas> {
        self.replicas.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until nobody vouches any more for the certificates that a client has shown, its own first.
    pub(crate) async fn disowned(&self, shown: &[CertificateDer<'static>]) {
        let mut authority = self.authority.subscribe();
        while authority.changed().await.is_ok() {
            let verifier = authority.borrow_and_update().clone();
            let Some((verifier, (own, between))) = verifier.zip(shown.split_first()) else { continue };
            if verifier.verify_client_cert(own, between, UnixTime::now()).is_err() {
                return;
            }
        }
        std::future::pending().await
    }

    /// Takes in what was read anew.
    fn renew(&self, config: Arc<ServerConfig>, contents: &Contents, before: Option<&Contents>) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        *self.validity.write().unwrap_or_else(PoisonError::into_inner) = Some(contents.validity());
        let mut replicas = self.replicas.write().unwrap_or_else(PoisonError::into_inner);
        // What the other port can use, this one can.
        if let Ok(now) = Replicas::new(contents, replicas.as_ref()) {
            *replicas = Some(now);
        }
        drop(replicas);
        if before.is_none_or(|before| before.client_authority != contents.client_authority)
            && let Ok(verifier) = contents.verifier()
        {
            self.authority.send_replace(verifier);
        }
    }

    /// Tells how long the certificate is good, and says now and then that it runs out.
    fn tell(&self, metrics: &Metrics, said: &mut Option<Instant>) {
        let Some(validity) = self.validity() else { return };
        metrics.tls_expires.set(validity.until.as_second());
        let standing = validity.standing(Timestamp::now());
        if standing == Standing::Good || said.is_some_and(|said| said.elapsed() < SAY) {
            return;
        }
        *said = Some(Instant::now());
        let (from, until) = (self.from(), validity.until);
        match standing {
            Standing::Over => {
                error!(from, %until, "the certificate of --xds-tls has expired: proxies refuse it")
            }
            _ => {
                warn!(from, %until, "the certificate of --xds-tls expires soon, and nobody has renewed it")
            }
        }
    }

    /// For the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&config))
    }

    /// Looks after the files, if it comes from files, for ever. What cannot be used is said, and changes nothing.
    pub(crate) async fn follow(self, metrics: Arc<Metrics>) {
        let Some(Watched { files, follower }) = &self.watched else { return };
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut follower = follower.lock().await;
        let mut said = None;
        loop {
            self.tell(&metrics, &mut said);
            ticks.tick().await;
            let before = follower.judged.clone().ok();
            let files = files.clone();
            let read = blocking(move || Contents::read(&files)).await;
            if let Some(config) = follower.look(read.map_err(|error| format!("{error:#}"))) {
                self.take(config, follower.judged.as_ref().ok(), before.as_ref(), &metrics);
                said = None;
            }
        }
    }

    /// Takes in each certificate that is made, until no more are.
    pub(crate) async fn follow_made(self, mut made: watch::Receiver<Option<Pair>>, metrics: Arc<Metrics>) {
        let mut ticks = tokio::time::interval(SAY);
        let mut said = None;
        loop {
            let pair = made.borrow_and_update().clone();
            if let Some(pair) = pair {
                let contents = Contents {
                    certificate: pair.certificate.into_bytes(),
                    key: pair.key.into_bytes(),
                    client_authority: None,
                    authority: Some(pair.authorities.into_bytes()),
                };
                let config = contents.config().map_err(|error| format!("{error:#}"));
                self.take(config, Some(&contents), None, &metrics);
            }
            self.tell(&metrics, &mut said);
            loop {
                tokio::select! {
                    changed = made.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    _ = ticks.tick() => self.tell(&metrics, &mut said),
                }
            }
        }
    }

    /// What cannot be used is said, and changes nothing.
    fn take(
        &self,
        config: Result<Arc<ServerConfig>, String>,
        contents: Option<&Contents>,
        before: Option<&Contents>,
        metrics: &Metrics,
    ) {
        match config {
            Ok(config) => {
                if let Some(contents) = contents {
                    self.renew(config, contents, before);
                }
                metrics.tls_reloads.inc();
                info!(from = self.from(), "new certificate; new connections get it");
            }
            Err(why) => {
                metrics.tls_reload_failures.inc();
                error!(why, "certificate refused; the one before stays");
            }
        }
    }
}

/// The state between two looks. No IO, no clock.
struct Follower {
    /// What the last look saw.
    seen: Option<Result<Contents, String>>,
    /// What was judged last.
    judged: Result<Contents, String>,
}

impl Follower {
    /// Takes one look; answers when what it sees is new and steady.
    fn look(&mut self, now: Result<Contents, String>) -> Option<Result<Arc<ServerConfig>, String>> {
        if self.seen.as_ref() != Some(&now) {
            self.seen = Some(now);
            return None;
        }
        if self.judged == now {
            return None;
        }
        self.judged = now.clone();
        Some(now.and_then(|contents| contents.config().map_err(|error| format!("{error:#}"))))
    }
}

#[cfg(test)]
mod tests;
