use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::error::{FileContext as _, Result};

/// Where a lab's certificates lie, all PEM. The authority has signed the certificate
/// of the servers, made out to `localhost` and 127.0.0.1, and one for a client.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The authority's certificate: what a client has to trust.
    pub authority: PathBuf,
    /// The servers' certificate.
    pub server: PathBuf,
    /// The servers' key.
    pub server_key: PathBuf,
    /// A client's certificate, for accounts with `REQUIRE X509`.
    pub client: PathBuf,
    /// The client's key.
    pub client_key: PathBuf,
    /// The certificate of an authority that has signed nothing here.
    pub stranger: PathBuf,
}

impl Certificates {
    pub(crate) fn within(directory: &Path) -> Self {
        Self {
            authority: directory.join("ca.pem"),
            server: directory.join("server-cert.pem"),
            server_key: directory.join("server-key.pem"),
            client: directory.join("client-cert.pem"),
            client_key: directory.join("client-key.pem"),
            stranger: directory.join("stranger-ca.pem"),
        }
    }

    /// Makes them, in a directory that exists.
    pub(crate) fn generate(directory: &Path) -> Result<Self> {
        let files = Self::within(directory);

        let (root, root_key) = authority("Isthmus lab authority")?;
        write(&files.authority, &root.self_signed(&root_key)?.pem())?;
        let issuer = Issuer::new(root, root_key);

        let (stranger, stranger_key) = authority("Isthmus lab stranger")?;
        write(&files.stranger, &stranger.self_signed(&stranger_key)?.pem())?;

        let server = leaf(
            "Isthmus lab server",
            &["localhost", "127.0.0.1"],
            ExtendedKeyUsagePurpose::ServerAuth,
        )?;
        let client = leaf(
            "Isthmus lab client",
            &[],
            ExtendedKeyUsagePurpose::ClientAuth,
        )?;
        for (parameters, certificate, key_file) in [
            (server, &files.server, &files.server_key),
            (client, &files.client, &files.client_key),
        ] {
            let key = KeyPair::generate()?;
            write(certificate, &parameters.signed_by(&key, &issuer)?.pem())?;
            write(key_file, &key.serialize_pem())?;
        }
        Ok(files)
    }
}

fn authority(name: &str) -> Result<(CertificateParams, KeyPair)> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok((parameters, KeyPair::generate()?))
}

fn leaf(name: &str, hosts: &[&str], usage: ExtendedKeyUsagePurpose) -> Result<CertificateParams> {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut parameters = CertificateParams::new(hosts)?;
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![usage];
    parameters.use_authority_key_identifier_extension = true;
    Ok(parameters)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).doing("write", path)
}
