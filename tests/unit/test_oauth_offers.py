"""What a person may be asked to consent to: what she could reach through this client, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.kit.control import OFFICE, START, URL, ControlSide, claims_of, office, sent_back

from ostiary.oauth.pages import WORDS
from ostiary.store import registry

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("groups", "change", "error"),
    [
        (("staff",), {}, None),
        ((), {}, "access_denied"),
        (None, {}, "access_denied"),
        (("staff",), {"resource": f"{URL}/mcp/vault"}, "access_denied"),
        (("staff",), {"resource": f"{URL}/mcp/nowhere"}, "invalid_target"),
        (("staff",), {"resource": f"{URL}/mcp/notes/"}, "invalid_target"),
        (("staff",), {"resource": "https://elsewhere.example/mcp"}, "invalid_target"),
    ],
)
def test_only_what_the_person_could_reach_is_offered(
    side: ControlSide, groups: tuple[str, ...] | None, change: dict[str, str], error: str | None
) -> None:
    cookies = side.sign_in("sso", "eve", groups=groups)
    answer = side.get(side.authorize_path("ide", **change), cookies=cookies)
    if error is None:
        assert answer.status_code == 200
    else:
        back = sent_back(answer)
        assert (back["error"], back["state"], back["iss"]) == (error, "the-state", URL)


def test_a_registered_agent_acts_within_its_own_ceiling(side: ControlSide, alice: dict[str, str]) -> None:
    shown = side.get(side.authorize_path("desk-client"), cookies=alice)
    assert "Search and ask" not in shown.text
    assert "wiki" not in shown.text
    said = side.exchange("desk-client", sent_back(side.allow(shown, alice))["code"]).json()
    claims = claims_of(said)
    assert (said["scope"], claims["act"]) == ("mcp:read", {"sub": "agent:local:desk"})
    beyond = side.get(side.authorize_path("desk-client", scope="mcp:admin"), cookies=alice)
    assert sent_back(beyond)["error"] == "invalid_scope"
    elsewhere = side.get(side.authorize_path("desk-client", resource=f"{URL}/mcp/wiki"), cookies=alice)
    assert sent_back(elsewhere)["error"] == "access_denied"


@pytest.mark.parametrize("scope", ["mcp:read", "mcp:update", "mcp:read mcp:admin", None])
def test_a_registered_agent_is_consented_to_once_for_its_whole_ceiling(tmp_path: Path, scope: str | None) -> None:
    more = OFFICE.replace(
        "ceiling: {servers: [notes], classes: [read]}", "ceiling: {servers: [notes], classes: [read, update]}"
    )
    with office(tmp_path, more) as side:
        alice = side.staff("alice")
        shown = side.get(side.authorize_path("desk-client", scope=scope), cookies=alice)
        offered = [words for words in WORDS.values() if words in shown.text]
        assert offered == [WORDS["read"], WORDS["update"]]
        said = side.exchange("desk-client", sent_back(side.allow(shown, alice))["code"]).json()
        assert said["scope"] == ("mcp:update" if scope == "mcp:update" else "mcp:read")
        assert side.tokens("desk-client", alice, scope="mcp:read mcp:update")["scope"] == "mcp:read mcp:update"
        assert len(side.records("consent_given")) == 1


def test_a_suspended_agent_is_not_consented_to(side: ControlSide, alice: dict[str, str]) -> None:
    with side.store.changing() as connection:
        registry.suspend_agent(connection, "agent:local:desk", "seen enough", now=START)
    answer = side.get(side.authorize_path("desk-client"), cookies=alice)
    assert sent_back(answer)["error"] == "access_denied"
    assert side.get(side.authorize_path("ide"), cookies=alice).status_code == 200


def test_a_token_ends_with_its_agent_and_its_consent(side: ControlSide) -> None:
    side.change(OFFICE.replace("desk: {owner: dave,", 'desk: {owner: dave, expires: "2027-01-15T08:05:00Z",'))
    expires = side.config.agents["desk"].expires
    assert expires == START + 300
    said = side.tokens("desk-client", side.staff("alice"))
    assert claims_of(said)["exp"] == expires


def test_without_a_resource_the_token_request_says_it(side: ControlSide, alice: dict[str, str]) -> None:
    code = side.code("ide", alice, resource=None)
    assert side.exchange("ide", code, resource=None).json()["error"] == "invalid_target"
    assert side.exchange("ide", code).status_code == 200
    only = side.code("desk-client", alice, resource=None)
    assert side.exchange("desk-client", only, resource=None).status_code == 200
