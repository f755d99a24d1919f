//! Keeps what is rarely done out of the way of what every statement passes through.

use std::pin::Pin;

/// Boxes a future that is rarely waited for. No session carries the room for it then, and its code
/// is apart: laid into that of its caller, as a compiler does with what is called in one place, it
/// would take most of the processor's room for instructions and be used by no statement in a
/// thousand.
#[cold]
#[inline(never)]
pub(crate) fn rarely<'a, T>(
    future: impl Future<Output = T> + Send + 'a,
) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> {
    Box::pin(future)
}
