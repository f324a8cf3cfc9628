"""Refresh tokens rotate, narrow and end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.kit.control import BOSS, OFFICE, START, URL, ControlSide, basic
from tests.kit.issuer import read

from ostiary.control import Epoch
from ostiary.store import accounts, epochs, registry
from ostiary.store import clients as stored
from ostiary.store.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable


# Rotation -------------------------------------------------------------------------------------------------------------


def test_each_refresh_brings_another_refresh_token_of_the_same_family(side: ControlSide, said: dict[str, Any]) -> None:
    first = read(said["access_token"])[1]
    side.now_is += 500
    answer = side.refresh("ide", said["refresh_token"])
    assert answer.status_code == 200
    second = read(answer.json()["access_token"])[1]
    assert (second["fam"], second["iat"]) == (first["fam"], START + 500)
    assert second["jti"] != first["jti"]
    assert answer.json()["refresh_token"] != said["refresh_token"]
    assert side.refresh("ide", answer.json()["refresh_token"]).status_code == 200


def test_a_refresh_token_that_is_used_again_ends_its_family(side: ControlSide, said: dict[str, Any]) -> None:
    newest = side.refresh("ide", said["refresh_token"]).json()["refresh_token"]
    assert side.refresh("ide", said["refresh_token"]).json()["error"] == "invalid_grant"
    assert side.refresh("ide", newest).json()["error"] == "invalid_grant"
    [epoch] = side.epochs
    assert (epoch.kind, epoch.value, epoch.epoch) == ("family", read(said["access_token"])[1]["fam"], START)
    [record] = side.records("revoked")
    assert "used before" in record["detail"]["why"]


def test_a_refresh_without_a_resource_is_for_the_server_of_the_last_token(
    side: ControlSide, said: dict[str, Any]
) -> None:
    def again(server: str | None) -> str:
        form = {"grant_type": "refresh_token", "client_id": "ide", "refresh_token": said["refresh_token"]}
        form |= {} if server is None else {"resource": f"{URL}/mcp/{server}"}
        answer = side.post("/oauth/token", form).json()
        if "error" in answer:
            return str(answer["error"])
        said.update(answer)
        return str(read(answer["access_token"])[1]["aud"]).rpartition("/")[2]

    asked = (None, "wiki", None, "vault", None, "notes", None)
    told = ["notes", "wiki", "wiki", "invalid_target", "wiki", "notes", "notes"]
    assert [again(server) for server in asked] == told


def floor_of(side: ControlSide, said: dict[str, Any]) -> int:
    with side.store.reading() as connection:
        return epochs.floor(connection, [("family", read(said["access_token"])[1]["fam"])])


@pytest.mark.parametrize("how", ["used again", "of another client", "revoked"])
def test_what_ends_a_family_revokes_its_tokens_in_the_same_change(
    side: ControlSide, said: dict[str, Any], how: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StoreError("database is locked")

    if how == "used again":
        assert side.refresh("ide", said["refresh_token"]).status_code == 200
    side.revoke = fail  # type: ignore[method-assign]
    if how == "revoked":
        answer = side.post("/oauth/revoke", {"client_id": "ide", "token": said["refresh_token"]})
    else:
        answer = side.refresh("ide" if how == "used again" else "desk-client", said["refresh_token"])
    assert answer.status_code == 503
    assert floor_of(side, said) >= read(said["access_token"])[1]["iat"]


def test_a_family_that_began_a_second_ahead_is_revoked_in_the_same_second(side: ControlSide) -> None:
    side.revoke([Epoch(kind="subject", value="human:sso:alice", epoch=START)], BOSS, why="enough")
    said = side.tokens("ide", side.staff("alice"))
    issued = read(said["access_token"])[1]["iat"]
    assert issued == START + 1
    for _ in range(3):  # to show it again and again moves nothing
        side.post("/oauth/revoke", {"client_id": "ide", "token": said["refresh_token"]})
    assert floor_of(side, said) == issued


def test_another_authorization_outlives_it(side: ControlSide, said: dict[str, Any]) -> None:
    other = side.tokens("ide", side.staff("alice"))
    for _ in range(2):
        side.refresh("ide", said["refresh_token"])
    assert side.refresh("ide", other["refresh_token"]).status_code == 200


def test_a_refresh_token_of_another_client_ends_its_family(side: ControlSide, said: dict[str, Any]) -> None:
    assert side.refresh("desk-client", said["refresh_token"]).json()["error"] == "invalid_grant"
    assert side.refresh("ide", said["refresh_token"]).json()["error"] == "invalid_grant"
    assert [epoch.kind for epoch in side.epochs] == ["family"]


def test_a_refresh_token_lives_eight_hours_after_its_last_use(side: ControlSide, said: dict[str, Any]) -> None:
    side.now_is += 8 * 3600 - 1
    side.staff("alice")
    again = side.refresh("ide", said["refresh_token"])
    assert again.status_code == 200
    side.now_is += 8 * 3600
    side.staff("alice")
    assert side.refresh("ide", again.json()["refresh_token"]).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("asked", "scope", "error"),
    [
        ({}, "mcp:read mcp:query", None),
        ({"scope": "mcp:read"}, "mcp:read", None),
        ({"scope": "openid mcp:query"}, "mcp:query", None),
        ({"scope": "mcp:read mcp:update"}, None, "invalid_scope"),
        ({"scope": "mcp:everything"}, None, "invalid_scope"),
        ({"resource": f"{URL}/mcp/wiki"}, "mcp:read mcp:query", None),
        ({"resource": f"{URL}/mcp/vault"}, None, "invalid_target"),
        ({"resource": "https://elsewhere.example/mcp/notes"}, None, "invalid_target"),
    ],
)
def test_a_refresh_only_narrows(
    side: ControlSide, said: dict[str, Any], asked: dict[str, str], scope: str | None, error: str | None
) -> None:
    answer = side.refresh("ide", said["refresh_token"], **asked).json()
    assert (answer.get("scope"), answer.get("error")) == (scope, error)
    if scope is not None:
        assert read(answer["access_token"])[1]["aud"] == asked.get("resource", f"{URL}/mcp/notes")
        # What was left out this time can be had the next.
        assert side.refresh("ide", answer["refresh_token"]).json()["scope"] == "mcp:read mcp:query"


# The end of it --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("family", None),
        ("client", "ide"),
        ("agent", "agent:client:ide"),
        ("subject", "human:sso:alice"),
        ("owner", "human:sso:alice"),
        ("third_party", "An IDE"),
    ],
)
def test_a_revocation_ends_what_began_before_it(
    side: ControlSide, said: dict[str, Any], kind: Any, value: str | None
) -> None:
    value = value or read(said["access_token"])[1]["fam"]
    side.revoke([Epoch(kind=kind, value=value, epoch=START)], BOSS, why="enough")
    assert side.refresh("ide", said["refresh_token"]).json()["error"] == "invalid_grant"
    assert side.records("token_refused")[-1]["detail"]["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("kind", "value"), [("client", "site"), ("subject", "human:sso:bob"), ("agent", "agent:local:desk")]
)
def test_a_revocation_of_somebody_else_ends_nothing(
    side: ControlSide, said: dict[str, Any], kind: Any, value: str
) -> None:
    side.revoke([Epoch(kind=kind, value=value, epoch=START)], BOSS, why="enough")
    assert side.refresh("ide", said["refresh_token"]).status_code == 200


def _gone(side: ControlSide) -> None:
    accounts.end(side.store, "human:sso:alice", now=side.now_is, why="left")


def _disabled(side: ControlSide) -> None:
    with side.store.changing() as connection:
        registry.disable_person(connection, "human:sso:alice", "on leave", now=side.now_is)


def _withdrawn(side: ControlSide) -> None:
    accounts.withdraw(side.store, "human:sso:alice", "ide", now=side.now_is)


def _client_removed(side: ControlSide) -> None:
    stored.remove(side.store, "ide")


def _client_mapped(side: ControlSide) -> None:
    side.change(OFFICE.replace("{local: desk-client}", "{local: [desk-client, ide]}"))


@pytest.mark.parametrize("happens", [_gone, _disabled, _withdrawn, _client_removed, _client_mapped])
def test_who_is_not_there_any_more_gets_nothing(
    side: ControlSide, said: dict[str, Any], happens: Callable[[ControlSide], None]
) -> None:
    happens(side)
    assert side.refresh("ide", said["refresh_token"]).json()["error"] in ("invalid_grant", "invalid_client")


def test_the_agent_of_a_client_may_be_suspended(side: ControlSide) -> None:
    said = side.tokens("desk-client", side.staff("alice"))
    with side.store.changing() as connection:
        registry.suspend_agent(connection, "agent:local:desk", "seen enough", now=START)
    assert side.refresh("desk-client", said["refresh_token"]).json()["error"] == "invalid_grant"


# Clients that prove who they are --------------------------------------------------------------------------------------


def test_a_client_with_a_secret_shows_it_in_one_of_two_ways(side: ControlSide) -> None:
    alice = side.staff("alice")
    for how in ("basic", "post"):
        code = side.code("site", alice)
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": "http://127.0.0.1:7777/callback"}
        form |= {"code_verifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "resource": f"{URL}/mcp/notes"}
        if how == "basic":
            answer = side.post("/oauth/token", form, Authorization=basic("site", side.secret))
        else:
            answer = side.post("/oauth/token", {**form, "client_id": "site", "client_secret": side.secret})
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("form", "header", "error"),
    [
        ({"client_id": "site"}, None, "invalid_client"),
        ({"client_id": "site", "client_secret": "wrong"}, None, "invalid_client"),
        ({}, basic("site", "wrong"), "invalid_client"),
        ({}, "Basic !!!", "invalid_client"),
        ({}, "Bearer x", "invalid_client"),
        ({}, basic("ide", "anything"), "invalid_client"),
        ({"client_id": "ide", "client_secret": "anything"}, None, "invalid_client"),
        ({"client_id": "nobody"}, None, "invalid_client"),
        ({"client_id": "https://never-seen.example/client"}, None, "invalid_client"),
        ({}, None, "invalid_client"),
        ({"client_secret": "x", "client_id": "site"}, basic("site", "x"), "invalid_request"),
        ({"client_id": "ide"}, basic("site", "x"), "invalid_client"),
    ],
)
def test_a_client_that_does_not_prove_who_it_is_gets_nothing(
    side: ControlSide, form: dict[str, str], header: str | None, error: str
) -> None:
    named = {} if header is None else {"Authorization": header}
    answer = side.post("/oauth/token", {"grant_type": "authorization_code", "code": "x", **form}, **named)
    assert answer.json()["error"] == error
    if error == "invalid_client":
        assert answer.status_code == 401
        assert ("www-authenticate" in answer.headers) == (header is not None)


def test_only_clients_that_an_operator_let_in_write_records_of_what_they_try(side: ControlSide) -> None:
    own = side.register({"redirect_uris": ["https://app.example.com/callback"]}).json()
    for name, secret, records in ((own["client_id"], own["client_secret"], 0), ("site", side.secret, 1)):
        form = {"grant_type": "refresh_token", "refresh_token": "made-up"}
        assert side.post("/oauth/token", form, Authorization=basic(name, secret)).json()["error"] == "invalid_grant"
        assert len(side.records("token_refused")) == records


def test_authorization_details_are_not_taken(side: ControlSide, said: dict[str, Any]) -> None:
    details = '[{"type": "payment"}]'
    refused = side.refresh("ide", said["refresh_token"], authorization_details=details)
    assert refused.json()["error"] == "invalid_authorization_details"
    assert side.refresh("ide", said["refresh_token"]).status_code == 200
