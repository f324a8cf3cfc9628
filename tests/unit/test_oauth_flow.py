"""From the first page to tokens: what a client gets on the authority of a person, and what it does not."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from tests.kit.control import BOSS, LOCAL, OFFICE, SITE, START, URL, ControlSide, claims_of, fields, office, sent_back

from ostiary.control import Epoch
from ostiary.oauth.offer import CONSENT_S
from ostiary.store import accounts
from ostiary.store import clients as stored

if TYPE_CHECKING:
    from pathlib import Path

#: The provider of these tests is down, and this is what a client is told that has somebody sign in.
AWAY = "temporarily_unavailable"


# Sign-in, consent, code -----------------------------------------------------------------------------------------------


def test_one_consent_gives_a_code_and_the_code_tokens(side: ControlSide, alice: dict[str, str]) -> None:
    shown = side.get(side.authorize_path("ide"), cookies=alice)
    assert shown.status_code == 200
    back = sent_back(side.allow(shown, alice))
    assert (back["state"], back["iss"]) == ("the-state", URL)
    answer = side.exchange("ide", back["code"])
    said = answer.json()
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert sorted(said) == ["access_token", "expires_in", "refresh_token", "scope", "token_type"]
    assert (said["token_type"], said["expires_in"], said["scope"]) == ("Bearer", 600, "mcp:read mcp:query")
    claims = claims_of(said)
    assert claims.pop("jti")
    assert claims.pop("fam")
    assert claims == {
        "iss": URL,
        "aud": f"{URL}/mcp/notes",
        "sub": "human:sso:alice",
        "client_id": "ide",
        "scope": "mcp:read mcp:query",
        "iat": START,
        "exp": START + 600,
        "act": {"sub": "agent:client:ide", "third_party": "An IDE"},
        "email": "alice@example.com",
        "groups": ["staff"],
    }


def test_without_a_session_the_browser_is_sent_to_the_only_provider_and_nothing_is_granted(side: ControlSide) -> None:
    answer = side.get(side.authorize_path("ide"))
    # The provider of these tests is down: what counts is that there is no consent and no code without it.
    told = sent_back(answer)
    assert answer.headers["location"].startswith(f"{LOCAL}?")
    assert (told.pop("error_description"), told) == (
        "the sign-in provider cannot be reached, or does not answer as it should",
        {"error": AWAY, "state": "the-state", "iss": URL},
    )
    (record,) = side.records()
    assert (record["event"], record["decision"], record["detail"]["why"]) == ("sign_in_refused", "deny", "provider")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 303),
        ({"redirect_uri": "https://evil.test/callback"}, 502),
        ({"client_id": "nobody"}, 502),
        (None, 502),
    ],
    ids=str,
)
def test_a_sign_in_that_fails_is_told_to_the_client_that_began_it_and_to_nobody_else(
    side: ControlSide, changes: dict[str, str] | None, status: int
) -> None:
    target = "/oauth/account" if changes is None else side.authorize_path(**{"client_id": "ide", **changes})
    answer = side.get("/oauth/sign-in?" + urlencode({"provider": "sso", "target": target}))
    assert answer.status_code == status
    if status == 303:
        assert answer.headers["location"].startswith(f"{LOCAL}?")
        assert sent_back(answer)["error"] == AWAY
    else:
        assert "location" not in answer.headers
        assert "cannot be reached" in answer.text


def test_with_two_providers_the_person_chooses(side: ControlSide) -> None:
    second = '    two: {issuer: "http://127.0.0.1:2", client_id: ostiary}\noauth:'
    side.change(OFFICE.replace("oauth:", second, 1))
    answer = side.get(side.authorize_path("ide"))
    assert answer.status_code == 200
    assert "provider=sso" in answer.text
    assert "provider=two" in answer.text
    assert "%2Foauth%2Fauthorize%3F" in answer.text


def test_asking_twice_changes_nothing(side: ControlSide, alice: dict[str, str]) -> None:
    first = side.get(side.authorize_path("ide"), cookies=alice)
    again = side.get(side.authorize_path("ide"), cookies=alice)
    assert first.text == again.text
    assert side.records() == []
    assert sent_back(side.allow(first, alice))["code"]


def test_the_page_names_who_asks_for_what_and_where_the_answer_goes(side: ControlSide, alice: dict[str, str]) -> None:
    page = side.get(side.authorize_path("ide"), cookies=alice).text
    assert "An IDE" in page
    assert "127.0.0.1:7777" in page
    assert "notes" in page
    assert "wiki" in page
    assert "vault" not in page
    first = page.index("<button")
    assert page[first : page.index(">", first)].endswith('name="decision" value="allow"')


def test_after_consent_other_servers_and_sign_ins_need_no_page(side: ControlSide, alice: dict[str, str]) -> None:
    side.tokens("ide", alice)
    answer = side.get(side.authorize_path("ide", resource=f"{URL}/mcp/wiki"), cookies=alice)
    said = side.exchange("ide", sent_back(answer)["code"], resource=f"{URL}/mcp/wiki").json()
    assert claims_of(said)["aud"] == f"{URL}/mcp/wiki"
    other_browser = side.staff("alice")
    assert sent_back(side.get(side.authorize_path("ide"), cookies=other_browser))["code"]


def test_twelve_servers_one_consent(tmp_path: Path) -> None:
    names = [f"s{number}" for number in range(12)]
    servers = "".join(f'  {n}: {{url: "http://127.0.0.1:9901/mcp", owner: dave, pins: off}}\n' for n in names)
    text = (
        OFFICE.split("agents:")[0]
        + f"servers:\n{servers}policy:\n  - {{name: a, allow: {{and: [{{groups: {{has: staff}}}}]}}}}\n"
    )
    with office(tmp_path, text) as side:
        alice = side.staff("alice")
        answers = []
        for name in names:
            answer = side.get(side.authorize_path("ide", resource=f"{URL}/mcp/{name}"), cookies=alice)
            answers.append(answer.status_code)
            if answer.status_code == 200:
                assert sent_back(side.allow(answer, alice))["code"]
        assert answers == [200, *[303] * 11]


def test_of_two_sessions_in_one_request_neither_counts(side: ControlSide, alice: dict[str, str]) -> None:
    [(name, value)] = alice.items()
    [other] = side.staff("bob").values()
    form = fields(side.get(side.authorize_path("ide"), cookies=alice))
    for cookie in (
        f"{name}={value}; {name}={other}",
        f"{name}={other}; x=1;{name}={value}",
        f"{name}={value}; {name}=x",
    ):
        # The provider of these tests is down: to sign in is all that is left.
        told = sent_back(side.get(side.authorize_path("ide"), Cookie=cookie))
        assert told["error"] == "temporarily_unavailable"
        assert side.post("/oauth/authorize", {**form, "decision": "allow"}, Cookie=cookie).status_code == 400
        assert "Sign out" not in side.get("/oauth/account", Cookie=cookie).text
    assert "Sign out" in side.get("/oauth/account", Cookie=f"x=1; {name}={value}; x=2").text


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({}, False),
        ({"scope": "mcp:read"}, False),
        ({"scope": None}, False),
        ({"scope": "openid offline_access"}, False),
        ({"resource": None}, False),
        ({"redirect_uri": LOCAL.replace("7777", "7778")}, False),
        ({"redirect_uri": SITE}, True),
        ({"scope": "mcp:read mcp:update"}, True),
        ({"prompt": "consent"}, True),
        ({"client_id": "site"}, True),
    ],
)
def test_consent_is_asked_for_what_was_not_consented_to(
    side: ControlSide, alice: dict[str, str], change: dict[str, str | None], shown: bool
) -> None:
    side.tokens("ide", alice)
    answer = side.get(side.authorize_path(**{"client_id": "ide", **change}), cookies=alice)
    assert answer.status_code == (200 if shown else 303)
    assert shown or sent_back(answer)["code"]


def test_consent_is_to_where_the_answer_goes_and_to_nowhere_else(side: ControlSide, alice: dict[str, str]) -> None:
    for uri, shown in ((LOCAL, 200), (LOCAL, 303), (SITE, 200), (SITE, 303), (LOCAL, 200)):
        answer = side.get(side.authorize_path("ide", redirect_uri=uri), cookies=alice)
        assert answer.status_code == shown
        if shown == 200:
            assert uri.split("/")[2] in answer.text
            assert sent_back(side.allow(answer, alice))["code"]


def test_the_address_need_not_be_said_again_for_the_tokens(side: ControlSide, alice: dict[str, str]) -> None:
    assert side.exchange("ide", side.code("ide", alice), redirect_uri=None).status_code == 200
    refused = side.exchange("ide", side.code("ide", alice), redirect_uri=SITE)
    assert refused.json()["error"] == "invalid_grant"


def test_consent_of_one_person_is_not_that_of_another(side: ControlSide, alice: dict[str, str]) -> None:
    side.tokens("ide", alice)
    assert side.get(side.authorize_path("ide"), cookies=side.staff("bob")).status_code == 200


def test_a_step_up_asks_once_and_keeps_what_there_was(side: ControlSide, alice: dict[str, str]) -> None:
    side.tokens("ide", alice)
    shown = side.get(side.authorize_path("ide", scope="mcp:update"), cookies=alice)
    assert "Create, change and delete" in shown.text
    assert "Search and ask" in shown.text
    said = side.exchange("ide", sent_back(side.allow(shown, alice))["code"]).json()
    assert said["scope"] == "mcp:update"
    both = side.tokens("ide", alice, scope="mcp:read mcp:query mcp:update")
    assert both["scope"] == "mcp:read mcp:query mcp:update"


def test_a_client_that_shows_itself_anew_is_consented_to_anew(side: ControlSide, alice: dict[str, str]) -> None:
    side.tokens("ide", alice)
    stored.remove(side.store, "ide")
    stored.add_registered(side.store, "ide", "Another IDE", [LOCAL], confidential=False, now=START)
    assert side.get(side.authorize_path("ide"), cookies=alice).status_code == 200


def test_a_consent_ends_after_thirty_days(side: ControlSide, alice: dict[str, str]) -> None:
    side.tokens("ide", alice)
    side.now_is += CONSENT_S - 1
    assert side.get(side.authorize_path("ide"), cookies=side.staff("alice")).status_code == 303
    side.now_is += 1
    assert side.get(side.authorize_path("ide"), cookies=side.staff("alice")).status_code == 200


def test_what_changed_since_the_page_was_made_is_shown_again(side: ControlSide, alice: dict[str, str]) -> None:
    shown = side.get(side.authorize_path("ide"), cookies=alice)
    side.change(OFFICE.replace("in: [notes, wiki]", "in: [notes]"))
    again = side.allow(shown, alice)
    assert again.status_code == 200
    assert "wiki" not in again.text
    assert side.records("consent_given") == []
    assert sent_back(side.allow(again, alice))["code"]


# No -------------------------------------------------------------------------------------------------------------------


def test_no_is_said_to_the_client_and_recorded(side: ControlSide, alice: dict[str, str]) -> None:
    shown = side.get(side.authorize_path("ide"), cookies=alice)
    back = sent_back(side.post("/oauth/authorize", {**fields(shown), "decision": "deny"}, cookies=alice))
    assert (back["error"], back["state"], back["iss"]) == ("access_denied", "the-state", URL)
    assert "code" not in back
    [record] = side.records("consent_refused")
    assert (record["by"], record["decision"]) == ({"person": "human:sso:alice"}, "deny")


def test_prompt_none_shows_no_page(side: ControlSide, alice: dict[str, str]) -> None:
    path = side.authorize_path("ide", prompt="none")
    assert sent_back(side.get(path))["error"] == "login_required"
    assert sent_back(side.get(path, cookies=alice))["error"] == "consent_required"
    side.tokens("ide", alice)
    assert sent_back(side.get(path, cookies=alice))["code"]


@pytest.mark.parametrize(("prompt", "left"), [("login", ""), ("consent login", "consent")])
def test_prompt_login_signs_in_once_more_and_only_once(
    side: ControlSide, alice: dict[str, str], prompt: str, left: str
) -> None:
    side.tokens("ide", alice)
    second = '    two: {issuer: "http://127.0.0.1:2", client_id: ostiary}\noauth:'
    side.change(OFFICE.replace("oauth:", second, 1))
    path = side.authorize_path("ide", prompt=prompt, state="a+b &=ü")
    shown = side.get(path, cookies=alice)
    [target] = {
        parse_qs(urlsplit(unescape(link)).query)["target"][0]
        for link in re.findall('href="([^"]+=two[^"]+)', shown.text)
    }
    asked, back = ({**parse_qs(urlsplit(each).query, keep_blank_values=True)} for each in (path, target))
    assert back == {**asked, "prompt": [left]}
    again = side.get(target, cookies=side.staff("alice"))
    assert again.status_code == (200 if left else 303)
    assert left or sent_back(again)["state"] == "a+b &=ü"
    assert (
        sent_back(side.get(side.authorize_path("ide", prompt="login none"), cookies=alice))["error"] == "login_required"
    )


def test_in_a_lockdown_nothing_is_granted(side: ControlSide, alice: dict[str, str]) -> None:
    from ostiary.store import Lockdown

    said = side.tokens("ide", alice)
    code = side.code("ide", alice)
    shown = side.get(side.authorize_path("ide", prompt="consent"), cookies=alice)
    side.store.lock_down(Lockdown(at=START, by="boss", reason=None))
    assert side.get(side.authorize_path("ide"), cookies=alice).status_code == 503
    assert side.allow(shown, alice).status_code == 503
    assert side.exchange("ide", code).status_code == 503
    assert side.refresh("ide", said["refresh_token"]).status_code == 503
    assert side.register({"redirect_uris": [LOCAL]}).status_code == 503
    side.store.lift()
    assert side.exchange("ide", code).status_code == 200


# Revoked --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "again"),
    [
        ("client", "ide", 200),
        ("agent", "agent:client:ide", 200),
        ("owner", "human:sso:alice", 200),
        ("third_party", "An IDE", 200),
        ("subject", "human:sso:alice", 303),
        ("client", "site", 303),
        ("owner", "human:sso:bob", 303),
    ],
)
def test_what_was_revoked_needs_consent_again(side: ControlSide, kind: Any, value: str, again: int) -> None:
    side.tokens("ide", side.staff("alice"))
    side.revoke([Epoch(kind=kind, value=value, epoch=START)], BOSS, why="enough")
    # What ends a person's own sign-ins asks for another sign-in; this is one.
    answer = side.get(side.authorize_path("ide"), cookies=side.staff("alice"))
    assert answer.status_code == again


def test_after_the_end_of_all_that_acts_for_her_a_person_signs_in_again(
    side: ControlSide, alice: dict[str, str]
) -> None:
    side.tokens("ide", alice)
    side.revoke([Epoch(kind="subject", value="human:sso:alice", epoch=START + 1)], BOSS, why="stolen laptop")
    side.now_is += 2
    assert sent_back(side.get(side.authorize_path("ide"), cookies=alice))["error"] == AWAY  # off to the provider
    assert side.get(side.authorize_path("ide"), cookies=side.staff("alice")).status_code == 303


@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_a_sign_in_is_later_than_what_was_revoked_and_a_session_from_before_is_not(
    side: ControlSide, alice: dict[str, str], ahead: int
) -> None:
    side.tokens("ide", alice)
    for epoch in range(START, START + ahead + 1):  # as signing out several times within a second does
        side.revoke([Epoch(kind="subject", value="human:sso:alice", epoch=epoch)], BOSS, why="stolen laptop")
    again = side.staff("alice")
    # The earlier session does not come back to life with the later one.
    assert sent_back(side.get(side.authorize_path("ide"), cookies=alice))["error"] == AWAY
    side.allow(side.get(side.authorize_path("ide"), cookies=again), again)
    assert "code" in sent_back(side.get(side.authorize_path("ide"), cookies=again))
    account = accounts.get(side.store, "human:sso:alice")
    assert account is not None
    assert (account.signed_in_at, account.checked_at) == (START + ahead + 1, START)


def test_what_begins_in_the_second_of_a_revocation_is_later_than_it(side: ControlSide, alice: dict[str, str]) -> None:
    old = side.tokens("ide", alice)
    pending = side.code("ide", alice)
    side.revoke([Epoch(kind="client", value="ide", epoch=START)], BOSS, why="enough")
    assert side.refresh("ide", old["refresh_token"]).json()["error"] == "invalid_grant"
    assert side.exchange("ide", pending).json()["error"] == "invalid_grant"
    new = side.tokens("ide", alice)
    assert claims_of(new)["iat"] == START + 1
    assert side.refresh("ide", new["refresh_token"]).status_code == 200


# Records --------------------------------------------------------------------------------------------------------------


def test_consent_and_tokens_are_recorded_without_a_secret_in_them(side: ControlSide, alice: dict[str, str]) -> None:
    shown = side.get(side.authorize_path("ide"), cookies=alice)
    code = sent_back(side.allow(shown, alice))["code"]
    said = side.exchange("ide", code).json()
    [consent], [issued] = side.records("consent_given"), side.records("token_issued")
    claims = claims_of(said)
    assert (consent["kind"], consent["by"], consent["agent"]) == (
        "control",
        {"person": "human:sso:alice"},
        "agent:client:ide",
    )
    assert consent["detail"]["servers"] == ["notes", "wiki"]
    assert issued["token"] == {
        "jti": claims["jti"],
        "client_id": "ide",
        "issuer": "local",
        "scope": ["mcp:read", "mcp:query"],
    }
    assert (issued["principal"]["id"], issued["server"], issued["decision"]) == ("human:sso:alice", "notes", "allow")
    everything = "".join(file.read_text() for file in (side.folder / "audit").glob("*.jsonl"))
    everything += str([*side.store._engine.raw_connection().iterdump()])
    for secret in (code, said["access_token"], said["refresh_token"], side.secret, alice["ostiary-session"]):
        assert secret not in everything
