//! An upstream's answer as this caller may see it.

use ostiary_core::audit::Outcome;
use ostiary_core::mcp::response::{Response, write_response};
use ostiary_core::mcp::{Method, UpstreamFault, list};

use crate::exchange::Work;
use crate::message::Message;

/// An answer that is ready to be sent.
#[derive(Debug)]
pub struct Reply {
    pub body: Vec<u8>,
    pub outcome: Outcome,
}

/// Filters `response` for the caller and writes it under the caller's own id.
///
/// # Errors
/// [`UpstreamFault`] for a list that cannot be filtered: what cannot be filtered is not shown.
pub fn write(work: &Work, mut response: Response) -> Result<Reply, UpstreamFault> {
    let Message::Request(request) = &work.message else { return Err(UpstreamFault::NotResponse) };
    let outcome = if response.result.is_ok() { Outcome::Ok } else { Outcome::Error };
    if let Ok(result) = &mut response.result {
        match request.kind {
            Method::ToolsList => {
                // Whoever got here has been resolved; nobody else is shown anything.
                let facts = work.identity.facts(&work.endpoint.name, &request.method);
                let facts = facts.map_err(|_| UpstreamFault::ResultShape)?;
                let lister = work.live.snapshot.lister(&facts);
                list::filter_tools(result, |tool| lister.could(tool), request.era)?;
            }
            Method::Initialize | Method::Discover => list::filter_capabilities(result, request.era)?,
            Method::Initialized | Method::Ping | Method::ToolsCall => {}
        }
    }
    Ok(Reply { body: write_response(&response, &request.id), outcome })
}
