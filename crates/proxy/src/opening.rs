//! Opens what a message carries of ours, and takes out what its caller may not have: before it is decided, and after.

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ostiary_core::deny::{Reason, Refusal};
use ostiary_core::facts::Facts;
use ostiary_core::json::{self, Limits, Object, Value};
use ostiary_core::mcp::message::Request;
use ostiary_core::mcp::{Era, Id, Method};
use ostiary_core::policy::{Memory, Verdict};

use crate::clock;
use crate::dialogue;
use crate::exchange::{self, Work};
use crate::handle::{self, Purpose};
use crate::message::{Message, Resumed};
use crate::trail::Trail;

/// How long the state of a round may be kept by a client, in seconds.
const STATE_LIFE_S: i64 = 3_600;
/// The longest state of a round or cursor taken from an upstream, in bytes.
const STATE_BYTES: usize = 64 * 1024;
const CURSOR_BYTES: usize = 4 * 1024;
/// The longest event id taken from an upstream, in bytes: sealed, it has to fit into a header field.
const EVENT_BYTES: usize = 1_024;

/// Opens the session, cursor, state or event id that the caller presents, in place.
///
/// # Errors
/// [`Refusal`] for a handle that is not this caller's, exactly as for one that never was.
pub fn handles(work: &mut Work) -> Result<(), Refusal> {
    work.identity.caller()?;
    if work.opened {
        return Ok(());
    }
    work.session = session(work)?;
    match &mut work.message {
        Message::Request(request) => {
            let method = request.method.clone();
            let context = request.state_mut().is_some().then(|| state_context(request));
            if let Some(presented) = request.cursor_mut().map(std::mem::take) {
                let own = handle::open_text(work, Purpose::Cursor, &method, &presented)?;
                put(work, Request::cursor_mut, own);
            } else if let Some(context) = context {
                let presented = own_text(work, Request::state_mut);
                let own = open_state(work, &context, &presented)?;
                put(work, Request::state_mut, own);
            }
        }
        Message::Notification(notification) if matches!(notification.kind, Method::Cancelled | Method::Progress) => {
            let (kind, about) = (notification.kind, notification.about());
            let own = known(work, kind, about.as_ref())?;
            if let (Message::Notification(notification), Some(own)) = (&mut work.message, own) {
                notification.set_about(&own);
            }
        }
        Message::SessionStream(_) => work.message = Message::SessionStream(resumed(work)?),
        Message::Notification(_) | Message::Response(..) | Message::SessionEnd => {}
    }
    work.opened = true;
    Ok(())
}

fn put(work: &mut Work, slot: impl Fn(&mut Request) -> Option<&mut String>, own: String) {
    if let Message::Request(request) = &mut work.message
        && let Some(text) = slot(request)
    {
        *text = own;
    }
}

fn own_text(work: &mut Work, slot: impl Fn(&mut Request) -> Option<&mut String>) -> String {
    match &mut work.message {
        Message::Request(request) => slot(request).map(std::mem::take).unwrap_or_default(),
        _ => String::new(),
    }
}

/// The upstream's session id behind the one that the caller presents. A request of the stateless era has none.
fn session(work: &Work) -> Result<Option<String>, Refusal> {
    if work.message.era() == Era::Stateless {
        return Ok(None);
    }
    match work.head.session.as_deref() {
        Some(presented) => handle::open_text(work, Purpose::Session, "", presented).map(Some),
        None if matches!(work.message, Message::SessionEnd) => Err(Purpose::Session.unknown()),
        None => Ok(None),
    }
}

/// Ties a round to what it is a round of: the method and the parameters that do not change.
pub fn state_context(request: &Request) -> String {
    let digest = digest::digest(&digest::SHA256, &request.canonical_core());
    format!("{} {}", request.method, URL_SAFE_NO_PAD.encode(digest))
}

fn open_state(work: &Work, context: &str, presented: &str) -> Result<String, Refusal> {
    let opened = handle::open(work, Purpose::State, context, presented)?;
    let (expires, own) = opened.split_first_chunk::<8>().ok_or_else(|| Purpose::State.unknown())?;
    if i64::from_be_bytes(*expires) < clock::now().unix_s() {
        return Err(Purpose::State.unknown());
    }
    String::from_utf8(own.to_vec()).map_err(|_| Purpose::State.unknown())
}

/// Seals the state of a round for the request that it belongs to; `None` if it is too long to be given out.
///
/// # Errors
/// As [`handle::seal`].
pub fn seal_state(work: &Work, request: &Request, own: &str) -> Result<Option<String>, Refusal> {
    if own.len() > STATE_BYTES {
        return Ok(None);
    }
    let expires = clock::now().unix_s().saturating_add(STATE_LIFE_S).to_be_bytes();
    let bytes = [expires.as_slice(), own.as_bytes()].concat();
    handle::seal(work, Purpose::State, &state_context(request), &bytes).map(Some)
}

/// Seals the cursor of the next page of a list; `None` if it is too long to be given out.
///
/// # Errors
/// As [`handle::seal`].
pub fn seal_cursor(work: &Work, method: &str, own: &str) -> Result<Option<String>, Refusal> {
    if own.len() > CURSOR_BYTES {
        return Ok(None);
    }
    handle::seal(work, Purpose::Cursor, method, own.as_bytes()).map(Some)
}

/// What the upstream knows as that which a notification of the client speaks of; only what is open can be spoken of.
fn known(work: &Work, kind: Method, about: Option<&Id>) -> Result<Option<String>, Refusal> {
    let session = dialogue::session_of(work);
    let open = &work.shared.dialogues;
    let found = match (kind, about) {
        (Method::Cancelled, Some(id)) => open.flight(&session, id).map(Some),
        (Method::Progress, Some(token)) => open.asked_with_progress(&session, token).then_some(None),
        _ => None,
    };
    found.ok_or_else(|| Refusal::new(Reason::NotOpen, "There is nothing open that this speaks of."))
}

/// Where a stream goes on: what is sealed in the id of the event that the client has seen last.
fn resumed(work: &Work) -> Result<Resumed, Refusal> {
    let Some(presented) = work.head.last_event_id.as_deref() else { return Ok(Resumed::default()) };
    let sealed = handle::open(work, Purpose::Event, event_context(work), presented)?;
    let place = json::parse(&sealed, &Limits::DEFAULT).map_err(|_| Purpose::Event.unknown())?;
    let text = |name: &str| place.get(name).and_then(Value::as_str).map(str::to_owned);
    let resumed = Resumed { last_event: text("event"), request: request_of(&place) };
    let allowed = resumed.request.as_ref().is_none_or(|(request, _)| could(work, request));
    if allowed { Ok(resumed) } else { Err(Purpose::Event.unknown()) }
}

/// The request whose stream a place is on: as much of it as its answer needs.
fn request_of(place: &Value) -> Option<(Request, String)> {
    let text = |name: &str| place.get(name).and_then(Value::as_str).map(str::to_owned);
    let method = text("method")?;
    let params = place.get("params").and_then(Value::as_object).cloned();
    let request = Request {
        id: Id::read(place.get("id")?)?,
        kind: Method::find(&method, Era::Session)?,
        method,
        params,
        era: Era::Session,
        version: text("version")?,
    };
    Some((request, text("sent")?))
}

/// Whether what a broken stream was to answer could still be asked for.
fn could(work: &Work, request: &Request) -> bool {
    use ostiary_core::mcp::Target;
    let Ok(facts) = work.identity.facts(&work.endpoint.name, &request.method) else { return false };
    let lister = work.live.snapshot.lister(&facts);
    match request.target() {
        Target::None => true,
        Target::Tool(tool) => lister.could(tool),
        Target::Prompt(prompt) => lister.could_prompt(prompt),
        Target::Resource(uri) => lister.could_resource(uri),
    }
}

/// Seals the id of an event, with all that a stream which goes on after it has to know; `None` if it is too long to be
/// given out.
///
/// # Errors
/// As [`handle::seal`].
pub fn seal_event(work: &Work, own: &str, sent: &str) -> Result<Option<String>, Refusal> {
    if own.len() > EVENT_BYTES {
        return Ok(None);
    }
    let mut place = Object::new();
    place.insert("event", own.into());
    if let Some(request) = work.message.answered_request() {
        let sent = match &work.message {
            Message::SessionStream(Resumed { request: Some((_, earlier)), .. }) => earlier,
            _ => sent,
        };
        place.insert("id", request.id.to_value());
        place.insert("method", request.method.as_str().into());
        place.insert("params", Value::Object(request.naming_params()));
        place.insert("version", request.version.as_str().into());
        place.insert("sent", sent.into());
    }
    let mut text = Vec::new();
    json::write_object(&place, &mut text);
    handle::seal(work, Purpose::Event, event_context(work), &text).map(Some)
}

/// Events belong to their session.
fn event_context(work: &Work) -> &str {
    work.session.as_deref().unwrap_or_default()
}

/// Takes out of a message what its caller may not have: resources that it may not hear of, each with a record, and
/// capabilities of the client that no rule lets the server use.
///
/// # Errors
/// [`Refusal`] when a record cannot be written.
pub fn narrow(trail: &Trail, work: &mut Work, facts: &Facts) -> Result<(), Refusal> {
    let (snapshot, shared) = (Arc::clone(&work.live.snapshot), Arc::clone(&work.shared));
    let Message::Request(request) = &mut work.message else { return Ok(()) };
    let mut written = Ok(());
    request.retain_subscriptions(|uri| {
        let facts = Facts { resource_uri: Some(uri.to_owned()), ..facts.clone() };
        let decision = snapshot.decide(&facts, Memory::On);
        let Verdict::Deny(reason) = decision.verdict else { return true };
        let mut part = trail.of_part(uri);
        part.decided(decision.finding, decision.recorded_json);
        let refusal = Refusal::new(reason, "The caller may not hear of this resource.");
        written = std::mem::replace(&mut written, Ok(())).and(part.deny_now(&shared, &refusal));
        false
    });
    written.map_err(|fault| exchange::no_record(&shared, &fault, Some(request.id.clone())))?;
    let lister = std::cell::LazyCell::new(|| snapshot.lister(facts));
    request.retain_capabilities(|ask| lister.could_ask(ask));
    Ok(())
}
