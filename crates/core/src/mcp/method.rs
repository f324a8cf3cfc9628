//! The methods that this version serves; every other one is refused.

use super::Era;

/// A served method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    Initialize,
    Initialized,
    Ping,
    Discover,
    ToolsList,
    ToolsCall,
}

/// Every served method, and the eras that have it.
const TABLE: [(Method, &str, &[Era]); 6] = [
    (Method::Initialize, "initialize", &[Era::Session]),
    (Method::Initialized, "notifications/initialized", &[Era::Session]),
    (Method::Ping, "ping", &[Era::Session]),
    (Method::Discover, "server/discover", &[Era::Stateless]),
    (Method::ToolsList, "tools/list", &[Era::Session, Era::Stateless]),
    (Method::ToolsCall, "tools/call", &[Era::Session, Era::Stateless]),
];

impl Method {
    /// The served method called `name` in `era`. One of the other era is as unknown as any.
    #[must_use]
    pub fn find(name: &str, era: Era) -> Option<Self> {
        TABLE.iter().find(|(_, known, eras)| *known == name && eras.contains(&era)).map(|(method, ..)| *method)
    }

    /// The members of `params` that the specification gives this method.
    ///
    /// Others are extensions and pass; one that is spelled like these but for case is refused.
    pub(super) const fn params(self) -> &'static [&'static str] {
        match self {
            Self::Initialize => &["_meta", "protocolVersion", "capabilities", "clientInfo"],
            Self::Initialized | Self::Ping | Self::Discover => &["_meta"],
            Self::ToolsList => &["_meta", "cursor"],
            Self::ToolsCall => &["_meta", "name", "arguments", "task", "inputResponses", "requestState"],
        }
    }
}

/// Whether `method` names a notification. Everything else is a request, and a request has an id.
pub(super) fn is_notification(method: &str) -> bool {
    method.starts_with("notifications/")
}

/// The member of `params` that `Mcp-Name` mirrors (2026-07-28, Streamable HTTP, Standard Request Headers).
pub(super) fn named_member(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    }
}
