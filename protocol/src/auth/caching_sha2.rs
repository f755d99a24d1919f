//! `caching_sha2_password`.
//!
//! Format: "Caching_sha2_password information" in the manual. The client
//! answers with a [`scramble`]. A server that knows the user from before says
//! [`FAST_AUTH_OK`] and then OK; another says [`FULL_AUTH`], and the client
//! sends its password with a NUL: as it is inside TLS, otherwise
//! [XORed with the nonce](super::xor_with_nonce) and encrypted with the
//! server's RSA key (OAEP), for which it asks with [`REQUEST_PUBLIC_KEY`]. The
//! server's bytes come in [`AuthMoreData`](crate::handshake::AuthMoreData),
//! and so does the key, as PEM; the client's are whole payloads.

use sha2::{Digest, Sha256};

use super::NONCE_LEN;

/// Client: send me your public key.
pub const REQUEST_PUBLIC_KEY: u8 = 0x02;

/// Server: the scramble is right; an OK packet follows.
pub const FAST_AUTH_OK: u8 = 0x03;

/// Server: send the password.
pub const FULL_AUTH: u8 = 0x04;

/// What a client with `password` answers to `nonce`: 32 bytes, or none when
/// the password is empty.
///
/// `SHA256(password) XOR SHA256(SHA256(SHA256(password)) + nonce)`
pub fn scramble(password: &[u8], nonce: &[u8; NONCE_LEN]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let once = Sha256::digest(password);
    let twice = Sha256::digest(once);
    let mask = Sha256::new()
        .chain_update(twice)
        .chain_update(nonce)
        .finalize();
    once.iter()
        .zip(mask)
        .map(|(once, mask)| once ^ mask)
        .collect()
}
