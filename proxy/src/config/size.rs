//! Numbers of bytes, written as `"64MiB"`, and plain counts.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

const UNITS: [(&str, usize); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// Reads a number of bytes.
pub(super) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    deserializer.deserialize_str(SizeVisitor)
}

/// Reads a count of at least one.
pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    count_from(1, deserializer)
}

/// Reads a count that may be zero.
pub(super) fn count_or_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    count_from(0, deserializer)
}

fn count_from<'de, D: Deserializer<'de>>(least: i64, deserializer: D) -> Result<usize, D::Error> {
    match i64::deserialize(deserializer)? {
        count if (least..=1_000_000).contains(&count) => Ok(count as usize),
        other => Err(D::Error::custom(format!(
            "{other} is out of range; write a whole number from {least} to 1000000"
        ))),
    }
}

/// Reads a count of at least one that may be left out.
pub(super) fn optional_count<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<usize>, D::Error> {
    count(deserializer).map(Some)
}

/// Reads a count that may be zero or left out.
pub(super) fn optional_count_or_zero<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<usize>, D::Error> {
    count_or_zero(deserializer).map(Some)
}

/// Writes a number of bytes in the largest unit that is exact.
pub(super) fn text(bytes: usize) -> String {
    UNITS
        .iter()
        .find(|(_, unit)| bytes.is_multiple_of(*unit))
        .map(|(name, unit)| format!("{}{name}", bytes / unit))
        .unwrap_or_default()
}

fn parse(text: &str) -> Option<usize> {
    let (name, unit) = UNITS.iter().find(|(name, _)| text.ends_with(name))?;
    let number: usize = text.strip_suffix(name)?.parse().ok()?;
    number.checked_mul(*unit)
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size in quotes such as \"64MiB\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<usize, E> {
        parse(text).ok_or_else(|| {
            E::custom(format!(
                "\"{text}\" is not a size; write a whole number with its unit, one of \
                 B, KiB, MiB, GiB, such as \"64MiB\""
            ))
        })
    }
}
