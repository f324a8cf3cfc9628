//! The methods that can be decided, and what goes with each: one table for the reader of facts, the gate, the slices
//! and the lists.

use super::Facts;

/// One method, and the objects that a message of it can name.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "one column of the table each")]
pub(crate) struct Method {
    pub name: &'static str,
    pub tool: bool,
    pub prompt: bool,
    pub resource: bool,
    /// It can come without any object; it then passes if something else could be allowed.
    pub bare: bool,
}

const fn method(name: &'static str, objects: [bool; 4]) -> Method {
    let [tool, prompt, resource, bare] = objects;
    Method { name, tool, prompt, resource, bare }
}

const TOOL: [bool; 4] = [true, false, false, false];
const PROMPT: [bool; 4] = [false, true, false, false];
const RESOURCE: [bool; 4] = [false, false, true, false];
const BARE: [bool; 4] = [false, false, false, true];

/// Every method. `session/delete` and `session/stream` are the DELETE and the GET of a session.
pub(crate) const METHODS: [Method; 21] = [
    method("tools/call", TOOL),
    method("prompts/get", PROMPT),
    method("resources/read", RESOURCE),
    method("resources/subscribe", RESOURCE),
    method("resources/unsubscribe", RESOURCE),
    // For a prompt or for a resource.
    method("completion/complete", [false, true, true, false]),
    // As a whole, or one of its resources.
    method("subscriptions/listen", [false, false, true, true]),
    method("initialize", BARE),
    method("server/discover", BARE),
    method("ping", BARE),
    method("notifications/initialized", BARE),
    method("notifications/cancelled", BARE),
    method("notifications/progress", BARE),
    method("notifications/roots/list_changed", BARE),
    method("logging/setLevel", BARE),
    method("tools/list", BARE),
    method("prompts/list", BARE),
    method("resources/list", BARE),
    method("resources/templates/list", BARE),
    method("session/delete", BARE),
    method("session/stream", BARE),
];

/// What a server can ask of its client.
pub(crate) const SERVER_REQUESTS: [&str; 4] = ["sampling/createMessage", "elicitation/create", "roots/list", "ping"];

/// What does not fit a message: the member of the facts, and why.
pub(crate) type Misfit = (&'static str, &'static str);

impl Method {
    /// The method called `name`, and its place in the table.
    pub fn find(name: &str) -> Option<(usize, &'static Self)> {
        const TABLE: &[Method] = &METHODS;
        TABLE.iter().enumerate().find(|(_, method)| method.name == name)
    }

    /// Whether `facts` name the objects that this method has, and no other.
    pub fn fits(&self, facts: &Facts) -> Result<(), Misfit> {
        let (tool, prompt, resource) = (facts.tool.is_some(), facts.prompt.is_some(), facts.resource_uri.is_some());
        if tool && !self.tool {
            return Err(("tool", "goes with `tools/call` only"));
        }
        if prompt && !self.prompt {
            return Err(("prompt", "goes with `prompts/get` and `completion/complete` only"));
        }
        if resource && !self.resource {
            return Err((
                "resource_uri",
                "goes with `resources/read`, `resources/subscribe`, `resources/unsubscribe`, `completion/complete` \
                 and `subscriptions/listen` only",
            ));
        }
        if prompt && resource {
            return Err(("prompt", "and `resource_uri` are not completed at once"));
        }
        if !(tool || prompt || resource || self.bare) {
            return Err((self.object(), "is missing"));
        }
        let arguments = tool || (prompt && !self.resource) || facts.server_request.is_some();
        if facts.arguments.is_some() && !arguments {
            return Err(("arguments", "go with `tools/call`, `prompts/get` and requests of the server only"));
        }
        Ok(())
    }

    /// The member of the facts that names what it is about.
    fn object(&self) -> &'static str {
        match (self.tool, self.prompt) {
            (true, _) => "tool",
            (false, true) => "prompt",
            (false, false) => "resource_uri",
        }
    }
}
