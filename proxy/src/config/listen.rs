//! Where clients connect, and how.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::error::Fault;
use super::parsed::parsed;
use super::{Compression, IpNet, ListenTls};
use crate::sql::check_init;

/// The client's side of the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The addresses to listen on. Never empty.
    pub addresses: Vec<SocketAddr>,
    /// The certificate to show; none if clients cannot use TLS.
    pub tls: Option<ListenTls>,
    /// Whether clients without TLS are refused. Only with a certificate.
    pub tls_required: bool,
    /// What clients may compress with; none if they cannot.
    pub compression: Vec<Compression>,
    /// Load balancers whose PROXY protocol header is believed (and demanded).
    pub proxy_protocol: Vec<IpNet>,
    /// The version to greet clients with until a server was seen; none for a built-in one.
    pub server_version: Option<String>,
    /// How clients prove that they know their password, unless their user says otherwise.
    pub auth_plugin: AuthPlugin,
    /// The statements that sessions begin with, unless their user says otherwise.
    pub init: Vec<String>,
}

/// A way for clients to prove that they know their password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum AuthPlugin {
    /// `caching_sha2_password`, MySQL's default since 8.0.
    #[serde(rename = "caching_sha2_password")]
    CachingSha2Password,
    /// `mysql_native_password`, for old clients; it rests on SHA-1.
    #[serde(rename = "mysql_native_password")]
    MysqlNativePassword,
}

impl AuthPlugin {
    /// The plugin's name in the protocol and in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            AuthPlugin::CachingSha2Password => "caching_sha2_password",
            AuthPlugin::MysqlNativePassword => "mysql_native_password",
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawListen {
    pub(super) addresses: Spanned<Vec<Spanned<ListenAddress>>>,
    tls: Option<RawListenTls>,
    tls_required: Spanned<bool>,
    compression: Vec<Compression>,
    proxy_protocol: Vec<IpNet>,
    server_version: Option<Spanned<String>>,
    auth_plugin: AuthPlugin,
    init: Vec<InitStatement>,
}

/// An address to listen on.
pub(super) struct ListenAddress(pub(super) SocketAddr);

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(ListenAddress).map_err(|_| {
            format!(
                "\"{text}\" is not an address to listen on; write ip:port such as \
                 \"0.0.0.0:3306\" or \"[::]:3306\""
            )
        })
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

/// A statement that sessions begin with.
pub(super) struct InitStatement(pub(super) String);

impl FromStr for InitStatement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match check_init(text) {
            Ok(()) => Ok(Self(text.to_owned())),
            Err(reason) => Err(format!(
                "a session cannot begin with `{text}`: {reason}; write SET statements of session \
                 variables, character sets or roles"
            )),
        }
    }
}

impl<'de> Deserialize<'de> for InitStatement {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawListenTls {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

impl Default for RawListen {
    fn default() -> Self {
        Self {
            addresses: Spanned::new(
                0..0,
                vec![Spanned::new(
                    0..0,
                    ListenAddress(SocketAddr::from(([127, 0, 0, 1], 3307))),
                )],
            ),
            tls: None,
            tls_required: Spanned::new(0..0, false),
            compression: vec![Compression::Zstd, Compression::Zlib],
            proxy_protocol: Vec::new(),
            server_version: None,
            auth_plugin: AuthPlugin::CachingSha2Password,
            init: Vec::new(),
        }
    }
}

impl RawListen {
    /// Checks the parts against each other; `folder` is where relative paths start.
    pub(super) fn resolve(self, folder: &Path) -> Result<Listen, Fault> {
        if self.addresses.get_ref().is_empty() {
            return Err(Fault::new(
                self.addresses.span(),
                "no address to listen on; write at least one, such as \"127.0.0.1:3307\"",
            ));
        }
        if *self.tls_required.get_ref() && self.tls.is_none() {
            return Err(Fault::new(
                self.tls_required.span(),
                "TLS is required of clients but there is no certificate; \
                 add listen.tls with `certificate` and `key`",
            ));
        }
        if let Some(version) = &self.server_version {
            check_server_version(version)?;
        }
        Ok(Listen {
            addresses: self
                .addresses
                .into_inner()
                .into_iter()
                .map(|address| address.into_inner().0)
                .collect(),
            tls: self.tls.map(|tls| ListenTls {
                certificate: folder.join(tls.certificate),
                key: folder.join(tls.key),
                client_ca: tls.client_ca.map(|path| folder.join(path)),
            }),
            tls_required: self.tls_required.into_inner(),
            compression: self.compression,
            proxy_protocol: self.proxy_protocol,
            server_version: self.server_version.map(Spanned::into_inner),
            auth_plugin: self.auth_plugin,
            init: self.init.into_iter().map(|one| one.0).collect(),
        })
    }
}

/// The version stands in the greeting up to a NUL, and drivers expect it to begin with numbers.
fn check_server_version(version: &Spanned<String>) -> Result<(), Fault> {
    let text = version.get_ref();
    let is_printable = text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    if is_printable && text.len() <= 60 && text.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(());
    }
    Err(Fault::new(
        version.span(),
        format!("\"{text}\" is not a server version; write one such as \"8.0.39\""),
    ))
}
