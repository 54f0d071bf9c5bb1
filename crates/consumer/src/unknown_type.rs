//! Types that nobody handles.

/// What happens to an event whose type has no handler.
///
/// Another major version of a type that *is* handled is never ignored: it goes the way of `DeadLetter`,
/// or of `Retry` where that is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownType {
    /// To the dead-letter queue at once. A filter or a deployment is wrong, and somebody should see it.
    #[default]
    DeadLetter,
    /// Acknowledged and logged as `ignored`: for a queue that carries more than this consumer wants.
    Ignore,
    /// Back to the queue: for a deployment in which the producer may be ahead of the consumer. The
    /// queue's redrive policy ends it.
    Retry,
}
