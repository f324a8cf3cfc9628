//! What did they send, exactly? MCP messages of both eras, read once and strictly.

/// A JSON-RPC request id: a string, or a whole number that every implementation can hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Id {
    Int(i64),
    Text(String),
}
