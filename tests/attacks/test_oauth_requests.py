"""Requests to the paths of sign-in, consent and tokens, and to those of operators: none gets what it is not for."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.kit.estate import CALLBACK, App, Estate
from tests.kit.wire import Reply, Wire, http

from ostiary.oauth.registration import LIMIT
from ostiary.oauth.web import REASONS

CASES = json.loads((Path(__file__).parent / "oauth" / "requests.json").read_text())


class Stage:
    """Who sends: alice's browser, her client, an agent, or an address that has registered as often as it may."""

    def __init__(self, estate: Estate) -> None:
        self.estate = estate

    @cached_property
    def app(self) -> App:
        return self.estate.app()

    @cached_property
    def cookies(self) -> str:
        browser = self.estate.browser("alice")
        self.app.sign_in(browser)
        return "; ".join(f"{name}={value}" for name, value in browser.client.cookies.items() if "ostiary" in name)

    @cached_property
    def bot(self) -> str:
        return self.estate.bot()

    @cached_property
    def worn(self) -> str:
        """The address from which nobody may register any more for ten minutes."""
        address = self.estate.address()
        body = json.dumps({"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"}).encode()
        fields = [("Content-Type", "application/json")]
        told = {self.estate.send("POST", "/oauth/register", fields, body, address).status for _ in range(LIMIT)}
        assert told == {201}
        return address

    def words(self, text: str) -> str:
        """Return `text` with what its words stand for."""
        estate = self.estate
        text = text.replace("$ADMIN", f"127.0.0.1:{estate.gateway.admin[1]}").replace("$URL", estate.gateway.url)
        text = text.replace("$HOST", estate.gateway.host).replace("$CLIENT", self.app.id).replace("$CALLBACK", CALLBACK)
        text = text.replace("$BOT", self.bot) if "$BOT" in text else text
        return text.replace("$COOKIES", self.cookies) if "$COOKIES" in text else text

    def send(self, send: dict[str, Any]) -> Reply:
        """Send one request."""
        fields = [(name, self.words(value)) for name, value in send.get("add", [])]
        target, body = self.words(send.get("target", "")), b""
        if "ask" in send:
            parts = urlsplit(self.app.ask(**send["ask"]))
            target = f"{parts.path}?{parts.query}{self.words(send.get('more', ''))}"
        if "form" in send:
            fields.append(("Content-Type", "application/x-www-form-urlencoded"))
            body = self.words(send["form"]).encode()
        if "json" in send:
            fields.append(("Content-Type", "application/json"))
            body = self.words(json.dumps(send["json"])).encode()
        if send.get("as") == "alice":
            fields.append(("Cookie", self.cookies))
        elif send.get("as") == "bot":
            fields.append(("Authorization", f"Bearer {self.bot}"))
        source = {"worn": lambda: self.worn, "fresh": self.estate.address}.get(send.get("from", ""), lambda: None)()
        if send.get("port") == "admin":
            host = [] if any(name == "Host" for name, _ in fields) else [("Host", self.words("$ADMIN"))]
            with Wire(self.estate.gateway.admin) as wire:
                return wire.ask(http(send.get("method", "GET"), target, [*host, *fields], body))
        return self.estate.send(send.get("method", "GET"), target, fields, body, source)


@pytest.fixture(scope="module")
def stage(estate: Estate) -> Stage:
    return Stage(estate)


def check(stage: Stage, reply: Reply, must: dict[str, Any]) -> None:
    """Hold an answer to what it must be; `location` is where it leads, `null` for nowhere."""
    assert reply.status in must["status"], reply
    text = reply.body.decode()
    if "error" in must:
        assert json.loads(text)["error"] == must["error"], reply
    if "location" in must:
        found = reply.header("location")
        if must["location"] is None:
            assert found is None
        else:
            start = must["location"].replace("$PROVIDER", stage.estate.provider.origin)
            assert found is not None
            assert found.startswith(stage.words(start)), found
            told = {name: values[0] for name, values in parse_qs(urlsplit(found).query).items()}
            expected = {name: stage.words(value) for name, value in must.get("query", {}).items()}
            assert {name: told.get(name) for name in expected} == expected
            assert must.get("given") or "code" not in told
    for words in must.get("has", []):
        assert stage.words(words) in text
    for words in must.get("lacks", []):
        assert stage.words(words) not in text


def test_every_case_has_an_id_of_its_own_and_a_source() -> None:
    files = (Path(__file__).parent / "oauth").glob("*.json")
    cases = [case for file in files for case in json.loads(file.read_text())]
    assert len({case["id"] for case in cases}) == len(cases)
    assert [case["id"] for case in cases if not (case["source"] and case["why"])] == []
    musts = [(case["id"], case[name]) for case in cases for name in ("must", "twin_must") if name in case]
    assert [name for name, must in musts if isinstance(must.get("status"), list) and len(must["status"]) != 1] == []


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in CASES])
def test_a_request_gets_what_it_is_for_and_no_more(case: dict[str, Any], stage: Stage) -> None:
    gateway, upstream = stage.estate.gateway, stage.estate.upstream
    if "twin" in case:
        check(stage, stage.send(case["twin"]), case["twin_must"])
    # What the stage makes when it is first asked for is not what the attack got.
    stage.words("$BOT $COOKIES")
    assert stage.worn if case["send"].get("from") == "worn" else True
    since, before = len(gateway.records()), upstream.count
    reply = stage.send(case["send"])
    check(stage, reply, case["must"])
    if reply.status >= 400 and case["send"].get("port") != "admin":
        word = case["must"].get("error")
        gateway.refused(since, *([] if word is None else [REASONS.get(word, word)]))
    acts = [record for record in gateway.records()[since:] if record["kind"] in {"admin", "control"}]
    assert [record["event"] for record in acts if record.get("decision") != "deny"] == []
    assert upstream.count == before
