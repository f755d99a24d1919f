//! The arithmetic of the authentication plugins. Who may log in is decided
//! elsewhere.

pub mod caching_sha2;
pub mod native;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The size of a nonce (the manual's "auth-plugin-data", or scramble) in bytes.
pub const NONCE_LEN: usize = 20;

/// The plugins spoken here.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Plugin {
    /// `caching_sha2_password`, the default of MySQL 8.
    CachingSha2Password,
    /// `mysql_native_password`, the default of MariaDB and of MySQL before 8.
    MysqlNativePassword,
    /// `mysql_clear_password`: the password itself, for use inside TLS only.
    MysqlClearPassword,
}

impl Plugin {
    /// The name in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Self::CachingSha2Password => "caching_sha2_password",
            Self::MysqlNativePassword => "mysql_native_password",
            Self::MysqlClearPassword => "mysql_clear_password",
        }
    }

    /// The plugin with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::CachingSha2Password,
            Self::MysqlNativePassword,
            Self::MysqlClearPassword,
        ]
        .into_iter()
        .find(|plugin| plugin.name() == name)
    }

    /// What a client with `password` answers to `nonce`. For
    /// [`Plugin::MysqlClearPassword`] that is the password with its NUL.
    pub fn response(self, password: &[u8], nonce: &[u8; NONCE_LEN]) -> Vec<u8> {
        match self {
            Self::CachingSha2Password => caching_sha2::scramble(password, nonce),
            Self::MysqlNativePassword => native::scramble(password, nonce),
            Self::MysqlClearPassword => [password, &[0]].concat(),
        }
    }
}

/// True when `response` is what a client with `password` answers to `nonce`.
///
/// The comparison takes the same time wherever the two differ, and also when
/// their lengths do. For [`Plugin::MysqlClearPassword`] the response may end
/// in a NUL or not. An empty password answers with nothing.
pub fn verify(plugin: Plugin, password: &[u8], nonce: &[u8; NONCE_LEN], response: &[u8]) -> bool {
    match plugin {
        Plugin::CachingSha2Password => is_same(&caching_sha2::scramble(password, nonce), response),
        Plugin::MysqlNativePassword => is_same(&native::scramble(password, nonce), response),
        Plugin::MysqlClearPassword => is_same(password, without_nul(response)),
    }
}

/// XORs a password, its NUL included, with the repeated nonce: what is
/// encrypted with the server's RSA key in a full authentication of
/// caching_sha2 without TLS. Applied twice it gives the password back.
pub fn xor_with_nonce(password_nul_terminated: &[u8], nonce: &[u8; NONCE_LEN]) -> Vec<u8> {
    password_nul_terminated
        .iter()
        .zip(nonce.iter().cycle())
        .map(|(password, nonce)| password ^ nonce)
        .collect()
}

/// Makes a nonce of random bytes, as servers do: 7 bits each, and neither NUL
/// nor `$`, which the formats around a nonce use as separators.
pub fn nonce_from_random(random: [u8; NONCE_LEN]) -> [u8; NONCE_LEN] {
    random.map(|byte| match byte & 0x7F {
        separator @ (0 | b'$') => separator + 1,
        plain => plain,
    })
}

/// A password as it came in clear text, without the NUL that clients put
/// behind it.
pub fn without_nul(password: &[u8]) -> &[u8] {
    password.strip_suffix(&[0]).unwrap_or(password)
}

/// Compares digests, which have one length whatever was hashed.
fn is_same(expected: &[u8], given: &[u8]) -> bool {
    Sha256::digest(expected)
        .ct_eq(&Sha256::digest(given))
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; NONCE_LEN] = *b"0123456789abcdefghij";
    const PLUGINS: [Plugin; 3] = [
        Plugin::CachingSha2Password,
        Plugin::MysqlNativePassword,
        Plugin::MysqlClearPassword,
    ];

    #[test]
    fn names() {
        for plugin in PLUGINS {
            assert_eq!(Plugin::from_name(plugin.name()), Some(plugin));
        }
        assert_eq!(Plugin::from_name("sha256_password"), None);
        assert_eq!(Plugin::from_name(""), None);
    }

    #[test]
    fn only_the_right_password_verifies() {
        for plugin in PLUGINS {
            let response = plugin.response(b"secret", &NONCE);
            assert!(verify(plugin, b"secret", &NONCE, &response));
            assert!(!verify(plugin, b"Secret", &NONCE, &response));
            assert!(!verify(plugin, b"", &NONCE, &response));
            assert!(!verify(plugin, b"secret", &NONCE, b""));
            assert!(!verify(plugin, b"secret", &NONCE, &response[1..]));
            let longer = [&response[..], b"x"].concat();
            assert!(!verify(plugin, b"secret", &NONCE, &longer));
            assert!(verify(plugin, b"", &NONCE, b""));
            if plugin != Plugin::MysqlClearPassword {
                let other = nonce_from_random([7; NONCE_LEN]);
                assert!(!verify(plugin, b"secret", &other, &response));
            }
        }
        let clear = Plugin::MysqlClearPassword;
        assert!(verify(clear, b"secret", &NONCE, b"secret"));
        assert!(verify(clear, b"", &NONCE, b"\0"));
    }

    #[test]
    fn xor_is_its_own_inverse() {
        let password = b"a password longer than one nonce\0";
        let hidden = xor_with_nonce(password, &NONCE);
        assert_eq!(hidden[0], b'a' ^ b'0');
        assert_eq!(hidden[20], password[20] ^ b'0');
        assert_eq!(xor_with_nonce(&hidden, &NONCE), password);
    }

    #[test]
    fn nonces_have_no_separators() {
        for byte in 0..=255 {
            for made in nonce_from_random([byte; NONCE_LEN]) {
                assert!(made < 0x80 && made != 0 && made != b'$');
            }
        }
    }
}
