//! When two answers are the same.

use crate::answer::Answer;
use crate::known::{KNOWN, Question};

/// Whether a client cannot tell the answers apart, but for what is [`KNOWN`] to differ.
pub(crate) fn is_same(question: Question<'_>, direct: &Answer, proxied: &Answer) -> bool {
    if direct == proxied {
        return true;
    }
    let (mut direct, mut proxied) = (direct.clone(), proxied.clone());
    for known in KNOWN {
        (known.hide)(question, &mut direct);
        (known.hide)(question, &mut proxied);
    }
    direct == proxied
}
