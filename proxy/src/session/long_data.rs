//! What COM_STMT_SEND_LONG_DATA brought of a statement's parameters. It has no answer, so that what
//! was wrong with it is said when the statement is executed.

use isthmus_protocol::command::SendLongData;

use crate::error::SqlError;

/// The parameters that came ahead of a statement's next execution.
#[derive(Debug, Default)]
pub(super) struct LongData {
    parts: Vec<(u16, Vec<u8>)>,
    error: Option<SqlError>,
}

impl LongData {
    /// Takes a part, up to `limit` bytes in all.
    pub(super) fn add(&mut self, part: &SendLongData<'_>, limit: usize) {
        let length: usize = self.parts.iter().map(|(_, data)| data.len()).sum();
        if length + part.data.len() > limit {
            self.refuse(SqlError::long_data_too_long(limit));
        } else if self.error.is_none() {
            self.parts.push((part.parameter, part.data.to_vec()));
        }
    }

    /// Keeps the statement from being executed, for this reason.
    pub(super) fn refuse(&mut self, error: SqlError) {
        self.parts = Vec::new();
        self.error = Some(error);
    }

    /// Parameter and bytes, in the order in which they came.
    pub(super) fn parts(&self) -> &[(u16, Vec<u8>)] {
        &self.parts
    }

    /// Why the statement cannot be executed before it is reset.
    pub(super) fn error(&self) -> Option<&SqlError> {
        self.error.as_ref()
    }

    /// The statement has been executed.
    pub(super) fn use_up(&mut self) {
        self.parts.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_stays_until_the_statement_is_reset() {
        let part = |parameter, data| SendLongData {
            statement_id: 1,
            parameter,
            data,
        };
        let mut long = LongData::default();
        long.add(&part(0, b"1234"), 8);
        assert_eq!(long.parts(), [(0, b"1234".to_vec())]);
        long.add(&part(1, b"12345"), 8);
        long.add(&part(0, b"1"), 8);
        long.use_up();
        assert_eq!(long.error().map(|error| error.code), Some(1105));
        assert!(long.parts().is_empty());
    }
}
