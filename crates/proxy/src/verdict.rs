//! What a caller is told of a decision against it: one sentence that a person or a model can act on.

use ostiary_core::deny::{Reason, Refusal};
use ostiary_core::policy::{Finding, Remedy};
use ostiary_core::snapshot::Server;

use crate::message::Message;

/// The refusal of `message` for `reason`. It names what was refused and what would change that, never a rule's text.
#[must_use]
pub fn refusal(reason: Reason, message: &Message, server: &Server, finding: &Finding) -> Refusal {
    let what = match message.tool() {
        Some(tool) => format!("The call of `{tool}` on `{}`", server.name),
        None => format!("`{}` on `{}`", message.method(), server.name),
    };
    let owner = &server.owner;
    let why = match reason {
        _ if finding.remedy.is_some() => better_token(finding),
        Reason::NoRule => format!("no rule allows it. Trying again will not help; a rule for it would, ask `{owner}`."),
        Reason::DeniedByRule => {
            format!("a rule forbids it. Trying again unchanged will not help; ask `{owner}` if it should be allowed.")
        }
        Reason::Ceiling => "it is outside what this agent was registered for. Trying again will not help.".to_owned(),
        Reason::Scope => "the token does not cover it.".to_owned(),
        Reason::AgentUnknown => "the agent is not registered. Trying again will not help.".to_owned(),
        Reason::AgentSuspended => {
            "the agent is suspended, or its registration has ended. Trying again will not help.".to_owned()
        }
        Reason::OwnerInactive => "the agent has no live owner. Trying again will not help.".to_owned(),
        Reason::Lockdown => "everything is locked down. Try again when that is lifted.".to_owned(),
        Reason::UnknownMethod => "this method is not served. Trying again will not help.".to_owned(),
        other => format!("it was refused ({}).", other.as_str()),
    };
    let refusal = Refusal::new(reason, format!("{what} was refused: {why}"));
    match &finding.remedy {
        // A better token would turn it, whatever the reason, so the caller is challenged for one (RFC 6750 section 3.1).
        Some(Remedy::Scope(_)) => refusal.with_code(403, 4030),
        None => refusal,
    }
}

/// The refusal of a request that a server makes of its client.
#[must_use]
pub fn ask_refusal(reason: Reason, method: &str, server: &Server) -> Refusal {
    let owner = &server.owner;
    Refusal::new(
        reason,
        format!(
            "`{}` asked its client for `{method}`, and that was refused ({}). Trying again will not help; ask `{owner}`.",
            server.name,
            reason.as_str()
        ),
    )
    .with_code(200, 4030)
}

fn better_token(finding: &Finding) -> String {
    let scopes = match &finding.remedy {
        Some(Remedy::Scope(scopes)) => scopes.join(" "),
        None => String::new(),
    };
    format!("the token does not cover it. A token with the scope {scopes} would.")
}
