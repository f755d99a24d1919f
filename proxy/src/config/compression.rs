//! How packets are compressed.

use serde::{Deserialize, Deserializer};

/// An algorithm of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// zstd, of MySQL since 8.0.18.
    Zstd,
    /// zlib, of every server.
    Zlib,
}

impl Compression {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Zlib => "zlib",
        }
    }
}

/// Where "off" stands for none.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum OrOff {
    Zstd,
    Zlib,
    Off,
}

pub(super) fn or_off<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Compression>, D::Error> {
    Ok(match OrOff::deserialize(deserializer)? {
        OrOff::Zstd => Some(Compression::Zstd),
        OrOff::Zlib => Some(Compression::Zlib),
        OrOff::Off => None,
    })
}
