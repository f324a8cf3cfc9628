//! The one reading of Snapshot bytes.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::parts::{Agent, Audit, Ceiling, Durability, Gateway, Known, Person, Redact, Refusals, Server, Service};
use super::{Control, Snapshot};
use crate::deny::Reason;
use crate::facts::{Class, PrincipalType};
use crate::fields::{Fault, Fields};
use crate::json::{Limits, Value, parse};
use crate::policy::{Policy, keys_of_path};
use crate::token::Issuers;

/// A Snapshot comes from our own control plane and may hold very many rules.
const LIMITS: Limits = Limits { depth: 64, members: 50_000_000, string_bytes: 16 << 20, prototype: true };

pub(super) fn snapshot(bytes: &[u8]) -> Result<Snapshot, Fault> {
    let value = parse(bytes, &LIMITS).map_err(|error| Fault::at("", error.to_string()))?;
    let mut fields = Fields::of(&value, "")?;
    if fields.whole("format")? != 1 {
        return Err(fields.fault("format", "only format 1 is known"));
    }
    let partial = fields.flag("partial")?;
    let lockdown = fields.flag("lockdown")?;
    let gateway = gateway(fields.required("gateway")?)?;
    let audit = audit(fields.required("audit")?)?;
    let control = Control::read(fields.optional_list("control")?)?;
    let issuers = Issuers::from_json(fields.list("issuers")?, "issuers")?;
    let people = each(&mut fields, "people", person)?;
    unique("people", people.iter().map(|person| person.key.as_str()))?;
    let agents = each(&mut fields, "agents", agent)?;
    unique("agents", agents.iter().map(|agent| agent.id.as_str()))?;
    unique("agents", agents.iter().map(|agent| agent.key.as_str()))?;
    let services = each(&mut fields, "services", service)?;
    unique("services", services.iter().map(|service| service.id.as_str()))?;
    unique("services", services.iter().map(|service| service.key.as_str()))?;
    let servers = each(&mut fields, "servers", server)?;
    unique("servers", servers.iter().map(|server| server.name.as_str()))?;
    if !partial {
        for (at, agent) in agents.iter().enumerate() {
            if !people.iter().any(|person| person.key == agent.owner) {
                return Err(Fault::at(format!("agents[{at}].owner"), "is not the key of anybody in `people`"));
            }
        }
    }
    let servers = servers.into_iter().map(|server| (server.name.clone(), server)).collect();
    let policy = Policy::read(fields.required("policy")?, "policy", &servers)?;
    fields.finish()?;
    Ok(Snapshot {
        digest: digest(bytes).into(),
        partial,
        lockdown,
        gateway,
        audit,
        control,
        issuers,
        people,
        agents: agents.into_iter().map(|agent| (agent.id.clone(), agent)).collect(),
        services: services.into_iter().map(|service| (service.id.clone(), service)).collect(),
        servers,
        policy,
    })
}

fn digest(bytes: &[u8]) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    hash.as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn each<T>(
    fields: &mut Fields<'_>,
    key: &'static str,
    read: impl Fn(&Value, &str) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let list = fields.list(key)?;
    list.iter().enumerate().map(|(at, item)| read(item, &format!("{key}[{at}]"))).collect()
}

fn unique<'a>(path: &str, names: impl Iterator<Item = &'a str>) -> Result<(), Fault> {
    let mut seen = BTreeSet::new();
    for (at, name) in names.enumerate() {
        if !seen.insert(name) {
            return Err(Fault::at(format!("{path}[{at}]"), format!("`{name}` is there twice")));
        }
    }
    Ok(())
}

fn gateway(value: &Value) -> Result<Gateway, Fault> {
    let mut fields = Fields::of(value, "gateway")?;
    let gateway = Gateway {
        url: fields.text("url")?.trim_end_matches('/').to_owned(),
        hosts: fields.texts("hosts")?,
        origins: fields.texts("origins")?,
        refusals: match fields.text("refusals")? {
            "error" => Refusals::Error,
            "result" => Refusals::Result,
            _ => return Err(fields.fault("refusals", "must be error or result")),
        },
        // Snapshots from before there were any are still read.
        trusted_proxies: fields
            .optional_texts("trusted_proxies")?
            .unwrap_or_default()
            .iter()
            .map(|net| net.parse().map_err(|_| fields.fault("trusted_proxies", "must be address ranges")))
            .collect::<Result<_, _>>()?,
        // Nor was there an authorization server then.
        authorization_server: fields.optional_flag("authorization_server")?,
        issues_tokens: fields.optional_flag("issues_tokens")?,
        default_scopes: fields.optional_texts("default_scopes")?.unwrap_or_default(),
    };
    if !gateway.default_scopes.iter().all(|scope| is_scope(scope)) {
        return Err(fields.fault("default_scopes", "must be scopes"));
    }
    fields.finish()?;
    Ok(gateway)
}

fn audit(value: &Value) -> Result<Audit, Fault> {
    let mut fields = Fields::of(value, "audit")?;
    let durability = match fields.text("durability")? {
        "by_class" => Durability::ByClass,
        "disk" => Durability::Disk,
        "os" => Durability::Os,
        _ => return Err(fields.fault("durability", "must be by_class, disk or os")),
    };
    let redact = if fields.required("redact")?.as_str() == Some("*") {
        Redact::All
    } else {
        let paths = fields.texts("redact")?;
        if paths.iter().any(|path| path == "*") {
            Redact::All
        } else {
            let keys = paths.iter().map(|path| keys_of_path(path.strip_prefix("argument/").unwrap_or(path)));
            Redact::Paths(keys.collect::<Option<_>>().ok_or_else(|| fields.fault("redact", "has a bad escape"))?)
        }
    };
    fields.finish()?;
    Ok(Audit { durability, redact })
}

fn classes(words: &[String]) -> Option<Vec<Class>> {
    words.iter().map(|word| Class::from_word(word)).collect()
}

fn person(value: &Value, path: &str) -> Result<Person, Fault> {
    let mut fields = Fields::of(value, path)?;
    let person = Person { key: fields.text("key")?.to_owned(), id: fields.optional_string("id")? };
    fields.finish()?;
    Ok(person)
}

/// An id that begins with its own type.
fn id(fields: &mut Fields<'_>, kind: PrincipalType) -> Result<String, Fault> {
    let id = fields.text("id")?;
    match id.split_once(':') {
        Some((first, rest)) if first == kind.as_str() && rest.contains(':') => Ok(id.to_owned()),
        _ => Err(fields.fault("id", format!("must be of the form {}:issuer:subject", kind.as_str()))),
    }
}

fn agent(value: &Value, path: &str) -> Result<Agent, Fault> {
    let mut fields = Fields::of(value, path)?;
    let clients = fields.list("clients")?.iter().map(|pair| match pair.as_array() {
        Some([issuer, client]) => Some((issuer.as_str()?.to_owned(), client.as_str()?.to_owned())),
        _ => None,
    });
    let clients = clients
        .collect::<Option<_>>()
        .ok_or_else(|| fields.fault("clients", "must be a list of [issuer name, client id]"))?;
    let expires = match fields.optional("expires") {
        None => None,
        Some(value) => Some(
            value
                .as_number()
                .and_then(crate::json::Number::as_i64)
                .ok_or_else(|| fields.fault("expires", "must be whole seconds since the epoch"))?,
        ),
    };
    // Snapshots from before there were these two are still read.
    let suspended = match fields.optional_text("suspended")? {
        None => None,
        Some("agent_suspended") => Some(Reason::AgentSuspended),
        Some("owner_inactive") => Some(Reason::OwnerInactive),
        Some(_) => return Err(fields.fault("suspended", "must be agent_suspended or owner_inactive")),
    };
    let agent = Agent {
        key: fields.text("key")?.to_owned(),
        id: id(&mut fields, PrincipalType::Agent)?,
        owner: fields.text("owner")?.to_owned(),
        purpose: fields.optional_string("purpose")?,
        environment: fields.optional_string("environment")?,
        clients,
        ceiling: ceiling(fields.required("ceiling")?, &fields.path("ceiling"))?,
        expires,
        suspended,
        third_party: fields.optional_string("third_party")?,
    };
    fields.finish()?;
    Ok(agent)
}

fn ceiling(value: &Value, path: &str) -> Result<Ceiling, Fault> {
    let mut fields = Fields::of(value, path)?;
    let servers = fields.texts("servers")?;
    let tools = fields.optional_texts("tools")?;
    let words = fields.texts("classes")?;
    let classes =
        classes(&words).ok_or_else(|| fields.fault("classes", "must be a list of read, query, update and admin"))?;
    fields.finish()?;
    Ok(Ceiling { servers, tools, classes })
}

fn service(value: &Value, path: &str) -> Result<Service, Fault> {
    let mut fields = Fields::of(value, path)?;
    let service = Service {
        key: fields.text("key")?.to_owned(),
        id: id(&mut fields, PrincipalType::Service)?,
        owner: fields.text("owner")?.to_owned(),
    };
    fields.finish()?;
    Ok(service)
}

fn server(value: &Value, path: &str) -> Result<Server, Fault> {
    let mut fields = Fields::of(value, path)?;
    let class = |word: &str| Class::from_word(word);
    let default_class = class(fields.text("default_class")?)
        .ok_or_else(|| fields.fault("default_class", "must be read, query, update or admin"))?;
    let tools = fields.object("tools")?.iter().map(|(tool, word)| Some((tool.to_owned(), class(word.as_str()?)?)));
    let tools = tools
        .collect::<Option<_>>()
        .ok_or_else(|| fields.fault("tools", "must give each tool read, query, update or admin"))?;
    let name = fields.text("name")?.to_owned();
    if name.is_empty() || name.contains('/') {
        return Err(fields.fault("name", "must be there and have no slash"));
    }
    let server = Server {
        name,
        url: fields.text("url")?.to_owned(),
        owner: fields.text("owner")?.to_owned(),
        environment: fields.optional_string("environment")?,
        identity: known(fields.required("identity")?, &fields.path("identity"))?,
        default_class,
        tools,
        timeout_s: fields.whole("timeout_s")?,
        max_response_bytes: fields.whole("max_response_bytes")?,
    };
    fields.finish()?;
    Ok(server)
}

/// A token of RFC 6749 section 3.3: it stands in a quoted list.
fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
}

/// How we are known upstream: a word, or the credential and the header that carries it.
fn known(value: &Value, path: &str) -> Result<Known, Fault> {
    match value.as_str() {
        Some("jwt") => return Ok(Known::Jwt),
        Some("none") => return Ok(Known::Nobody),
        Some(_) => return Err(Fault::at(path, "must be jwt, none or a credential")),
        None => {}
    }
    let mut fields = Fields::of(value, path)?;
    let credential = fields.text("credential")?.to_owned();
    let header = fields.text("header")?.to_ascii_lowercase();
    if credential.is_empty() {
        return Err(fields.fault("credential", "must be a name"));
    }
    if !may_carry_credential(&header) {
        return Err(fields.fault("header", "must be the name of a header that is not the protocol's own"));
    }
    fields.finish()?;
    Ok(Known::Credential { credential, header })
}

/// Whether a header of this name, in lower case, says nothing that we say ourselves: of the message, its framing, its
/// connection or its place in MCP.
fn may_carry_credential(name: &str) -> bool {
    const OWN: [&str; 19] = [
        "accept",
        "baggage",
        "connection",
        "date",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "last-event-id",
        "origin",
        "proxy-connection",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "via",
    ];
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let prefixed = ["accept-", "content-", "mcp-"].iter().any(|prefix| name.starts_with(prefix));
    !name.is_empty() && name.bytes().all(token) && !prefixed && !OWN.contains(&name)
}
