//! Judges the messages of one upstream event stream: what of it may reach the client.

use super::message::body;
use super::response::{Response, from_object};
use super::{Era, Id, UpstreamFault};
use crate::json::{self, Limits, Object, Value};

/// The notifications of servers that are passed on.
///
/// Not among them: `notifications/cancelled`, since no request of a server ever reaches a client to be cancelled,
/// and whatever speaks of resources, prompts by URI or tasks, which are not served.
const KNOWN: [&str; 5] = [
    "notifications/progress",
    "notifications/message",
    "notifications/tools/list_changed",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
];

/// The stream that answers one request.
#[derive(Debug, Clone)]
pub struct Stream {
    our_id: String,
    era: Era,
    answered: bool,
}

/// One message that an upstream sent on the stream of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The answer to the request; nothing may follow it.
    Answer(Response),
    /// A notification to pass on, written anew.
    Notice(Vec<u8>),
    /// A request of the server to the client (session era only), to be answered with [`refuse_ask`].
    Ask { id: Id, method: String },
    /// A notification that is not passed on.
    Dropped { method: String },
}

impl Stream {
    /// The stream that answers the request sent under `our_id`.
    #[must_use]
    pub fn new(our_id: &str, era: Era) -> Self {
        Self { our_id: our_id.to_owned(), era, answered: false }
    }

    /// Whether the answer has come.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.answered
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
            let response = from_object(object, &self.our_id, self.era, false)?;
            self.answered = true;
            return Ok(Message::Answer(response));
        };
        let mixed = object.get("result").is_some() || object.get("error").is_some();
        let (Value::String(method), false, Some("2.0")) =
            (method, mixed, object.get("jsonrpc").and_then(Value::as_str))
        else {
            return Err(UpstreamFault::NotResponse);
        };
        match (object.get("id").map(Id::read), self.era) {
            (None, _) => notice(method, &mut object),
            (Some(Some(id)), Era::Session) => Ok(Message::Ask { id, method }),
            (Some(None), Era::Session) => Err(UpstreamFault::NotResponse),
            (Some(_), Era::Stateless) => Err(UpstreamFault::Request),
        }
    }
}

fn notice(method: String, object: &mut Object) -> Result<Message, UpstreamFault> {
    let params = match object.remove("params") {
        None => None,
        Some(Value::Object(params)) => Some(params),
        Some(_) => return Err(UpstreamFault::NotResponse),
    };
    if KNOWN.contains(&method.as_str()) {
        Ok(Message::Notice(body(None, &method, params.as_ref())))
    } else {
        Ok(Message::Dropped { method })
    }
}

/// What is posted to the upstream in answer to a request of its own: it is not served.
#[must_use]
pub fn refuse_ask(id: &Id) -> Vec<u8> {
    let mut out = b"{\"jsonrpc\":\"2.0\",\"id\":".to_vec();
    id.write_json(&mut out);
    out.extend_from_slice(
        b",\"error\":{\"code\":-32601,\"message\":\"Requests to the client are not served by this gateway.\"}}",
    );
    out
}
