//! What the caller wants done, once it is read: a message of a served method, or the end of a session.

use ostiary_core::facts::Class;
use ostiary_core::head::Head;
use ostiary_core::json::Object;
use ostiary_core::mcp::message::{self, Incoming, Notification, Request};
use ostiary_core::mcp::{Era, Id, Method};
use ostiary_core::snapshot::Server;

/// How rules and records name the end of a session, which MCP gives no method.
const SESSION_DELETE: &str = "session/delete";

/// One thing to be decided.
#[derive(Debug)]
pub enum Message {
    Request(Request),
    Notification(Notification),
    /// `DELETE` on the endpoint (2025-11-25, Session Management).
    SessionEnd,
}

impl From<Incoming> for Message {
    fn from(incoming: Incoming) -> Self {
        match incoming {
            Incoming::Request(request) => Self::Request(request),
            Incoming::Notification(notification) => Self::Notification(notification),
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
            Self::SessionEnd => SESSION_DELETE,
        }
    }

    /// The served method of a request.
    #[must_use]
    pub fn kind(&self) -> Option<Method> {
        if let Self::Request(request) = self { Some(request.kind) } else { None }
    }

    /// The tool that is called.
    #[must_use]
    pub fn tool(&self) -> Option<&str> {
        if let Self::Request(request) = self { request.tool() } else { None }
    }

    /// The arguments of a call, if it has any.
    #[must_use]
    pub fn arguments(&self) -> Option<&Object> {
        if let Self::Request(request) = self { request.arguments() } else { None }
    }

    /// The caller's request id.
    #[must_use]
    pub fn id(&self) -> Option<&Id> {
        if let Self::Request(request) = self { Some(&request.id) } else { None }
    }

    /// The era that it speaks.
    #[must_use]
    pub fn era(&self) -> Era {
        match self {
            Self::Request(request) => request.era,
            Self::Notification(notification) => notification.era,
            Self::SessionEnd => Era::Session,
        }
    }

    /// Whether it calls a tool.
    #[must_use]
    pub fn is_call(&self) -> bool {
        self.kind() == Some(Method::ToolsCall)
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
            Self::SessionEnd => Vec::new(),
        }
    }

    /// The protocol's header fields that go upstream.
    #[must_use]
    pub fn upstream_headers(&self, head: &Head) -> Vec<(String, String)> {
        match self {
            Self::Request(request) => message::upstream_headers(request, head),
            Self::Notification(_) | Self::SessionEnd => message::session_headers(head),
        }
    }
}
