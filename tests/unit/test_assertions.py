"""Who the client is: `tests/attacks/oauth/assertions.json`, and what is taken."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from tests.kit.asserting import (
    APP,
    CONFIG,
    KEYS,
    NOW,
    URL,
    Client,
    Desk,
    authenticate,
    send,
    token,
    write_config,
)
from tests.kit.issuer import compact, new_key
from tests.kit.search import examples
from tests.kit.webserver import WebServer, answer

from ostiary.config import load
from ostiary.jwks import MAX_TRIED
from ostiary.oauth.assertion import ASSERTION_TYPE, Authenticated, ClientAuthError, authenticate_client
from ostiary.store import Store, StorePath, assertions, tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ostiary.config import Config

CLAIMS = {"iss": "ci-bot", "sub": "ci-bot", "aud": URL, "iat": NOW, "exp": NOW + 60}
CASES = json.loads((Path(__file__).parents[1] / "attacks" / "oauth" / "assertions.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("store")
    with Store.open(StorePath.from_url("sqlite:///var/o.db", folder), key=None, base=folder) as opened:
        yield opened


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return write_config(tmp_path_factory.mktemp("config"), CONFIG)


@pytest.fixture
def desk(config: Config, store: Store) -> Any:
    with store.changing() as connection:
        connection.execute(tables.assertions.delete())
        connection.execute(tables.documents.delete())
    return Desk(config, store)


@pytest.fixture
def apart(desk: Any, tmp_path: Path) -> Any:
    """A desk with files of its own, to change."""
    return Desk(write_config(tmp_path, CONFIG), desk.store)


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


def published(desk: Any, keys: list[dict[str, str]]) -> None:
    """Have the agent's file hold these keys."""
    (desk.config.folder / "ci.json").write_text(json.dumps({"keys": keys}), encoding="utf-8")
    desk.config = load(desk.config.path)


@pytest.mark.parametrize("alg", ["RS384", "RS512", "PS384", "PS512", "ES384"])
def test_every_algorithm_that_the_file_may_hold_keys_for_is_taken(apart: Any, alg: str) -> None:
    key = new_key(alg, "ci-1")
    published(apart, [key.jwk])
    spec = {"raw": compact({"alg": alg, "kid": "ci-1"}, {**CLAIMS, "jti": "a"}, key)}
    assert send(apart, "client", {"token": spec}).agent == ("agents", "ci-bot")
    other = {"raw": compact({"alg": alg, "kid": "ci-1"}, {**CLAIMS, "jti": "b"}, new_key(alg, "stranger"))}
    with pytest.raises(ClientAuthError, match="its signature is wrong"):
        send(apart, "client", {"token": other})


def test_without_a_kid_each_key_of_that_kind_is_tried_up_to_a_limit(apart: Any) -> None:
    many = [new_key("EdDSA", f"many-{number}") for number in range(MAX_TRIED + 1)]
    published(apart, [KEYS["ec"].jwk, *[key.jwk for key in many]])
    taken: list[bool | str] = []
    for number, key in enumerate([*many, new_key("EdDSA", "stranger")]):
        spec = {"raw": compact({"alg": "EdDSA"}, {**CLAIMS, "jti": f"{number}"}, key)}
        try:
            taken.append(bool(send(apart, "client", {"token": spec})))
        except ClientAuthError as error:
            taken.append(error.description)
    assert taken == [*[True] * MAX_TRIED, *["the assertion is refused: it is signed with a key that is not known"] * 2]


def test_a_key_without_a_name_may_be_meant_by_any_and_one_with_a_name_by_its_own(apart: Any) -> None:
    def send_as(kid: str, key: str) -> Any:
        return send(apart, "client", {"token": {"header": {"kid": kid}, "key": key}})

    nameless = {name: value for name, value in KEYS["own"].jwk.items() if name != "kid"}
    published(apart, [nameless, KEYS["other"].jwk])
    assert send_as("whatever", "own").agent == ("agents", "ci-bot")
    for kid, key, why in (
        ("whatever", "other", "a key that is not known"),
        ("whatever", "stranger", "a key that is not known"),
        (KEYS["other"].kid, "own", "its signature is wrong"),
    ):
        with pytest.raises(ClientAuthError, match=why):
            send_as(kid, key)


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
    assert send(desk, "workload", {})[:3] == (
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
    assert send(desk, "pod", {})[:3] == (
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
            authenticate(desk, form)
        return caught.value.description

    assert authenticate(desk, form)
    desk.time = NOW + 329
    assert send(desk, "client", {"token": {"claims": {"exp": NOW + 400}}})
    assert again() == "the assertion has been used before"
    desk.time = NOW + 330
    assert again() == "the assertion is refused: it has expired"


def test_what_has_expired_is_forgotten_now_and_then(desk: Any) -> None:
    def remembered() -> list[str]:
        with desk.store.reading() as connection:
            return sorted(connection.execute(sa.select(tables.assertions.c.jti)).scalars())

    def use(jti: str) -> None:
        assertions.use(desk.store, "one", jti, expires_at=desk.time + 10, now=desk.time)

    for at, jti in ((0, "a"), (10, "a"), (40, "b"), (79, "c")):
        desk.time = NOW + at
        use(jti)
    assert remembered() == ["a", "b", "c"]
    desk.time = NOW + 80
    use("d")
    assert remembered() == ["c", "d"]
    with pytest.raises(assertions.UsedError):
        use("d")


def test_of_a_client_that_anybody_can_be_only_so_many_are_remembered(
    desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assertions, "MOST", 2)
    for _ in range(2):
        assert send(desk, "app", {})
    with pytest.raises(ClientAuthError, match="too many assertions"):
        send(desk, "app", {})
    for _ in range(3):
        assert send(desk, "client", {})
    desk.time = NOW + 90  # they have expired
    assert send(desk, "app", {"token": {"claims": {"iat": NOW + 90, "exp": NOW + 150}}})


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
            authenticate(desk, form, endpoint=endpoint)
    assert authenticate(desk, form, endpoint=f"{URL}/oauth/revoke").agent


@examples(300)
@given(place=st.integers(min_value=0), character=st.sampled_from("AZaz09-_.=+/ \n\x00é"))
def test_no_change_of_one_character_yields_a_client(desk: Any, place: int, character: str) -> None:
    text = token({"claims": {"jti": "fixed"}}, "client")
    at = place % len(text)
    changed_text = text[:at] + character + text[at + 1 :]
    if changed_text == text:
        return
    form = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": changed_text}
    with pytest.raises(ClientAuthError):
        authenticate(desk, form)


# Keys from elsewhere --------------------------------------------------------------------------------------------------


def remote_desk(desk: Any, old: str, new: str) -> None:
    text = desk.config.path.read_text(encoding="utf-8").replace(old, new)
    desk.config = write_config(desk.config.folder, text)


def test_keys_come_from_a_url_and_are_looked_for_again_where_one_is_unknown(apart: Any) -> None:
    with WebServer() as server:
        server.scripts["/jwks"] = answer(json.dumps({"keys": [KEYS["other"].jwk]}))
        remote_desk(apart, "{file: ci.json}", f'{{url: "{server.url("/jwks")}"}}')
        with pytest.raises(ClientAuthError, match="a key that is not known"):
            send(apart, "client", {})
        server.scripts["/jwks"] = answer(json.dumps({"keys": [KEYS["own"].jwk]}))
        with pytest.raises(ClientAuthError, match="a key that is not known"):
            send(apart, "client", {})
        assert len(server.heads) == 2  # however many ask in one second
        apart.time += 1
        assert send(apart, "client", {}).agent == ("agents", "ci-bot")
        assert len(server.heads) == 3


def test_keys_of_a_platform_are_found_from_its_issuer(apart: Any) -> None:
    with WebServer() as server:
        issuer = server.url("/org")
        server.scripts["/keys"] = answer(json.dumps({"keys": [KEYS["platform"].jwk]}))
        server.scripts["/org/.well-known/openid-configuration"] = answer(
            json.dumps({"issuer": issuer, "jwks_uri": server.url("/keys")})
        )
        remote_desk(apart, '"https://platform.example", jwks: {file: platform.json}', f'"{issuer}"')
        spec = {"token": {"claims": {"iss": issuer}}}
        assert send(apart, "workload", spec).name == "deployer"
        assert send(apart, "workload", spec).name == "deployer"
        assert server.paths == ["/org/.well-known/openid-configuration", "/keys"]


def test_where_the_keys_cannot_be_had_nobody_is_believed(apart: Any) -> None:
    with WebServer() as server:
        remote_desk(apart, '"https://platform.example", jwks: {file: platform.json}', f'"{server.url()}"')
        spec = {"token": {"claims": {"iss": server.url()}}}
        with pytest.raises(ClientAuthError, match="a key that is not known"):
            send(apart, "workload", spec)
    apart.config = replace(apart.config, credential_keys={})  # as of what is registered while running
    (apart.config.folder / "other.json").write_text("{}")
    with pytest.raises(ClientAuthError, match="a key that is not known"):
        send(
            apart,
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
