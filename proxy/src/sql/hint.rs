//! Hints to the proxy, written in comments, so that a server without the proxy ignores them.

/// What the comments before the first word and at the end of a packet ask for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hints {
    /// `isthmus:writer` or `isthmus:reader`.
    pub target: Option<HintTarget>,
    /// `isthmus:fresh`: sees what anybody has written before, from the writer.
    pub fresh: bool,
    /// `isthmus:optimistic`: the reads of this transaction that come before its first write may be
    /// answered by the reader.
    pub optimistic: bool,
    /// `isthmus:key=…`: shares the mark with everyone who shows the same key.
    pub key: Option<String>,
    /// `isthmus:after=…`: waits for what the token stands for.
    pub after: Option<String>,
}

/// Where a hint sends a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HintTarget {
    /// To the writer, where a reader could answer.
    Writer,
    /// To a reader even while the session is pinned. A statement that may not run on a reader
    /// still does not.
    Reader,
}

impl Hints {
    /// The longest key, in bytes; a longer one is ignored.
    pub const LONGEST_KEY: usize = 256;
    /// The longest token, in bytes; a longer one is ignored.
    pub const LONGEST_TOKEN: usize = 4096;

    /// True if nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Hints::default()
    }

    /// Adds what the text of a comment says behind its first `isthmus:`. Several hints may stand
    /// in one comment, separated by spaces, each with or without the prefix. Later hints win;
    /// what is not a hint is ignored.
    pub(super) fn add(&mut self, comment: &[u8]) {
        for word in comment.split(u8::is_ascii_whitespace) {
            let Ok(word) = std::str::from_utf8(word) else {
                continue;
            };
            let word = match word.get(..8) {
                Some(prefix) if prefix.eq_ignore_ascii_case("isthmus:") => {
                    word.get(8..).unwrap_or_default()
                }
                _ => word,
            };
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            match name.to_ascii_lowercase().as_str() {
                "writer" => self.target = Some(HintTarget::Writer),
                "reader" => self.target = Some(HintTarget::Reader),
                "fresh" => self.fresh = true,
                "optimistic" => self.optimistic = true,
                "key" => keep(&mut self.key, value, Hints::LONGEST_KEY),
                "after" => keep(&mut self.after, value, Hints::LONGEST_TOKEN),
                _ => {}
            }
        }
    }

    /// Adds the hints of another comment.
    pub(super) fn merge(&mut self, later: Hints) {
        self.target = later.target.or(self.target);
        self.fresh |= later.fresh;
        self.optimistic |= later.optimistic;
        self.key = later.key.or(self.key.take());
        self.after = later.after.or(self.after.take());
    }
}

fn keep(slot: &mut Option<String>, value: &str, longest: usize) {
    if !value.is_empty() && value.len() <= longest {
        *slot = Some(value.to_owned());
    }
}
