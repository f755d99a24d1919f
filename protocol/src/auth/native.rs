//! `mysql_native_password`.
//!
//! Format: "Native Authentication" in the manual.

use sha1::{Digest, Sha1};

use super::NONCE_LEN;

/// What a client with `password` answers to `nonce`: 20 bytes, or none when
/// the password is empty.
///
/// `SHA1(password) XOR SHA1(nonce + SHA1(SHA1(password)))`
pub fn scramble(password: &[u8], nonce: &[u8; NONCE_LEN]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let once = Sha1::digest(password);
    let twice = Sha1::digest(once);
    let mask = Sha1::new()
        .chain_update(nonce)
        .chain_update(twice)
        .finalize();
    once.iter()
        .zip(mask)
        .map(|(once, mask)| once ^ mask)
        .collect()
}
