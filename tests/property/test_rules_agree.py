"""The engine and the oracle agree, on many more cases than anybody would write down."""

import json
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from tests.kit.facts import about, read
from tests.kit.generate import Generator, dump
from tests.kit.oracle import Oracle
from tests.kit.search import TIMES

from ostiary._core import Snapshot

SNAPSHOTS = 1400 * TIMES
FACTS = 24
CHUNKS = 10
AGREED = {"pairs": 0, "allow": 0, "deny": 0, "other": 0, "other allow": 0}


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_engine_decides_as_the_oracle_with_and_without_memory(chunk: int) -> None:
    before = AGREED["pairs"]
    for seed in range(chunk, SNAPSHOTS, CHUNKS):
        generator = Generator(seed)
        text = dump(generator.snapshot())
        snapshot, oracle = Snapshot(text.encode()), Oracle(read(text))
        scoped = '"criterion":"scope"' in text
        for number in range(FACTS):
            made = generator.facts()
            facts = dump(made)
            if scoped and not about(made):
                continue  # what scope could still be obtained is not the oracle's to guess
            expected = oracle.decide(read(facts))
            fresh = json.loads(snapshot.decide(facts))
            told = {name: fresh[name] for name in ("decision", "reason", "rules")}
            assert told == expected, f"seed {seed}, facts {number}: {facts}\n{text}"
            for _ in range(2):
                assert json.loads(snapshot.decide(facts, memory=True)) == fresh, f"seed {seed}, facts {number}: memory"
            AGREED["pairs"] += 1
            AGREED[expected["decision"]] += 1
            if "tool" not in made or "server_request" in made:
                AGREED["other"] += 1
                AGREED["other allow"] += expected["decision"] == "allow"
    assert AGREED["pairs"] - before >= 2 * SNAPSHOTS


NAMED = ("tool", "prompt", "resource_uri", "arguments")


def test_whoever_may_use_something_may_list() -> None:
    seen = 0
    for seed in range(SNAPSHOTS, SNAPSHOTS + SNAPSHOTS // 4):
        generator = Generator(seed)
        snapshot = Snapshot(dump(generator.snapshot()).encode())
        for facts in (generator.facts() for _ in range(FACTS)):
            # A class in the facts stands above the catalogue, which is all that a list knows. What a server asks opens
            # nothing to its client.
            if (
                not about(facts)
                or "class" in facts
                or "server_request" in facts
                or json.loads(snapshot.decide(dump(facts)))["decision"] == "deny"
            ):
                continue
            listing = {name: facts[name] for name in facts if name not in NAMED}
            answer = json.loads(snapshot.decide(dump({**listing, "mcp_method": "tools/list"})))
            assert answer["reason"] in (None, "denied_by_rule"), f"seed {seed}: {dump(facts)}"
            seen += 1
    assert seen > SNAPSHOTS // 4


@pytest.fixture(scope="module", autouse=True)
def _tell(pytestconfig: pytest.Config) -> Iterator[None]:
    yield
    line = (
        f"engine and oracle agree on {AGREED['pairs']} pairs, {AGREED['allow']} of them allowed, memory on and off; "
        f"{AGREED['other']} are no tool calls, {AGREED['other allow']} of these allowed"
    )
    capture = pytestconfig.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture is not None else nullcontext():
        print(f"\n{line}")
