//! What the caller wants done, once it is read: a message of a served method, or something with a session.

use ostiary_core::facts::Class;
use ostiary_core::head::Head;
use ostiary_core::json::Object;
use ostiary_core::mcp::message::{self, ClientResponse, Incoming, Notification, Request};
use ostiary_core::mcp::{Era, Id, Method, Target};
use ostiary_core::snapshot::Server;

/// How rules and records name the end of a session and its stream, which MCP gives no method.
const SESSION_DELETE: &str = "session/delete";
const SESSION_STREAM: &str = "session/stream";
/// How records name the answer to a request that nobody made.
const RESPONSE: &str = "response";

/// One thing to be decided.
#[derive(Debug)]
pub enum Message {
    Request(Request),
    Notification(Notification),
    /// The answer to a request of the server, and the id that the server gave that.
    Response(ClientResponse, Option<Id>),
    /// `DELETE` on the endpoint (2025-11-25, Session Management).
    SessionEnd,
    /// `GET` on the endpoint (2025-11-25, Listening for Messages from the Server).
    SessionStream(Resumed),
}

/// Where a stream goes on (2025-11-25, Resumability and Redelivery).
#[derive(Debug, Default)]
pub struct Resumed {
    /// The id of the server's last event that the client has seen.
    pub last_event: Option<String>,
    /// The request whose answer may still come, and the id under which it was sent.
    pub request: Option<(Request, String)>,
}

impl From<Incoming> for Message {
    fn from(incoming: Incoming) -> Self {
        match incoming {
            Incoming::Request(request) => Self::Request(request),
            Incoming::Notification(notification) => Self::Notification(notification),
            Incoming::Response(response) => Self::Response(response, None),
        }
    }
}

impl Message {
    /// The method, as rules and records name it.
    #[must_use]
    pub fn method(&self) -> &str {
        match self {
            Self::Request(request) => &request.method,
            Self::Notification(notification) => &notification.method,
            Self::Response(..) => RESPONSE,
            Self::SessionEnd => SESSION_DELETE,
            Self::SessionStream(_) => SESSION_STREAM,
        }
    }

    /// The request that it is.
    #[must_use]
    pub fn own_request(&self) -> Option<&Request> {
        if let Self::Request(request) = self { Some(request) } else { None }
    }

    /// The request whose answer may come: its own, or the one of a stream that goes on.
    #[must_use]
    pub fn answered_request(&self) -> Option<&Request> {
        match self {
            Self::Request(request) => Some(request),
            Self::SessionStream(Resumed { request, .. }) => request.as_ref().map(|(request, _)| request),
            Self::Notification(_) | Self::Response(..) | Self::SessionEnd => None,
        }
    }

    /// The served method of a request.
    #[must_use]
    pub fn kind(&self) -> Option<Method> {
        self.own_request().map(|request| request.kind)
    }

    /// What it is about.
    #[must_use]
    pub fn target(&self) -> Target<'_> {
        self.own_request().map_or(Target::None, Request::target)
    }

    /// The tool that is called.
    #[must_use]
    pub fn tool(&self) -> Option<&str> {
        if let Target::Tool(tool) = self.target() { Some(tool) } else { None }
    }

    /// The arguments of a call or of a prompt, if it has any.
    #[must_use]
    pub fn arguments(&self) -> Option<&Object> {
        self.own_request()?.arguments()
    }

    /// Whether it is one that has arguments, if only none.
    #[must_use]
    pub fn has_arguments(&self) -> bool {
        matches!(self.kind(), Some(Method::ToolsCall | Method::PromptsGet))
    }

    /// The caller's request id.
    #[must_use]
    pub fn id(&self) -> Option<&Id> {
        self.own_request().map(|request| &request.id)
    }

    /// The era that it speaks.
    #[must_use]
    pub fn era(&self) -> Era {
        match self {
            Self::Request(request) => request.era,
            Self::Notification(notification) => notification.era,
            Self::Response(..) | Self::SessionEnd | Self::SessionStream(_) => Era::Session,
        }
    }

    /// Whether it calls a tool.
    #[must_use]
    pub fn is_call(&self) -> bool {
        self.kind() == Some(Method::ToolsCall)
    }

    /// Whether it is answered with a stream that stays open until one side ends it.
    #[must_use]
    pub fn stays_open(&self) -> bool {
        matches!(self, Self::SessionStream(_)) || self.kind() == Some(Method::Listen)
    }

    /// The action class of the message on `server`: everything but calling a tool reads.
    #[must_use]
    pub fn class(&self, server: &Server) -> Class {
        self.tool().map_or(Class::Read, |tool| server.class_of(tool))
    }

    /// The body that goes upstream, under our own id.
    #[must_use]
    pub fn upstream_body(&self, id: &str) -> Vec<u8> {
        match self {
            Self::Request(request) => message::upstream_body(request, id),
            Self::Notification(notification) => message::upstream_notification(notification),
            Self::Response(response, Some(server_id)) => message::upstream_response(response, server_id),
            Self::Response(_, None) | Self::SessionEnd | Self::SessionStream(_) => Vec::new(),
        }
    }

    /// The protocol's header fields that go upstream.
    #[must_use]
    pub fn upstream_headers(&self, head: &Head) -> Vec<(String, String)> {
        match self {
            Self::Request(request) => message::upstream_headers(request, head),
            _ => message::session_headers(head),
        }
    }
}
