"""Who is believed and what is issued: providers, issuers by URL, credentials, clients, and each way to get them wrong.

In the tables, `§` stands before the character that the problem must point at.
"""

# ruff: noqa: E501  (one row, one case)

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from tests.kit.configs import ISSUER, RSA_KEY, found, marked, with_sections, write
from tests.kit.pki import Authority

from ostiary.config import load
from ostiary.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

ED25519 = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "ci"}
"""The public key of RFC 8037, appendix A."""

SIGN_IN = """\
identity:
  providers:
    sso: {preset: generic, issuer: "http://127.0.0.1:9400", client_id: ostiary, client_secret: env:OIDC_SECRET, scopes: [openid, email, profile], claims: {groups: groups}, email_domains: [example.com]}
"""
OAUTH = "oauth: {dynamic_registration: off, access_token_ttl: 10m, refresh_token_ttl: 8h, allowed_client_id_domains: [], default_ceiling: [read, query]}   # registration: off | on (limited, expiring)\n"
CI_BOT = """\
agents:
  ci-bot: {owner: alice, purpose: nightly checks, ceiling: {servers: [notes], classes: [read]}, credentials: [{private_key_jwt: {jwks: {file: ci.jwks.json}}}, {federated: {preset: github-actions, subject: "repo:acme/app:ref:refs/heads/main"}}]}
"""

CEILING = "ceiling: {servers: [notes], classes: [read]}"
PROVIDER = "issuer: https://sso.test, client_id: gw"
KEYS = "jwks: {file: jwks.json}"


def house(folder: Path, keys: object = ED25519) -> Path:
    (folder / "ci.jwks.json").write_text(json.dumps({"keys": [keys]}), encoding="utf-8")
    return folder


def identity(text: str) -> dict[str, str]:
    return {"identity": f"identity: {text}\n"}


def provider(more: str) -> dict[str, str]:
    return identity(f"{{providers: {{sso: {{{more}}}}}}}")


def issuer(jwks: str) -> dict[str, str]:
    return identity(f'{{issuers: {{corp: {{issuer: "https://a.test", {jwks}, algorithms: [RS256], type: human}}}}}}')


def agent(more: str) -> dict[str, str]:
    return {"agents": f"agents: {{bot: {{owner: alice, {CEILING}, {more}}}}}\n"}


def credentials(text: str) -> dict[str, str]:
    return agent(f"credentials: [{text}]")


def federated(text: str) -> dict[str, str]:
    return credentials(f"{{federated: {{{text}}}}}")


def server(text: str) -> dict[str, str]:
    return {"servers": f"servers: {{notes: {{url: http://h/mcp, owner: alice, pins: off, identity: {text}}}}}\n"}


# What is good ------------------------------------------------------------------------------------------------------


def test_what_the_interface_promises_loads_as_it_stands(tmp_path: Path) -> None:
    text = with_sections(identity=SIGN_IN, oauth=OAUTH, agents=CI_BOT)
    config = load(write(house(tmp_path), text))
    sso, bot = config.providers["sso"], config.agents["ci-bot"]
    assert (sso.preset, sso.issuer, sso.client_id, sso.client_secret, sso.scopes, sso.claims.groups) == (
        "generic",
        "http://127.0.0.1:9400",
        "ostiary",
        "env:OIDC_SECRET",
        ("openid", "email", "profile"),
        "groups",
    )
    oauth = config.oauth
    assert (oauth.dynamic_registration, oauth.access_token_ttl, oauth.refresh_token_ttl, oauth.default_ceiling) == (
        False,
        600,
        8 * 3600,
        ("read", "query"),
    )
    federated = bot.credentials[1].federated
    assert federated is not None
    assert federated.expected_issuer == "https://token.actions.githubusercontent.com"
    assert config.credential_keys == {("agents", "ci-bot", 0): ({**ED25519, "use": "sig"},)}
    assert config.sources == (tmp_path / "ostiary.yaml", tmp_path / "ci.jwks.json")
    assert [warning.key for warning in config.warnings] == ["servers.notes.pins"]


def test_what_is_not_written_has_a_safe_default(tmp_path: Path) -> None:
    config = load(write(tmp_path, with_sections(**provider(PROVIDER))))
    oauth, sso = config.oauth, config.providers["sso"]
    assert (sso.preset, sso.client_secret, sso.scopes, sso.email_domains) == (
        "generic",
        None,
        ("openid", "email", "profile"),
        None,
    )
    assert (oauth.dynamic_registration, oauth.danger_loopback_clients, config.ca_file) == (False, False, None)
    assert (oauth.access_token_ttl, oauth.refresh_token_ttl, oauth.owner_lease) == (600, 8 * 3600, 30 * 24 * 3600)
    assert (oauth.allowed_client_id_domains, oauth.default_ceiling) == ((), ("read", "query"))


@pytest.mark.parametrize(
    "provider_",
    [
        "preset: google, issuer: https://accounts.google.com, client_id: x, email_domains: [example.com]",
        "preset: entra, issuer: https://login.microsoftonline.com/common/v2.0, client_id: x, email_domains: [a.test]",
        "preset: entra, issuer: https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0, client_id: x",
        "preset: generic, issuer: https://sso.test/common/v2.0, client_id: x",
    ],
)
def test_a_provider_of_one_organisation_or_of_named_domains_is_taken(tmp_path: Path, provider_: str) -> None:
    assert "sso" in load(write(tmp_path, with_sections(**provider(provider_)))).providers


@pytest.mark.parametrize(("word", "meant"), [("on", True), ("'on'", True), ("ON", True), ("true", True), ("off", False), ("Off", False), ("false", False)])  # fmt: skip
def test_a_switch_is_a_word_or_a_boolean(tmp_path: Path, word: str, meant: bool) -> None:
    config = load(write(tmp_path, with_sections(oauth=f"oauth: {{dynamic_registration: {word}}}\n")))
    assert config.oauth.dynamic_registration is meant
    told = {warning.key: warning.message for warning in config.warnings}
    assert ("oauth.dynamic_registration" in told) is meant


def test_a_person_may_be_known_by_a_provider_and_be_named_in_rules(tmp_path: Path) -> None:
    sections = {
        **provider(PROVIDER),
        "people": "people: {alice: {issuer: sso, subject: 00u1}}\n",
        "policy": "policy: [{name: a, allow: {or: [{user: alice}, {user: 00u2}, {user: 'human:sso:00u3'}]}}]\n",
    }
    config = load(write(tmp_path, with_sections(**sections)))
    assert config.person_id("alice") == "human:sso:00u1"
    values = [leaf["tests"][0]["value"] for leaf in config.rules[0]["any"][0]["of"]]
    assert values == ["human:sso:00u1", "human:sso:00u2", "human:sso:00u3"]


def test_a_bare_subject_is_refused_where_two_sources_know_people(tmp_path: Path) -> None:
    both = f"{{providers: {{sso: {{{PROVIDER}}}}}, issuers: {{corp: {{{ISSUER}}}}}}}"
    rule = "policy: [{name: a, allow: {or: [{user: §zoe}]}}]\n"
    text, line, column = marked({**identity(both), "policy": rule})
    assert [problem[:2] + problem[3:4] for problem in found(tmp_path, text)] == [
        (line, column, "`zoe` could come from `corp` or `sso`: two sources that say the same name are two people")
    ]


def test_the_keys_of_an_issuer_may_be_named_by_url_and_are_not_read_then(tmp_path: Path) -> None:
    config = load(write(tmp_path, with_sections(**issuer("jwks: {url: 'https://a.test/keys.json'}"))))
    assert (config.issuers["corp"].jwks.url, config.keys, config.sources) == (
        "https://a.test/keys.json",
        {},
        (tmp_path / "ostiary.yaml",),
    )


FEDERATED = [
    ("preset: github-actions, subject: s", "https://token.actions.githubusercontent.com"),
    ("preset: github-actions, issuer: https://github.corp.test/_services/token, subject: s", "https://github.corp.test/_services/token"),
    ("preset: kubernetes, issuer: https://k8s.test, subject: 'system:serviceaccount:ci:bot', jwks: {url: 'https://k8s.test/keys'}", "https://k8s.test"),
    ("issuer: http://127.0.0.1:9, subject: s, audience: aud, jwks: {file: jwks.json}", "http://127.0.0.1:9"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "expected"), FEDERATED)
def test_a_workload_has_an_issuer_of_its_own_or_that_of_its_platform(
    tmp_path: Path, written: str, expected: str
) -> None:
    for section, name in (("agents", "bot"), ("services", "batch")):
        more = f", {CEILING}" if section == "agents" else ""
        text = f"{section}: {{{name}: {{owner: alice{more}, credentials: [{{federated: {{{written}}}}}]}}}}\n"
        config = load(write(tmp_path, with_sections(last=text)))
        given = {"agents": config.agents, "services": config.services}[section][name].credentials[0].federated  # type: ignore[index]
        assert given is not None
        assert given.expected_issuer == expected
        assert list(config.credential_keys) == ([(section, name, 0)] if "file" in written else [])


def test_one_subject_may_be_two_workloads_where_issuer_or_audience_differ(tmp_path: Path) -> None:
    ways = ", ".join(
        f"{{federated: {{issuer: {issuer}, subject: s{audience}}}}}"
        for issuer, audience in (("https://a", ""), ("https://b", ""), ("https://a", ", audience: x"))
    )
    assert len(load(write(tmp_path, with_sections(**credentials(ways)))).agents["bot"].credentials) == 3


def test_clients_of_the_gateway_stand_for_an_agent(tmp_path: Path) -> None:
    clients = "clients: {local: ['https://app.test/client.json', ide]}, deputy: bob, third_party: Acme"
    people = {"people": "people: {alice: {}, bob: {}}\n"}
    bot = load(write(tmp_path, with_sections(**people, **agent(clients)))).agents["bot"]
    assert (bot.clients, bot.deputy, bot.third_party) == (
        {"local": ("https://app.test/client.json", "ide")},
        "bob",
        "Acme",
    )


def test_a_server_may_get_a_stored_credential(tmp_path: Path) -> None:
    config = load(write(tmp_path, with_sections(**server("{credential: store:NOTES, header: X-Api-Key}"))))
    identity = config.servers["notes"].identity
    assert not isinstance(identity, str)
    assert (identity.credential, identity.header) == ("store:NOTES", "X-Api-Key")
    config = load(write(tmp_path, with_sections(**server("{credential: store:NOTES}"))))
    assert getattr(config.servers["notes"].identity, "header", None) == "Authorization"


@pytest.mark.parametrize(
    "header", ["Connection", "MCP-Protocol-Version", "content-type", "Accept-Encoding", "a b", "é"]
)
def test_what_the_gateway_says_itself_is_no_header_for_a_credential(tmp_path: Path, header: str) -> None:
    problems = found(tmp_path, with_sections(**server(f"{{credential: store:NOTES, header: {header}}}")))
    assert [problem[2:4] for problem in problems] == [
        ("servers.notes.identity.header", f"`{header}` is not a header for a credential")
    ]


def test_client_documents_on_this_machine_may_have_an_authority_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(Authority().cert.public_bytes(Encoding.PEM))
    text = with_sections(oauth="oauth: {danger_loopback_clients: on, ca_file: ca.pem}\n")
    config = load(write(tmp_path, text))
    assert (config.ca_file, config.oauth.danger_loopback_clients) == (tmp_path / "ca.pem", True)
    assert config.sources == (tmp_path / "ostiary.yaml", tmp_path / "ca.pem")


@pytest.mark.parametrize("url", ["https://gw.test", "http://localhost:1", "http://[::1]:1"])
def test_people_sign_in_over_https_or_on_this_machine(tmp_path: Path, url: str) -> None:
    gateway = {"gateway": f'gateway: {{listen: 127.0.0.1:1, url: "{url}", trusted_proxies: [10.0.0.0/8]}}\n'}
    assert load(write(tmp_path, with_sections(**gateway, **provider(PROVIDER)))).gateway.url == url


def test_an_address_claim_of_a_provider_without_domains_is_told(tmp_path: Path) -> None:
    config = load(write(tmp_path, with_sections(**provider(f"{PROVIDER}, claims: {{email: mail}}"))))
    told = {warning.key: warning.message for warning in config.warnings}
    assert told == {
        "identity.providers.sso.claims.email": "without `email_domains` no address of this provider becomes a fact",
        "servers.notes.pins": "tools of `notes` are not pinned: a changed definition is not noticed",
    }


def test_a_part_of_a_configuration_needs_no_keys_of_credentials(tmp_path: Path) -> None:
    config = load(write(tmp_path, with_sections(agents=CI_BOT)), partial=True)
    assert (config.credential_keys, config.sources) == ({}, (tmp_path / "ostiary.yaml",))


# What is refused ---------------------------------------------------------------------------------------------------

BESIDE = "keep one of them"
BOTH = f"{{issuers: {{corp: {{{ISSUER}}}}}, providers: {{§corp: {{{PROVIDER}}}}}}}"
NOT_LOOPBACK = "gateway: {listen: 127.0.0.1:1, url: §http://gw.test}\n"
TWO_BOTS = f"agents: {{a: {{owner: alice, {CEILING}, credentials: [{{federated: {{issuer: https://i.test, subject: s}}}}]}}, b: {{owner: alice, {CEILING}, credentials: [{{federated: {{issuer: https://i.test, audience: 'http://127.0.0.1:8811', subject: §s}}}}]}}}}\n"
AGENT_AND_SERVICE = f"agents: {{a: {{owner: alice, {CEILING}, credentials: [{{federated: {{preset: github-actions, subject: s}}}}]}}}}\nservices: {{b: {{owner: alice, credentials: [{{federated: {{issuer: 'https://token.actions.githubusercontent.com', subject: §s}}}}]}}}}\n"
ROBOTS = '{issuers: {robots: {issuer: "https://r.test", jwks: {file: jwks.json}, algorithms: [RS256], type: agent}}}'
FETCHED = "is not encrypted", "write `https://`; plain http is taken on this machine only"

REFUSED = [
    ("provider called local", identity(f"{{providers: {{§local: {{{PROVIDER}}}}}}}"), "identity.providers.local", "the name `local` is kept for the gateway's own use", "choose another name"),
    ("provider called client", identity(f"{{providers: {{§client: {{{PROVIDER}}}}}}}"), "identity.providers.client", "the name `client` is kept for the gateway's own use", "choose another name"),
    ("one name, provider and issuer", identity(BOTH), "identity.providers.corp", "`corp` is already the name of an issuer", "principals are named by it, so choose another name"),
    ("one name, issuer and provider", identity(f"{{providers: {{corp: {{{PROVIDER}}}}}, issuers: {{§corp: {{{ISSUER}}}}}}}"), "identity.issuers.corp", "`corp` is already the name of a provider", "principals are named by it, so choose another name"),
    ("two providers of one issuer", identity(f"{{providers: {{a: {{{PROVIDER}}}, b: {{issuer: §https://sso.test, client_id: x}}}}}}"), "identity.providers.b.issuer", "`https://sso.test` is already the issuer of `a`", "one issuer is pinned once"),
    ("provider and issuer of one issuer", identity(f'{{issuers: {{corp: {{{ISSUER}}}}}, providers: {{sso: {{issuer: §"https://idp.test", client_id: x}}}}}}'), "identity.providers.sso.issuer", "`https://idp.test` is already the issuer of `corp`", "one issuer is pinned once"),
    ("the gateway as a provider", provider("issuer: §http://127.0.0.1:8811, client_id: x"), "identity.providers.sso.issuer", "the gateway itself is this issuer", "its own tokens need no entry"),
    ("provider on plain http", provider("issuer: §http://sso.test, client_id: x"), "identity.providers.sso.issuer", f"`http://sso.test` {FETCHED[0]}", FETCHED[1]),
    ("provider that is no URL", provider("issuer: §sso, client_id: x"), "identity.providers.sso.issuer", "`sso` is not a URL to fetch from", "it must begin with `http://` or `https://`"),
    ("provider without a client", {"identity": "identity: {providers: {§sso: {issuer: https://sso.test}}}\n"}, "identity.providers.sso.client_id", "`client_id` is missing", "add `client_id:` (How the gateway is known to it)"),
    ("unknown preset", provider(f"{PROVIDER}, preset: §gogle"), "identity.providers.sso.preset", "`gogle` is not `generic`, `entra`, `google`, `okta`, `keycloak` or `workos`", "did you mean `google`?"),
    ("scopes without openid", provider(f"{PROVIDER}, scopes: §[email]"), "identity.providers.sso.scopes", "without the scope `openid` nobody is signed in", "add `openid`"),
    ("no scopes", provider(f"{PROVIDER}, scopes: §[]"), "identity.providers.sso.scopes", "the list is empty", "name at least one, or remove the key"),
    ("unknown key of a provider", provider(f"{PROVIDER}, §client: x"), "identity.providers.sso.client", "`client` is not a key of this place", "did you mean `client_id`?"),
    ("sign-in over plain http", {"gateway": NOT_LOOPBACK, **provider(PROVIDER)}, "gateway.url", "where people sign in, their browsers must be told `https://`", "write `https://…`; plain http is taken on this machine only"),
    ("person of a provider that is not there", {**provider(PROVIDER), "people": "people: {alice: {issuer: §ssso, subject: a}}\n"}, "people.alice.issuer", "`ssso` is not declared in `identity.providers` or `identity.issuers`", "did you mean `sso`?"),
    ("agent of a provider", {**provider(PROVIDER), **agent("issuer: §sso, subject: a")}, "agents.bot.issuer", "the issuer `sso` has `type: human`, so it knows no agents", "name an issuer with `type: agent`"),
    ("rule for a person of nowhere", {**provider(PROVIDER), "policy": "policy: [{name: a, allow: {or: [{user: §'human:corp:a'}]}}]\n"}, "policy[0].allow.or[0].user", "no provider or issuer of humans is called `corp`", ""),
    ("keys of two kinds", issuer("jwks: {file: jwks.json, §url: 'https://a.test/k'}"), "identity.issuers.corp.jwks.url", "`url` stands beside `file`", BESIDE),
    ("keys of no kind", issuer("jwks: §{}"), "identity.issuers.corp.jwks", "`file` or `url` is missing", "write one of them"),
    ("keys in place", issuer("jwks: {§keys: []}"), "identity.issuers.corp.jwks.keys", "`keys` is not a key of this place", "known here: `file`, `url`"),
    ("keys over plain http", issuer("jwks: {url: §'http://a.test/k'}"), "identity.issuers.corp.jwks.url", f"`http://a.test/k` {FETCHED[0]}", FETCHED[1]),
    ("keys without an algorithm for them", {**credentials("{private_key_jwt: {jwks: {file: §gone.json}}}")}, "agents.bot.credentials[0].private_key_jwt.jwks.file", "the key set `gone.json` cannot be used: it cannot be read (No such file or directory)", "paths are relative to the folder of the configuration"),
    ("a credential of two kinds", credentials(f"{{private_key_jwt: {{{KEYS}}}, §federated: {{preset: github-actions, subject: s}}}}"), "agents.bot.credentials[0].federated", "`federated` stands beside `private_key_jwt`", BESIDE),
    ("a credential of no kind", credentials("§{}"), "agents.bot.credentials[0]", "`private_key_jwt` or `federated` is missing", "write one of them"),
    ("a credential of an unknown kind", credentials("{§federate: {}}"), "agents.bot.credentials[0].federate", "`federate` is not a key of this place", "did you mean `federated`?"),
    ("a credential that is a word", credentials("§federated"), "agents.bot.credentials[0]", "expected a mapping, found text", ""),
    ("a credential without keys", credentials("{§private_key_jwt: {}}"), "agents.bot.credentials[0].private_key_jwt.jwks", "`jwks` is missing", "add `jwks:`"),
    ("keys of a credential of two kinds", credentials("{private_key_jwt: {jwks: {file: jwks.json, §url: 'https://a.test/k'}}}"), "agents.bot.credentials[0].private_key_jwt.jwks.url", "`url` stands beside `file`", BESIDE),
    ("keys of a platform of no kind", federated("issuer: https://i.test, subject: s, jwks: §{}"), "agents.bot.credentials[0].federated.jwks", "`file` or `url` is missing", "write one of them"),
    ("a workload without an issuer", credentials("{§federated: {subject: s}}"), "agents.bot.credentials[0].federated.issuer", "`issuer` is missing", "add `issuer:`, or a `preset`"),
    ("a cluster without an issuer", credentials("{§federated: {preset: kubernetes, subject: s}}"), "agents.bot.credentials[0].federated.issuer", "`issuer` is missing", "add `issuer:` (that of the cluster)"),
    ("a workload without a subject", credentials("{§federated: {preset: github-actions}}"), "agents.bot.credentials[0].federated.subject", "`subject` is missing", "add `subject:` (The exact subject; there are no wildcards)"),
    ("a platform that nobody knows", federated("preset: §gitlab, issuer: https://i.test, subject: s"), "agents.bot.credentials[0].federated.preset", "`gitlab` is not `kubernetes` or `github-actions`", "for another platform leave `preset` out, and write `issuer`"),
    ("a platform on plain http", federated("issuer: §http://i.test, subject: s"), "agents.bot.credentials[0].federated.issuer", f"`http://i.test` {FETCHED[0]}", FETCHED[1]),
    ("the gateway as a platform", federated("issuer: §http://127.0.0.1:8811, subject: s"), "agents.bot.credentials[0].federated.issuer", "the gateway itself is this issuer", "name that of the platform"),
    ("a subject with a wildcard", federated('preset: github-actions, subject: §"repo:acme/*"'), "agents.bot.credentials[0].federated.subject", "`repo:acme/*` holds a `*`, and there are no wildcards here", "write one entry for each exact value"),
    ("an audience with a wildcard", federated('preset: github-actions, subject: s, audience: §"*"'), "agents.bot.credentials[0].federated.audience", "`*` holds a `*`, and there are no wildcards here", "write one entry for each exact value"),
    ("one workload, two agents", {"agents": TWO_BOTS}, "agents.b.credentials[0].federated.subject", "this workload is already agent `a`", "keep one of them, or give one an audience of its own"),
    ("one workload, agent and service", {"agents": AGENT_AND_SERVICE}, "services.b.credentials[0].federated.subject", "this workload is already agent `a`", "keep one of them, or give one an audience of its own"),
    ("credentials of an external agent", {**identity(ROBOTS), **agent(f"issuer: robots, subject: a, credentials: §[{{private_key_jwt: {{{KEYS}}}}}]")}, "agents.bot.credentials", "the tokens of this agent come from `robots`, so it gets none here", "remove `credentials`, or `issuer` and `subject`"),
    ("credentials of an external service", {**identity(ROBOTS.replace("agent", "service")), "services": f"services: {{batch: {{owner: alice, issuer: robots, subject: a, credentials: §[{{private_key_jwt: {{{KEYS}}}}}]}}}}\n"}, "services.batch.credentials", "the tokens of this service come from `robots`, so it gets none here", "remove `credentials`, or `issuer` and `subject`"),
    ("google for the whole world", identity("{providers: {§sso: {preset: google, issuer: https://accounts.google.com, client_id: x, claims: {email: email}}}}"), "identity.providers.sso.email_domains", "anybody can have an account at this `google`, so without `email_domains` nobody may sign in", "add `email_domains: [example.com]`, with the domains of your organisation"),
    ("every tenant of entra", identity("{providers: {§sso: {preset: entra, issuer: https://login.microsoftonline.com/common/v2.0, client_id: x}}}"), "identity.providers.sso.email_domains", "anybody can have an account at this `entra`, so without `email_domains` nobody may sign in", "add `email_domains: [example.com]`, with the domains of your organisation"),
    ("every organisation of entra", identity("{providers: {§sso: {preset: entra, issuer: https://login.microsoftonline.com/organizations/v2.0, client_id: x}}}"), "identity.providers.sso.email_domains", "anybody can have an account at this `entra`, so without `email_domains` nobody may sign in", "add `email_domains: [example.com]`, with the domains of your organisation"),
    ("a platform that nobody knows, and no issuer", federated("preset: §gitlab, subject: s"), "agents.bot.credentials[0].federated.preset", "`gitlab` is not `kubernetes` or `github-actions`", "for another platform leave `preset` out, and write `issuer`"),
    ("a provider that nobody knows", provider(f"{PROVIDER}, preset: §azure"), "identity.providers.sso.preset", "`azure` is not `generic`, `entra`, `google`, `okta`, `keycloak` or `workos`", "`generic` is for every other OpenID provider"),
    ("claims as a word", provider(f"{PROVIDER}, claims: §groups"), "identity.providers.sso.claims", "expected a mapping, found text", "write `claims: {groups: groups}`"),
    ("keys as a word", issuer("jwks: §'https://a.test/k'"), "identity.issuers.corp.jwks", "expected a mapping, found text", "write `jwks: {file: PATH}` or `jwks: {url: URL}`"),
    ("keys of an assertion as a word", credentials("{private_key_jwt: §jwks.json}"), "agents.bot.credentials[0].private_key_jwt", "expected a mapping, found text", "write `private_key_jwt: {jwks: {file: PATH}}`"),
    ("credentials as a mapping", agent("credentials: §{federated: {preset: github-actions, subject: s}}"), "agents.bot.credentials", "expected a list, found a mapping", "write a list: `- private_key_jwt: …` or `- federated: …`"),
    ("clients as a list", agent("clients: §[ide]"), "agents.bot.clients", "expected a mapping, found a list", "write `clients: {local: [ID]}`: client ids, by issuer"),
    ("the owner as deputy", agent("deputy: §alice"), "agents.bot.deputy", "`alice` is the owner already, and a deputy stands in for the owner", "name somebody else, or remove `deputy`"),
    ("a secret's place by another name", provider(f"{PROVIDER}, §client_secrets: store:sso"), "identity.providers.sso.client_secrets", "`client_secrets` is not a key of this place", "did you mean `client_secret`?"),
    ("a url with a slash, and a provider", {**provider(PROVIDER), "gateway": "gateway: {listen: 127.0.0.1:8811, url: §'http://127.0.0.1:8811/'}\n"}, "gateway.url", "the URL has a path, `/`", "write `http://127.0.0.1:8811`"),
    ("deputy", agent("deputy: §bob"), "agents.bot.deputy", "`bob` is not declared in `people`", "declare it in `people`"),
    ("clients of a provider", {**provider(PROVIDER), **agent("clients: {§sso: [ide]}")}, "agents.bot.clients.sso", "`sso` is a provider: who signs in there comes through clients of `local`", "write `local: […]`"),
    ("one local client, two agents", {"agents": f"agents: {{a: {{owner: alice, {CEILING}, clients: {{local: [x]}}}}, b: {{owner: alice, {CEILING}, clients: {{local: [§x]}}}}}}\n"}, "agents.b.clients.local[0]", "the client `x` of `local` already stands for `a`", "a client is one agent"),
    ("a local client that is an agent", agent("clients: {local: [§'agent:local:bot']}"), "agents.bot.clients.local[0]", "`agent:local:bot` is what agent `bot` itself is called at the token endpoint", "people come through a client of another name"),
    ("a local client called like a service", {**agent("clients: {local: [§batch]}"), "services": f"services: {{batch: {{owner: alice, credentials: [{{private_key_jwt: {{{KEYS}}}}}]}}}}\n"}, "agents.bot.clients.local[0]", "`batch` is what service `batch` itself is called at the token endpoint", "people come through a client of another name"),
    ("a client's secret from the store", provider(f"{PROVIDER}, client_secret: §store:sso"), "identity.providers.sso.client_secret", "`store:` references are not in this version", "write `env:NAME` or `file:PATH`"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sections", "key", "message", "hint"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED]
)
def test_each_fault_is_told_at_its_place(
    tmp_path: Path, sections: dict[str, str], key: str, message: str, hint: str
) -> None:
    text, line, column = marked(sections)
    assert found(tmp_path, text) == [(line, column, key, message, hint)]


INLINE = "a secret must not be written here"
REFERENCE = "write `env:NAME` or `file:PATH`"
TAKE_OUT = "take it out, and consider it known to others; secrets are given as `env:NAME` or `file:PATH`"

SECRETS = [
    ("a client's secret", provider(f"{PROVIDER}, client_secret: §hunter2"), INLINE, REFERENCE),
    ("a client's secret by another name", provider(f"{PROVIDER}, §clientsecret: hunter2"), f"`clientsecret` is not a key of this place, and {INLINE}", "did you mean `client_secret`? secrets are given as `env:NAME` or `file:PATH`"),
    ("a private key in place", credentials("{private_key_jwt: {jwks: {keys: [§{kty: OKP, crv: Ed25519, x: a, d: hunter2}]}}}"), f"this looks like a private key, and {INLINE}", TAKE_OUT),
    ("a password in an issuer", provider("issuer: §https://u:hunter2@sso.test, client_id: x"), "the URL holds a user name or password", "leave it out: secrets are never written here"),
    ("a query in the URL of keys", issuer("jwks: {url: §'https://a.test/k?key=hunter2'}"), "the URL holds a query", "leave out what follows `?`: queries often carry secrets"),
]  # fmt: skip


@pytest.mark.parametrize(("sections", "message", "hint"), [c[1:] for c in SECRETS], ids=[c[0] for c in SECRETS])
def test_an_inline_secret_is_refused_and_never_repeated(
    tmp_path: Path, sections: dict[str, str], message: str, hint: str
) -> None:
    text, line, column = marked(sections)
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    hidden = [(p.line, p.column, p.message, p.hint) for p in caught.value.problems if p.secret]
    assert hidden == [(line, column, message, hint)]
    assert "hunter2" not in str(caught.value)


PRIVATE = {**ED25519, "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}


@pytest.mark.parametrize(
    ("key", "why", "hint"),
    [
        (PRIVATE, "key 1 has private members (`d`)", "keep only the public members, and consider the private ones known to others"),
        ({"kty": "oct", "k": "c2VjcmV0"}, "key 1 is symmetric, and whoever can check with it can also sign", "use a public key"),
        ({**RSA_KEY, "alg": "RS1"}, "no key in it can check a signature of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA", "look at `kty`, `crv`, `alg` and `use` of each"),
    ],
    ids=["private", "symmetric", "of another algorithm"],
)  # fmt: skip
def test_the_key_set_of_a_credential_is_public_keys_only(
    tmp_path: Path, key: dict[str, str], why: str, hint: str
) -> None:
    text = with_sections(agents=CI_BOT)
    with pytest.raises(ConfigError) as caught:
        load(write(house(tmp_path, key), text))
    assert [(problem.key, problem.message, problem.hint) for problem in caught.value.problems] == [
        (
            "agents.ci-bot.credentials[0].private_key_jwt.jwks.file",
            f"the key set `ci.jwks.json` cannot be used: {why}",
            hint,
        )
    ]
    assert "nWGxne" not in str(caught.value)


def test_faults_of_many_kinds_are_told_at_once(tmp_path: Path) -> None:
    text = with_sections(
        **identity("{providers: {local: {issuer: x, scopes: [email]}}, issuers: {corp: {jwks: {}}}}"),
        **credentials("{federated: {subject: '*'}}, {}"),
        oauth="oauth: {default_ceiling: [], ca_file: gone.pem}\n",
    )
    keys = {problem[2] for problem in found(tmp_path, text)}
    assert keys >= {
        "identity.providers.local",
        "identity.providers.local.issuer",
        "identity.providers.local.client_id",
        "identity.providers.local.scopes",
        "identity.issuers.corp.issuer",
        "identity.issuers.corp.jwks",
        "agents.bot.credentials[0].federated.issuer",
        "agents.bot.credentials[0].federated.subject",
        "agents.bot.credentials[1]",
        "oauth.default_ceiling",
        "oauth.ca_file",
    }
