//! A certificate authority of a test's own, by `openssl`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A certificate authority. Its files are in a folder that outlives it.
#[derive(Clone, Debug)]
pub struct Authority {
    folder: PathBuf,
    name: String,
}

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

impl Authority {
    /// Makes one called `name`.
    ///
    /// # Errors
    /// When `openssl` is missing or fails, with its words.
    pub fn make(folder: &Path, name: &str) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        openssl(
            folder,
            &format!("req -x509 {KEY} -keyout {name}.key -out {name}.crt -days 2 -subj /CN={name}"),
        )?;
        Ok(Self { folder: folder.to_owned(), name: name.to_owned() })
    }

    /// Its own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join(format!("{}.crt", self.name))
    }

    /// A certificate called `name`, good for these addresses and names (`IP:…`, `DNS:…`) on either side of a connection.
    ///
    /// # Errors
    /// As [`Authority::make`].
    pub fn issue(&self, name: &str, good_for: &str) -> Result<Issued> {
        let (folder, ca) = (&self.folder, &self.name);
        std::fs::write(folder.join(format!("{name}.ext")), format!("subjectAltName={good_for}\n"))?;
        openssl(folder, &format!("req {KEY} -keyout {name}.key -out {name}.csr -subj /CN={name}"))?;
        openssl(
            folder,
            &format!(
                "x509 -req -in {name}.csr -CA {ca}.crt -CAkey {ca}.key -CAcreateserial -out {name}.crt -days 2 \
                 -extfile {name}.ext"
            ),
        )?;
        let file = |end: &str| folder.join(format!("{name}.{end}"));
        Ok(Issued { certificate: file("crt"), key: file("key") })
    }

    /// The file with the certificates that it has revoked, of which this is one from now on.
    ///
    /// # Errors
    /// As [`Authority::make`].
    pub fn revoke(&self, issued: &Issued) -> Result<PathBuf> {
        let (folder, ca) = (&self.folder, &self.name);
        let config = format!("{ca}.cnf");
        let text = format!(
            "[ca]\ndefault_ca = own\n[own]\ndatabase = {ca}.index\ndefault_md = sha256\ndefault_crl_days = 2\n"
        );
        std::fs::write(folder.join(&config), text)?;
        std::fs::OpenOptions::new().create(true).append(true).open(folder.join(format!("{ca}.index")))?;
        let own = format!("ca -config {config} -keyfile {ca}.key -cert {ca}.crt");
        openssl(folder, &format!("{own} -revoke {}", issued.certificate.display()))?;
        openssl(folder, &format!("{own} -gencrl -out {ca}.crl"))?;
        Ok(folder.join(format!("{ca}.crl")))
    }
}

fn openssl(folder: &Path, line: &str) -> Result<()> {
    let out = Command::new("openssl").args(line.split_whitespace()).current_dir(folder).output();
    let out = out.context("openssl")?;
    ensure!(out.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&out.stderr));
    Ok(())
}
