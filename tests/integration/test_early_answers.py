"""A refusal that needs no more than the head may come before the body has arrived. Either the connection then serves
on, or the answer says that it closes: a client that is not told would use it again, and lose its next request."""

import json
from typing import Any

import pytest
from tests.kit.house import House
from tests.kit.wire import call_headers, http, tool_call

BODY = tool_call("echo", {"text": "x"}, era="stateless")
TEXT = json.dumps(BODY).encode()

ON_THE_HEAD: dict[str, dict[str, str]] = {
    "a host of another": {"Host": "evil.example.com"},
    "an origin of another": {"Origin": "http://evil.example.com"},
    "no token": {"Authorization": ""},
    "a token that is none": {"Authorization": "Bearer x"},
    "a mirrored argument in no known form": {"Mcp-Param-Text": "=?base64?!!!?="},
    "a body of another type": {"Content-Type": "text/plain"},
    "a server that is none": {"path": "/mcp/nowhere"},
}


@pytest.mark.parametrize("case", list(ON_THE_HEAD))
def test_a_connection_that_closes_after_an_answer_is_announced(house: House, case: str) -> None:
    changed: dict[str, Any] = dict(ON_THE_HEAD[case])
    path = changed.pop("path", "/mcp/notes")
    sound = call_headers(house.gateway.host, house.alice, BODY, era="stateless")
    fields = [(name, changed.pop(name, value)) for name, value in sound]
    fields = [(name, value) for name, value in [*fields, *changed.items()] if value]
    request = http("POST", path, fields, TEXT)
    with house.gateway.wire() as wire:
        wire.send(request[: -len(TEXT)])
        wire.socket.settimeout(0.3)
        try:
            refused = wire.read()  # before the body is there
            wire.socket.settimeout(wire.deadline_s)
            wire.send(TEXT)
        except TimeoutError:
            wire.socket.settimeout(wire.deadline_s)
            wire.send(TEXT)
            refused = wire.read()
        assert 400 <= refused.status < 500
        if (refused.header("connection") or "").lower() == "close":
            assert wire.closed()
        else:
            assert wire.ask(http("POST", "/mcp/notes", sound, TEXT)).status == 200
