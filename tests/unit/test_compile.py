"""The bytes of a snapshot: exactly these, on every machine, and nothing in them that must not be."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from tests.kit.configs import EXAMPLE, ISSUER, RSA_KEY, with_sections, write

from ostiary.compile import compile, snapshot_problem  # noqa: A004
from ostiary.config import Config, load
from ostiary.oauth.routes import table

GOLDEN = Path(__file__).parents[1] / "golden" / "snapshot_example.json"
LOCAL_KEY = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "local-1"}
"""The public key of RFC 8037, appendix A."""

CORE = pytest.mark.skipif(importlib.util.find_spec("ostiary._core") is None, reason="the native part is not built")


def example(folder: Path) -> Config:
    return load(write(folder, EXAMPLE))


def test_the_example_compiles_to_exactly_these_bytes(tmp_path: Path) -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    written = json.dumps(golden, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert compile(example(tmp_path), local_keys=[LOCAL_KEY]) == written


def test_the_same_configuration_gives_the_same_bytes_in_any_folder(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    assert compile(example(here), local_keys=[]) == compile(example(there), local_keys=[])


def test_the_order_of_names_in_the_file_does_not_matter(tmp_path: Path) -> None:
    one = with_sections(people="people: {alice: {}, bob: {email: é@example.com}}\n")
    other = with_sections(people="people: {bob: {email: é@example.com}, alice: {}}\n")
    first = compile(load(write(tmp_path, one)), local_keys=[])
    assert compile(load(write(tmp_path, other)), local_keys=[]) == first


def test_compiling_changes_neither_the_configuration_nor_the_keys(tmp_path: Path) -> None:
    config, keys = example(tmp_path), [dict(LOCAL_KEY)]
    assert compile(config, local_keys=keys) == compile(config, local_keys=keys)
    assert (config, keys) == (example(tmp_path), [LOCAL_KEY])


def test_no_path_and_no_secret_reference_is_in_a_snapshot(tmp_path: Path) -> None:
    config = load(write(tmp_path, EXAMPLE.replace("store: {", 'store: {key: "env:SEAL", ')))
    text = compile(config, local_keys=[LOCAL_KEY]).decode()
    assert all(hidden not in text for hidden in (str(tmp_path), "SEAL", "ostiary.db", "var/audit", "jwks.json"))


EVERYTHING = with_sections(
    gateway="gateway: {listen: 0.0.0.0:443, url: https://gw.test, allowed_hosts: [gw.test, 'gw2.test:8443'], "
    "allowed_origins: ['https://app.test'], refusals: result, trusted_proxies: [10.0.0.0/8, '2001:DB8::7']}\n",
    audit='audit: {durability: disk, redact: [argument/a/b~1c, "argument/x"]}\n',
    identity=f"""\
identity:
  issuers:
    corp: {{{ISSUER}, direct: [web], typ: [JWT, at+jwt], max_ttl: 5m, scopes: {{all: [read, update]}}}}
    robots: {{issuer: robots, jwks: {{file: jwks.json}}, algorithms: [PS256], type: agent}}
    jobs: {{issuer: jobs, jwks: {{file: jwks.json}}, algorithms: [RS256], type: service}}
""",
    agents="""\
agents:
  z: {owner: alice, expires: 2027-06-30, clients: {corp: [b, a], jobs: c}, environment: prod,
      ceiling: {servers: [notes], tools: [notes/echo], classes: [read]}}
  a: {owner: alice, issuer: robots, subject: "r:1"}
""",
    services="services: {batch: {owner: alice}, nightly: {owner: alice, issuer: jobs, subject: n}}\n",
).replace("RS256", "RS256, PS256")


def test_every_key_finds_its_place(tmp_path: Path) -> None:
    key = {"kty": "RSA", "kid": "k", "n": RSA_KEY["n"], "e": "AQAB"}
    config = load(write(tmp_path, EVERYTHING, jwks={"keys": [key]}))
    snapshot = json.loads(compile(config, local_keys=[], lockdown=True))
    assert snapshot["lockdown"] is True
    assert snapshot["gateway"] == {
        "url": "https://gw.test",
        "hosts": ["gw.test", "gw2.test:8443"],
        "origins": ["https://app.test"],
        "refusals": "result",
        "trusted_proxies": ["10.0.0.0/8", "2001:db8::7/128"],
    }
    assert snapshot["audit"] == {"durability": "disk", "redact": ["a/b~1c", "x"]}
    assert [issuer["name"] for issuer in snapshot["issuers"]] == ["corp", "jobs", "robots", "local"]
    corp = snapshot["issuers"][0]
    assert (corp["direct"], corp["typ"], corp["max_ttl_s"], corp["scopes"], corp["servers"], corp["audience"]) == (
        ["web"],
        ["JWT", "at+jwt"],
        300,
        {"all": ["read", "update"]},
        None,
        None,
    )
    assert snapshot["agents"] == [
        {
            "key": "a",
            "id": "agent:robots:r:1",
            "owner": "alice",
            "purpose": None,
            "environment": None,
            "clients": [],
            "ceiling": {"servers": [], "tools": None, "classes": []},
            "expires": None,
        },
        {
            "key": "z",
            "id": "agent:local:z",
            "owner": "alice",
            "purpose": None,
            "environment": "prod",
            "clients": [["corp", "b"], ["corp", "a"], ["jobs", "c"]],
            "ceiling": {"servers": ["notes"], "tools": ["notes/echo"], "classes": ["read"]},
            "expires": 1814313600,
        },
    ]
    assert snapshot["services"] == [
        {"key": "batch", "id": "service:local:batch", "owner": "alice"},
        {"key": "nightly", "id": "service:jobs:n", "owner": "alice"},
    ]


def test_the_local_issuer_never_speaks_for_people_or_for_long(tmp_path: Path) -> None:
    local = json.loads(compile(example(tmp_path), local_keys=[LOCAL_KEY]))["issuers"][-1]
    assert (local["name"], local["type"], local["direct"], local["max_ttl_s"], local["algorithms"], local["keys"]) == (
        "local",
        "agent",
        False,
        3600,
        ["EdDSA"],
        [LOCAL_KEY],
    )


SIGN_IN = with_sections(
    people="people: {alice: {issuer: sso, subject: '00u1'}}\n",
    identity="""\
identity:
  providers: {sso: {issuer: https://sso.test, client_id: gw, client_secret: env:OIDC_SECRET, scopes: [openid, x-scope]}}
  issuers:
    corp: {issuer: https://idp.test, jwks: {url: https://idp.test/keys}, algorithms: [EdDSA], type: human}
""",
    oauth="oauth: {default_ceiling: [query, read, update], dynamic_registration: on, refresh_token_ttl: 77h}\n",
    agents="agents: {ide: {owner: alice, clients: {local: [b, a]}, third_party: Acme}, bot: {owner: alice}}\n",
    servers="servers: {notes: {url: http://h/mcp, owner: alice, pins: off, identity: {credential: store:NOTES}}}\n",
)
BY_CREDENTIAL = with_sections(
    agents="agents: {bot: {owner: alice, credentials: [{federated: {preset: github-actions, subject: repo}}]}}\n"
)


def compiled(folder: Path, text: str, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(compile(load(write(folder, text)), local_keys=[LOCAL_KEY], **options))
    return found


def test_a_provider_makes_the_gateway_the_authorization_server(tmp_path: Path) -> None:
    snapshot = compiled(tmp_path, SIGN_IN)
    gateway = snapshot["gateway"]
    assert (gateway["authorization_server"], gateway["issues_tokens"], gateway["default_scopes"]) == (
        True,
        True,
        ["mcp:read", "mcp:query", "mcp:update"],
    )
    assert snapshot["people"] == [{"key": "alice", "id": "human:sso:00u1"}]
    assert [(agent["key"], agent["clients"], agent.get("third_party")) for agent in snapshot["agents"]] == [
        ("bot", [], None),
        ("ide", [["local", "b"], ["local", "a"]], "Acme"),
    ]
    assert snapshot["servers"][0]["identity"] == {"credential": "NOTES", "header": "Authorization"}


def test_the_control_side_gets_exactly_its_table(tmp_path: Path) -> None:
    rows = [[route.method, route.path, route.origin] for route in table(load(write(tmp_path, SIGN_IN)))]
    assert compiled(tmp_path, SIGN_IN)["control"] == rows
    assert ["POST", "/oauth/register", "any"] in rows
    assert ["POST", "/oauth/authorize", "own"] in rows


def test_credentials_alone_issue_tokens_and_sign_nobody_in(tmp_path: Path) -> None:
    snapshot = compiled(tmp_path, BY_CREDENTIAL)
    assert (snapshot["gateway"]["authorization_server"], snapshot["gateway"]["issues_tokens"]) == (False, True)
    paths = {path for _, path, _ in snapshot["control"]}
    assert "/oauth/token" in paths
    assert "/oauth/authorize" not in paths


@pytest.mark.parametrize("text", [EXAMPLE, EVERYTHING, with_sections()], ids=["example", "everything", "smallest"])
def test_a_house_without_sign_in_keeps_the_bytes_that_it_had(tmp_path: Path, text: str) -> None:
    key = {name: RSA_KEY[name] for name in ("kty", "kid", "n", "e")}
    config = load(write(tmp_path, text, jwks={"keys": [key]}))
    snapshot = json.loads(compile(config, local_keys=[LOCAL_KEY], suspended={}, remote_keys={"corp": [LOCAL_KEY]}))
    assert "control" not in snapshot
    assert set(snapshot["gateway"]) == {"url", "hosts", "origins", "refusals", "trusted_proxies"}
    assert not any({"suspended", "third_party"} & set(agent) for agent in snapshot["agents"])
    assert all(isinstance(server["identity"], str) for server in snapshot["servers"])


def test_suspended_agents_say_why_and_others_say_nothing(tmp_path: Path) -> None:
    agents = compiled(tmp_path, SIGN_IN, suspended={"bot": "owner_inactive", "gone": "agent_suspended"})["agents"]
    assert [(agent["key"], agent.get("suspended", "-")) for agent in agents] == [
        ("bot", "owner_inactive"),
        ("ide", "-"),
    ]


def test_an_issuer_by_url_has_the_keys_that_were_fetched_in_one_order(tmp_path: Path) -> None:
    one, two = {**LOCAL_KEY, "kid": "1"}, {**LOCAL_KEY, "kid": "2"}
    for keys in ([one, two], [two, one]):
        snapshot = compiled(tmp_path, SIGN_IN, remote_keys={"corp": keys, "elsewhere": [LOCAL_KEY]})
        assert [(issuer["name"], issuer["keys"]) for issuer in snapshot["issuers"]] == [
            ("corp", [one, two]),
            ("local", [LOCAL_KEY]),
        ]
    assert compiled(tmp_path, SIGN_IN)["issuers"][0]["keys"] == []


def test_an_issuer_by_file_takes_no_keys_from_elsewhere(tmp_path: Path) -> None:
    issuers = compiled(tmp_path, EXAMPLE, remote_keys={"corp": [LOCAL_KEY]})["issuers"]
    assert [key["kid"] for key in issuers[0]["keys"]] == ["corp-1"]


def test_nothing_of_providers_and_credentials_but_the_answers_is_in_a_snapshot(tmp_path: Path) -> None:
    text = json.dumps([compiled(tmp_path, SIGN_IN), compiled(tmp_path, BY_CREDENTIAL)])
    hidden = ("OIDC_SECRET", "sso.test", "x-scope", "store:", "idp.test/keys", "githubusercontent", "277200")
    assert [word for word in hidden if word in text] == []


def test_a_part_of_a_file_is_marked_as_such(tmp_path: Path) -> None:
    config = load(write(tmp_path, "policy: []\n"), partial=True)
    snapshot = json.loads(compile(config, local_keys=[], partial=True))
    empty = {name: snapshot[name] for name in ("people", "agents", "services", "servers")}
    assert (snapshot["partial"], empty) == (True, {"people": [], "agents": [], "services": [], "servers": []})


@pytest.mark.parametrize(
    ("path", "line"),
    [("policy.rules[1].any[0].of[0]", 21), ("policy.rules[1]", 21), ("servers[0].url", 0), ("policy.rules[9]", 0)],
)
def test_a_fault_found_by_the_core_leads_back_to_its_line(tmp_path: Path, path: str, line: int) -> None:
    problem = snapshot_problem(example(tmp_path), path, "is odd")
    assert (problem.file, problem.line, problem.key) == ("ostiary.yaml", line, path)


COMPILED = {
    "example": EXAMPLE,
    "smallest": with_sections(),
    "everything": EVERYTHING,
    "sign-in": SIGN_IN,
    "credentials": BY_CREDENTIAL,
}


@CORE
@pytest.mark.parametrize("text", COMPILED.values(), ids=list(COMPILED))
def test_the_core_takes_what_is_compiled(tmp_path: Path, text: str) -> None:
    from ostiary._core import Snapshot

    key = {name: RSA_KEY[name] for name in ("kty", "kid", "n", "e")}
    config = load(write(tmp_path, text, jwks={"keys": [key]}))
    suspended = dict.fromkeys(config.agents, "owner_inactive")
    for given in ({}, suspended):
        assert len(Snapshot(compile(config, local_keys=[LOCAL_KEY], suspended=given)).digest) == 64
