"""Attacks on the framing of messages, as bytes on a connection: `raw/`, told of in README.md."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.kit.attack import raw_bytes
from tests.kit.house import House
from tests.kit.wire import Reply, wait_until

CASES = json.loads((Path(__file__).parent / "raw" / "http1.json").read_text())
BY_ID = {case["id"]: case for case in CASES}


def exchange(house: House, raw: Any, era: str, answers: int) -> list[Reply]:
    with house.gateway.wire() as wire:
        wire.send(raw_bytes(raw, era=era, house=house))
        replies = [wire.read() for _ in range(answers)]
        if replies[-1].header("connection") == "close":
            assert wire.closed()
    return replies


def told(house: House, since: int, reasons: list[str]) -> bool:
    """Whether the refusals are recorded: one by one, or gathered, where attacks before this one came thick and fast."""
    new = [each for each in house.gateway.records()[since:] if each["kind"] == "deny"]
    singly = [each["reason"] for each in new if each["count"] is None]
    gathered = {each["reason"] for each in new if each["count"] is not None}
    return singly[-len(reasons) :] == reasons or (bool(gathered) and set(reasons) <= gathered | set(singly))


def test_every_case_has_an_id_of_its_own_and_a_source() -> None:
    assert len(BY_ID) == len(CASES) > 100
    assert [case["id"] for case in CASES if not (case["source"] and case["why"])] == []


@pytest.mark.parametrize("name", BY_ID)
def test_bytes_with_two_readings_are_refused_recorded_and_not_forwarded(name: str, house: House, era: str) -> None:
    case, must = BY_ID[name], BY_ID[name]["must"]
    since, before = len(house.gateway.records()), house.upstream.count
    replies = exchange(house, case["raw"], era, len(must["answers"]))
    assert [reply.status for reply in replies] == must["answers"]
    assert house.upstream.count - before == must["upstream_calls"]
    wait_until(lambda: told(house, since, must["reasons"]), what=f"the record of {must['reasons']}")
    refused = replies[-1]
    if must["reasons"][-1] == "header":
        assert refused.header("connection") == "close"
        assert refused.body.endswith(b".\n")
        assert refused.body.count(b"\n") == 1


@pytest.mark.parametrize("name", [name for name, case in BY_ID.items() if "twin" in case])
def test_the_nearest_bytes_with_one_reading_pass(name: str, house: House, era: str) -> None:
    (reply,) = exchange(house, BY_ID[name]["twin"], era, 1)
    assert (reply.status, reply.error) == (200, {})
