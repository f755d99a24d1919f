//! Sets of global transaction identifiers, as MySQL and MariaDB write them.

use std::collections::BTreeMap;

/// A text that is not a GTID set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a GTID set")]
pub struct GtidError(String);

/// Transactions that a server has applied, or that a session must see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GtidSet {
    /// Intervals (first and last, both included, sorted, apart) by `uuid` or `uuid:tag`.
    /// Format: MySQL manual, "GTID Format and Storage".
    Mysql(BTreeMap<String, Vec<(u64, u64)>>),
    /// The last sequence number of each domain.
    /// Format: MariaDB manual, "Global Transaction ID": `domain-server-sequence`.
    Mariadb(BTreeMap<u32, u64>),
}

impl GtidSet {
    /// Reads the form of the one or the other.
    ///
    /// # Errors
    /// If the text has another form.
    pub fn parse(text: &str, is_mariadb: bool) -> Result<Self, GtidError> {
        if is_mariadb {
            Self::parse_mariadb(text)
        } else {
            Self::parse_mysql(text)
        }
    }

    /// Reads MySQL's form, such as `uuid:1-5:7,uuid:tag:3`.
    pub fn parse_mysql(text: &str) -> Result<Self, GtidError> {
        let wrong = || GtidError(text.chars().take(200).collect());
        let mut set = BTreeMap::new();
        for source in text
            .split(',')
            .map(str::trim)
            .filter(|source| !source.is_empty())
        {
            let mut parts = source.split(':').map(str::trim);
            let mut key = parts.next().unwrap_or_default().to_ascii_lowercase();
            if !is_uuid(&key) {
                return Err(wrong());
            }
            for part in parts {
                if part.starts_with(|c: char| c.is_ascii_digit()) {
                    let (first, last) = part.split_once('-').unwrap_or((part, part));
                    let first = first.parse().map_err(|_| wrong())?;
                    let last = last.parse().map_err(|_| wrong())?;
                    if first == 0 || last < first {
                        return Err(wrong());
                    }
                    add(&mut set, &key, &[(first, last)]);
                } else {
                    let tag = part.to_ascii_lowercase();
                    if !is_tag(&tag) {
                        return Err(wrong());
                    }
                    key.truncate(UUID_LEN);
                    key.push(':');
                    key.push_str(&tag);
                }
            }
        }
        Ok(Self::Mysql(set))
    }

    /// Reads MariaDB's form, such as `0-3411-177,1-7-12`.
    pub fn parse_mariadb(text: &str) -> Result<Self, GtidError> {
        let wrong = || GtidError(text.chars().take(200).collect());
        let mut set = BTreeMap::new();
        for gtid in text
            .split(',')
            .map(str::trim)
            .filter(|gtid| !gtid.is_empty())
        {
            let mut parts = gtid.split('-');
            let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok());
            let (domain, _server, sequence) = (number(), number(), number());
            let domain = domain
                .and_then(|d| u32::try_from(d).ok())
                .ok_or_else(wrong)?;
            let sequence = sequence.ok_or_else(wrong)?;
            let last: &mut u64 = set.entry(domain).or_default();
            *last = sequence.max(*last);
        }
        Ok(Self::Mariadb(set))
    }

    /// Whether every transaction of `other` is in this set.
    pub fn contains(&self, other: &GtidSet) -> bool {
        match (self, other) {
            (Self::Mysql(own), Self::Mysql(other)) => other.iter().all(|(key, intervals)| {
                let own = own.get(key).map_or(&[][..], Vec::as_slice);
                intervals
                    .iter()
                    .all(|&(first, last)| own.iter().any(|&(a, b)| a <= first && last <= b))
            }),
            (Self::Mariadb(own), Self::Mariadb(other)) => other
                .iter()
                .all(|(domain, sequence)| own.get(domain).is_some_and(|own| own >= sequence)),
            _ => false,
        }
    }

    /// Adds what `other` has. Returns whether that is possible: not if it is of the other kind of
    /// server.
    pub fn join(&mut self, other: &GtidSet) -> bool {
        match (self, other) {
            (Self::Mysql(own), Self::Mysql(other)) => {
                for (key, intervals) in other {
                    add(own, key, intervals);
                }
            }
            (Self::Mariadb(own), Self::Mariadb(other)) => {
                for (domain, sequence) in other {
                    let own = own.entry(*domain).or_default();
                    *own = (*own).max(*sequence);
                }
            }
            _ => return false,
        }
        true
    }

    /// The set as a server takes it.
    pub fn to_sql(&self) -> String {
        let sources: Vec<String> = match self {
            Self::Mysql(set) => set
                .iter()
                .map(|(key, intervals)| {
                    let intervals: Vec<String> = intervals
                        .iter()
                        .map(|(first, last)| format!("{first}-{last}"))
                        .collect();
                    format!("{key}:{}", intervals.join(":"))
                })
                .collect(),
            // Any server id will do: MASTER_GTID_WAIT compares sequence numbers within a domain.
            Self::Mariadb(set) => set
                .iter()
                .map(|(domain, sequence)| format!("{domain}-1-{sequence}"))
                .collect(),
        };
        sources.join(",")
    }
}

const UUID_LEN: usize = 36;

/// Sets come from clients too, in tokens, and go to servers inside quotes.
fn is_uuid(text: &str) -> bool {
    text.len() == UUID_LEN
        && text
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// The longest tag, in characters. Source: MySQL manual, "GTID Format and Storage".
const LONGEST_TAG: usize = 32;

fn is_tag(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let is_word = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    starts && is_word && text.len() <= LONGEST_TAG
}

/// Adds intervals of one source.
fn add(set: &mut BTreeMap<String, Vec<(u64, u64)>>, source: &str, new: &[(u64, u64)]) {
    match set.get_mut(source) {
        Some(own) => new.iter().for_each(|new| insert(own, *new)),
        None => {
            set.insert(source.to_owned(), new.to_vec());
        }
    }
}

/// Adds an interval to sorted, separate ones and joins those that touch.
fn insert(intervals: &mut Vec<(u64, u64)>, new: (u64, u64)) {
    // Most often it comes behind all others.
    let is_behind = |last: &(u64, u64)| new.0 >= last.0;
    match intervals.last_mut() {
        Some(last) if is_behind(last) && new.0 <= last.1.saturating_add(1) => {
            last.1 = last.1.max(new.1);
            return;
        }
        last if last.as_deref().is_none_or(is_behind) => {
            intervals.push(new);
            return;
        }
        _ => intervals.push(new),
    }
    intervals.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::with_capacity(intervals.len());
    for &(first, last) in intervals.iter() {
        match joined.last_mut() {
            Some(previous) if first <= previous.1.saturating_add(1) => {
                previous.1 = previous.1.max(last);
            }
            _ => joined.push((first, last)),
        }
    }
    *intervals = joined;
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

    #[test]
    fn mysql_sets_contain_each_other_by_interval() {
        let executed = format!("{A}:1-5:7-9,\n{B}:1-3:blue:1-4");
        let cases = [
            (format!("{A}:5"), true),
            (format!("{A}:6"), false),
            (format!("{A}:4-7"), false),
            (format!("{A}:7-9"), true),
            (format!("{}:1", A.to_uppercase()), true),
            (format!("{B}:blue:2"), true),
            (format!("{B}:red:2"), false),
            (format!("{A}:1,{B}:4"), false),
            (String::new(), true),
        ];
        let executed = GtidSet::parse_mysql(&executed).unwrap();
        for (text, expected) in cases {
            let set = GtidSet::parse_mysql(&text).unwrap();
            assert_eq!(executed.contains(&set), expected, "{text}");
        }
    }

    #[test]
    fn touching_intervals_are_joined() {
        let set = GtidSet::parse_mysql(&format!("{A}:3-4:1-2:9:5")).unwrap();
        assert_eq!(set.to_sql(), format!("{A}:1-5:9-9"));
    }

    #[test]
    fn sets_are_joined() {
        let cases = [
            (format!("{A}:1-3"), format!("{A}:4,{B}:1"), false),
            (
                "0-1-7,1-1-9".to_owned(),
                "0-1-8,1-1-1,2-1-1".to_owned(),
                true,
            ),
        ];
        for (own, other, is_mariadb) in cases {
            let parse = |text: &str| GtidSet::parse(text, is_mariadb).unwrap();
            let both = parse(&format!("{own},{other}"));
            let mut joined = parse(&own);
            assert!(joined.join(&parse(&other)));
            assert_eq!(joined, both);
        }
        let mut mysql = GtidSet::parse_mysql(&format!("{A}:1")).unwrap();
        assert!(!mysql.join(&GtidSet::parse_mariadb("0-1-1").unwrap()));
    }

    #[test]
    fn mariadb_positions_compare_within_a_domain() {
        let position = GtidSet::parse_mariadb("0-3411-177,1-2-5").unwrap();
        for (text, expected) in [
            ("0-9-177", true),
            ("0-3411-178", false),
            ("1-1-5,0-1-1", true),
            ("2-1-1", false),
        ] {
            let set = GtidSet::parse_mariadb(text).unwrap();
            assert_eq!(position.contains(&set), expected, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let tagged = |tag: &str| format!("{A}:{tag}:1");
        for text in [
            "x",
            "3e11fa47:1",
            &format!("{A}:1-x"),
            &format!("{A}:0"),
            &format!("{A}:5-4"),
            // As long as a UUID, and not one.
            "m.');select sleep(3);#xxxxxxxxxxxxxx:1",
            "');select sleep(3);#xxxxxxxxxxxxxxxx:1",
            &tagged("a');select sleep(3);#"),
            &tagged("a b"),
            &tagged(""),
            &tagged(&"a".repeat(33)),
        ] {
            assert!(GtidSet::parse_mysql(text).is_err(), "{text}");
        }
        for text in ["x", "0-1", "1-2-x", "-1-2-3"] {
            assert!(GtidSet::parse_mariadb(text).is_err(), "{text}");
        }
    }
}
