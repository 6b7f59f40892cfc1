use umbra_testkit::gate;
use umbra_testkit::tls::{Authority, Issued};

use super::*;
use crate::config::options::tests::merged;

#[test]
fn all_that_tls_needs_or_nothing() {
    for (flags, file, want) in [
        ("", "", Ok("-")),
        ("xds-tls=:1 tls-cert=c tls-key=k", "", Ok(":1 c k")),
        ("xds-tls=:1 tls-cert=c tls-key=k tls-client-ca=a", "", Ok(":1 c k a")),
        ("xds-tls=:2 tls-key=l", "{xdsTls: ':1', tlsCert: c, tlsKey: k}", Ok(":2 c l")),
        ("xds-tls=:1", "", Err("xDS over TLS needs --tls-cert FILE and --tls-key FILE too")),
        ("tls-cert=c", "", Err("xDS over TLS needs --xds-tls ADDR and --tls-key FILE too")),
        ("xds-tls=:1 tls-key=k", "", Err("xDS over TLS needs --tls-cert FILE too")),
        ("", "{tlsCert: c, tlsKey: k}", Err("xDS over TLS needs --xds-tls ADDR too")),
        ("xds-tls=:1 tls-made-for=a,b in-cluster", "", Ok(":1 a b")),
        ("xds-tls=:1 tls-made-for=a,b", "", Err("--tls-made-for keeps the certificate in a cluster")),
        ("tls-made-for=a in-cluster", "", Err("--tls-made-for needs --xds-tls ADDR too")),
        ("xds-tls=:1 tls-made-for=a, in-cluster", "", Err("a host name is empty")),
        ("xds-tls=:1 tls-made-for=a tls-key=k in-cluster", "", Err("without --tls-cert")),
        ("tls-client-ca=a", "", Err("needs --xds-tls ADDR and --tls-cert FILE and --tls-key FILE too")),
    ] {
        match (TlsOptions::choose(&merged(flags, file)), want) {
            (Ok(None), Ok("-")) => {}
            (Ok(Some(tls)), Ok(want)) => {
                let more: Vec<String> = match tls.certificate {
                    CertificateSource::Files(it) => {
                        let files = [Some(it.certificate), Some(it.key), it.client_authority];
                        files.into_iter().flatten().map(|file| file.display().to_string()).collect()
                    }
                    CertificateSource::Made(hosts) => hosts,
                };
                let words: Vec<String> = std::iter::once(tls.address).chain(more).collect();
                assert_eq!(words.join(" "), want, "{flags} | {file}");
            }
            (Err(error), Err(part)) => assert!(error.contains(part), "{flags} | {file}: {error}"),
            (got, want) => panic!("{flags} | {file}: {got:?}, not {want:?}"),
        }
    }
}

/// Two certificates, and how a set of files is written down: `a` and `b` are good, a letter that is neither is itself.
struct Certificates {
    a: Issued,
    b: Issued,
    authority: PathBuf,
    _folder: tempfile::TempDir,
}

impl Certificates {
    fn make() -> Option<Self> {
        if !gate::require_openssl() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::make(folder.path(), "ca").unwrap();
        let [a, b] = ["a", "b"].map(|name| authority.issue(name, "DNS:umbra").unwrap());
        Some(Certificates { a, b, authority: authority.certificate(), _folder: folder })
    }

    /// `CERTIFICATE KEY [AUTHORITY]`, or `!WHY` for files that cannot be read.
    fn contents(&self, words: &str) -> Result<Contents, String> {
        if let Some(why) = words.strip_prefix('!') {
            return Err(why.to_owned());
        }
        let read = |path: &Path| std::fs::read(path).unwrap();
        let parts: Vec<&str> = words.split(' ').collect();
        Ok(Contents {
            certificate: match parts[0] {
                "a" => read(&self.a.certificate),
                "b" => read(&self.b.certificate),
                other => other.into(),
            },
            key: match parts[1] {
                "a" => read(&self.a.key),
                "b" => read(&self.b.key),
                other => other.into(),
            },
            client_authority: parts.get(2).map(|part| match *part {
                "ca" => read(&self.authority),
                other => other.into(),
            }),
            authority: None,
        })
    }
}

#[test]
fn what_cannot_be_used_is_named_and_not_quoted() {
    let Some(certificates) = Certificates::make() else { return };
    let upside_down = Contents {
        certificate: std::fs::read(&certificates.a.key).unwrap(),
        ..certificates.contents("a a").unwrap()
    };
    assert!(upside_down.config().is_err());
    for (files, part) in [
        ("a a", ""),
        ("b b ca", ""),
        ("a b", "--tls-cert and --tls-key cannot be used together"),
        ("x a", "--tls-cert: no certificate in PEM form"),
        ("a secret", "--tls-key: no private key in PEM form"),
        ("a a x", "--tls-client-ca: no certificate in PEM form"),
    ] {
        match certificates.contents(files).unwrap().config() {
            Ok(_) => assert_eq!(part, "", "{files}"),
            Err(error) => {
                let error = format!("{error:#}");
                assert!(
                    !part.is_empty() && error.contains(part) && !error.contains("secret"),
                    "{files}: {error}"
                );
            }
        }
    }
}

#[test]
fn a_steady_change_counts_once_and_a_bad_one_changes_nothing() {
    let Some(certificates) = Certificates::make() else { return };
    let mut follower = Follower { seen: None, judged: certificates.contents("a a") };
    for (number, (files, want)) in [
        ("a a", ""),
        ("a a", ""),
        // The key comes after its certificate.
        ("b a", ""),
        ("b b", ""),
        ("b b", "new"),
        ("b b", ""),
        // Half a rotation that stays so.
        ("a b", ""),
        ("a b", "refused"),
        ("a b", ""),
        ("!gone", ""),
        ("!gone", "refused"),
        ("!gone", ""),
        ("b b", ""),
        ("b b", "new"),
        ("b b ca", ""),
        ("b b ca", "new"),
    ]
    .into_iter()
    .enumerate()
    {
        let got = match follower.look(certificates.contents(files)) {
            None => "",
            Some(Ok(_)) => "new",
            Some(Err(_)) => "refused",
        };
        assert_eq!(got, want, "look {number}: {files}");
    }
}

#[test]
fn a_certificate_runs_out() {
    let second = |second| Timestamp::from_second(second).unwrap();
    let validity = Validity { from: second(1000), until: second(2000) };
    for (now, want) in [
        (0, Standing::Good),
        (1900, Standing::Good),
        (1901, Standing::RunsOut),
        (1999, Standing::RunsOut),
        (2000, Standing::Over),
    ] {
        assert_eq!(validity.standing(second(now)), want, "{now}");
    }
}

/// Who was vouched for by an authority that is not among those any more is told from who still is.
#[tokio::test]
async fn an_authority_that_goes_takes_its_clients_along() {
    if !gate::require_openssl() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| Authority::make(folder.path(), name).unwrap());
    let [server, first] = ["server", "first"].map(|name| one.issue(name, "DNS:umbra").unwrap());
    let second = other.issue("second", "DNS:umbra").unwrap();
    let both = folder.path().join("both.crt");
    let read = |path: &Path| std::fs::read(path).unwrap();
    std::fs::write(&both, [read(&one.certificate()), read(&other.certificate())].concat()).unwrap();
    let files =
        TlsFiles { certificate: server.certificate, key: server.key, client_authority: Some(both.clone()) };
    let identity = Identity::load(&files).unwrap();
    assert_eq!(identity.validity().unwrap().standing(Timestamp::now()), Standing::Good);
    let shown = |issued: &Issued| certificates(&read(&issued.certificate)).unwrap();
    let (first, second) = (shown(&first), shown(&second));
    let (mut stays, mut goes) = (Box::pin(identity.disowned(&first)), Box::pin(identity.disowned(&second)));
    assert!(futures::poll!(&mut stays).is_pending() && futures::poll!(&mut goes).is_pending());
    let before = Contents::read(&files).unwrap();
    std::fs::write(&both, read(&one.certificate())).unwrap();
    let contents = Contents::read(&files).unwrap();
    identity.renew(contents.config().unwrap(), &contents, Some(&before));
    goes.await;
    assert!(futures::poll!(&mut stays).is_pending());
}
