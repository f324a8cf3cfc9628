//! The methods that are served, in both eras; every other one is refused.

use super::Era;

/// A served method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    Initialize,
    Initialized,
    Ping,
    Discover,
    SetLevel,
    ToolsList,
    ToolsCall,
    PromptsList,
    PromptsGet,
    ResourcesList,
    TemplatesList,
    ResourcesRead,
    Subscribe,
    Unsubscribe,
    Complete,
    Listen,
    Cancelled,
    Progress,
    RootsChanged,
}

const SESSION: &[Era] = &[Era::Session];
const STATELESS: &[Era] = &[Era::Stateless];
const BOTH: &[Era] = &[Era::Session, Era::Stateless];

/// Every served method, the eras that have it, and the members of `params` that the specification gives it.
///
/// `notifications/cancelled` is the session era's alone: over HTTP a stateless call is cancelled by closing its stream
/// (2026-07-28, Cancellation).
const TABLE: [(Method, &str, &[Era], &[&str]); 19] = [
    (Method::Initialize, "initialize", SESSION, &["_meta", "protocolVersion", "capabilities", "clientInfo"]),
    (Method::Initialized, "notifications/initialized", SESSION, &["_meta"]),
    (Method::Ping, "ping", SESSION, &["_meta"]),
    (Method::Discover, "server/discover", STATELESS, &["_meta"]),
    (Method::SetLevel, "logging/setLevel", SESSION, &["_meta", "level"]),
    (Method::ToolsList, "tools/list", BOTH, &["_meta", "cursor"]),
    (Method::ToolsCall, "tools/call", BOTH, &["_meta", "name", "arguments", "task", "inputResponses", "requestState"]),
    (Method::PromptsList, "prompts/list", BOTH, &["_meta", "cursor"]),
    (Method::PromptsGet, "prompts/get", BOTH, &["_meta", "name", "arguments", "inputResponses", "requestState"]),
    (Method::ResourcesList, "resources/list", BOTH, &["_meta", "cursor"]),
    (Method::TemplatesList, "resources/templates/list", BOTH, &["_meta", "cursor"]),
    (Method::ResourcesRead, "resources/read", BOTH, &["_meta", "uri", "inputResponses", "requestState"]),
    (Method::Subscribe, "resources/subscribe", SESSION, &["_meta", "uri"]),
    (Method::Unsubscribe, "resources/unsubscribe", SESSION, &["_meta", "uri"]),
    (Method::Complete, "completion/complete", BOTH, &["_meta", "ref", "argument", "context"]),
    (Method::Listen, "subscriptions/listen", STATELESS, &["_meta", "notifications"]),
    (Method::Cancelled, "notifications/cancelled", SESSION, &["_meta", "requestId", "reason"]),
    (Method::Progress, "notifications/progress", SESSION, &["_meta", "progressToken", "progress", "total", "message"]),
    (Method::RootsChanged, "notifications/roots/list_changed", SESSION, &["_meta"]),
];

impl Method {
    /// The served method called `name` in `era`. One of the other era is as unknown as any.
    #[must_use]
    pub fn find(name: &str, era: Era) -> Option<Self> {
        TABLE.iter().find(|(_, known, eras, _)| *known == name && eras.contains(&era)).map(|(method, ..)| *method)
    }

    /// The members of `params` that the specification gives this method.
    ///
    /// Others are extensions and pass; one that is spelled like these but for case is refused.
    pub(super) fn params(self) -> &'static [&'static str] {
        TABLE.iter().find(|(method, ..)| *method == self).map_or(&[], |(.., params)| params)
    }

    /// The kind of list that this method asks for.
    #[must_use]
    pub const fn lists(self) -> Option<Listed> {
        match self {
            Self::ToolsList => Some(Listed::Tools),
            Self::PromptsList => Some(Listed::Prompts),
            Self::ResourcesList => Some(Listed::Resources),
            Self::TemplatesList => Some(Listed::Templates),
            _ => None,
        }
    }

    /// Whether its answer may ask the client for something first (2026-07-28, Multi Round-Trip Requests).
    #[must_use]
    pub const fn has_rounds(self) -> bool {
        matches!(self, Self::ToolsCall | Self::PromptsGet | Self::ResourcesRead)
    }
}

/// What a list is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listed {
    Tools,
    Prompts,
    Resources,
    Templates,
}

impl Listed {
    /// The member of the result that holds the items, and the member of an item that names it.
    pub(super) const fn members(self) -> (&'static str, &'static str) {
        match self {
            Self::Tools => ("tools", "name"),
            Self::Prompts => ("prompts", "name"),
            Self::Resources => ("resources", "uri"),
            Self::Templates => ("resourceTemplates", "uriTemplate"),
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
