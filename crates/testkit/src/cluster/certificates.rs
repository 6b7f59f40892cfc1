//! A certificate authority and a server certificate of the test's own, by `openssl`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The files that a control plane is started with.
#[derive(Debug)]
pub(super) struct Certificates {
    /// The authority's certificate.
    pub(super) authority: PathBuf,
    /// The server's certificate.
    pub(super) server: PathBuf,
    /// The server's key.
    pub(super) key: PathBuf,
    /// The key that signs the tokens of ServiceAccounts.
    pub(super) accounts: PathBuf,
}

impl Certificates {
    /// Makes them in `folder`; the server's is good for these addresses and names (`IP:…`, `DNS:…`).
    pub(super) fn make(folder: &Path, names: &[&str]) -> Result<Self> {
        let extensions = format!("subjectAltName={}\nextendedKeyUsage=serverAuth\n", names.join(","));
        std::fs::write(folder.join("server.ext"), extensions)?;
        let curve = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        for line in [
            format!("req -x509 {curve} -keyout ca.key -out ca.crt -days 2 -subj /CN=umbra-test-ca"),
            format!("req {curve} -keyout server.key -out server.csr -subj /CN=kube-apiserver"),
            "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 2 -extfile server.ext"
                .to_owned(),
            "ecparam -name prime256v1 -genkey -noout -out accounts.key".to_owned(),
        ] {
            let out = Command::new("openssl").args(line.split(' ')).current_dir(folder).output();
            let out = out.context("openssl")?;
            ensure!(out.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&out.stderr));
        }
        let file = |name: &str| folder.join(name);
        Ok(Self {
            authority: file("ca.crt"),
            server: file("server.crt"),
            key: file("server.key"),
            accounts: file("accounts.key"),
        })
    }
}
