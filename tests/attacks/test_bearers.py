"""What is shown to a server in place of a token that opens it: refused, recorded and kept from the upstream."""

import json
import re
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.kit.estate import App, Estate
from tests.kit.flows.browser import Browser
from tests.kit.issuer import new_key
from tests.kit.wire import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

CASES = json.loads((Path(__file__).parent / "oauth" / "bearers.json").read_text())
MOMENT = re.compile(r"\$(NOW|EPOCH)([+-]\d+)?")


class Purse:
    """Everything that alice, her client and the agents hold, each made when it is first asked for."""

    def __init__(self, estate: Estate) -> None:
        self.estate = estate

    @cached_property
    def app(self) -> App:
        return self.estate.app()

    @cached_property
    def browser(self) -> Browser:
        return self.estate.browser("alice")

    @cached_property
    def answer(self) -> dict[str, Any]:
        return self.app.tokens(self.browser)

    @cached_property
    def desk(self) -> str:
        return str(self.estate.desk.tokens(self.browser)["access_token"])

    @cached_property
    def bot(self) -> str:
        return self.estate.bot()

    def upstream(self) -> str:
        """Return the token that the upstream was just shown in alice's name."""
        assert self.estate.gateway.call("echo", {"text": "x"}, self.answer["access_token"]).status == 200
        shown = self.estate.upstream.seen[-1].header("authorization")
        assert shown is not None
        return shown.removeprefix("Bearer ")

    def take(self, what: str) -> str:
        """Return one of them."""
        estate, cookies = self.estate, self.browser.client.cookies
        takes: dict[str, Callable[[], str]] = {
            "delegated": lambda: str(self.answer["access_token"]),
            "refresh-token": lambda: str(self.answer["refresh_token"]),
            "code": lambda: self.app.came(self.browser)["code"],
            "desk": lambda: self.desk,
            "bot": lambda: self.bot,
            "corp": lambda: estate.issuer.token(),
            "upstream": self.upstream,
            "cookie": lambda: cookies["ostiary-session"] if self.answer else "",
            "csrf": lambda: self.app.consent_page(self.browser, prompt="consent").forms[0].fields["csrf"],
            "id-token": lambda: estate.id_token(cookies["ostiary-session"]) if self.answer else "",
            "provider-refresh-token": lambda: estate.provider_token("alice") if self.answer else "",
            "client-id": lambda: self.app.id,
        }
        return takes[what]()


@pytest.fixture(scope="module")
def purse(estate: Estate) -> Purse:
    return Purse(estate)


def put(value: Any, words: dict[str, Any]) -> Any:
    """Return `value` with what its words stand for."""
    if isinstance(value, dict):
        return {name: put(each, words) for name, each in value.items()}
    if isinstance(value, list):
        return [put(each, words) for each in value]
    if not isinstance(value, str):
        return value
    if found := MOMENT.fullmatch(value):
        return words[found[1]] + int(found[2] or 0)
    for name, meaning in words.items():
        value = value.replace(f"${name}", str(meaning))
    return value


def show(purse: Purse, send: dict[str, Any], words: dict[str, Any]) -> Reply:
    """Call a tool with what `send` says."""
    estate = purse.estate
    held = purse.take(send.get("what", "delegated"))
    if "header" in send or "claims" in send or "key" in send:
        own = estate.issuer.key if send.get("what") == "corp" else estate.key
        key = {"own": own, "stranger": new_key("EdDSA", own.kid)}[send.get("key", "own")]
        held = estate.forge(held, put(send.get("header", {}), words), put(send.get("claims", {}), words), key)
    headers = [(name, value.replace("$HELD", held)) for name, value in send.get("add", [])]
    server = send.get("server", "notes")
    return estate.gateway.call("echo", {"text": "x"}, None if headers else held, server=server, headers=headers)


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in CASES])
def test_only_an_access_token_for_this_server_opens_it(case: dict[str, Any], purse: Purse) -> None:
    estate, must = purse.estate, case["must"]
    words: dict[str, Any] = {"NOW": int(time.time()), "URL": estate.gateway.url, "FRESH": case["id"]}
    words |= {"CLIENT": purse.app.id, "DESK": estate.desk.id}
    if (revoked := case.get("revoked")) is not None:
        hit = estate.act("/revoke", kind=revoked[0], value=put(revoked[1], words))
        words["EPOCH"] = hit["revoked"][0]["epoch"]
    twin = show(purse, case["twin"], words)
    assert (twin.status, twin.error) == (200, {}), twin
    since, before = len(estate.gateway.records()), estate.upstream.count
    reply = show(purse, case["send"], words)
    assert (reply.status, reply.error.get("code")) == (must["status"], must.get("code")), reply
    (record,) = estate.gateway.next_record(since, "deny")
    assert (record["reason"], record["decision"]) == (must["reason"], "deny")
    # What is not let in reaches nobody; taking `upstream` from the purse is a call of its own.
    assert estate.upstream.count - before == (1 if case["send"].get("what") == "upstream" else 0)
