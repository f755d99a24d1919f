//! TLS on both sides: what the proxy shows to clients and what it demands of servers.
//!
//! TLS 1.2 and 1.3 with rustls and aws-lc. The provider is handed to every configuration; nothing
//! is installed for the whole process.

mod verifier;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::config::{Config, ListenTls, ServerTls};
use verifier::{AnyCertificate, AnyName};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("{}: cannot be read ({cause}); name a readable PEM file", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {what}", file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// rustls refused a setting.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
    /// A host that cannot stand in a certificate.
    #[error("`{0}` is neither a DNS name nor an IP address, so no certificate can be asked for it")]
    Host(String),
}

impl TlsError {
    /// The same as an error of the configuration file that names what cannot be used.
    pub fn in_config(self, path: &Path) -> Box<dyn std::error::Error> {
        match &self {
            Self::Unreadable { file, .. } | Self::Unusable { file, .. } => {
                Config::refuse_named(path, file, self.to_string()).into()
            }
            Self::Setup(_) | Self::Host(_) => self.into(),
        }
    }
}

/// The side that clients see. The files are read now; call it again to take new ones.
///
/// # Errors
///
/// Names the file that is missing, holds no certificate or key, or does not fit the other.
pub fn server_config(tls: &ListenTls) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let certificates = read_certificates(&tls.certificate)?;
    let key = read_key(&tls.key)?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(setup)?;
    let builder = match &tls.client_ca {
        Some(file) => builder.with_client_cert_verifier(client_verifier(file, provider)?),
        None => builder.with_no_client_auth(),
    };
    let config = builder
        .with_single_cert(certificates, key)
        .map_err(|error| unusable_pair(tls, error))?;
    Ok(Arc::new(config))
}

/// The side that servers see; none if TLS is disabled. Share one of them among all connections to
/// a server, so that sessions are resumed.
///
/// `verify-ca` is made for MySQL's self-made certificates, which name no host: the chain must lead
/// to a root in `ca`, only the name is not looked at. The root must be a CA certificate apart from
/// the server's own, as MySQL makes it (`ca.pem` beside `server-cert.pem`; those of MySQL 9.7.4
/// pass). Certificates of X.509 version 1, which `openssl x509 -req` makes without extensions,
/// pass only where nothing is verified.
///
/// # Errors
///
/// Names the file with the roots if it cannot be used.
pub fn client_config(tls: &ServerTls) -> Result<Option<Arc<ClientConfig>>, TlsError> {
    let provider = provider();
    let verifier: Arc<dyn ServerCertVerifier> = match tls {
        ServerTls::Disabled => return Ok(None),
        ServerTls::Preferred | ServerTls::Required => Arc::new(AnyCertificate::new(&provider)),
        ServerTls::VerifyCa { ca } => Arc::new(AnyName::new(server_verifier(ca, &provider)?)),
        ServerTls::VerifyIdentity { ca } => server_verifier(ca, &provider)?,
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(setup)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(Some(Arc::new(config)))
}

/// The name that a server's certificate is asked for: the host of its address.
///
/// # Errors
///
/// [`TlsError::Host`] if `host` is neither a DNS name nor an IP address.
pub fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Host(host.to_owned()))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn client_verifier(
    file: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = Arc::new(read_roots(file)?);
    WebPkiClientVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|error| unusable(file, error.to_string()))
}

fn server_verifier(
    file: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let roots = Arc::new(read_roots(file)?);
    WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|error| unusable(file, error.to_string()))
}

fn read_roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(file)? {
        roots
            .add(certificate)
            .map_err(|error| unusable(file, format!("a root cannot be used ({error})")))?;
    }
    Ok(roots)
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(&read(file)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(file, format!("is not a PEM file ({error})")))?;
    if certificates.is_empty() {
        return Err(unusable(
            file,
            "holds no certificate; name a PEM file with \"BEGIN CERTIFICATE\" in it",
        ));
    }
    Ok(certificates)
}

fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let content = read(file)?;
    PrivateKeyDer::from_pem_slice(&content).map_err(|error| match error {
        pem::Error::NoItemsFound if is_encrypted_key(&content) => unusable(
            file,
            "the key is locked with a passphrase; name one without, readable by the proxy only",
        ),
        pem::Error::NoItemsFound => unusable(
            file,
            "holds no private key; name a PEM file with \"BEGIN PRIVATE KEY\" in it",
        ),
        error => unusable(file, format!("is not a PEM file ({error})")),
    })
}

fn is_encrypted_key(content: &[u8]) -> bool {
    let text = String::from_utf8_lossy(content);
    text.contains("BEGIN ENCRYPTED PRIVATE KEY")
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(file).map_err(|cause| TlsError::Unreadable {
        file: file.to_owned(),
        cause,
    })
}

/// rustls looks at certificate and key together: find out which of them it means.
fn unusable_pair(tls: &ListenTls, error: rustls::Error) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(_) => unusable(
            &tls.key,
            format!(
                "is not the key of the certificate in {}; name the two that were made together",
                tls.certificate.display()
            ),
        ),
        rustls::Error::InvalidCertificate(error) => unusable(
            &tls.certificate,
            format!("the certificate cannot be used ({error:?}); it must be X.509 version 3"),
        ),
        error => unusable(&tls.key, format!("the key cannot be used ({error})")),
    }
}

fn unusable(file: &Path, what: impl Into<String>) -> TlsError {
    TlsError::Unusable {
        file: file.to_owned(),
        what: what.into(),
    }
}

fn setup(error: rustls::Error) -> TlsError {
    TlsError::Setup(error.to_string())
}
