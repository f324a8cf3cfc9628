//! An issuer as the configuration pins it: everything that a token may not decide for itself.

use std::collections::HashMap;
use std::sync::Arc;

use super::jws::Compact;
use super::key::{self, Algorithm, Key};
use super::{LOCAL, TokenError};
use crate::deny::Reason;
use crate::facts::Class;
use crate::fields::{Fault, Fields, join, texts};
use crate::json::Value;
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
    pub scopes: Option<HashMap<String, Vec<Class>>>,
    pub direct: Direct,
}

impl Issuer {
    /// Reads one entry of the snapshot's `issuers`, which stands at `path`.
    ///
    /// Every member must be written, so that a missing one can never mean more than a written one.
    fn from_json(entry: &Value, path: &str) -> Result<Self, Fault> {
        let mut fields = Fields::of(entry, path)?;
        for nullable in ["audience", "servers", "email_domains", "scopes"] {
            fields.required(nullable)?;
        }
        let name = fields.text("name")?;
        if name.is_empty() || name.contains(':') {
            return Err(fields.fault("name", "must not be empty or hold a colon"));
        }
        let kind = Kind::from_word(fields.text("type")?)
            .ok_or_else(|| fields.fault("type", "must be human, service or agent"))?;
        let algorithms = algorithms(&fields.texts("algorithms")?).map_err(|at| {
            fields.fault(&format!("algorithms{at}"), "must name signature algorithms that are known, each once")
        })?;
        let audience = fields.optional_string("audience")?.map_or(Audience::Server, Audience::Fixed);
        let servers = fields.optional_texts("servers")?;
        if audience != Audience::Server && servers.is_none() {
            return Err(fields.fault("servers", "an audience of its own needs a list of the servers that it opens"));
        }
        let max_ttl_s = i64::try_from(fields.whole("max_ttl_s")?).ok().filter(|seconds| *seconds > 0);
        let mut claims = Fields::of(fields.required("claims")?, &fields.path("claims"))?;
        let issuer = Self {
            name: name.to_owned(),
            issuer: fields.text("issuer")?.to_owned(),
            keys: keys(fields.list("keys")?, &algorithms, &fields.path("keys"))?,
            kind,
            audience,
            servers,
            typ: fields.texts("typ")?.iter().map(|typ| plain_type(typ)).collect(),
            max_ttl_s: max_ttl_s.ok_or_else(|| fields.fault("max_ttl_s", "must be a positive whole number"))?,
            email_claim: claims.optional_string("email")?,
            groups_claim: claims.optional_string("groups")?,
            email_domains: fields
                .optional_texts("email_domains")?
                .map(|domains| domains.iter().map(|domain| domain.to_ascii_lowercase()).collect()),
            scopes: scopes(fields.optional("scopes"), &fields.path("scopes"))?,
            direct: match fields.required("direct")? {
                Value::Bool(true) => Direct::Always,
                Value::Bool(false) => Direct::Never,
                clients => Direct::Clients(
                    texts(clients).ok_or_else(|| fields.fault("direct", "must be true, false or client ids"))?,
                ),
            },
        };
        claims.finish()?;
        fields.finish()?;
        Ok(issuer)
    }

    /// Whether this is the gateway's own issuer.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.name == LOCAL
    }

    /// Whether its tokens may open this server at all.
    #[must_use]
    pub fn opens(&self, server: &str) -> bool {
        self.servers.as_ref().is_none_or(|servers| servers.iter().any(|name| name == server))
    }

    pub(super) fn has_key(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid.as_deref() == Some(kid))
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
        if given == Some(expected) && self.opens(server.name) {
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

/// The algorithms behind the names, or where one is unknown, symmetric or a repetition.
fn algorithms(names: &[String]) -> Result<Vec<Algorithm>, String> {
    let mut algorithms = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let known = Algorithm::from_name(name).filter(|algorithm| !algorithms.contains(algorithm));
        algorithms.push(known.ok_or_else(|| format!("[{at}]"))?);
    }
    if algorithms.is_empty() { Err(String::new()) } else { Ok(algorithms) }
}

fn keys(list: &[Value], algorithms: &[Algorithm], path: &str) -> Result<Vec<Key>, Fault> {
    let mut keys: Vec<Key> = Vec::new();
    for (at, jwk) in list.iter().enumerate() {
        let path = format!("{path}[{at}]");
        let jwk = jwk.as_object().ok_or_else(|| Fault::at(&path, "must be an object"))?;
        for new in key::read(jwk, algorithms).map_err(|(member, message)| Fault::at(join(&path, member), message))? {
            if keys.iter().any(|key| key.kid == new.kid && key.algorithm == new.algorithm) {
                return Err(Fault::at(path, "has the `kid` and algorithm of a key before it"));
            }
            keys.push(new);
        }
    }
    Ok(keys)
}

fn scopes(map: Option<&Value>, path: &str) -> Result<Option<HashMap<String, Vec<Class>>>, Fault> {
    let Some(map) = map else { return Ok(None) };
    let map = map.as_object().ok_or_else(|| Fault::at(path, "must be an object"))?;
    let read = |(scope, classes): (&str, &Value)| {
        let classes = texts(classes).and_then(|words| words.iter().map(|word| Class::from_word(word)).collect());
        let fault = || Fault::at(join(path, scope), "must be a list of read, query, update and admin");
        Ok((scope.to_owned(), classes.ok_or_else(fault)?))
    };
    map.iter().map(read).collect::<Result<_, Fault>>().map(Some)
}

/// Every pinned issuer, in the order of the configuration.
#[derive(Debug, Clone, Default)]
pub struct Issuers {
    list: Vec<Arc<Issuer>>,
}

impl Issuers {
    /// Reads the snapshot's `issuers`. Two with one `iss` would leave open which of them a token is to be held to, so
    /// they are an error, as are two of one name.
    pub(crate) fn from_json(entries: &[Value], path: &str) -> Result<Self, Fault> {
        let mut list: Vec<Arc<Issuer>> = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            let path = format!("{path}[{at}]");
            let issuer = Issuer::from_json(entry, &path)?;
            if list.iter().any(|known| known.name == issuer.name) {
                return Err(Fault::at(join(&path, "name"), "is the name of an issuer before it"));
            }
            if list.iter().any(|known| known.issuer == issuer.issuer) {
                return Err(Fault::at(join(&path, "issuer"), "is the `iss` of an issuer before it"));
            }
            list.push(Arc::new(issuer));
        }
        Ok(Self { list })
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Issuer> {
        self.list.iter().map(Arc::as_ref)
    }

    /// The `iss` of every issuer but ourselves whose tokens open `server`, in the order of the configuration.
    pub fn external<'a>(&'a self, server: &'a str) -> impl Iterator<Item = &'a str> {
        let opens = move |issuer: &&Arc<Issuer>| !issuer.is_local() && issuer.opens(server);
        self.list.iter().filter(opens).map(|issuer| issuer.issuer.as_str())
    }

    /// The issuer whose tokens say exactly this `iss`.
    #[must_use]
    pub fn by_url(&self, iss: &str) -> Option<&Arc<Issuer>> {
        self.list.iter().find(|issuer| issuer.issuer == iss)
    }

    /// The issuer of this name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Arc<Issuer>> {
        self.list.iter().find(|issuer| issuer.name == name)
    }
}
