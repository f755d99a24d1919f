//! What COM_STMT_SEND_LONG_DATA brought of a statement's parameters. It has no answer, so that what
//! was wrong with it is said when the statement is executed.

use std::collections::BTreeMap;

use isthmus_protocol::command::SendLongData;

use crate::error::SqlError;

/// Parameters and their bytes. One of which nothing but empty pieces came is an empty string.
pub(super) type Parameters = BTreeMap<u16, Vec<u8>>;

/// The parameters that came ahead of a statement's next execution.
#[derive(Debug, Default)]
pub(super) struct LongData {
    parameters: Parameters,
    /// How many bytes they have together.
    length: usize,
    error: Option<SqlError>,
}

impl LongData {
    /// Takes a piece, up to `limit` bytes in all.
    pub(super) fn add(&mut self, piece: &SendLongData<'_>, limit: usize) {
        if self.error.is_some() {
            return;
        }
        self.length += piece.data.len();
        if self.length > limit {
            return self.refuse(SqlError::long_data_too_long(limit));
        }
        let parameter = self.parameters.entry(piece.parameter).or_default();
        parameter.extend_from_slice(piece.data);
    }

    /// Keeps the statement from being executed, for this reason.
    pub(super) fn refuse(&mut self, error: SqlError) {
        self.use_up();
        self.error = Some(error);
    }

    pub(super) fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Why the statement cannot be executed before it is reset.
    pub(super) fn error(&self) -> Option<&SqlError> {
        self.error.as_ref()
    }

    /// The statement has been executed.
    pub(super) fn use_up(&mut self) {
        self.parameters.clear();
        self.length = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(long: &mut LongData, parameter: u16, data: &[u8]) {
        let piece = SendLongData {
            statement_id: 1,
            parameter,
            data,
        };
        long.add(&piece, 8);
    }

    #[test]
    fn what_is_wrong_stays_until_the_statement_is_reset() {
        let mut long = LongData::default();
        add(&mut long, 0, b"1234");
        assert_eq!(*long.parameters(), [(0, b"1234".to_vec())].into());
        add(&mut long, 1, b"12345");
        add(&mut long, 0, b"1");
        long.use_up();
        assert_eq!(long.error().map(|error| error.code), Some(1105));
        assert!(long.parameters().is_empty());
    }

    #[test]
    fn pieces_take_no_more_room_than_what_is_in_them() {
        let mut long = LongData::default();
        for _ in 0..3 {
            add(&mut long, 1, b"");
            add(&mut long, 0, b"ab");
        }
        let whole = [(0, b"ababab".to_vec()), (1, Vec::new())];
        assert_eq!(*long.parameters(), whole.into());
        long.use_up();
        add(&mut long, 0, b"12345678");
        assert!(long.error().is_none());
    }
}
