//! How umbra reaches the API server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// How long connecting may take; the next attempt may find a server that is back.
const CONNECT: Duration = Duration::from_secs(3);

/// Who umbra is, and where the API server is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Access {
    /// The current context of this file. Never a file that nobody named: a laptop's own is not used by accident.
    Kubeconfig(PathBuf),
    /// The service account of the pod that umbra runs in.
    InCluster,
}

/// Why there is no way to the API server. That it does not answer is none: the watches wait for it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The file is not there or is no kubeconfig.
    #[error("cannot use the kubeconfig {path}: {source}")]
    Kubeconfig {
        /// As given.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<KubeconfigError>,
    },
    /// Nobody named a kubeconfig, and there is none where kubectl looks for it.
    #[error("cannot use your kubeconfig (KUBECONFIG, ~/.kube/config): {0}")]
    Caller(Box<KubeconfigError>),
    /// Not in a pod, or in one without a service account token.
    #[error("no service account found: {0}; run umbra in a pod, or name a kubeconfig")]
    InCluster(#[from] kube::config::InClusterError),
    /// Its certificates or credentials cannot be used.
    #[error("cannot use the credentials for the API server: {0}")]
    Client(Box<kube::Error>),
}

/// A way to the API server, shared by everything that speaks to it.
#[derive(Clone)]
pub struct ApiServer {
    pub(crate) client: Client,
    /// Where it is.
    pub(crate) url: String,
}

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiServer")
    }
}

impl ApiServer {
    /// Reads the credentials. Nothing is sent yet.
    ///
    /// # Errors
    /// The credentials cannot be found or used.
    pub async fn new(access: &Access) -> Result<Self, ConnectError> {
        let config = match access {
            Access::Kubeconfig(path) => kubeconfig(path, None).await?,
            Access::InCluster => Config::incluster()?,
        };
        Self::connect(config)
    }

    pub(crate) fn connect(mut config: Config) -> Result<Self, ConnectError> {
        config.connect_timeout = Some(CONNECT);
        // Every request has a deadline and a way to try again of its own.
        config.read_timeout = None;
        config.default_retry = false;
        let url = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|error| ConnectError::Client(Box::new(error)))?;
        Ok(ApiServer { client, url })
    }
}

async fn kubeconfig(path: &Path, context: Option<&str>) -> Result<Config, ConnectError> {
    let failed = |source| ConnectError::Kubeconfig { path: path.to_owned(), source: Box::new(source) };
    let file = Kubeconfig::read_from(path).map_err(failed)?;
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(file, &options).await.map_err(failed)
}

/// As whom a person runs a verb: this kubeconfig, else that of `KUBECONFIG` or of the home folder, as kubectl does.
pub(crate) async fn of_caller(path: Option<&Path>, context: Option<&str>) -> Result<Config, ConnectError> {
    if let Some(path) = path {
        return kubeconfig(path, context).await;
    }
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    Config::from_kubeconfig(&options).await.map_err(|source| ConnectError::Caller(Box::new(source)))
}
