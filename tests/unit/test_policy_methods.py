"""The methods that rules are read with are those that the engine decides, with the same objects."""

import json

import pytest

from ostiary._core import Snapshot
from ostiary.policy.criteria import SERVER_REQUESTS
from ostiary.policy.together import METHODS

MEMBERS = ("tool", "prompt", "resource_uri")
ANYBODY = {"criterion": "accept", "path": None, "line": 1, "text": "accept", "tests": []}
ANY = {"op": "matches", "value": ""}


def allow(criterion: str) -> dict[str, object]:
    leaf = {"criterion": criterion, "path": None, "line": 1, "text": criterion, "tests": [ANY]}
    rule = {"name": criterion, "file": "p.yaml", "line": 1, "effect": "allow", "mode": "enforce", "owner": None}
    return {**rule, "any": [{"op": "and", "of": [ANYBODY, leaf]}]}


SNAPSHOT = Snapshot(
    json.dumps(
        {
            "format": 1,
            "partial": True,
            "lockdown": False,
            "gateway": {"url": "http://g.test", "hosts": [], "origins": [], "refusals": "error"},
            "audit": {"durability": "by_class", "redact": []},
            **dict.fromkeys(("issuers", "people", "agents", "services", "servers"), ()),
            "policy": {"timezone": "UTC", "rules": [allow("mcp_method"), allow("server_request")]},
        }
    ).encode()
)


def reason(method: str, **members: str) -> str | None:
    """Return why it is refused; `error` where there are no such facts."""
    who = {"type": "human", "id": "human:corp:alice"}
    facts = {"principal": who, "server": "notes", "mcp_method": method, **members}
    try:
        answer: dict[str, str | None] = json.loads(SNAPSHOT.decide(json.dumps(facts)))
    except ValueError:
        return "error"
    return answer["reason"]


@pytest.mark.parametrize("method", METHODS)
def test_a_method_takes_its_own_objects_and_no_others(method: str) -> None:
    told = {member for member in MEMBERS if reason(method, **{member: "x:y"}) is None}
    assert told == METHODS[method]
    needs = METHODS[method] and method != "subscriptions/listen"
    assert reason(method) == ("error" if needs else None)


@pytest.mark.parametrize("method", ["tasks/get", "resources/write", "sampling/createMessage", "Tools/call", "x"])
def test_any_other_method_is_unknown(method: str) -> None:
    assert reason(method) == "unknown_method"


def test_the_words_of_server_requests_are_those_that_the_engine_knows() -> None:
    for word in SERVER_REQUESTS:
        assert reason("tools/call", tool="x", server_request=word) is None
        assert reason("session/stream", server_request=word) is None
    for word in ("tools/call", "sampling/create", ""):
        assert reason("tools/call", tool="x", server_request=word) == "unknown_method"
