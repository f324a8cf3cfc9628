//! Judges the messages of one upstream event stream: what of it may reach the client.

use super::message::body;
use super::params::SUBSCRIPTIONS;
use super::read::strip_ours;
use super::response::{Response, from_object};
use super::{Era, Id, UpstreamFault};
use crate::json::{self, Limits, Object, Value, write_str};

/// The key by which the events of a `subscriptions/listen` name it (2026-07-28, Subscriptions).
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// What a stream is for, and so what may stand on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It answers a request.
    Answer,
    /// It answers a `subscriptions/listen`: it goes on until one side ends it.
    Listen,
    /// It belongs to a session (2025-11-25, Transports, Listening for Messages from the Server).
    Session,
}

/// A notification of a server by what has to be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeKind {
    /// It names no handle and no resource.
    Plain,
    /// About a progress token.
    Progress,
    /// About a request of the server's own, or the end of a subscription.
    Cancelled,
    /// About a resource.
    Updated,
    /// The first message of a subscription.
    Acknowledged,
}

/// The notifications of servers that are passed on, the eras that have them, and the streams of the stateless era on
/// which they may stand. Whatever speaks of tasks is not served.
const NOTICES: [(&str, NoticeKind, &[Era], &[Kind]); 9] = [
    ("notifications/progress", NoticeKind::Progress, BOTH, &[Kind::Answer]),
    ("notifications/message", NoticeKind::Plain, BOTH, &[Kind::Answer]),
    ("notifications/cancelled", NoticeKind::Cancelled, BOTH, &[Kind::Listen]),
    ("notifications/tools/list_changed", NoticeKind::Plain, BOTH, &[Kind::Listen]),
    ("notifications/prompts/list_changed", NoticeKind::Plain, BOTH, &[Kind::Listen]),
    ("notifications/resources/list_changed", NoticeKind::Plain, BOTH, &[Kind::Listen]),
    ("notifications/resources/updated", NoticeKind::Updated, BOTH, &[Kind::Listen]),
    ("notifications/elicitation/complete", NoticeKind::Plain, &[Era::Session], &[]),
    ("notifications/subscriptions/acknowledged", NoticeKind::Acknowledged, &[Era::Stateless], &[Kind::Listen]),
];
const BOTH: &[Era] = &[Era::Session, Era::Stateless];

/// One stream and what may still come on it.
#[derive(Debug, Clone)]
pub struct Stream {
    /// The request that it answers, under our own id.
    our_id: Option<String>,
    era: Era,
    kind: Kind,
    answered: bool,
}

/// One message that an upstream sent on a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The answer to the request; nothing may follow it.
    Answer(Response),
    /// A notification that may be passed on.
    Notice(Notice),
    /// A request of the server to the client (session era only).
    Ask { id: Id, method: String, params: Option<Object> },
    /// A notification that is not passed on.
    Dropped { method: String },
}

/// A notification of a server.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    pub kind: NoticeKind,
    pub method: String,
    params: Option<Object>,
}

impl Notice {
    /// The id or token that it speaks of.
    #[must_use]
    pub fn about(&self) -> Option<Id> {
        let member = match self.kind {
            NoticeKind::Progress => "progressToken",
            NoticeKind::Cancelled => "requestId",
            NoticeKind::Plain | NoticeKind::Updated | NoticeKind::Acknowledged => return None,
        };
        Id::read(self.params.as_ref()?.get(member)?)
    }

    /// The resource that it speaks of.
    #[must_use]
    pub fn uri(&self) -> Option<&str> {
        if self.kind == NoticeKind::Updated { self.params.as_ref()?.get("uri")?.as_str() } else { None }
    }

    /// The same, about `id` instead.
    pub fn set_about(&mut self, id: &Id) {
        if self.kind == NoticeKind::Cancelled
            && let Some(params) = &mut self.params
        {
            params.insert("requestId", id.to_value());
        }
    }

    /// The id of the subscription that it belongs to.
    #[must_use]
    pub fn subscription(&self) -> Option<&str> {
        self.params.as_ref()?.get("_meta")?.get(SUBSCRIPTION)?.as_str()
    }

    /// The same, as an event of the subscription that the client knows as `id`.
    pub fn set_subscription(&mut self, id: &Id) {
        if let Some(params) = &mut self.params {
            set_subscription(params, id);
        }
    }

    /// Leaves of the resources that an acknowledgement names those for which `keep` says yes.
    pub fn retain_subscriptions(&mut self, mut keep: impl FnMut(&str) -> bool) {
        let named = self.params.as_mut().and_then(|params| params.get_mut("notifications")?.as_object_mut());
        if let Some(Value::Array(uris)) = named.and_then(|named| named.get_mut("resourceSubscriptions")) {
            // No more than these can have been asked for.
            uris.truncate(SUBSCRIPTIONS);
            uris.retain(|uri| uri.as_str().is_some_and(&mut keep));
        }
    }

    /// Writes it anew.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        body(None, &self.method, self.params.as_ref())
    }
}

/// Names in `_meta` the subscription as the client knows it, where it is named at all.
pub fn set_subscription(holder: &mut Object, id: &Id) {
    let meta = holder.get_mut("_meta").and_then(Value::as_object_mut);
    if let Some(named) = meta.and_then(|meta| meta.get_mut(SUBSCRIPTION)) {
        *named = id.to_value();
    }
}

impl Stream {
    /// A stream of `kind`, which may hold the answer to the request sent under `our_id`.
    #[must_use]
    pub fn new(our_id: Option<&str>, era: Era, kind: Kind) -> Self {
        Self { our_id: our_id.map(str::to_owned), era, kind, answered: false }
    }

    /// Judges the data of one event.
    ///
    /// # Errors
    /// [`UpstreamFault`] for what is not one strict message, an answer to another request, a second answer, or a
    /// request in the stateless era (2026-07-28, Streamable HTTP: a server sends none). The stream is to be closed.
    pub fn judge(&mut self, data: &str) -> Result<Message, UpstreamFault> {
        let Value::Object(mut object) = json::parse(data.as_bytes(), &Limits::ANSWER)? else {
            return Err(UpstreamFault::NotResponse);
        };
        if self.answered {
            return Err(UpstreamFault::AfterAnswer);
        }
        let Some(method) = object.remove("method") else {
            let our_id = self.our_id.as_deref().ok_or(UpstreamFault::WrongId)?;
            let response = from_object(object, our_id, self.era, false)?;
            self.answered = true;
            return Ok(Message::Answer(response));
        };
        let mixed = object.get("result").is_some() || object.get("error").is_some();
        let (Value::String(method), false, Some("2.0")) =
            (method, mixed, object.get("jsonrpc").and_then(Value::as_str))
        else {
            return Err(UpstreamFault::NotResponse);
        };
        let params = match object.remove("params") {
            None => None,
            Some(Value::Object(mut params)) => {
                strip_ours(&mut params);
                Some(params)
            }
            Some(_) => return Err(UpstreamFault::NotResponse),
        };
        match (object.get("id").map(Id::read), self.era) {
            (None, _) => Ok(self.notice(method, params)),
            (Some(Some(id)), Era::Session) => Ok(Message::Ask { id, method, params }),
            (Some(None), Era::Session) => Err(UpstreamFault::NotResponse),
            (Some(_), Era::Stateless) => Err(UpstreamFault::Request),
        }
    }

    fn notice(&self, method: String, params: Option<Object>) -> Message {
        let known = NOTICES.iter().find(|(known, _, eras, kinds)| {
            *known == method && eras.contains(&self.era) && (self.era == Era::Session || kinds.contains(&self.kind))
        });
        let Some((_, kind, ..)) = known else { return Message::Dropped { method } };
        let notice = Notice { kind: *kind, method, params };
        // Events of a subscription say which one; another one's are nobody's here.
        if self.kind == Kind::Listen && !self.is_of_subscription(&notice) {
            return Message::Dropped { method: notice.method };
        }
        Message::Notice(notice)
    }

    fn is_of_subscription(&self, notice: &Notice) -> bool {
        match (notice.kind, notice.about()) {
            // The end of a subscription names the request that began it.
            (NoticeKind::Cancelled, Some(Id::Text(id))) => self.our_id.as_deref() == Some(&id),
            _ => notice.subscription().is_some() && notice.subscription() == self.our_id.as_deref(),
        }
    }
}

/// A request of a server written anew for the client, under our own id.
#[must_use]
pub fn client_request(id: &str, method: &str, params: Option<&Object>) -> Vec<u8> {
    body(Some(id), method, params)
}

/// What is posted to a server that asked whether its client is there.
#[must_use]
pub fn pong(id: &Id) -> Vec<u8> {
    let mut out = b"{\"jsonrpc\":\"2.0\",\"id\":".to_vec();
    id.write_json(&mut out);
    out.extend_from_slice(b",\"result\":{}}");
    out
}

/// What is posted to a server in answer to a request of its own that the client may not be asked.
#[must_use]
pub fn refuse_ask(id: &Id, code: i64, message: &str) -> Vec<u8> {
    let mut out = b"{\"jsonrpc\":\"2.0\",\"id\":".to_vec();
    id.write_json(&mut out);
    out.extend_from_slice(b",\"error\":{\"code\":");
    out.extend_from_slice(code.to_string().as_bytes());
    out.extend_from_slice(b",\"message\":");
    write_str(message, &mut out);
    out.extend_from_slice(b"}}");
    out
}
