"""Known attacks, as data: each refused, recorded and kept from the upstream; each harmless twin passes."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from tests.kit.attack import lay_out
from tests.kit.house import House
from tests.kit.wire import Reply

HERE = Path(__file__).parent
FILES = sorted([*HERE.glob("*.json"), *(HERE / "wire").glob("*.json")])
CASES = [(file.stem, case) for file in FILES for case in json.loads(file.read_text())]
BOTH = ["session", "stateless"]
#: Twins that are sound as messages, and the reason for which a later stage refuses them.
READ_ONLY = {
    "wire-A07-name-129-characters": "no_rule",
    "wire-S7-cursor-number": "malformed",
    "wire-S7-cursor-null": "malformed",
}


def in_eras(cases: Iterable[dict[str, Any]]) -> list[Any]:
    return [pytest.param(case, era, id=f"{case['id']}-{era}") for case in cases for era in case.get("eras", BOTH)]


def one_of(value: Any, era: str) -> list[Any]:
    if isinstance(value, dict):
        value = value[era]
    return value if isinstance(value, list) else [value]


def ask(house: House, send: dict[str, Any], era: str) -> Reply:
    with house.gateway.wire() as wire:
        return wire.ask(lay_out(send, era=era, house=house))


def at(record: Any, path: str) -> Any:
    for name in path.split("."):
        record = record[name]
    return record


def test_every_case_has_an_id_of_its_own_and_a_source() -> None:
    names = [case["id"] for _, case in CASES]
    assert len(names) == len(set(names))
    assert [case["id"] for _, case in CASES if not (case["source"] and case["why"])] == []


@pytest.fixture
def scene(case: dict[str, Any], request: pytest.FixtureRequest) -> House:
    """The house that a case is for: the plain one, or one whose rules speak of all of MCP."""
    found: House = request.getfixturevalue("open_house" if case.get("house") == "open" else "house")
    return found


@pytest.mark.parametrize(("case", "era"), in_eras(case for _, case in CASES))
def test_an_attack_is_refused_recorded_and_not_forwarded(case: dict[str, Any], era: str, scene: House) -> None:
    house, must = scene, case["must"]
    since, before = len(house.gateway.records()), house.upstream.bytes
    reply = ask(house, case["send"], era)
    assert reply.status in one_of(must["status"], era), reply
    assert reply.error.get("code") in one_of(must.get("code"), era), reply
    assert house.upstream.bytes - before == must["upstream_bytes"] == 0
    if must["recorded"]:
        (record,) = house.gateway.next_record(since, "deny")
        assert record["reason"] in one_of(must["reason"], era)
        assert record["decision"] == "deny"
        for path, value in must.get("record", {}).items():
            assert at(record, path) == value


def test_the_plain_request_of_which_every_attack_is_a_variant_passes(era: str, house: House) -> None:
    assert_passes({"twin": {}}, era, house)


@pytest.mark.parametrize(("case", "era"), in_eras(case for _, case in CASES if case.get("twin")))
def test_the_harmless_twin_of_an_attack_passes(case: dict[str, Any], era: str, scene: House) -> None:
    assert_passes(case, era, scene)


def assert_passes(case: dict[str, Any], era: str, house: House) -> None:
    before = house.upstream.count
    reply = ask(house, case["twin"], era)
    if (reason := READ_ONLY.get(case.get("id", ""))) is not None:
        assert reply.error["data"]["reason"] == reason
        return
    assert (reply.status, reply.error) == (200, {}), reply
    (seen,) = house.upstream.seen[before:]
    for mark in case.get("twin_must", {}).get("upstream_lacks", []):
        assert mark.encode() not in seen.head + seen.body
