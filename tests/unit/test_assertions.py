"""Assertions of clients and tokens of platforms: `tests/attacks/assertions.json`, and what is taken."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.kit.configs import EXAMPLE, write
from tests.kit.issuer import Key, b64, compact, new_key
from tests.kit.webserver import WebServer, answer

from ostiary.config import Config, load
from ostiary.identity.remotekeys import PAUSE_S, RemoteKeys
from ostiary.oauth.assertion import (
    ASSERTION_TYPE,
    Authenticated,
    ClientAuthError,
    authenticate_client,
    federated_principal,
)
from ostiary.store import Store, StorePath, tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NOW = 1_800_000_000
URL = "http://127.0.0.1:8811"
APP = "https://app.example/c.json"
CASES = json.loads((Path(__file__).parents[1] / "attacks" / "assertions.json").read_text(encoding="utf-8"))

KEYS = {
    "own": new_key("EdDSA", "ci-1"),
    "rsa": new_key("RS256", "ci-rsa"),
    "pss": new_key("PS256", "ci-pss"),
    "ec": new_key("ES256", "ci-ec"),
    "other": new_key("EdDSA", "other-1"),
    "platform": new_key("RS256", "platform-1"),
    "cluster": new_key("ES256", "cluster-1"),
    "app": new_key("ES256", "app-1"),
}
FILES = {"ci": ("own", "rsa", "pss", "ec"), "other": ("other",), "platform": ("platform",), "cluster": ("cluster",)}
AGENTS = f"""\
agents:
  release-bot: {{owner: alice}}
  ci-bot: {{owner: alice, credentials: [{{private_key_jwt: {{jwks: {{file: ci.json}}}}}}]}}
  other-bot: {{owner: alice, credentials: [{{private_key_jwt: {{jwks: {{file: other.json}}}}}}]}}
  deployer:
    owner: alice
    credentials: [{{federated: {{preset: github-actions,
                                 issuer: "https://platform.example", jwks: {{file: platform.json}},
                                 subject: "repo:acme/app:ref:refs/heads/main", audience: "{URL}"}}}}]
services:
  reporter:
    owner: alice
    credentials: [{{federated: {{preset: kubernetes, issuer: "https://cluster.example", jwks: {{file: cluster.json}},
                                 subject: "system:serviceaccount:prod:reporter", audience: ostiary}}}}]
servers:
"""


@dataclass
class Desk:
    """As much of the control side as is needed here."""

    config: Config
    store: Store
    time: int = NOW
    remote_keys: RemoteKeys = field(init=False)

    def __post_init__(self) -> None:
        self.remote_keys = RemoteKeys(self.store, self.now)

    def now(self) -> int:
        return self.time


@dataclass(frozen=True)
class Client:
    id: str
    auth: Any
    secret: str | None = None
    jwks: Mapping[str, Any] | None = None
    jwks_uri: str | None = None

    def has_secret(self, secret: str) -> bool:
        return self.secret == secret


CLIENTS = {
    "web": Client("web", "secret", secret="right"),
    "public": Client("public", "none"),
    APP: Client(APP, "private_key_jwt", jwks={"keys": [KEYS["app"].jwk]}),
}


def write_config(folder: Path, text: str) -> Config:
    for name, keys in FILES.items():
        (folder / f"{name}.json").write_text(json.dumps({"keys": [KEYS[key].jwk for key in keys]}))
    return load(write(folder, text))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("store")
    with Store.open(StorePath.from_url("sqlite:///var/o.db", folder), key=None, base=folder) as opened:
        yield opened


@pytest.fixture
def desk(tmp_path: Path, store: Store) -> Any:
    config = write_config(tmp_path, EXAMPLE.replace(re.findall(r"agents:\n.*\nservers:\n", EXAMPLE)[0], AGENTS))
    with store.changing() as connection:
        connection.execute(tables.assertions.delete())
        connection.execute(tables.documents.delete())
    return Desk(config, store)


# The plain assertion of each who: (header, claims, key).
PLAIN: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "client": ({"alg": "EdDSA", "kid": "ci-1"}, {"iss": "ci-bot", "sub": "ci-bot", "aud": "$URL"}, "own"),
    "app": ({"alg": "ES256", "kid": "app-1"}, {"iss": APP, "sub": APP, "aud": "$URL"}, "app"),
    "workload": (
        {"alg": "RS256", "kid": "platform-1"},
        {"iss": "https://platform.example", "sub": "repo:acme/app:ref:refs/heads/main", "aud": "$URL"}
        | {"repository": "acme/app", "workflow": "release", "run_id": "77", "secret": "no fact"},
        "platform",
    ),
    "pod": (
        {"alg": "ES256", "kid": "cluster-1"},
        {"iss": "https://cluster.example", "sub": "system:serviceaccount:prod:reporter", "aud": ["ostiary"]}
        | {"kubernetes.io": {"namespace": "prod", "pod": {"name": "reporter-1\u0007", "uid": "u"}}},
        "cluster",
    ),
}
PLAIN["as-client"] = PLAIN["workload"]


def put(value: Any) -> Any:
    """Return `value` with what its placeholders stand for."""
    if isinstance(value, dict):
        return {name: put(each) for name, each in value.items()}
    if isinstance(value, list):
        return [put(each) for each in value]
    if not isinstance(value, str) or "$" not in value:
        return value
    if moment := re.fullmatch(r"\$NOW([+-]\d+)?", value):
        return NOW + int(moment[1] or 0)
    whole = {"$NULL": None, "$TEXT": str(NOW + 60), "$STRANGER": new_key("EdDSA", "stranger").jwk}
    return whole[value] if value in whole else value.replace("$URL_UPPER", URL.upper()).replace("$URL", URL)


def changed(sound: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return put({name: value for name, value in (sound | changes).items() if value is not None})


def with_text(members: Mapping[str, Any], extra: str | None) -> bytes:
    text = json.dumps(members, separators=(",", ":"))
    return (text if extra is None else f"{text[:-1]},{extra}}}").encode()


def signer(spec: Mapping[str, Any], who: str, header: Mapping[str, Any]) -> Key | bytes | None:
    key = KEYS[PLAIN[who][2]]
    chosen = spec.get("key")
    if chosen is None:
        return key
    if chosen == "stranger":
        return new_key(key.alg, "stranger")
    return {"none": None, "hmac-of-public-pem": key.pem}.get(chosen) if chosen not in KEYS else KEYS[chosen]


MANGLES = {
    "five-parts": lambda token: f"{token}.AAAA.AAAA",
    "padding": lambda token: token.replace(".", "=.", 1),
    "whitespace": lambda token: f"{token}\n",
    "url-unsafe": lambda token: token[:-2] + "+/",
    "trailing-dot": lambda token: f"{token}.",
    "loose-bits": lambda token: token + "A" * ((1 - len(token.rpartition(".")[2])) % 4),
    "payload": lambda token: token.replace(token.split(".")[1], b64(unb64(token.split(".")[1])[:-1] + b',"x":1}')),
}


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def token(spec: Mapping[str, Any], who: str) -> str:
    if "raw" in spec:
        return str(spec["raw"])
    header, claims, _ = PLAIN[who]
    times = {"iat": "$NOW", "exp": "$NOW+60", "jti": uuid.uuid4().hex}
    header = changed({"typ": "JWT"} | header, spec.get("header", {}))
    body = with_text(changed(times | claims, spec.get("claims", {})), spec.get("claims_extra"))
    body = spec["claims_text"].encode() if "claims_text" in spec else body
    made = compact(with_text(header, spec.get("header_extra")), body, signer(spec, who, header))
    return MANGLES[spec["mangle"]](made) if "mangle" in spec else made


def send(desk: Any, who: str, spec: Mapping[str, Any]) -> Any:
    """Show what `spec` says: at the token endpoint as a client, or as the assertion of a grant."""
    text = token(spec.get("token", {}), who)
    if who in {"workload", "pod"}:
        return federated_principal(text, desk, client_id=spec.get("form", {}).get("client_id"))
    form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE, "client_assertion": text}
    changes = spec.get("form", {})
    if who == "app" and "claims" not in spec.get("token", {}):
        changes = {"client_id": APP} | changes
    form = {name: value for name, value in (form | changes).items() if value is not None}
    basic = tuple(spec["basic"]) if "basic" in spec else None
    return authenticate_client(form, basic, desk, endpoint=f"{URL}/oauth/token", find=CLIENTS.get)


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_an_attack_is_refused_and_its_twin_passes(desk: Any, case: dict[str, Any]) -> None:
    if "before" in case:
        assert send(desk, case["who"], case["before"])
    with pytest.raises(ClientAuthError) as caught:
        send(desk, case["who"], case["send"])
    statuses = {"invalid_client": 401, "invalid_grant": 400, "invalid_request": 400}
    must = case["must"]
    assert (caught.value.error, caught.value.description) == (must["error"], must["says"])
    assert caught.value.status == statuses[must["error"]]
    assert send(desk, case["who"], case["twin"])


def test_the_table_covers_each_class_of_attack_on_each_who() -> None:
    ids = {case["id"] for case in CASES}
    assert len(ids) == len(CASES)
    for who in ("client", "workload"):
        for number in ("E01", "E02", "E03", "E04", "E05", "E06", "E08", "E10", "E11", "E12"):
            assert any(each.startswith(f"{number}-{who}") for each in ids), (number, who)


@pytest.mark.parametrize("key", ["own", "rsa", "pss", "ec"])
@pytest.mark.parametrize("name", ["ci-bot", "agent:local:ci-bot"])
def test_an_agent_signs_with_any_of_its_keys_under_either_name(desk: Any, key: str, name: str) -> None:
    header = {"alg": KEYS[key].alg, "kid": KEYS[key].kid}
    spec = {"token": {"header": header, "claims": {"iss": name, "sub": name}, "key": key}}
    assert send(desk, "client", spec) == Authenticated(
        client_id="agent:local:ci-bot", method="private_key_jwt", agent=("agents", "ci-bot")
    )


def test_without_a_kid_the_one_key_of_that_kind_is_meant(desk: Any) -> None:
    unnamed = {"token": {"header": {"kid": None}}}
    assert send(desk, "client", unnamed).agent == ("agents", "ci-bot")
    both = {"keys": [KEYS["own"].jwk, KEYS["other"].jwk]}
    (desk.config.folder / "ci.json").write_text(json.dumps(both), encoding="utf-8")
    with pytest.raises(ClientAuthError, match="a key that is not known"):
        send(desk, "client", unnamed)
    assert send(desk, "client", {}).agent == ("agents", "ci-bot")


def test_a_client_comes_as_its_registration_says(desk: Any) -> None:
    nothing = {"client_assertion": None, "client_assertion_type": None}
    assert send(desk, "client", {"form": nothing, "basic": ["web", "right"]}) == Authenticated(
        client_id="web", method="secret"
    )
    assert send(desk, "client", {"form": {**nothing, "client_id": "public"}}) == Authenticated(
        client_id="public", method="none"
    )
    assert send(desk, "app", {}) == Authenticated(client_id=APP, method="private_key_jwt")


def test_what_a_platform_says_of_a_workload_is_for_the_record(desk: Any) -> None:
    assert send(desk, "workload", {}) == (
        "agents",
        "deployer",
        {
            "issuer": "https://platform.example",
            "subject": "repo:acme/app:ref:refs/heads/main",
            "repository": "acme/app",
            "workflow": "release",
            "run_id": "77",
        },
    )
    assert send(desk, "pod", {}) == (
        "services",
        "reporter",
        {
            "issuer": "https://cluster.example",
            "subject": "system:serviceaccount:prod:reporter",
            "namespace": "prod",
            "pod": "reporter-1",
        },
    )


def test_a_platforms_token_stands_for_client_credentials_too(desk: Any) -> None:
    found = send(desk, "as-client", {"form": {"client_id": "deployer"}})
    assert (found.client_id, found.agent, found.facts["run_id"]) == (
        "agent:local:deployer",
        ("agents", "deployer"),
        "77",
    )


def test_a_pod_shows_its_token_again_and_again(desk: Any) -> None:
    same = {"token": {"claims": {"jti": "a"}}}
    assert send(desk, "pod", same) == send(desk, "pod", same)


def test_of_many_at_once_one_passes(desk: Any) -> None:
    def attempt(_: int) -> bool:
        try:
            return bool(send(desk, "client", {"token": {"claims": {"jti": "once"}}}))
        except ClientAuthError:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(16))) == 1


def test_what_was_used_is_remembered_until_it_is_refused_for_its_age(desk: Any) -> None:
    text = token({"claims": {"jti": "a", "exp": "$NOW+300"}}, "client")
    form = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": text}

    def again() -> str:
        with pytest.raises(ClientAuthError) as caught:
            authenticate_client(form, None, desk, endpoint=f"{URL}/oauth/token", find=CLIENTS.get)
        return caught.value.description

    assert authenticate_client(form, None, desk, endpoint=f"{URL}/oauth/token", find=CLIENTS.get)
    desk.time = NOW + 329
    assert send(desk, "client", {"token": {"claims": {"exp": NOW + 400}}})
    assert again() == "the assertion has been used before"
    desk.time = NOW + 330
    assert again() == "the assertion is refused: it has expired"


def test_an_assertion_that_is_refused_is_not_used_up(desk: Any) -> None:
    for spec in ({"key": "stranger"}, {"claims": {"aud": "https://other.example"}}):
        with pytest.raises(ClientAuthError):
            send(desk, "client", {"token": {**spec, "claims": {"jti": "a", **spec.get("claims", {})}}})
    assert send(desk, "client", {"token": {"claims": {"jti": "a"}}})


def test_the_revocation_endpoint_may_be_named_where_it_is_asked(desk: Any) -> None:
    text = token({"claims": {"aud": f"{URL}/oauth/revoke"}}, "client")
    form = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": text}
    for endpoint in (f"{URL}/oauth/token", "revoke"):
        with pytest.raises(ClientAuthError, match="it is not for this gateway alone"):
            authenticate_client(form, None, desk, endpoint=endpoint, find=CLIENTS.get)
    assert authenticate_client(form, None, desk, endpoint=f"{URL}/oauth/revoke", find=CLIENTS.get).agent


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place=st.integers(min_value=0), character=st.sampled_from("AZaz09-_.=+/ \n\x00é"))
def test_no_change_of_one_character_yields_a_client(desk: Any, place: int, character: str) -> None:
    text = token({"claims": {"jti": "fixed"}}, "client")
    at = place % len(text)
    changed_text = text[:at] + character + text[at + 1 :]
    if changed_text == text:
        return
    form = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": changed_text}
    with pytest.raises(ClientAuthError):
        authenticate_client(form, None, desk, endpoint=f"{URL}/oauth/token", find=CLIENTS.get)


# Keys from elsewhere --------------------------------------------------------------------------------------------------


def remote_desk(desk: Any, old: str, new: str) -> None:
    text = desk.config.path.read_text(encoding="utf-8").replace(old, new)
    desk.config = write_config(desk.config.folder, text)


def test_keys_come_from_a_url_and_are_looked_for_again_where_one_is_unknown(desk: Any) -> None:
    with WebServer() as server:
        server.scripts["/jwks"] = answer(json.dumps({"keys": [KEYS["other"].jwk]}))
        remote_desk(desk, "{file: ci.json}", f'{{url: "{server.url("/jwks")}"}}')
        with pytest.raises(ClientAuthError, match="a key that is not known"):
            send(desk, "client", {})
        server.scripts["/jwks"] = answer(json.dumps({"keys": [KEYS["own"].jwk]}))
        with pytest.raises(ClientAuthError, match="a key that is not known"):
            send(desk, "client", {})
        assert len(server.heads) == 1  # however many ask
        desk.time += PAUSE_S
        assert send(desk, "client", {}).agent == ("agents", "ci-bot")
        assert len(server.heads) == 2


def test_keys_of_a_platform_are_found_from_its_issuer(desk: Any) -> None:
    with WebServer() as server:
        issuer = server.url("/org")
        server.scripts["/keys"] = answer(json.dumps({"keys": [KEYS["platform"].jwk]}))
        server.scripts["/org/.well-known/openid-configuration"] = answer(
            json.dumps({"issuer": issuer, "jwks_uri": server.url("/keys")})
        )
        remote_desk(desk, '"https://platform.example", jwks: {file: platform.json}', f'"{issuer}"')
        spec = {"token": {"claims": {"iss": issuer}}}
        assert send(desk, "workload", spec).name == "deployer"
        assert send(desk, "workload", spec).name == "deployer"
        assert server.paths == ["/org/.well-known/openid-configuration", "/keys"]


def test_where_the_keys_cannot_be_had_nobody_is_believed(desk: Any) -> None:
    with WebServer() as server:
        remote_desk(desk, '"https://platform.example", jwks: {file: platform.json}', f'"{server.url()}"')
        spec = {"token": {"claims": {"iss": server.url()}}}
        with pytest.raises(ClientAuthError, match="a key that is not known"):
            send(desk, "workload", spec)
    (desk.config.folder / "other.json").write_text("{}")
    with pytest.raises(ClientAuthError, match="a key that is not known"):
        send(
            desk,
            "client",
            {
                "token": {
                    "header": {"kid": "other-1"},
                    "claims": {"iss": "other-bot", "sub": "other-bot"},
                    "key": "other",
                }
            },
        )


CLIENT_KEYS = [
    ("both", {"jwks": {"keys": [KEYS["app"].jwk]}, "jwks_uri": "https://app.example/keys"}),
    ("neither", {}),
    ("a private key among them", {"jwks": {"keys": [KEYS["app"].jwk, {**KEYS["own"].jwk, "d": "AAAA"}]}}),
    ("on this machine", {"jwks_uri": "https://127.0.0.1:9/keys"}),
    ("over plain http", {"jwks_uri": "http://127.0.0.1:9/keys"}),
    ("at the credentials of a cloud", {"jwks_uri": "https://169.254.169.254/keys"}),
]


@pytest.mark.parametrize("keys", [case[1] for case in CLIENT_KEYS], ids=[case[0] for case in CLIENT_KEYS])
def test_a_client_whose_keys_cannot_be_used_is_refused(desk: Any, keys: dict[str, Any]) -> None:
    form = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": token({}, "app")}
    with pytest.raises(ClientAuthError, match="a key that is not known"):
        authenticate_client(
            form,
            None,
            desk,
            endpoint=f"{URL}/oauth/token",
            find=lambda client: Client(client, "private_key_jwt", **keys),
        )


def test_nothing_of_a_secret_or_an_assertion_is_kept(desk: Any) -> None:
    send(desk, "client", {"token": {"claims": {"jti": "kept"}}})
    text = token({"claims": {"jti": "kept"}}, "client")
    with pytest.raises(ClientAuthError) as caught:
        send(desk, "client", {"token": {"raw": text}})
    assert hashlib.sha256(text.encode()).hexdigest() not in str(caught.value)
    with desk.store.reading() as connection:
        rows = connection.exec_driver_sql("SELECT issuer, jti FROM assertions").all()
    assert [tuple(row) for row in rows] == [("agent:local:ci-bot", "kept")]
