"""The tables, as the newest migration leaves them (a test holds the two together)."""

from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, Text, UniqueConstraint

metadata = MetaData()

#: Our signing keys. `sealed` is the private part, and null once the key has retired: it can never sign again.
#: Public parts stay for ever, since old checkpoints are verified with them. Times are seconds since the epoch.
keys = Table(
    "keys",
    metadata,
    Column("kid", String, primary_key=True),
    Column("public", Text, nullable=False),
    Column("sealed", LargeBinary),
    Column("created_at", Integer, nullable=False),
    Column("retired_at", Integer),
)

#: Every snapshot that was ever in force, by the SHA-256 of its bytes: what replaying a record needs.
snapshots = Table(
    "snapshots",
    metadata,
    Column("digest", String, primary_key=True),
    Column("data", LargeBinary, nullable=False),
    Column("first_used_at", Integer, nullable=False),
)

#: Single values: the lockdown, and the text that proves the sealing key.
settings = Table(
    "settings",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", Text, nullable=False),
    Column("changed_at", Integer, nullable=False),
)

# People ---------------------------------------------------------------------------------------------------------------

#: Who has signed in, by principal id. `groups` and `claims` are what the provider said last, as JSON; `groups` is null
#: where there are none to be had, and `groups_error` then says why, if they exist. `refresh` is the provider's own
#: refresh token, sealed for `account ID`. `checked_at` is when the provider last said that the person is still there.
accounts = Table(
    "accounts",
    metadata,
    Column("id", String, primary_key=True),
    Column("provider", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("person", String),
    Column("email", String),
    Column("name", String),
    Column("groups", Text),
    Column("groups_error", String),
    Column("claims", Text, nullable=False),
    Column("refresh", LargeBinary),
    Column("signed_in_at", Integer, nullable=False),
    Column("checked_at", Integer, nullable=False),
    Column("ended_at", Integer),
    UniqueConstraint("provider", "subject"),
)

#: What operators said of people, by key in `people` or by principal id: confirmed as still there, or disabled.
people_marks = Table(
    "people_marks",
    metadata,
    Column("name", String, primary_key=True),
    Column("confirmed_at", Integer),
    Column("disabled_at", Integer),
    Column("why", String),
)

#: Signed-in browsers, for pages only, by the SHA-256 of the cookie. `id_token` is sealed for `session HASH`.
browser_sessions = Table(
    "browser_sessions",
    metadata,
    Column("hash", String, primary_key=True),
    Column("account", String, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("id_token", LargeBinary),
    Column("created_at", Integer, nullable=False),
    Column("expires_at", Integer, nullable=False),
)

#: Sign-ins under way, by the SHA-256 of `state`, each bound to one browser and good for one return. `verifier` is
#: sealed for `flow HASH`; `target` is the path on this gateway to go on with.
flows = Table(
    "flows",
    metadata,
    Column("hash", String, primary_key=True),
    Column("browser", String, nullable=False),
    Column("provider", String, nullable=False),
    Column("nonce", String, nullable=False),
    Column("verifier", LargeBinary, nullable=False),
    Column("target", Text, nullable=False),
    Column("expires_at", Integer, nullable=False),
)
Index("flows_browser", flows.c.browser, flows.c.expires_at)
Index("flows_expires_at", flows.c.expires_at)

# Clients and what they were granted -----------------------------------------------------------------------------------

#: OAuth clients. `kind` is `document` (client ID metadata document), `dynamic` (RFC 7591) or `registered` (by an
#: operator). `metadata` is JSON as in RFC 7591 section 2; `secret` the SHA-256 of the secret, if there is one.
clients = Table(
    "clients",
    metadata,
    Column("id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("name", String, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("secret", String),
    Column("created_at", Integer, nullable=False),
    Column("expires_at", Integer),
    Column("used_at", Integer),
)

#: What a person consented to for a client: the record of a third-party agent that nobody registered, owned by her.
#: `classes` and `servers` are its ceiling, as JSON lists; `digest` names the redirect addresses that were shown.
consents = Table(
    "consents",
    metadata,
    Column("client", String, primary_key=True),
    Column("account", String, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("agent", String, nullable=False),
    Column("client_name", String, nullable=False),
    Column("third_party", String, nullable=False),
    Column("redirect_host", String, nullable=False),
    Column("classes", Text, nullable=False),
    Column("servers", Text, nullable=False),
    Column("digest", String, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("expires_at", Integer, nullable=False),
)

#: One authorization and all tokens that grow from it. `scope` and `servers` are JSON lists.
families = Table(
    "families",
    metadata,
    Column("id", String, primary_key=True),
    Column("client", String, nullable=False),
    Column("account", String, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("agent", String, nullable=False),
    Column("third_party", String),
    Column("scope", Text, nullable=False),
    Column("servers", Text, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("expires_at", Integer, nullable=False),
    Column("used_at", Integer),
    Column("ended_at", Integer),
    Column("why", String),
)

#: Authorization codes and refresh tokens, by the SHA-256 of their text. Each is good once (`used_at`).
#: `binding` is JSON: of a code its redirect address, challenge and resource.
grants = Table(
    "grants",
    metadata,
    Column("hash", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("family", String, ForeignKey("families.id", ondelete="CASCADE"), nullable=False),
    Column("binding", Text, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("expires_at", Integer, nullable=False),
    Column("used_at", Integer),
)
Index("grants_family", grants.c.family)

# Registry -------------------------------------------------------------------------------------------------------------

#: Agents and services that were registered while running. `section` is JSON in the shape of the file.
registered = Table(
    "registered",
    metadata,
    Column("kind", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("section", Text, nullable=False),
    Column("created_at", Integer, nullable=False),
)

#: Agents that operators suspended, by principal id.
agent_marks = Table(
    "agent_marks",
    metadata,
    Column("agent", String, primary_key=True),
    Column("suspended_at", Integer, nullable=False),
    Column("why", String),
)

#: Whose each agent was when what is in force was last looked at, by principal id: a key in `people`, and the principal
#: id that stood there.
owners = Table(
    "owners",
    metadata,
    Column("agent", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("person", String),
)

#: When a principal was last seen: its last token from here, its last request.
uses = Table(
    "uses",
    metadata,
    Column("principal", String, primary_key=True),
    Column("token_at", Integer),
    Column("request_at", Integer),
)

#: Revocations: whatever `kind` and `value` name, a token issued at `epoch` or before is refused.
epochs = Table(
    "epochs",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("kind", String, nullable=False),
    Column("value", String, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("reason", String),
    UniqueConstraint("kind", "value"),
    sqlite_autoincrement=True,
)

#: What servers want to see of us that is no JWT, sealed for `credential NAME`.
credentials = Table(
    "credentials",
    metadata,
    Column("name", String, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("rotated_at", Integer, nullable=False),
)

#: Assertions of clients and workloads that were used, until they have expired: each is good once.
assertions = Table(
    "assertions",
    metadata,
    Column("issuer", String, primary_key=True),
    Column("jti", String, primary_key=True),
    Column("expires_at", Integer, nullable=False),
)
Index("assertions_expiry", assertions.c.expires_at)

#: The last good answers of addresses that were fetched: key sets and discovery documents.
documents = Table(
    "documents",
    metadata,
    Column("url", String, primary_key=True),
    Column("body", Text, nullable=False),
    Column("fetched_at", Integer, nullable=False),
)
