//! The RSA exchange of `caching_sha2_password` and `sha256_password` on connections without TLS:
//! the server shows its public key, the client encrypts its password with it (RSA-OAEP, SHA-1).
//!
//! What is encrypted is the password with its NUL, XORed with the scramble; that is the protocol
//! crate's business.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;

/// What can go wrong with RSA. Nothing more is said, so that nobody learns from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RsaError {
    /// The cryptographic library could not make a key.
    #[error("no RSA key could be generated")]
    Generate,
    /// What came in the place of a public key is none, or one of less than 2048 bits.
    #[error("the server's public key is not an RSA key in PEM form of at least 2048 bits")]
    PublicKey,
    /// More data than fits in one encryption with this key.
    #[error("the password is too long for the server's RSA key")]
    TooLong,
    /// The data was not encrypted with this key.
    #[error("the encrypted password does not fit the proxy's RSA key")]
    Decrypt,
}

/// The proxy's own key pair of 2048 bits. It lives as long as the process; clients ask for the
/// public half at each login.
pub struct RsaKey {
    private: OaepPrivateDecryptingKey,
    public_pem: String,
}

impl RsaKey {
    /// Makes a key. This takes tens of milliseconds or more of pure computing: do it once, and
    /// not on a thread that serves sessions.
    ///
    /// # Errors
    ///
    /// [`RsaError::Generate`] if the library has no randomness.
    pub fn generate() -> Result<RsaKey, RsaError> {
        let private =
            PrivateDecryptingKey::generate(KeySize::Rsa2048).map_err(|_| RsaError::Generate)?;
        let public: PublicKeyX509Der<'_> = private
            .public_key()
            .as_der()
            .map_err(|_| RsaError::Generate)?;
        let public_pem = pem(public.as_ref());
        let private = OaepPrivateDecryptingKey::new(private).map_err(|_| RsaError::Generate)?;
        Ok(RsaKey {
            private,
            public_pem,
        })
    }

    /// The public half, as it is sent to clients: PEM, `-----BEGIN PUBLIC KEY-----`.
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// Decrypts what a client encrypted with the public half.
    ///
    /// # Errors
    ///
    /// [`RsaError::Decrypt`] if it did not.
    pub fn decrypt(&self, encrypted: &[u8]) -> Result<Vec<u8>, RsaError> {
        let mut plain = vec![0; self.private.min_output_size()];
        let length = self
            .private
            .decrypt(&OAEP_SHA1_MGF1SHA1, encrypted, &mut plain, None)
            .map_err(|_| RsaError::Decrypt)?
            .len();
        plain.truncate(length);
        Ok(plain)
    }
}

impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RsaKey").finish_non_exhaustive()
    }
}

/// Encrypts `data` with the public key that a server has sent.
///
/// # Errors
///
/// [`RsaError::PublicKey`] if `pem` is no usable key, [`RsaError::TooLong`] if `data` does not fit
/// (214 bytes do with 2048 bits).
pub fn encrypt_with_pem(pem: &[u8], data: &[u8]) -> Result<Vec<u8>, RsaError> {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| RsaError::PublicKey)?;
    let key = PublicEncryptingKey::from_der(&der).map_err(|_| RsaError::PublicKey)?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| RsaError::PublicKey)?;
    if data.len() > key.max_plaintext_size(&OAEP_SHA1_MGF1SHA1) {
        return Err(RsaError::TooLong);
    }
    let mut encrypted = vec![0; key.ciphertext_size()];
    let length = key
        .encrypt(&OAEP_SHA1_MGF1SHA1, data, &mut encrypted, None)
        .map_err(|_| RsaError::PublicKey)?
        .len();
    encrypted.truncate(length);
    Ok(encrypted)
}

/// Lines of 64 letters between the two that name what it is (RFC 7468).
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
    for (position, letter) in text.chars().enumerate() {
        if position > 0 && position % 64 == 0 {
            pem.push('\n');
        }
        pem.push(letter);
    }
    pem.push_str("\n-----END PUBLIC KEY-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_public_key_encrypts_the_private_one_decrypts() {
        let key = RsaKey::generate().unwrap();
        for length in [0, 1, 20, 214] {
            let data: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
            let encrypted = encrypt_with_pem(key.public_pem().as_bytes(), &data).unwrap();
            assert_eq!(encrypted.len(), 256);
            assert_eq!(key.decrypt(&encrypted).unwrap(), data);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let key = RsaKey::generate().unwrap();
        let pem = key.public_pem().as_bytes();
        assert_eq!(encrypt_with_pem(pem, &[0; 215]), Err(RsaError::TooLong));
        for wrong in [
            "",
            "hello",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        ] {
            let seen = encrypt_with_pem(wrong.as_bytes(), b"x");
            assert_eq!(seen, Err(RsaError::PublicKey), "{wrong}");
        }
        for length in [0, 1, 255, 256, 257, 4096] {
            assert_eq!(key.decrypt(&vec![7; length]), Err(RsaError::Decrypt));
        }
    }

    #[test]
    fn the_public_key_is_pem_of_64_columns() {
        let key = RsaKey::generate().unwrap();
        let lines: Vec<&str> = key.public_pem().lines().collect();
        assert_eq!(lines.first(), Some(&"-----BEGIN PUBLIC KEY-----"));
        assert_eq!(lines.last(), Some(&"-----END PUBLIC KEY-----"));
        assert!(
            lines
                .iter()
                .all(|line| !line.is_empty() && line.len() <= 64)
        );
    }
}
