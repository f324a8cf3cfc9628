"""What ends, ends at once: sessions in other hands, and whatever was revoked, signed out, disabled or handed over."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kit.caller import Caller, Feed
from tests.kit.estate import CEILING, App, Estate
from tests.kit.flows.browser import Page
from tests.kit.issuer import read
from tests.kit.wire import Reply, message, wait_until

FOLDER = Path(__file__).parent / "oauth"
CALL = {"name": "echo", "arguments": {"text": "x"}}


def rows(name: str) -> list[Any]:
    return [pytest.param(case, id=case["id"]) for case in json.loads((FOLDER / f"{name}.json").read_text())]


class Life:
    """Somebody who acts: a person through a client (`client`), or through a registered agent (`desk`), or a `bot`."""

    def __init__(self, estate: Estate, by: str) -> None:
        self.estate, self.by = estate, by
        self.who = estate.somebody()
        self.browser = estate.browser(self.who)
        self.words = {"$WHO": self.who}
        if by == "client":
            self.app = estate.app()
        else:
            self._found(by)
        self._begin()

    def _found(self, by: str) -> None:
        """Register an agent of an owner of its own, and the client that acts as it."""
        owner = next(self.estate.owners)
        name = f"{by}-{owner}"
        self.app = App(estate=self.estate, id=f"client-{name}", third_party="")
        section: dict[str, Any] = {"owner": owner, "purpose": "to be ended", "ceiling": CEILING}
        if by == "desk":
            self.estate.add_client(self.app.id)
            section["clients"] = {"local": [self.app.id]}
        self.estate.act("/people/confirm", name=owner)
        self.estate.act("/agents/add", name=name, section=section)
        self.words |= {"$AGENT": name, "$OWNER": owner}

    def _begin(self) -> None:
        if self.by == "bot":
            self.access, self.refresh = self.estate.bot(self.words["$AGENT"]), ""
        else:
            self.code = self.app.came(self.browser)["code"]
            answer = self.app.exchange(self.code)
            assert answer.status == 200, answer
            self.access, self.refresh = answer.json()["access_token"], answer.json()["refresh_token"]
        claims = read(self.access)[1]
        self.words |= {"$CLIENT": self.app.id, "$VENDOR": self.app.third_party, "$JTI": claims["jti"]}
        self.words["$FAM"] = claims.get("fam", "")

    def put(self, value: Any) -> Any:
        text = json.dumps(value)
        for word, meaning in self.words.items():
            text = text.replace(word, meaning)
        return json.loads(text)

    def end(self, act: dict[str, Any]) -> None:
        """Do what ends it."""
        if "operator" in act:
            self.estate.act(act["operator"], **self.put(act["body"]))
        elif "browser" in act:
            self._on_the_page(act["browser"])
        elif "client" in act:
            self._as_client(act["client"])
        elif "provider" in act:
            self._at_the_provider(act)
        elif "file" in act:
            self._in_the_file(act["file"])
        else:
            self._lease_is_over()

    def _in_the_file(self, how: str) -> None:
        if how == "without-owner":
            self.estate.undeclare(self.words["$OWNER"])
            return
        since, name = len(self.estate.gateway.records()), self.words["$AGENT"]
        self.estate.declare(name, owner="nina", clients={"local": [self.app.id]} if self.by == "desk" else {})
        (record,) = wait_until(lambda: _revoked(self.estate, since), what="the revocation")
        told = {"agent": f"agent:local:{name}", "from": self.words["$OWNER"], "to": "nina"}
        assert (record["by"], record["detail"]["owners"]) == (None, [told])

    def _lease_is_over(self) -> None:
        """Let the last word on the owner be of long ago; the next act of an operator, or half a minute, notices."""
        self.estate.change("UPDATE people_marks SET confirmed_at = 1 WHERE name = ?", self.words["$OWNER"])
        self.estate.act("/people/confirm", name="nina")

    def _on_the_page(self, button: str) -> None:
        page = self.browser.go(f"{self.estate.gateway.url}/oauth/account")
        assert isinstance(page, Page)
        form = next(
            each for each in page.forms if each.action.endswith({"forget": "/oauth/account"}.get(button, button))
        )
        assert self.browser.submit(page, form=form, button=next(iter(form.buttons))).status_code in {200, 303}

    def _as_client(self, how: str) -> None:
        if how.startswith("revoke"):
            token = self.refresh if how == "revoke-refresh" else self.access
            told = self.estate.form("/oauth/revoke", {"token": token, "client_id": self.app.id})
            assert told.status == 200, told
        elif how == "reuse":
            assert self.app.refresh(self.refresh).status == 200
            assert self.app.refresh(self.refresh).status == 400
        else:
            assert self.app.exchange(self.code).status == 400

    def _at_the_provider(self, act: dict[str, Any]) -> None:
        provider = self.estate.provider
        if act["provider"] == "disable-owner":
            self._owner_leaves()
            return
        if act["provider"] == "disable":
            provider.disable(self.who)
        else:
            provider.set_user(self.who, email=f"{self.who}@example.com", **act["provider"])
        # Within the minute nobody asks again: let it be over.
        self.estate.forget_for(self.who, 61)
        assert self.app.refresh(self.refresh).status == 400

    def _owner_leaves(self) -> None:
        """The owner of the agent, who had a client of her own, is asked about when that refreshes."""
        owner = self.words["$OWNER"]
        browser, app = self.estate.browser(owner), self.estate.app()
        hers = app.tokens(browser)
        self.estate.provider.disable(owner)
        self.estate.forget_for(owner, 61)
        assert app.refresh(hers["refresh_token"]).status == 400


def _revoked(estate: Estate, since: int) -> list[dict[str, Any]]:
    return [each for each in estate.gateway.records()[since:] if each.get("event") == "revoked"]


@contextlib.contextmanager
def streams(life: Life) -> Iterator[list[tuple[Caller, Feed]]]:
    """A session with its stream, and a subscription of the stateless era: all that can be open."""
    session = Caller.arrive(life.estate.gateway, life.access, "session")
    stateless = Caller.arrive(life.estate.gateway, life.access, "stateless")
    wanted = {"notifications": {"toolsListChanged": True}}
    with session.listen() as first, stateless.stream("subscriptions/listen", wanted) as second:
        assert (first.head.status, second.head.status) == (200, 200)
        assert second.next()["method"] == "notifications/subscriptions/acknowledged"
        yield [(session, first), (stateless, second)]


@pytest.fixture(scope="module")
def bystander(estate: Estate) -> Life:
    return Life(estate, "client")


@pytest.mark.parametrize("case", rows("ends"))
def test_what_ends_ends_at_once(case: dict[str, Any], estate: Estate, bystander: Life) -> None:
    """The next message of either era is refused, open streams end, nothing comes anew; others notice nothing."""
    life, must, gateway = Life(estate, case["by"]), case["must"], estate.gateway
    with streams(bystander) as others, streams(life) as open_now:
        for caller, _ in open_now:
            assert caller.say("tools/call", CALL).error == {}
        life.end(case["act"])
        since, before = len(gateway.records()), len(estate.upstream.calls())
        told = [caller.say("tools/call", CALL) for caller, _ in open_now]
        assert [(reply.status, reply.error.get("code")) for reply in told] == [(must["status"], must.get("code"))] * 2
        records = gateway.next_record(since, "deny", count=2)
        assert [record["reason"] for record in records] == [must["reason"]] * 2
        assert len(estate.upstream.calls()) == before
        ended = [feed.rest() for _, feed in open_now]
        assert all(len(each) <= 1 for each in ended), ended
        for caller, _ in others:
            assert caller.say("tools/call", CALL).error == {}
    if "refresh" in case:
        again = life.app.refresh(life.refresh)
        assert again.status in {"refused": {400, 401}, "works": {200}}[case["refresh"]], again


def test_an_agent_that_is_handed_over_works_again_for_its_next_owner(estate: Estate) -> None:
    """M06: suspended with its owner, revived by the hand-over and by nothing that it had before."""
    life = Life(estate, "bot")
    name, owner = life.words["$AGENT"], life.words["$OWNER"]
    estate.act("/people/disable", name=owner)
    assert estate.gateway.call("echo", {"text": "x"}, life.access).status == 401
    fresh = estate.forge(life.access, {}, {"iat": read(life.access)[1]["iat"] + 2, "jti": f"fresh-{name}"})
    refused = estate.gateway.call("echo", {"text": "x"}, fresh)
    assert (refused.status, refused.error["data"]["reason"]) == (200, "owner_inactive")
    estate.act("/agents/hand-over", name=name, to="nina")
    assert estate.gateway.call("echo", {"text": "x"}, life.access).status == 401
    assert estate.gateway.call("echo", {"text": "x"}, estate.later(name)).error == {}


# Sessions in other hands ----------------------------------------------------------------------------------------------


class Victim:
    """A person in a session, and who else may present its id."""

    def __init__(self, estate: Estate) -> None:
        self.life = Life(estate, "client")
        self.caller = Caller.arrive(estate.gateway, self.life.access, "session")
        bob, app = estate.browser("bob"), self.life.app
        self.tokens = {
            "another-person": app.tokens(bob)["access_token"],
            "another-client": estate.app().tokens(self.life.browser)["access_token"],
            "desk": estate.desk.tokens(self.life.browser)["access_token"],
            "agent": estate.bot(),
        }


@pytest.fixture(scope="module")
def victim(estate: Estate) -> Victim:
    return Victim(estate)


def present(caller: Caller, how: str) -> Reply:
    """Present the session of `caller`."""
    if how == "post":
        return caller.say("tools/call", CALL)
    if how == "notify":
        return caller.post(message("notifications/initialized", era="session", ident=None))
    if how == "answer":
        return caller.answer("1", {})
    if how == "delete":
        return caller.leave()
    with caller.listen() as feed:
        body = b"" if feed.head.status == 200 else b"".join(feed.pieces)
        return Reply(status=feed.head.status, headers=feed.head.headers, body=body)


@pytest.mark.parametrize("case", rows("sessions"))
def test_a_session_is_of_one_person_through_one_client(case: dict[str, Any], estate: Estate, victim: Victim) -> None:
    must, gateway = case["must"], estate.gateway
    token = victim.tokens.get(case["by"], "")
    caller = Caller(gateway=gateway, token=token, era="session", session=victim.caller.session)
    since, before = len(gateway.records()), estate.upstream.count
    reply = present(caller, case["how"])
    assert (reply.status, reply.error.get("code")) == (must["status"], must.get("code")), reply
    (record,) = gateway.next_record(since, "deny")
    assert (record["reason"], estate.upstream.count) == (must["reason"], before)
    assert victim.caller.say("tools/call", CALL).error == {}


def test_a_session_goes_on_with_the_next_token_of_the_same_client(estate: Estate) -> None:
    """The twin of all of them: refreshed, and by another authorization of the same client for the same person."""
    life = Life(estate, "client")
    caller = Caller.arrive(estate.gateway, life.access, "session")
    for token in (life.app.refresh(life.refresh).json()["access_token"], life.app.tokens(life.browser)["access_token"]):
        caller.token = token
        assert caller.say("tools/call", CALL).error == {}


def test_a_session_id_says_nothing(estate: Estate, victim: Victim) -> None:
    """G02: never the same, long enough, and nothing of the person or the token in it."""
    more = [Caller.arrive(estate.gateway, victim.life.access, "session").session or "" for _ in range(3)]
    ids = [victim.caller.session or "", *more]
    assert len({hashlib.sha256(each.encode()).digest() for each in ids}) == 4
    assert all(len(each) >= 22 and victim.life.who not in each for each in ids)
