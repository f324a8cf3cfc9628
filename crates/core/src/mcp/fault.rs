//! What an upstream did wrong. Its caller did nothing wrong, so these are never refusals of a request.

use crate::json::JsonError;

/// Why a message of an upstream was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamFault {
    #[error("the server sent a message that is not strict JSON: {0}")]
    Json(#[from] JsonError),
    #[error("the server sent something that is not a JSON-RPC response")]
    NotResponse,
    #[error("the server answered under another request's id")]
    WrongId,
    #[error("the server sent a malformed JSON-RPC error")]
    ErrorShape,
    #[error("the server sent a result that is not an object of the expected shape")]
    ResultShape,
    #[error("the server sent more items at once than are looked at; it can send them in pages")]
    TooMany,
    /// A result that is not the end of the call (2026-07-28, Results): `input_required`, `task` or unknown.
    #[error("the server sent a result of type `{}`, which is not served here", .0.escape_debug())]
    ResultType(String),
    #[error("the server sent a request where only notifications and the answer may stand")]
    Request,
    #[error("the server sent more after its answer")]
    AfterAnswer,
    #[error("the server's event stream is not UTF-8")]
    EventUtf8,
    #[error("the server sent an event that is too large")]
    EventTooLarge,
}
