//! The door to the control app: sign-in, tokens and their metadata are Python's, behind a Unix socket of our own user.
//!
//! Only what the Snapshot's table names gets here. The request is made anew: of the client's fields a closed list is
//! handed on, and those that say who asks are ours. The answer is read whole and made anew likewise.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_LANGUAGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION,
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, HOST, LOCATION, ORIGIN, PRAGMA,
    REFERRER_POLICY, RETRY_AFTER, SET_COOKIE, USER_AGENT, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::Builder;
use hyper_util::rt::TokioIo;
use ostiary_core::deny::{Reason, Refusal};
use ostiary_core::head::Head;
use ostiary_core::json::Object;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::arrival;
use crate::body::AnswerBody;
use crate::events::Event;
use crate::exchange;
use crate::respond::Answer;
use crate::state::Shared;
use crate::trail::Trail;

/// The largest request body that is handed over, and the largest answer, in bytes.
const BODY_BYTES: usize = 64 * 1024;
const ANSWER_BYTES: usize = 1024 * 1024;
const HEADER_BYTES: usize = 64 * 1024;
/// Requests that the app has before it at once.
const AT_ONCE: usize = 256;
/// When to try again after being turned away, in seconds.
const LATER_S: i64 = 1;
/// How long the app may take, connecting included.
const TIME: Duration = Duration::from_secs(30);

const CLIENT: HeaderName = HeaderName::from_static("x-ostiary-client");
/// Why the app refuses; not passed on.
const REFUSED: HeaderName = HeaderName::from_static("x-ostiary-refused");
const DECISION: HeaderName = HeaderName::from_static("x-ostiary-request");

/// Where the control app listens, and how much it has to do.
#[derive(Debug)]
pub struct App {
    socket: Option<PathBuf>,
    room: Semaphore,
    time: Duration,
}

/// Why the app gave no answer.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("there is no control app")]
    Absent,
    #[error("the control app cannot be reached: {0}")]
    Connect(io::Error),
    #[error("the socket of the control app belongs to user {0}")]
    Stranger(u32),
    #[error("the control app did not answer in time")]
    Timeout,
    #[error("the control app broke off: {0}")]
    Broken(hyper::Error),
    #[error("the control app's answer is too large")]
    TooLarge,
    #[error("the control app answered with status {0}")]
    Status(u16),
}

impl App {
    /// The app that listens on `socket`; without one, every request that is for it is answered with 503.
    #[must_use]
    pub fn new(socket: Option<PathBuf>) -> Self {
        Self { socket, room: Semaphore::new(AT_ONCE), time: TIME }
    }

    async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Answer, Fault> {
        tokio::time::timeout(self.time, self.exchange(request)).await.map_err(|_| Fault::Timeout)?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, Fault> {
        let stream = TokioIo::new(self.connect().await?);
        let (mut sender, connection) =
            Builder::new().max_header_size(HEADER_BYTES).handshake(stream).await.map_err(Fault::Broken)?;
        // Dropped with this future, and the connection with it.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let response = sender.send_request(request).await.map_err(Fault::Broken)?;
        answered(response).await
    }

    /// A connection to the app. Nothing is sent to a socket that another user listens on.
    async fn connect(&self) -> Result<UnixStream, Fault> {
        let socket = self.socket.as_ref().ok_or(Fault::Absent)?;
        let stream = UnixStream::connect(socket).await.map_err(Fault::Connect)?;
        let listener = stream.peer_cred().map_err(Fault::Connect)?.uid();
        if listener != own_user().map_err(Fault::Connect)? {
            return Err(Fault::Stranger(listener));
        }
        Ok(stream)
    }
}

/// The user that this process runs as: the one at both ends of a pair of its own.
fn own_user() -> io::Result<u32> {
    let (one, _other) = UnixStream::pair()?;
    Ok(one.peer_cred()?.uid())
}

/// Hands a request of the table to the control app and answers with what it says.
///
/// Cancel safe: when the client goes away the connection to the app is closed.
///
/// # Errors
/// [`Refusal`]: 400 for fields with two readings, 408 and 413 for the body, 503 when there is no room or no app, 504 when
/// it is too slow, 502 when its answer is none.
pub async fn hand_over(
    shared: &Shared,
    trail: &Trail,
    head: &Head,
    parts: &Parts,
    body: &mut Option<Incoming>,
) -> Result<Answer, Refusal> {
    let fields = forwarded(&parts.headers, head, trail)?;
    let bytes = match body.take() {
        Some(body) => arrival::body(body, BODY_BYTES).await?,
        None => Bytes::new(),
    };
    // Taken only now: who sends a body slowly keeps nobody else away.
    let _place = shared.control.room.try_acquire().map_err(|_| full())?;
    let mut request = Request::new(Full::new(bytes));
    // The body of the answer to HEAD is left out on the way back.
    *request.method_mut() = if parts.method == Method::HEAD { Method::GET } else { parts.method.clone() };
    *request.uri_mut() = parts.uri.clone();
    *request.headers_mut() = fields;
    let answer = shared.control.ask(request).await.map_err(|fault| {
        shared.counters.control_faults.add();
        shared.events.push(Event::ControlFault, &fault.to_string());
        refusal_of(&fault)
    })?;
    if let Some(Refused(reason)) = answer.extensions().get() {
        let refusal = Refusal::new(*reason, "");
        trail.deny(shared, &refusal).await.map_err(|fault| exchange::no_record(shared, &fault, None))?;
    }
    Ok(answer)
}

/// The app's answer is a refusal, for this reason. It is recorded here, where all refusals are.
#[derive(Debug, Clone, Copy)]
struct Refused(Reason);

/// How a field of the client is handed on.
enum Form {
    /// It may occur once.
    Single,
    /// A list, which may be spread over several fields.
    List(&'static str),
}

/// The fields of a client that the app is shown, except Host; everything else ends here.
const SHOWN: [(HeaderName, Form); 10] = [
    (ACCEPT, Form::List(", ")),
    (ACCEPT_LANGUAGE, Form::List(", ")),
    (AUTHORIZATION, Form::Single),
    (CONTENT_TYPE, Form::Single),
    // RFC 9113 section 8.2.3: cut into several on HTTP/2, joined again for HTTP/1.1.
    (COOKIE, Form::List("; ")),
    (ORIGIN, Form::Single),
    (USER_AGENT, Form::Single),
    (ACCESS_CONTROL_REQUEST_METHOD, Form::Single),
    (ACCESS_CONTROL_REQUEST_HEADERS, Form::List(", ")),
    (HeaderName::from_static("sec-fetch-site"), Form::Single),
];

/// The fields of the request as the app gets it.
fn forwarded(sent: &HeaderMap, head: &Head, trail: &Trail) -> Result<HeaderMap, Refusal> {
    let mut fields = HeaderMap::new();
    fields.insert(HOST, value(head.host.as_bytes())?);
    for (name, form) in SHOWN {
        if named_by_connection(sent, &name) {
            continue;
        }
        let Some(mut given) = only_value(sent, &name, &form)? else { continue };
        given.set_sensitive(matches!(name, AUTHORIZATION | COOKIE));
        if name != AUTHORIZATION || is_known_scheme(&given) {
            fields.insert(name, given);
        }
    }
    fields.insert(CLIENT, value(trail.source().as_bytes())?);
    fields.insert(DECISION, value(trail.id().as_bytes())?);
    Ok(fields)
}

fn only_value(sent: &HeaderMap, name: &HeaderName, form: &Form) -> Result<Option<HeaderValue>, Refusal> {
    let mut values = sent.get_all(name).iter();
    let (Some(first), more) = (values.next(), values.next()) else { return Ok(None) };
    if more.is_none() {
        return Ok(Some(first.clone()));
    }
    let Form::List(between) = form else {
        return Err(Refusal::new(Reason::Header, format!("`{name}` must not occur more than once.")));
    };
    let all: Vec<&[u8]> = sent.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    value(&all.join(between.as_bytes())).map(Some)
}

/// RFC 9110 section 7.6.1: such a field ends at the next hop.
fn named_by_connection(sent: &HeaderMap, name: &HeaderName) -> bool {
    let options = sent.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    options.into_iter().any(|option| option.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
}

/// The credentials that OAuth endpoints take (RFC 6749 section 2.3.1, RFC 6750 section 2.1).
fn is_known_scheme(credentials: &HeaderValue) -> bool {
    let scheme = credentials.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
    [b"basic".as_slice(), b"bearer"].iter().any(|known| scheme.eq_ignore_ascii_case(known))
}

fn value(bytes: &[u8]) -> Result<HeaderValue, Refusal> {
    HeaderValue::from_bytes(bytes).map_err(|_| Refusal::new(Reason::Header, "A header field cannot be handed on."))
}

/// The app's answer, made anew.
async fn answered(response: Response<Incoming>) -> Result<Answer, Fault> {
    let (parts, body) = response.into_parts();
    if !matches!(parts.status.as_u16(), 200..=599) {
        return Err(Fault::Status(parts.status.as_u16()));
    }
    let bytes = match Limited::new(body, ANSWER_BYTES).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(Fault::TooLarge),
        Err(error) => match error.downcast::<hyper::Error>() {
            Ok(error) => return Err(Fault::Broken(*error)),
            Err(_) => return Err(Fault::TooLarge),
        },
    };
    let mut answer = Response::new(AnswerBody::whole(bytes));
    *answer.status_mut() = parts.status;
    if let Some(word) = parts.headers.get(REFUSED) {
        let reason = word.to_str().ok().and_then(Reason::from_word);
        answer.extensions_mut().insert(Refused(reason.unwrap_or(Reason::InvalidRequest)));
    }
    let passed = parts.headers.iter().filter(|(name, _)| may_be_answered(name));
    for (name, value) in passed {
        answer.headers_mut().append(name.clone(), value.clone());
    }
    Ok(answer)
}

fn may_be_answered(name: &HeaderName) -> bool {
    const ANSWERED: [HeaderName; 12] = [
        CONTENT_TYPE,
        LOCATION,
        SET_COOKIE,
        CACHE_CONTROL,
        PRAGMA,
        WWW_AUTHENTICATE,
        CONTENT_SECURITY_POLICY,
        X_FRAME_OPTIONS,
        X_CONTENT_TYPE_OPTIONS,
        REFERRER_POLICY,
        VARY,
        RETRY_AFTER,
    ];
    const ALSO: [&str; 3] = ["permissions-policy", "cross-origin-opener-policy", "cross-origin-resource-policy"];
    ANSWERED.contains(name) || ALSO.contains(&name.as_str()) || name.as_str().starts_with("access-control-")
}

fn plain(status: StatusCode, reason: Reason, message: &str) -> Refusal {
    Refusal { status: status.as_u16(), code: None, ..Refusal::new(reason, message) }
}

fn full() -> Refusal {
    let mut data = Object::new();
    data.insert("retry_after", LATER_S.into());
    plain(StatusCode::SERVICE_UNAVAILABLE, Reason::Limit, "Too much is asked at once; try again in a moment.")
        .with_data(data.into())
}

fn refusal_of(fault: &Fault) -> Refusal {
    let (status, message) = match fault {
        Fault::Absent | Fault::Connect(_) | Fault::Stranger(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "Sign-in and tokens are not available now; try again later.")
        }
        Fault::Timeout => (StatusCode::GATEWAY_TIMEOUT, "This took too long; try again later."),
        Fault::Broken(_) | Fault::TooLarge | Fault::Status(_) => {
            (StatusCode::BAD_GATEWAY, "This failed within Ostiary; its log says more.")
        }
    };
    plain(status, Reason::Upstream, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use tokio::io::AsyncReadExt;
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn an_app_that_says_nothing_is_not_waited_for() {
        let socket = std::env::temp_dir().join(format!("ostiary-{}.sock", crate::clock::decision_id()));
        let listener = UnixListener::bind(&socket).unwrap();
        let app = App { time: Duration::from_millis(50), ..App::new(Some(socket.clone())) };
        let (answer, mut stream) = tokio::join!(app.ask(Request::new(Full::default())), async {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 1_024]).await.unwrap() > 0);
            stream
        });
        let refusal = refusal_of(&answer.unwrap_err());
        assert_eq!((refusal.status, refusal.code), (504, None));
        // And it is told that nobody waits.
        assert_eq!(stream.read(&mut [0; 1_024]).await.unwrap(), 0);
        std::fs::remove_file(socket).unwrap();
    }
}
