//! An upstream's answer as this caller may see it.

use ostiary_core::audit::Outcome;
use ostiary_core::deny::Refusal;
use ostiary_core::facts::Class;
use ostiary_core::json::{Object, Value};
use ostiary_core::mcp::message::Request;
use ostiary_core::mcp::response::{ErrorObject, Response, write_response};
use ostiary_core::mcp::round::{self, Ask, URL_ELICITATION};
use ostiary_core::mcp::stream::set_subscription;
use ostiary_core::mcp::{Era, Listed, Method, Target, UpstreamFault, list, uri};

use crate::ask;
use crate::exchange::{self, Work};
use crate::flight::Flight;
use crate::forward;
use crate::opening;

/// An answer that is ready to be sent.
#[derive(Debug)]
pub struct Reply {
    pub body: Vec<u8>,
    pub outcome: Outcome,
}

/// Why an answer is not passed on.
#[derive(Debug)]
pub enum Withheld {
    /// The server spoke nonsense.
    Fault(UpstreamFault),
    /// It asks its client for what the caller may not be asked.
    Refused(Refusal),
}

impl From<UpstreamFault> for Withheld {
    fn from(fault: UpstreamFault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Refusal> for Withheld {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Withheld {
    /// What the caller is told, and how the call is recorded to have ended.
    #[must_use]
    pub fn told(self) -> (Refusal, Outcome) {
        match self {
            Self::Fault(fault) => (forward::nonsense(&fault.to_string()), Outcome::Upstream),
            Self::Refused(refusal) => (refusal, Outcome::Error),
        }
    }
}

/// Filters `response` for the caller and writes it under the caller's own id.
///
/// # Errors
/// [`Withheld`] for what cannot be filtered, and for questions that the caller may not be asked.
pub fn write(flight: &Flight, mut response: Response) -> Result<Reply, Withheld> {
    let Some(request) = flight.work.message.answered_request() else { return Err(UpstreamFault::NotResponse.into()) };
    let outcome = match &mut response.result {
        Ok(result) => {
            if response.asks {
                judge_round(flight, request, result)?;
            } else {
                filter(flight, request, result)?;
            }
            Outcome::Ok
        }
        Err(error) => {
            judge_error(flight, error)?;
            Outcome::Error
        }
    };
    Ok(Reply { body: write_response(&response, &request.id), outcome })
}

fn filter(flight: &Flight, request: &Request, result: &mut Object) -> Result<(), Withheld> {
    let work = &flight.work;
    if let Some(listed) = request.kind.lists() {
        // Whoever got here has been resolved; nobody else is shown anything.
        let facts = exchange::facts(work, flight.intent.request_facts(&work.head), Class::Read)?;
        let live = work.shared.live();
        let lister = live.snapshot.lister(&facts);
        let may = |name: &str| match listed {
            Listed::Tools => lister.could(name),
            Listed::Prompts => lister.could_prompt(name),
            Listed::Resources => lister.could_resource(name),
            Listed::Templates => lister.could_template(name),
        };
        list::filter(result, listed, may, request.era)?;
        return seal_cursor(work, request, result);
    }
    match request.kind {
        Method::Initialize | Method::Discover => list::filter_capabilities(result, request.era)?,
        // Whoever reads it was judged for it; a cache in between was not.
        Method::ResourcesRead => {
            read_only(flight, request, result)?;
            if request.era == Era::Stateless {
                list::make_private(result);
            }
        }
        Method::Complete => complete_only(flight, request, result)?,
        Method::Listen => set_subscription(result, &request.id),
        _ => {}
    }
    Ok(())
}

/// What is read may hold other resources than the one that was asked for: those that the caller may read.
fn read_only(flight: &Flight, request: &Request, result: &mut Object) -> Result<(), Withheld> {
    let asked = request.target();
    let Some(Value::Array(contents)) = result.get_mut("contents") else {
        return Err(UpstreamFault::ResultShape.into());
    };
    list::check_length(contents)?;
    contents.retain(|item| match item.get("uri").and_then(Value::as_str) {
        Some(uri) => asked == Target::Resource(uri) || flight.may_read(uri),
        None => false,
    });
    Ok(())
}

/// Completes the template of a resource with values alone that lead to what the caller could read.
fn complete_only(flight: &Flight, request: &Request, result: &mut Object) -> Result<(), Withheld> {
    let work = &flight.work;
    let (Target::Resource(template), Some(name)) = (request.target(), request.completed_argument()) else {
        return Ok(());
    };
    let facts = exchange::facts(work, flight.intent.request_facts(&work.head), Class::Read)?;
    let live = work.shared.live();
    let lister = live.snapshot.lister(&facts);
    let leads = |value: &str| {
        // What cannot be placed leads nowhere that could be judged.
        let Some(expanded) = uri::expand(template, name, value) else { return false };
        if uri::is_normal(&expanded) {
            lister.could_resource(&expanded)
        } else {
            uri::is_template(&expanded) && lister.could_template(&expanded)
        }
    };
    let Some(Value::Object(completion)) = result.get_mut("completion") else {
        return Err(UpstreamFault::ResultShape.into());
    };
    let Some(Value::Array(values)) = completion.get_mut("values") else {
        return Err(UpstreamFault::ResultShape.into());
    };
    list::check_length(values)?;
    let before = values.len();
    values.retain(|value| value.as_str().is_some_and(leads));
    if values.len() < before {
        // How many there are in all would tell of those that are left out.
        completion.remove("total");
    }
    Ok(())
}

fn seal_cursor(work: &Work, request: &Request, result: &mut Object) -> Result<(), Withheld> {
    match result.get_mut("nextCursor") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(cursor)) => {
            let sealed = opening::seal_cursor(work, &request.method, cursor)?;
            *cursor = sealed.ok_or(UpstreamFault::ResultShape)?;
            Ok(())
        }
        Some(_) => Err(UpstreamFault::ResultShape.into()),
    }
}

/// The server asks for more before it answers: each question is judged, and its state is sealed.
fn judge_round(flight: &Flight, request: &Request, result: &mut Object) -> Result<(), Withheld> {
    if !request.kind.has_rounds() {
        return Err(UpstreamFault::ResultType("input_required".to_owned()).into());
    }
    for ask in round::requested(result)? {
        pass_on(flight, ask)?;
    }
    if let Some(Value::String(state)) = result.get_mut("requestState") {
        let sealed = opening::seal_state(&flight.work, request, state)?;
        *state = sealed.ok_or(UpstreamFault::ResultShape)?;
    }
    Ok(())
}

/// An error that sends the user to a URL asks for something too (2025-11-25, Elicitation, URL mode).
fn judge_error(flight: &Flight, error: &ErrorObject) -> Result<(), Withheld> {
    if error.code == URL_ELICITATION {
        for ask in round::elicited(error.data.as_ref())? {
            pass_on(flight, ask)?;
        }
    }
    Ok(())
}

/// Decides a question that travels inside an answer: with that it has been asked.
fn pass_on(flight: &Flight, ask: Ask<'_>) -> Result<(), Refusal> {
    ask::decide(flight, ask)?.ask_at_once()
}
