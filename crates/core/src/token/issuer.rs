//! An issuer as the configuration pins it: everything that a token may not decide for itself.

use std::collections::HashMap;
use std::sync::Arc;

use super::jws::Compact;
use super::key::{self, Algorithm, Key};
use super::{LOCAL, TokenError};
use crate::deny::Reason;
use crate::json::{Object, Value};
use crate::principal::Kind;

/// The server that a request is for.
#[derive(Debug, Clone, Copy)]
pub struct ServerAudience<'a> {
    /// Its name in the configuration.
    pub name: &'a str,
    /// Its public address, `{gateway.url}/mcp/{name}`: the audience of tokens for it.
    pub url: &'a str,
}

/// Which audience the tokens of an issuer must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// The address of the server that the request is for.
    Server,
    /// This one text, for every server that the pin names.
    Fixed(String),
}

/// When the subject of a token acts in person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Direct {
    Never,
    Always,
    /// Only through these clients.
    Clients(Vec<String>),
}

/// A pinned issuer, with its keys ready to verify.
#[derive(Debug)]
pub struct Issuer {
    /// Its name in the configuration.
    pub name: String,
    /// The exact `iss` of its tokens.
    pub issuer: String,
    keys: Vec<Key>,
    /// What kind of principal its subjects are.
    pub kind: Kind,
    pub audience: Audience,
    /// The servers that its tokens open; `None` means every server.
    pub servers: Option<Vec<String>>,
    typ: Vec<String>,
    pub max_ttl_s: i64,
    /// The claim that holds the e-mail address.
    pub email_claim: Option<String>,
    /// The claim that holds the groups.
    pub groups_claim: Option<String>,
    /// The domains, in lower case, for which this issuer may vouch; without them there is no e-mail fact.
    pub email_domains: Option<Vec<String>>,
    /// The action classes that each of its scopes grants; `None` means that `mcp:*` scopes count as they are.
    pub scopes: Option<HashMap<String, Vec<String>>>,
    pub direct: Direct,
}

/// A fault of a pin: the path below the issuer, and what is wrong there.
type Fault = (String, String);

impl Issuer {
    /// Reads one entry of the snapshot's `issuers`. The error is a path below that entry and a message.
    pub fn from_json(entry: &Value) -> Result<Self, Fault> {
        let entry = Entry::new(entry)?;
        let name = entry.text("name")?;
        if name.is_empty() || name.contains(':') {
            return Err(fault("name", "must not be empty or hold a colon"));
        }
        let algorithms = entry.algorithms()?;
        let audience = entry.optional_text("audience")?.map_or(Audience::Server, Audience::Fixed);
        let servers = entry.optional_texts("servers")?;
        if audience != Audience::Server && servers.is_none() {
            return Err(fault("servers", "an audience of its own needs a list of the servers that it opens"));
        }
        let kind = entry.text("type")?;
        let max_ttl_s = entry.get("max_ttl_s")?.as_number().and_then(crate::json::Number::as_i64);
        let claims = Entry::claims(entry.get("claims")?)?;
        Ok(Self {
            keys: entry.keys(&algorithms)?,
            kind: Kind::from_word(&kind).ok_or_else(|| fault("type", "must be `human`, `service` or `agent`"))?,
            typ: entry.texts("typ")?.iter().map(|typ| plain_type(typ)).collect(),
            max_ttl_s: max_ttl_s
                .filter(|seconds| *seconds > 0)
                .ok_or_else(|| fault("max_ttl_s", "must be a positive whole number"))?,
            email_claim: claims.0,
            groups_claim: claims.1,
            email_domains: entry
                .optional_texts("email_domains")?
                .map(|domains| domains.iter().map(|domain| domain.to_ascii_lowercase()).collect()),
            scopes: entry.scopes()?,
            direct: entry.direct()?,
            issuer: entry.text("issuer")?,
            name,
            audience,
            servers,
        })
    }

    /// Whether this is the gateway's own issuer.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.name == LOCAL
    }

    /// Checks the signature under a key of this issuer.
    ///
    /// The key identifier only picks among the pinned keys. Without one, the algorithm must have exactly one key.
    pub(super) fn check_signature(&self, token: &Compact<'_>) -> Result<(), TokenError> {
        let mut fitting = self.keys.iter().filter(|key| {
            key.algorithm == token.header.alg && (token.header.kid.is_none() || key.kid == token.header.kid)
        });
        let (Some(key), None) = (fitting.next(), fitting.next()) else {
            return Err(TokenError::invalid("the token is not signed by a key and algorithm pinned for its issuer"));
        };
        key.public
            .verify_sig(token.signed, &token.signature)
            .map_err(|_| TokenError::invalid("the token's signature is wrong"))
    }

    /// Checks the `typ` header, by which an access token differs from ID tokens and our own upstream tokens.
    pub(super) fn check_type(&self, typ: Option<&str>) -> Result<(), TokenError> {
        match typ {
            Some(typ) if self.typ.contains(&plain_type(typ)) => Ok(()),
            Some(_) | None => Err(TokenError::invalid("the token is not of a type that its issuer is pinned to")),
        }
    }

    /// Checks that the token is for this server. RFC 8707: the audience is one resource, compared exactly.
    pub(super) fn check_audience(&self, aud: Option<&Value>, server: &ServerAudience<'_>) -> Result<(), TokenError> {
        let expected = match &self.audience {
            Audience::Server => server.url,
            Audience::Fixed(audience) => audience,
        };
        let given = match aud {
            Some(Value::String(given)) => Some(given.as_str()),
            Some(Value::Array(list)) => match list.as_slice() {
                [Value::String(given)] => Some(given.as_str()),
                _ => None,
            },
            Some(_) | None => None,
        };
        let opens = self.servers.as_ref().is_none_or(|servers| servers.iter().any(|name| name == server.name));
        if given == Some(expected) && opens {
            return Ok(());
        }
        Err(TokenError::new(Reason::TokenAudience, "the token is not for this server alone"))
    }
}

/// RFC 7515 section 4.1.9: media types, compared without regard to case, `application/` left out or not.
fn plain_type(typ: &str) -> String {
    let lower = typ.to_ascii_lowercase();
    lower.strip_prefix("application/").filter(|rest| !rest.contains('/')).unwrap_or(&lower).to_owned()
}

fn fault(path: &str, message: &str) -> Fault {
    (path.to_owned(), message.to_owned())
}

/// One entry of `issuers`, with every member known to be expected.
struct Entry<'a>(&'a Object);

impl<'a> Entry<'a> {
    const MEMBERS: [&'static str; 13] = [
        "name",
        "issuer",
        "keys",
        "algorithms",
        "type",
        "audience",
        "servers",
        "typ",
        "max_ttl_s",
        "claims",
        "email_domains",
        "scopes",
        "direct",
    ];

    fn new(entry: &'a Value) -> Result<Self, Fault> {
        let object = entry.as_object().ok_or_else(|| fault("", "must be an object"))?;
        if let Some((name, _)) = object.iter().find(|(name, _)| !Self::MEMBERS.contains(name)) {
            return Err(fault(name, "unknown member"));
        }
        Ok(Self(object))
    }

    /// A member; all are written, so that a missing one can never mean more than a written one.
    fn get(&self, name: &str) -> Result<&'a Value, Fault> {
        self.0.get(name).ok_or_else(|| fault(name, "is missing"))
    }

    fn text(&self, name: &str) -> Result<String, Fault> {
        self.get(name)?.as_str().map(str::to_owned).ok_or_else(|| fault(name, "must be a string"))
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, Fault> {
        texts(self.get(name)?, name)
    }

    fn optional_text(&self, name: &str) -> Result<Option<String>, Fault> {
        if self.get(name)? == &Value::Null { Ok(None) } else { self.text(name).map(Some) }
    }

    fn optional_texts(&self, name: &str) -> Result<Option<Vec<String>>, Fault> {
        if self.get(name)? == &Value::Null { Ok(None) } else { self.texts(name).map(Some) }
    }

    fn algorithms(&self) -> Result<Vec<Algorithm>, Fault> {
        let mut algorithms = Vec::new();
        for (at, name) in self.texts("algorithms")?.iter().enumerate() {
            let algorithm = Algorithm::from_name(name)
                .filter(|algorithm| !algorithms.contains(algorithm))
                .ok_or_else(|| fault(&format!("algorithms[{at}]"), "is unknown, symmetric or a repetition"))?;
            algorithms.push(algorithm);
        }
        if algorithms.is_empty() { Err(fault("algorithms", "must not be empty")) } else { Ok(algorithms) }
    }

    fn keys(&self, algorithms: &[Algorithm]) -> Result<Vec<Key>, Fault> {
        let list = self.get("keys")?.as_array().ok_or_else(|| fault("keys", "must be a list"))?;
        let mut keys: Vec<Key> = Vec::new();
        for (at, jwk) in list.iter().enumerate() {
            let path = format!("keys[{at}]");
            let jwk = jwk.as_object().ok_or_else(|| fault(&path, "must be an object"))?;
            let read = key::read(jwk, algorithms).map_err(|(member, message)| (format!("{path}.{member}"), message))?;
            for new in read {
                if keys.iter().any(|key| key.kid == new.kid && key.algorithm == new.algorithm) {
                    return Err(fault(&path, "two keys have the same `kid` and algorithm"));
                }
                keys.push(new);
            }
        }
        Ok(keys)
    }

    fn claims(claims: &Value) -> Result<(Option<String>, Option<String>), Fault> {
        let claims = claims.as_object().ok_or_else(|| fault("claims", "must be an object"))?;
        let (mut email, mut groups) = (None, None);
        for (name, claim) in claims.iter() {
            let slot = match name {
                "email" => &mut email,
                "groups" => &mut groups,
                _ => return Err(fault(&format!("claims.{name}"), "unknown member")),
            };
            let claim = claim.as_str().ok_or_else(|| fault(&format!("claims.{name}"), "must be a string"))?;
            *slot = Some(claim.to_owned());
        }
        Ok((email, groups))
    }

    fn scopes(&self) -> Result<Option<HashMap<String, Vec<String>>>, Fault> {
        let scopes = self.get("scopes")?;
        if scopes == &Value::Null {
            return Ok(None);
        }
        let scopes = scopes.as_object().ok_or_else(|| fault("scopes", "must be an object or null"))?;
        let read =
            |(scope, classes): (&str, &Value)| Ok((scope.to_owned(), texts(classes, &format!("scopes.{scope}"))?));
        scopes.iter().map(read).collect::<Result<_, Fault>>().map(Some)
    }

    fn direct(&self) -> Result<Direct, Fault> {
        match self.get("direct")? {
            Value::Bool(true) => Ok(Direct::Always),
            Value::Bool(false) => Ok(Direct::Never),
            clients => texts(clients, "direct").map(Direct::Clients),
        }
    }
}

fn texts(list: &Value, path: &str) -> Result<Vec<String>, Fault> {
    let list = list.as_array().ok_or_else(|| fault(path, "must be a list of strings"))?;
    list.iter()
        .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| fault(path, "must be a list of strings")))
        .collect()
}

/// Every pinned issuer, found by the exact `iss` of its tokens.
#[derive(Debug, Default)]
pub struct Issuers {
    by_url: HashMap<String, Arc<Issuer>>,
}

impl Issuers {
    /// Gathers pins. Two with one `iss` would leave open which of them a token is to be held to, so they are an
    /// error, as are two of one name; the error is a path below `issuers` and a message.
    pub fn new(issuers: impl IntoIterator<Item = Issuer>) -> Result<Self, Fault> {
        let mut by_url: HashMap<String, Arc<Issuer>> = HashMap::new();
        for (at, issuer) in issuers.into_iter().enumerate() {
            if by_url.values().any(|known| known.name == issuer.name) {
                return Err(fault(&format!("[{at}].name"), "two issuers have the same name"));
            }
            if by_url.contains_key(&issuer.issuer) {
                return Err(fault(&format!("[{at}].issuer"), "two issuers have the same `issuer`"));
            }
            by_url.insert(issuer.issuer.clone(), Arc::new(issuer));
        }
        Ok(Self { by_url })
    }

    /// The issuer whose tokens say exactly this `iss`.
    #[must_use]
    pub fn by_url(&self, iss: &str) -> Option<&Arc<Issuer>> {
        self.by_url.get(iss)
    }

    /// The issuer of this name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Arc<Issuer>> {
        self.by_url.values().find(|issuer| issuer.name == name)
    }
}
