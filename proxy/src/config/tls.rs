//! Certificates: what the proxy shows to clients and what it demands of servers.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::error::Fault;

/// What the proxy shows to its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenTls {
    /// A PEM file with the certificate, followed by those between it and its root.
    pub certificate: PathBuf,
    /// A PEM file with the certificate's private key.
    pub key: PathBuf,
    /// A PEM file with roots. If there is one, a client that uses TLS must show a certificate that
    /// one of them vouches for.
    pub client_ca: Option<PathBuf>,
}

/// How a connection to a server is encrypted, in the words of the MySQL client's `--ssl-mode`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ServerTls {
    /// Not at all.
    Disabled,
    /// If the server can, with whatever certificate.
    Preferred,
    /// Always, with whatever certificate.
    Required,
    /// Always, and a root in `ca` must vouch for the certificate, whatever name is in it.
    VerifyCa {
        /// A PEM file with roots.
        ca: PathBuf,
    },
    /// Always, a root in `ca` must vouch for the certificate, and the host's name must be in it.
    VerifyIdentity {
        /// A PEM file with roots.
        ca: PathBuf,
    },
}

impl ServerTls {
    /// The mode's word in the file.
    pub fn mode(&self) -> &'static str {
        match self {
            ServerTls::Disabled => "disabled",
            ServerTls::Preferred => "preferred",
            ServerTls::Required => "required",
            ServerTls::VerifyCa { .. } => "verify-ca",
            ServerTls::VerifyIdentity { .. } => "verify-identity",
        }
    }

    /// The file with the roots, where the mode has one.
    pub fn ca(&self) -> Option<&Path> {
        match self {
            ServerTls::Disabled | ServerTls::Preferred | ServerTls::Required => None,
            ServerTls::VerifyCa { ca } | ServerTls::VerifyIdentity { ca } => Some(ca),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawServerTls {
    #[serde(default)]
    mode: RawTlsMode,
    ca: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawTlsMode {
    Disabled,
    #[default]
    Preferred,
    Required,
    VerifyCa,
    VerifyIdentity,
}

/// Checks that a mode and its roots fit; `folder` is where a relative path starts.
pub(super) fn resolve_server_tls(
    raw: Spanned<RawServerTls>,
    folder: &Path,
) -> Result<ServerTls, Fault> {
    let at = raw.span();
    let RawServerTls { mode, ca } = raw.into_inner();
    let ca = ca.map(|path| folder.join(path));
    match (mode, ca) {
        (RawTlsMode::Disabled, None) => Ok(ServerTls::Disabled),
        (RawTlsMode::Preferred, None) => Ok(ServerTls::Preferred),
        (RawTlsMode::Required, None) => Ok(ServerTls::Required),
        (RawTlsMode::VerifyCa, Some(ca)) => Ok(ServerTls::VerifyCa { ca }),
        (RawTlsMode::VerifyIdentity, Some(ca)) => Ok(ServerTls::VerifyIdentity { ca }),
        (RawTlsMode::VerifyCa | RawTlsMode::VerifyIdentity, None) => Err(Fault::new(
            at,
            "nothing to verify the server's certificate with; add `ca`, a PEM file with roots",
        )),
        (RawTlsMode::Disabled | RawTlsMode::Preferred | RawTlsMode::Required, Some(_)) => {
            Err(Fault::new(
                at,
                "`ca` is given but this mode does not verify certificates; \
                 choose the mode \"verify-ca\" or \"verify-identity\", or leave `ca` out",
            ))
        }
    }
}
