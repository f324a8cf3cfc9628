"""Every kind of fault that a configuration can have, each with its exact place, what is said, and what would help.

In the tables, `§` stands before the character that the problem must point at. Faults of who is believed are in
`test_config_identity`.
"""

# ruff: noqa: E501  (one row, one case)

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.kit.configs import ISSUER, SECTIONS, found, marked, with_sections, write

from ostiary.config import load
from ostiary.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

ALGORITHMS = "use one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA"
REMOVE = "remove it"
DURATION = "write a number and a unit, as in `60s`, `10m`, `1h` or `30d`"
IDENTITIES = "write `jwt`, `none` or `{credential: store:NAME, header: Authorization}`"


def issuers(text: str) -> dict[str, str]:
    return {"identity": f"identity: {{issuers: {text}}}\n"}


def corp(more: str) -> dict[str, str]:
    return issuers(f"{{corp: {{{ISSUER}, {more}}}}}")


def agent(text: str) -> dict[str, str]:
    return {"agents": f"agents: {{bot: {text}}}\n"}


def server(more: str) -> dict[str, str]:
    return {"servers": f"servers: {{notes: {{owner: alice, pins: off, {more}}}}}\n"}


def identity(text: str) -> dict[str, str]:
    return server(f"url: http://h/mcp, identity: {text}")


def gateway(text: str) -> dict[str, str]:
    return {"gateway": f"gateway: {text}\n"}


def two_identities(notes: str, mail: str) -> dict[str, str]:
    shown = [
        f"{name}: {{url: http://h/mcp, owner: alice, pins: off, identity: {{credential: {text}}}}}"
        for name, text in (("notes", notes), ("mail", mail))
    ]
    return {"servers": f"servers: {{{', '.join(shown)}}}\n"}


SECOND = "set the value under a second name, and write that here"
CEILING = "ceiling: {servers: [notes], classes: [read]}"

# name, sections, key, message, hint
SHAPES = [
    ("unknown top-level key", {"servres": "§servres: {}\n"}, "servres", "`servres` is not a key of this place", "did you mean `servers`?"),
    ("unknown key inside", gateway("{listen: 127.0.0.1:1, url: http://127.0.0.1:1, §host: a}"), "gateway.host", "`host` is not a key of this place", "known here: `listen`, `url`, `allowed_hosts`, `allowed_origins`, `tls`, `trusted_proxies`, `refusals`"),
    ("unknown key of a server", server("url: http://h/mcp, §default: read"), "servers.notes.default", "`default` is not a key of this place", "did you mean `default_class`?"),
    ("unknown key of a tool", server("url: http://h/mcp, tools: {a: {class: read, §klass: read}}"), "servers.notes.tools.a.klass", "`klass` is not a key of this place", "did you mean `class`?"),
    ("missing section", {"gateway": "§audit: {}\n"}, "gateway", "`gateway` is missing", "add `gateway:`"),
    ("missing key", {"gateway": "§gateway: {url: http://127.0.0.1:1}\n"}, "gateway.listen", "`listen` is missing", "add `listen:` (IP address and port that clients reach)"),
    ("missing class", server("url: http://h/mcp, tools: {§echo: {}}"), "servers.notes.tools.echo.class", "`class` is missing", "add `class:` (What calling it does)"),
    ("section of the wrong kind", gateway("§8811"), "gateway", "expected a mapping, found a number", ""),
    ("map of the wrong kind", {"people": "people: §[alice]\n"}, "people", "expected a mapping, found a list", "write `NAME: {email: …}`, one line for each person"),
    ("text instead of a list", gateway("{listen: 127.0.0.1:1, url: http://127.0.0.1:1, allowed_hosts: §a.test}"), "gateway.allowed_hosts", "expected a list, found text", "write `[…]` around it"),
    ("number instead of text", agent(f"{{owner: alice, {CEILING}, purpose: §5}}"), "agents.bot.purpose", "expected text, found the number 5", "put it in quotes"),
    ("boolean instead of text", agent(f"{{owner: alice, {CEILING}, purpose: §true}}"), "agents.bot.purpose", "expected text, found `true`", ""),
    ("empty value", agent(f"{{owner: alice, {CEILING}, §purpose: }}"), "agents.bot.purpose", "the value is empty", "give it a value, or remove the key"),
    ("empty list item", {"audit": "audit: {redact: [§~]}\n"}, "audit.redact[0]", "the value is empty", "give it a value, or remove the key"),
    ("word not in the list", {"audit": "audit: {durability: §disc}\n"}, "audit.durability", "`disc` is not `by_class`, `disk` or `os`", "did you mean `disk`?"),
    ("refusals", gateway("{listen: 127.0.0.1:1, url: http://127.0.0.1:1, refusals: §text}"), "gateway.refusals", "`text` is not `error` or `result`", ""),
    ("class", server("url: http://h/mcp, default_class: §write"), "servers.notes.default_class", "`write` is not `read`, `query`, `update` or `admin`", ""),
    ("address that is none", {"people": "people: {alice: {email: §alice}}\n"}, "people.alice.email", "`alice` is not an e-mail address", "write it as in `alice@example.com`"),
    ("address as a name", agent(f"{{owner: §alice@example.com, {CEILING}}}"), "agents.bot.owner", "`alice@example.com` is not a name", "a name is no address: use letters, digits, `.`, `_` and `-`, at most 64, a letter or digit first"),
    ("wildcard as a name", agent('{owner: alice, ceiling: {servers: [§"*"], classes: [read]}}'), "agents.bot.ceiling.servers[0]", "`*` is not a name", "there are no wildcards: write each name"),
    ("empty value before another key", {"people": "people:\n  §alice:\n  bob: {}\n"}, "people.alice", "the value is empty", "give it a value, or remove the key"),
    ("name with a slash", {"people": "people: {alice: {}, §a/b: {}}\n"}, "people.a/b", "`a/b` is not a name", "use letters, digits, `.`, `_` and `-`, at most 64, a letter or digit first"),
    ("name with a colon", agent("{}") | {"agents": "agents: {§\"a:b\": {owner: alice, " + CEILING + "}}\n"}, "agents.a:b", "`a:b` is not a name", "use letters, digits, `.`, `_` and `-`, at most 64, a letter or digit first"),
    ("key twice", {"people": "people: {alice: {}, §alice: {}}\n"}, "people.alice", "`alice` is written twice, first at line 2, column 10", "keep one of them"),
    ("section twice", {"again": "§people: {alice: {}}\n"}, "people", "`people` is written twice, first at line 2, column 1", "keep one of them"),
    ("listed twice", corp("servers: [notes, §notes]"), "identity.issuers.corp.servers[1]", "`notes` is listed twice", "remove one of them"),
    ("control character", agent(f'{{owner: alice, {CEILING}, purpose: §"a\\nb"}}'), "agents.bot.purpose", "the text holds a control character", ""),
]  # fmt: skip

LATER = [
    ("audit.retain", {"audit": "audit: {§retain: 30d}\n"}, "retain"),
    ("audit.anchor", {"audit": "audit: {§anchor: s3}\n"}, "anchor"),
    ("apps", {"apps": "§apps: {}\n"}, "apps"),
    ("limits", {"limits": "§limits: {}\n"}, "limits"),
    ("ask", {"ask": "§ask: {wait: 5s}\n"}, "ask"),
    ("servers.notes.limits", server("url: http://h/mcp, §limits: {}"), "limits"),
    ("servers.notes.command", server("url: http://h/mcp, §command: [ls]"), "command"),
]  # fmt: skip

VALUES = [
    ("listen without a port", gateway("{listen: §127.0.0.1, url: http://127.0.0.1:1}"), "gateway.listen", "`127.0.0.1` has no port", "write `127.0.0.1:8811`"),
    ("listen with a name", gateway("{listen: §localhost:1, url: http://127.0.0.1:1}"), "gateway.listen", "`localhost` is a name, and a name may have several addresses", "write `127.0.0.1:1`"),
    ("listen with a port alone", gateway('{listen: §":8811", url: http://127.0.0.1:1}'), "gateway.listen", "`:8811` is not an address to listen on", "write `127.0.0.1:8811`"),
    ("listen with an impossible port", gateway("{listen: §127.0.0.1:65536, url: http://127.0.0.1:1}"), "gateway.listen", "`127.0.0.1:65536` is not an address to listen on", "write `127.0.0.1:8811`"),
    ("listen as a number", gateway("{listen: §8811, url: http://127.0.0.1:1}"), "gateway.listen", "the number 8811 is not an address", ""),
    ("admin without a port", {"admin": "admin: {listen: §127.0.0.1}\n"}, "admin.listen", "`127.0.0.1` has no port", "write `127.0.0.1:8811`"),
    ("url with a path", gateway("{listen: 127.0.0.1:1, url: §http://127.0.0.1:1/mcp}"), "gateway.url", "the URL has a path, `/mcp`", "write `http://127.0.0.1:1`"),
    ("url with a slash", gateway("{listen: 127.0.0.1:1, url: §http://127.0.0.1:1/}"), "gateway.url", "the URL has a path, `/`", "write `http://127.0.0.1:1`"),
    ("url with a fragment", gateway('{listen: 127.0.0.1:1, url: §"http://127.0.0.1:1#a"}'), "gateway.url", "the URL holds a fragment", "leave out what follows `#`"),
    ("url of another scheme", gateway("{listen: 127.0.0.1:1, url: §ftp://127.0.0.1}"), "gateway.url", "`ftp://127.0.0.1` is not the URL of the gateway", "it must begin with `http://` or `https://`"),
    ("url with capitals", gateway("{listen: 127.0.0.1:1, url: §https://GW.test}"), "gateway.url", "`GW.test` has a shorter or plainer form", "write `https://gw.test`"),
    ("url with the usual port", gateway("{listen: 127.0.0.1:1, url: §https://gw.test:443}"), "gateway.url", "`gw.test:443` has a shorter or plainer form", "write `https://gw.test`"),
    ("url with an odd address", gateway("{listen: 127.0.0.1:1, url: §http://0x7f.1}"), "gateway.url", "`0x7f.1` is not the host of the URL of the gateway", ""),
    ("server url with dots", server("url: §http://h/a/../mcp"), "servers.notes.url", "`/a/../mcp` is not a plain path", "write it without `//`, `.` or `..`"),
    ("server url that is none", server("url: §notes"), "servers.notes.url", "`notes` is not the URL of a server", "it must begin with `http://` or `https://`"),
    ("proxy that is no address", gateway("{listen: 127.0.0.1:1, url: https://gw.test, trusted_proxies: [§proxy.test]}"), "gateway.trusted_proxies[0]", "`proxy.test` is not an address range", "write `10.0.0.0/8`, or one address"),
    ("proxy range with a host part", gateway("{listen: 127.0.0.1:1, url: https://gw.test, trusted_proxies: [§10.0.0.1/8]}"), "gateway.trusted_proxies[0]", "`10.0.0.1/8` is not the beginning of a range", "write `10.0.0.0/8`"),
    ("proxies everywhere", gateway("{listen: 127.0.0.1:1, url: https://gw.test, trusted_proxies: [§0.0.0.0/0]}"), "gateway.trusted_proxies[0]", "everybody would be trusted to say where a request comes from", "write `10.0.0.0/8`, or one address"),
    ("proxy in two forms", gateway("{listen: 127.0.0.1:1, url: https://gw.test, trusted_proxies: [§\"::ffff:10.0.0.1\"]}"), "gateway.trusted_proxies[0]", "`::ffff:10.0.0.1` is an IPv4 address in the form of IPv6", "write it in dotted form"),
    ("tls without a key", gateway("{listen: 127.0.0.1:1, url: https://gw.test, §tls: {cert: a}}"), "gateway.tls.key", "`key` is missing", "add `key:` (Its private key, in PEM: a path, `file:PATH` or `env:NAME`)"),
    ("tls key in place", gateway('{listen: 127.0.0.1:1, url: https://gw.test, tls: {cert: a, key: §"a\\nb"}}'), "gateway.tls.key", "a certificate or key must not be written here", "write the path of a PEM file, or `env:NAME`"),
    ("host with a scheme", gateway("{listen: 127.0.0.1:1, url: http://127.0.0.1:1, allowed_hosts: [§http://a.test]}"), "gateway.allowed_hosts[0]", "`http://a.test` is not a host", "write `host` or `host:port`, without a scheme"),
    ("host with a wildcard", gateway('{listen: 127.0.0.1:1, url: http://127.0.0.1:1, allowed_hosts: [§"*.a.test"]}'), "gateway.allowed_hosts[0]", "`*.a.test` is not a host", "list each host by its name"),
    ("origin null", gateway('{listen: 127.0.0.1:1, url: http://127.0.0.1:1, allowed_origins: [§"null"]}'), "gateway.allowed_origins[0]", "the origin `null` is never allowed", "list the origins one by one"),
    ("origin any", gateway('{listen: 127.0.0.1:1, url: http://127.0.0.1:1, allowed_origins: [§"*"]}'), "gateway.allowed_origins[0]", "the origin `*` is never allowed", "list the origins one by one"),
    ("origin with a path", gateway("{listen: 127.0.0.1:1, url: http://127.0.0.1:1, allowed_origins: [§https://a.test/x]}"), "gateway.allowed_origins[0]", "`https://a.test/x` is not an origin", "write `https://host:port`, without a path"),
    ("store elsewhere", {"store": "store: {url: §postgresql://db/x}\n"}, "store.url", "PostgreSQL is not in this version", "write `sqlite:///var/ostiary.db`"),
    ("store in memory", {"store": 'store: {url: §"sqlite:///:memory:"}\n'}, "store.url", "the store must be an SQLite file", "write `sqlite:///var/ostiary.db`"),
    ("store reference", {"store": "store: {key: §store:seal}\n"}, "store.key", "`store:` references are not in this version", "write `env:NAME` or `file:PATH`"),
    ("secret without a name", {"store": 'store: {key: §"env:"}\n'}, "store.key", "`env:` is not followed by a name", "write `env:NAME` or `file:PATH`"),
    ("argument to redact", {"audit": "audit: {redact: [§password]}\n"}, "audit.redact[0]", "`password` is not an argument", 'write `argument/PATH`, keys joined by `/`, or `"*"` for all'),
    ("duration without a unit", server("url: http://h/mcp, timeout: §60"), "servers.notes.timeout", "the number 60 has no unit", "write `60s`, `60m`, `60h` or `60d`"),
    ("duration that is none", server("url: http://h/mcp, timeout: §soon"), "servers.notes.timeout", "`soon` is not a duration", DURATION),
    ("timeout too long", server("url: http://h/mcp, timeout: §2h"), "servers.notes.timeout", "`2h` is too long to wait for an answer", "at most `1h`"),
    ("size without a unit", server("url: http://h/mcp, max_response: §1000"), "servers.notes.max_response", "the number 1000 has no unit", "write a number and a unit, as in `512KiB` or `16MiB`"),
    ("size of two meanings", server("url: http://h/mcp, max_response: §16MB"), "servers.notes.max_response", "`16MB` is not a size", "write a number and a unit, as in `512KiB` or `16MiB`"),
    ("size out of bounds", server("url: http://h/mcp, max_response: §2GiB"), "servers.notes.max_response", "`2GiB` is out of bounds", "from `1KiB` to `1GiB`"),
    ("identity of later", server("url: http://h/mcp, identity: §oauth"), "servers.notes.identity", "`oauth` is not in this version", IDENTITIES),
    ("identity unknown", server("url: http://h/mcp, identity: §basic"), "servers.notes.identity", "`basic` is not a way to be known upstream", IDENTITIES),
    ("pins required", {"servers": "servers: {notes: {owner: alice, url: http://h/mcp, pins: §required}}\n"}, "servers.notes.pins", "`required` is not in this version", "write `pins: off`"),
    ("pins on", {"servers": "servers: {notes: {owner: alice, url: http://h/mcp, pins: §on}}\n"}, "servers.notes.pins", "`on` is not a way to pin tools", "write `pins: off`"),
    ("pins missing", {"servers": "servers: {§notes: {owner: alice, url: http://h/mcp}}\n"}, "servers.notes.pins", "`pins` is missing", "write `pins: off`"),
    ("expiry", agent(f"{{owner: alice, {CEILING}, expires: §soon}}"), "agents.bot.expires", "`soon` is not a date", "write `2027-06-30` (the day begins in UTC) or `2027-06-30T18:00:00Z`"),
    ("expiry on no day", agent(f"{{owner: alice, {CEILING}, expires: §2027-02-30}}"), "agents.bot.expires", "`2027-02-30` is not a date", "write `2027-06-30` (the day begins in UTC) or `2027-06-30T18:00:00Z`"),
    ("algorithm none", issuers('{corp: {issuer: "https://a", jwks: {file: jwks.json}, type: human, algorithms: [RS256, §none]}}'), "identity.issuers.corp.algorithms[1]", "`none` accepts tokens that nobody signed", ALGORITHMS),
    ("algorithm symmetric", issuers('{corp: {issuer: "https://a", jwks: {file: jwks.json}, type: human, algorithms: [RS256, §HS256]}}'), "identity.issuers.corp.algorithms[1]", "`HS256` lets whoever can check a token make one", ALGORITHMS),
    ("algorithm unknown", issuers('{corp: {issuer: "https://a", jwks: {file: jwks.json}, type: human, algorithms: [RS256, §RS1]}}'), "identity.issuers.corp.algorithms[1]", "`RS1` is not an algorithm of this version", ALGORITHMS),
    ("no algorithms", issuers('{corp: {issuer: "https://a", jwks: {file: jwks.json}, type: human, algorithms: §[]}}'), "identity.issuers.corp.algorithms", "the list is empty", "name at least one, or remove the key"),
    ("token life", corp("max_ttl: §61m"), "identity.issuers.corp.max_ttl", "`61m` is too long for a token", "at most `60m`"),
    ("direct", corp("direct: §maybe"), "identity.issuers.corp.direct", "`maybe` does not say who acts in person", "write `true`, `false` or a list of client ids"),
    ("domain", corp("email_domains: [§\"@example.com\"]"), "identity.issuers.corp.email_domains[0]", "`@example.com` is not a domain", "write it as in `example.com`, in lower case"),
    ("class of a scope", corp("scopes: {notes.read: [§write]}"), "identity.issuers.corp.scopes.notes.read[0]", "`write` is not `read`, `query`, `update` or `admin`", ""),
]  # fmt: skip

REFERENCES = [
    ("owner of an agent", agent(f"{{owner: §alise, {CEILING}}}"), "agents.bot.owner", "`alise` is not declared in `people`", "did you mean `alice`?"),
    ("owner of a service", {"services": "services: {batch: {owner: §zed}}\n"}, "services.batch.owner", "`zed` is not declared in `people`", "declare it in `people`"),
    ("owner of a server", {"servers": "servers: {notes: {owner: §bob, url: http://h/mcp, pins: off}}\n"}, "servers.notes.owner", "`bob` is not declared in `people`", "declare it in `people`"),
    ("server of an issuer", corp("servers: [§note]"), "identity.issuers.corp.servers[0]", "`note` is not declared in `servers`", "did you mean `notes`?"),
    ("server of a ceiling", agent("{owner: alice, ceiling: {servers: [notes, §note], classes: [read]}}"), "agents.bot.ceiling.servers[1]", "`note` is not declared in `servers`", "did you mean `notes`?"),
    ("class of a ceiling", agent("{owner: alice, ceiling: {servers: [notes], classes: [§reads]}}"), "agents.bot.ceiling.classes[0]", "`reads` is not `read`, `query`, `update` or `admin`", "did you mean `read`?"),
    ("tool of a ceiling without its server", agent("{owner: alice, ceiling: {servers: [notes], tools: [§echo], classes: [read]}}"), "agents.bot.ceiling.tools[0]", "`echo` is not a tool", "write `server/tool`"),
    ("tool of a ceiling on an unknown server", agent("{owner: alice, ceiling: {servers: [notes], tools: [§mail/echo], classes: [read]}}"), "agents.bot.ceiling.tools[0]", "`mail` is not declared in `servers`", "declare it in `servers`"),
    ("tool outside the ceiling", {"servers": SECTIONS["servers"].replace("servers: {", "servers: {mail: {url: http://h/mcp, owner: alice, pins: off, tools: {send: {class: update}}}, ")} | agent("{owner: alice, ceiling: {servers: [notes], tools: [§mail/send], classes: [read]}}"), "agents.bot.ceiling.tools[0]", "`mail` is not among the `servers` of this ceiling", "add it there, or remove the tool"),
    ("issuer of a person", corp("direct: true") | {"people": "people: {alice: {issuer: §corpp, subject: a}}\n"}, "people.alice.issuer", "`corpp` is not declared in `identity.providers` or `identity.issuers`", "did you mean `corp`?"),
    ("issuer of the wrong type", corp("direct: true") | agent(f"{{owner: alice, issuer: §corp, subject: a, {CEILING}}}"), "agents.bot.issuer", "the issuer `corp` has `type: human`, so it knows no agents", "name an issuer with `type: agent`"),
    ("person of the local issuer", {"people": "people: {alice: {issuer: §local, subject: a}}\n"}, "people.alice.issuer", "`local` is the gateway itself", "people need an issuer of their own"),
    ("agent of the local issuer", agent(f"{{owner: alice, issuer: §local, subject: a, {CEILING}}}"), "agents.bot.issuer", "`local` is the gateway itself", "leave `issuer` and `subject` out"),
    ("issuer without subject", corp("direct: true") | {"people": "people: {alice: {issuer: §corp}}\n"}, "people.alice.issuer", "`subject` is missing beside this", "write both, or neither"),
    ("subject without issuer", {"people": "people: {alice: {subject: §a}}\n"}, "people.alice.subject", "`issuer` is missing beside this", "write both, or neither"),
    ("issuer of a client", corp("direct: true") | agent(f"{{owner: alice, {CEILING}, clients: {{§crop: [a]}}}}"), "agents.bot.clients.crop", "`crop` is not declared in `identity.issuers`", "did you mean `corp`?"),
    ("audience without servers", corp("audience: §mcp-gw"), "identity.issuers.corp.audience", "an audience of its own needs `servers`, the only ones that these tokens open", "add `servers: […]`, or remove `audience`"),
]  # fmt: skip

CLASHES = [
    ("reserved name local", issuers(f"{{§local: {{{ISSUER}}}}}"), "identity.issuers.local", "the name `local` is kept for the gateway's own use", "choose another name"),
    ("reserved name client", issuers(f"{{§client: {{{ISSUER}}}}}"), "identity.issuers.client", "the name `client` is kept for the gateway's own use", "choose another name"),
    ("two pins of one issuer", issuers(f"{{a: {{{ISSUER}}}, b: {{{ISSUER.replace('issuer: ', 'issuer: §')}}}}}"), "identity.issuers.b.issuer", "`https://idp.test` is already the issuer of `a`", "one issuer is pinned once"),
    ("the gateway pinned", issuers("{corp: {issuer: §http://127.0.0.1:8811, jwks: {file: jwks.json}, algorithms: [RS256], type: human}}"), "identity.issuers.corp.issuer", "the gateway itself is this issuer", "its own tokens need no entry"),
    ("two people with one id", corp("direct: true") | {"people": "people: {alice: {issuer: corp, subject: a}, bob: {issuer: corp, subject: §a}}\n"}, "people.bob.subject", "`bob` and `alice` are the same principal, `human:corp:a`", "keep one of them"),
    ("one client, two agents", corp("direct: true") | {"agents": f"agents: {{a: {{owner: alice, {CEILING}, clients: {{corp: [x]}}}}, b: {{owner: alice, {CEILING}, clients: {{corp: [§x]}}}}}}\n"}, "agents.b.clients.corp[0]", "the client `x` of `corp` already stands for `a`", "a client is one agent"),
    ("a client in person and agent", corp("direct: [x]") | agent(f"{{owner: alice, {CEILING}, clients: {{corp: §x}}}}"), "agents.bot.clients.corp", "`corp` lists the client `x` in `direct`, so it acts in person", "a client is an agent or acts in person, not both"),
    ("two people with one address", {"people": "people: {alice: {email: alice@example.com}, bob: {email: §Alice@example.com}}\n"}, "people.bob.email", "`Alice@example.com` is already the address of `alice`", "give each person an address of their own"),
    ("one credential, two headers", two_identities("store:key", "store:key, header: §X-Api-Key"), "servers.mail.identity.header", "`store:key` goes into `Authorization` for `notes`, so not into `X-Api-Key` too", SECOND),
    ("one credential, two headers, one unsaid", two_identities("store:key, header: X-Api-Key", "§store:key"), "servers.mail.identity.credential", "`store:key` goes into `X-Api-Key` for `notes`, so not into `Authorization` too", SECOND),
    ("one address for two doors", {"admin": "admin: {listen: §127.0.0.1:8811}\n"}, "admin.listen", "the public door and the admin door have the same address", "choose another port for one of them"),
    ("one port for two doors", {"gateway": "gateway: {listen: 0.0.0.0:1, url: http://127.0.0.1:1}\n", "admin": "admin: {listen: §127.0.0.1:1}\n"}, "admin.listen", "the public door and the admin door have the same address", "choose another port for one of them"),
]  # fmt: skip

ISSUED = [
    ("loopback clients beyond this machine", {"gateway": "gateway: {listen: 127.0.0.1:1, url: https://gw.test}\n", "oauth": "oauth: {danger_loopback_clients: §on}\n"}, "oauth.danger_loopback_clients", "client documents on this machine are only for trying out, and `gateway.url` is not on it", "remove `danger_loopback_clients`"),
    ("an access token that lives no time", {"oauth": "oauth: {access_token_ttl: §0}\n"}, "oauth.access_token_ttl", "a duration must be longer than 0, and the number 0 is not", DURATION),
    ("a refresh token that lives no time", {"oauth": "oauth: {refresh_token_ttl: §0s}\n"}, "oauth.refresh_token_ttl", "a duration must be longer than 0, and `0s` is not", DURATION),
    ("a lease that ended before it began", {"oauth": "oauth: {owner_lease: §-30d}\n"}, "oauth.owner_lease", "a duration must be longer than 0, and `-30d` is not", DURATION),
    ("a lease for years", {"oauth": "oauth: {owner_lease: §91d}\n"}, "oauth.owner_lease", "`91d` is too long", "at most `90d`"),
    ("a switch of other languages", {"oauth": "oauth: {dynamic_registration: §yes}\n"}, "oauth.dynamic_registration", "`yes` is neither on nor off", "write `on` or `off`"),
    ("a boolean in quotes", {"oauth": "oauth: {danger_loopback_clients: §'true'}\n"}, "oauth.danger_loopback_clients", "`true` is neither on nor off", "write `on` or `off`"),
    ("an unknown duration", {"oauth": "oauth: {§acess_token_ttl: 5m}\n"}, "oauth.acess_token_ttl", "`acess_token_ttl` is not a key of this place", "did you mean `access_token_ttl`?"),
    ("a key without a space", {"oauth": "oauth: {§owner_lease:30d}\n"}, "oauth.owner_lease:30d", "a space is missing after `owner_lease:`", "write `owner_lease: …`"),
    ("an empty ceiling", {"oauth": "oauth: {default_ceiling: §[]}\n"}, "oauth.default_ceiling", "the list is empty", "name at least one, or remove the key"),
    ("an unknown class", {"oauth": "oauth: {default_ceiling: [§reed]}\n"}, "oauth.default_ceiling[0]", "`reed` is not `read`, `query`, `update` or `admin`", "did you mean `read`?"),
    ("a class twice", {"oauth": "oauth: {default_ceiling: [read, §read]}\n"}, "oauth.default_ceiling[1]", "`read` is listed twice", "remove one of them"),
    ("access tokens for hours", {"oauth": "oauth: {access_token_ttl: §61m}\n"}, "oauth.access_token_ttl", "`61m` is too long for a token", "at most `60m`"),
    ("refresh tokens for years", {"oauth": "oauth: {refresh_token_ttl: §9000h}\n"}, "oauth.refresh_token_ttl", "`9000h` is too long", "at most `90d`"),
    ("a switch that is none", {"oauth": "oauth: {dynamic_registration: §limited}\n"}, "oauth.dynamic_registration", "`limited` is neither on nor off", "write `on` or `off`"),
    ("a number as a switch", {"oauth": "oauth: {dynamic_registration: §1}\n"}, "oauth.dynamic_registration", "the number 1 is neither on nor off", "write `on` or `off`"),
    ("a domain that is none", {"oauth": "oauth: {allowed_client_id_domains: [§'*.app.test']}\n"}, "oauth.allowed_client_id_domains[0]", "`*.app.test` is not a domain", "write it as in `example.com`, in lower case"),
    ("authorities alone", {"oauth": "oauth: {ca_file: §jwks.json, danger_loopback_clients: off}\n"}, "oauth.ca_file", "`ca_file` counts for client documents on this machine only", "remove it, or add `danger_loopback_clients: on`"),
    ("authorities that are not there", {"oauth": "oauth: {danger_loopback_clients: on, ca_file: §gone.pem}\n"}, "oauth.ca_file", "`gone.pem` cannot be read: No such file or directory", ""),
    ("authorities that are none", {"oauth": "oauth: {danger_loopback_clients: on, ca_file: §jwks.json}\n"}, "oauth.ca_file", "`jwks.json` holds no certificate in PEM", ""),
]  # fmt: skip

SHOWN = [
    ("a credential without a name", {"servers": "servers: {notes: {url: http://h/mcp, owner: alice, pins: off, §identity: {header: Authorization}}}\n"}, "servers.notes.identity.credential", "`credential` is missing", "add `credential:` (Which: `store:NAME`, set by `ostiary credentials set NAME`)"),
    ("a header that is not for this", identity("{credential: store:a, header: §Host}"), "servers.notes.identity.header", "`Host` is not a header for a credential", "write `Authorization` or `X-Api-Key`"),
    ("an unknown key of a credential", identity("{credential: store:a, §heder: x}"), "servers.notes.identity.heder", "`heder` is not a key of this place", "did you mean `header`?"),
    ("identity as a list", identity("§[jwt]"), "servers.notes.identity", "a list is not a way to be known upstream", "write `jwt`, `none` or `{credential: store:NAME, header: Authorization}`"),
    ("identity credential alone", identity("§credential"), "servers.notes.identity", "`credential` is not a way to be known upstream", "write `jwt`, `none` or `{credential: store:NAME, header: Authorization}`"),
]  # fmt: skip

POLICY = [
    ("unknown key", {"policy": "policy: {files: [], §zone: UTC}\n"}, "policy.zone", "`zone` is not a key of this place", "did you mean `timezone`?"),
    ("no files", {"policy": "policy: §{timezone: UTC}\n"}, "policy", "`files` is missing", "write `files: [policy/rules.yaml]`"),
    ("files of the wrong kind", {"policy": "policy: {files: §rules.yaml}\n"}, "policy.files", "expected a list, found text", "write `files: [policy/rules.yaml]`"),
    ("file of the wrong kind", {"policy": "policy: {files: [§{a: 1}]}\n"}, "policy.files[0]", "expected the name of a file, found a mapping", ""),
    ("file that is not there", {"policy": "policy: {files: [§gone.yaml]}\n"}, "policy.files[0]", "`gone.yaml` cannot be read: No such file or directory", ""),
    ("file of Cedar", {"policy": "policy: {files: [§a.cedar]}\n"}, "policy.files[0]", "Cedar files are not in this version", "write the rules in YAML"),
    ("time zone", {"policy": "policy: {files: [], timezone: §Mars/Olympus}\n"}, "policy.timezone", "there is no time zone `Mars/Olympus`", "write a name of the time zone database, as in `Europe/Madrid`, or `UTC`"),
    ("kind of the policy", {"policy": "policy: §5\n"}, "policy", "a list of rules is expected, not a number", "`[]` for none"),
]  # fmt: skip

YAML = [
    ("octal", {"audit": "audit: {dir: §0755}\n"}, "audit.dir", "`0755` is a number that not every reader reads alike", "write the number in plain decimal digits, or in quotes if it is text"),
    ("merge key", {"people": "people: {alice: {§<<: {email: a@b.test}}}\n"}, "people.alice.<<", "merge keys (`<<`) are not read", "write the keys out, or alias whole values"),
    ("tag", {"audit": "audit: {dir: §!path x}\n"}, "audit.dir", "the tag `!path` is not read", "write the value without it"),
    ("anchor twice", {"people": "people: {alice: {email: &a x@a.test, subject: *a, issuer: corp}, bob: {email: §&a y@a.test}}\n"} | corp("direct: true"), "people.bob.email", "the anchor `&a` is written twice", "rename one"),
]  # fmt: skip


CASES = [*SHAPES, *VALUES, *REFERENCES, *CLASHES, *ISSUED, *SHOWN, *POLICY, *YAML]


@pytest.mark.parametrize(
    ("sections", "key", "message", "hint"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_each_fault_is_told_at_its_place(
    tmp_path: Path, sections: dict[str, str], key: str, message: str, hint: str
) -> None:
    text, line, column = marked(sections)
    assert found(tmp_path, text) == [(line, column, key, message, hint)]


@pytest.mark.parametrize(("key", "sections", "name"), LATER, ids=[case[0] for case in LATER])
def test_a_key_of_the_design_is_told_apart_from_an_unknown_one(
    tmp_path: Path, key: str, sections: dict[str, str], name: str
) -> None:
    text, line, column = marked(sections)
    assert found(tmp_path, text) == [(line, column, key, f"`{name}` is not in this version", REMOVE)]


def test_all_faults_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("- {name: a, allow: {}}\n", encoding="utf-8")
    text = with_sections(
        gateway="gateway: {listen: 8811, url: http://127.0.0.1:8811/, trusted_proxies: [x]}\n",
        people="people: {alice: {}, alice: {}}\n",
        agents="agents: {bot: {owner: bob, ceiling: {servers: [mail], classes: [reed]}}}\n",
        identity="identity: {issuers: {local: {issuer: a, jwks: {file: gone.json}, algorithms: [none], type: human}}}\n",
        policy="policy: {files: [rules.yaml, gone.yaml]}\n",
        wat="wat: 1\n",
    )
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    assert [(problem.file, problem.key) for problem in caught.value.problems] == [
        ("ostiary.yaml", "gateway.listen"),
        ("ostiary.yaml", "gateway.url"),
        ("ostiary.yaml", "gateway.trusted_proxies[0]"),
        ("ostiary.yaml", "people.alice"),
        ("ostiary.yaml", "agents.bot.owner"),
        ("ostiary.yaml", "agents.bot.ceiling.servers[0]"),
        ("ostiary.yaml", "agents.bot.ceiling.classes[0]"),
        ("ostiary.yaml", "identity.issuers.local"),
        ("ostiary.yaml", "identity.issuers.local.jwks.file"),
        ("ostiary.yaml", "identity.issuers.local.algorithms[0]"),
        ("ostiary.yaml", "policy.files[1]"),
        ("ostiary.yaml", "wat"),
        ("rules.yaml", "[0].allow"),
    ]


PRIVATE_KEY = "-----BEGIN EC PRIVATE KEY-----"
TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9."  # signed by nobody
INLINE = "a secret must not be written here"
LOOKS = "this looks like {}, and a secret must not be written here"
REFERENCE = "write `env:NAME` or `file:PATH`"
TAKE_OUT = "take it out, and consider it known to others; secrets are given as `env:NAME` or `file:PATH`"

SECRETS = [
    ("a sealing key", {"store": "store: {key: §hunter2hunter2}\n"}, INLINE, REFERENCE, "hunter2"),
    ("a number as a key", {"store": "store: {key: §12345678}\n"}, INLINE, REFERENCE, "12345678"),
    ("a credential", identity("{credential: §hunter2}"), "a credential must not be written here", "write `store:NAME`, and set it with `ostiary credentials set NAME`", "hunter2"),
    ("a credential from the environment", identity("{credential: §env:hunter2}"), "a credential must not be written here", "write `store:NAME`, and set it with `ostiary credentials set NAME`", "hunter2"),
    ("a private key in a text", {"audit": f'audit: {{dir: §"{PRIVATE_KEY} hunter2"}}\n'}, LOOKS.format("a private key"), TAKE_OUT, "hunter2"),
    ("a token in a text", agent(f"{{owner: alice, {CEILING}, purpose: §{TOKEN}}}"), LOOKS.format("a token"), TAKE_OUT, "eyJ"),
    ("a token as a wrong value", {"audit": f"audit: {{durability: §{TOKEN}}}\n"}, LOOKS.format("a token"), TAKE_OUT, "eyJ"),
    ("a token as a name", {"people": f"people: {{alice: {{}}, §{TOKEN}: {{}}}}\n"}, LOOKS.format("a token"), TAKE_OUT, "eyJ"),
    ("a password in a URL", server("url: §http://u:hunter2@h/mcp"), "the URL holds a user name or password", "leave it out: secrets are never written here", "hunter2"),
    ("a query in a URL", server('url: §"http://h/mcp?key=hunter2"'), "the URL holds a query", "leave out what follows `?`: queries often carry secrets", "hunter2"),
    ("a password in the store's URL", {"store": "store: {url: §postgresql://u:hunter2@h/x}\n"}, "PostgreSQL is not in this version", "write `sqlite:///var/ostiary.db`", "hunter2"),
    ("a key that sounds like one", server("url: http://h/mcp, §api_key: hunter2"), "`api_key` is not a key of this place, and a secret must not be written here", "secrets are given as `env:NAME` or `file:PATH`, where one is asked for", "hunter2"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sections", "message", "hint", "secret"), [c[1:] for c in SECRETS], ids=[c[0] for c in SECRETS]
)
def test_an_inline_secret_is_refused_and_never_repeated(
    tmp_path: Path, sections: dict[str, str], message: str, hint: str, secret: str
) -> None:
    text, line, column = marked(sections)
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    told = [(p.line, p.column, p.message, p.hint, p.secret) for p in caught.value.problems]
    assert told == [(line, column, message, hint, True)]
    assert secret not in str(caught.value)


def test_a_secret_in_a_policy_file_is_refused(tmp_path: Path) -> None:
    rule = "- name: a\n  deny: {or: [{argument/token: " + TOKEN + "}]}\n"
    (tmp_path / "rules.yaml").write_text(rule, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, with_sections(policy="policy: {files: [rules.yaml]}\n")))
    assert [(p.file, p.line, p.column, p.message) for p in caught.value.problems] == [
        ("rules.yaml", 2, 32, LOOKS.format("a token"))
    ]


def test_the_same_policy_file_cannot_be_listed_twice(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("[]\n", encoding="utf-8")
    text = with_sections(policy="policy: {files: [rules.yaml, rules.yaml]}\n")
    assert found(tmp_path, text) == [
        (4, 30, "policy.files[1]", "`rules.yaml` is listed twice", "remove one of them"),
    ]


def test_an_error_names_every_file_whose_change_may_put_it_right(tmp_path: Path) -> None:
    sections = {"policy": "policy: {files: [gone.yaml]}\n", **corp("direct: true")}
    path = write(tmp_path, with_sections(**sections))
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.sources == (path, tmp_path / "jwks.json", tmp_path / "gone.yaml")


def test_a_missing_file_is_told_without_a_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "ostiary.yaml")
    assert str(caught.value) == "ostiary.yaml: cannot be read: No such file or directory"
