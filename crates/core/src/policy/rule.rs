//! Rules in their normal form: alternatives of joined leaves of joined literals.
//!
//! The operators `and or not nor` and the negative matchers are gone here: a literal is one test with its final
//! polarity, so the table of doubt has one place to be applied, [`super::leaf`].

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::test::Test;
use super::view::Target;

/// Whether a rule opens or closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Effect {
    Allow,
    Deny,
}

/// How truths are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Join {
    All,
    Any,
}

/// What a leaf speaks of.
#[derive(Debug, Clone)]
pub(crate) enum Criterion {
    Accept,
    Reject,
    AuthenticatedUser,
    /// An agent that acts for itself. Not a word of the language: the reader of rules adds it to allows that name
    /// their callers by `agent` or `owner` alone.
    Autonomous,
    User,
    Email,
    Domain,
    Groups,
    Claim(Path),
    Service,
    Agent,
    Owner,
    ActorType,
    Server,
    Tool,
    McpTool,
    Action,
    McpMethod,
    ResourceUri,
    Prompt,
    ServerRequest,
    Argument(Path),
    SourceIp,
    Origin,
    Scope,
    Date,
    TimeOfDay(TimeZone),
    DayOfWeek(TimeZone),
}

impl Criterion {
    /// Whether what is asked for settles it, arguments apart, so that a slice can fold it away as far as it knows.
    pub fn is_target(&self) -> bool {
        matches!(
            self,
            Self::Server
                | Self::Tool
                | Self::McpTool
                | Self::McpMethod
                | Self::ResourceUri
                | Self::Prompt
                | Self::ServerRequest
        )
    }
}

/// A path into arguments or claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path {
    /// As written, escapes kept.
    pub text: String,
    pub keys: Vec<String>,
}

/// One test on one fact, with its polarity.
#[derive(Debug)]
pub(crate) struct Literal {
    /// Equal literals of one Snapshot share this number, and this allocation.
    pub id: u32,
    pub criterion: Criterion,
    pub test: Test,
    /// It stands negated: under `not` or `nor`, or in `not`, `not_in` or `exclude`, but not both.
    pub negative: bool,
}

/// Which messages one way of a rule to be met speaks of.
///
/// A way is the whole of an `and`, or one leaf of an `or`. In an allow, what none of its leaves speaks of is not meant
/// by it; a deny speaks of whatever it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    Anything,
    /// An allow without `mcp_method`, `resource_uri`, `prompt` or `server_request`.
    Calls,
    /// An allow with one of the first three.
    Messages,
    /// An allow with `server_request`.
    Requests,
}

impl Speaks {
    /// Notes at the leaves of a branch what they speak of.
    pub fn mark(leaves: &mut [Leaf], effect: Effect, join: Join) {
        let whole = Self::of(&*leaves);
        for leaf in leaves {
            leaf.speaks = match (effect, join) {
                (Effect::Deny, _) => Self::Anything,
                (Effect::Allow, Join::All) => whole,
                (Effect::Allow, Join::Any) => Self::of([&*leaf]),
            };
        }
    }

    /// What an allow speaks of whose leaves are all met at once.
    fn of<'a>(leaves: impl IntoIterator<Item = &'a Leaf>) -> Self {
        let literals = leaves.into_iter().flat_map(|leaf| &leaf.literals);
        literals.fold(Self::Calls, |speaks, literal| match (&literal.criterion, speaks) {
            (Criterion::ServerRequest, _) | (_, Self::Requests) => Self::Requests,
            (Criterion::McpMethod | Criterion::ResourceUri | Criterion::Prompt, _) => Self::Messages,
            _ => speaks,
        })
    }

    /// Whether it speaks of this.
    pub fn covers(self, target: &Target<'_>) -> bool {
        match self {
            Self::Anything => true,
            Self::Calls => target.method == "tools/call" && !target.is_request(),
            Self::Messages => !target.is_request(),
            Self::Requests => target.is_request(),
        }
    }

    /// The same for people, as something that a message can fail on.
    pub fn words(self) -> &'static str {
        match self {
            Self::Anything => "",
            Self::Calls => {
                "an allow without `mcp_method`, `resource_uri`, `prompt` or `server_request` speaks of tools/call only"
            }
            Self::Messages => "only an allow with `server_request` speaks of what a server asks",
            Self::Requests => "an allow with `server_request` speaks of what a server asks only",
        }
    }
}

/// One leaf of a rule: what one line of YAML says.
#[derive(Debug)]
pub(crate) struct Leaf {
    pub join: Join,
    pub literals: Vec<Arc<Literal>>,
    /// The leaf as the file has it.
    pub text: Arc<str>,
    /// What the way speaks of that it belongs to.
    pub speaks: Speaks,
}

/// One non-empty operator of a rule.
#[derive(Debug)]
pub(crate) struct Branch {
    pub join: Join,
    pub leaves: Vec<Leaf>,
}

/// How a rule is named to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleRef {
    pub name: String,
    pub file: String,
    pub line: u64,
    pub owner: Option<String>,
}

/// One rule; it is met if one of its branches is.
#[derive(Debug)]
pub(crate) struct Rule {
    pub named: Arc<RuleRef>,
    pub effect: Effect,
    /// Recorded, never enforced.
    pub shadow: bool,
    pub branches: Vec<Branch>,
    /// Has a positive leaf on `mcp_method`.
    pub names_method: bool,
}
