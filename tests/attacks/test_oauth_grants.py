"""Codes and refresh tokens in the wrong hands, or shown for more than they are good for."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.kit.estate import CALLBACK, CHALLENGE, VERIFIER, App, Estate
from tests.kit.flows.browser import Browser
from tests.kit.wire import Reply

CASES = json.loads((Path(__file__).parent / "oauth" / "grants.json").read_text())


@pytest.fixture(scope="module")
def browser(estate: Estate) -> Browser:
    return estate.browser("bob")


class Holder:
    """A client with one authorization: its code, and what came of it."""

    def __init__(self, app: App, browser: Browser) -> None:
        self.app = app
        self.code = app.came(browser)["code"]
        self.access: list[str] = []
        self.refreshes: list[str] = []

    def take(self, reply: Reply) -> None:
        """Keep what a token answer brings."""
        assert reply.status == 200, reply
        self.access.append(reply.json()["access_token"])
        self.refreshes.append(reply.json()["refresh_token"])

    def prepare(self, show: str, before: str | None) -> str:
        """Do what comes before the attack, and return the text that is shown then."""
        if show.startswith("refresh") or before is not None:
            self.take(self.app.exchange(self.code))
        shown = self.refreshes[-1] if show.startswith("refresh") else self.code
        if show.startswith("refresh"):
            for _ in range({"used": 1, "used-thrice": 3}.get(before or "", 0)):
                self.take(self.app.refresh(self.refreshes[-1]))
            if before == "narrowed":
                self.take(self.app.refresh(shown, scope="mcp:read"))
                shown = self.refreshes[-1]
        return shown


def show(case: dict[str, Any], app: App, text: str) -> Reply:
    """Show a code or refresh token as the case says."""
    kind = case["show"]
    fields: dict[str, str | None] = {"client_id": app.id, "resource": app.estate.url()}
    if kind in {"code", "refresh-as-code"}:
        fields |= {"grant_type": "authorization_code", "code": text}
        fields |= {"redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    else:
        fields |= {"grant_type": "refresh_token", "refresh_token": text}
    words = {"$CHALLENGE": CHALLENGE, "$FILES": app.estate.url("files"), "$VAULT": app.estate.url("vault")}
    fields |= {name: words.get(value, value) for name, value in case.get("change", {}).items()}
    return app.estate.form("/oauth/token", fields, [(name, value) for name, value in case.get("headers", [])])


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in CASES])
def test_what_leaks_is_of_no_use(case: dict[str, Any], estate: Estate, browser: Browser) -> None:
    gateway, must, app = estate.gateway, case["must"], estate.app()
    holder = Holder(app, browser)
    text = holder.prepare(case["show"], case.get("before"))
    other = Holder(app, browser)
    other.take(app.exchange(other.code))
    for token in holder.access:
        assert gateway.call("echo", {"text": "x"}, token).status == 200
    since, before = len(gateway.records()), estate.upstream.count
    reply = show(case, estate.app() if "by" in case else app, text)
    assert (reply.status, reply.json()["error"]) == (400, must["error"]), reply
    assert "token" not in reply.json()
    acts = [record for record in gateway.records()[since:] if record["kind"] == "control"]
    assert "token_issued" not in [record["event"] for record in acts]
    gateway.refused(since, must["error"])
    since = len(gateway.records())
    ended = must["family"] == "ended"
    for token in holder.access:
        told = gateway.call("echo", {"text": "x"}, token)
        assert told.status == (401 if ended else 200), told
        if ended:
            (record,) = gateway.next_record(since, "deny")
            assert record["reason"] == "revoked"
            since = len(gateway.records())
    assert estate.upstream.count - before == (0 if ended else len(holder.access))
    # The rightful client: what leaked is of no more use to it either, all else is.
    again = app.refresh(holder.refreshes[-1]) if holder.refreshes else app.exchange(holder.code)
    assert again.status == (400 if ended else 200), again
    assert gateway.call("echo", {"text": "x"}, other.access[-1]).status == 200
    assert app.refresh(other.refreshes[-1]).status == 200
