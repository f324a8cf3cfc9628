"""The engine and the oracle agree, on many more cases than anybody would write down."""

import json
import os

import pytest
from tests.kit.facts import read
from tests.kit.generate import Generator, dump
from tests.kit.oracle import Oracle

from ostiary._core import Snapshot

SNAPSHOTS = int(os.environ.get("OSTIARY_PROPERTY_SNAPSHOTS", "1000"))
FACTS = 24
CHUNKS = 10
AGREED = {"pairs": 0, "allow": 0, "deny": 0}


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_engine_decides_as_the_oracle_with_and_without_memory(chunk: int) -> None:
    for seed in range(chunk, SNAPSHOTS, CHUNKS):
        generator = Generator(seed)
        text = dump(generator.snapshot())
        snapshot, oracle = Snapshot(text.encode()), Oracle(read(text))
        scoped = '"criterion":"scope"' in text
        for number in range(FACTS):
            facts = dump(generator.facts())
            if scoped and '"tool":' not in facts:
                continue  # what scope could still be obtained is not the oracle's to guess
            expected = oracle.decide(read(facts))
            fresh = json.loads(snapshot.decide(facts))
            told = {name: fresh[name] for name in ("decision", "reason", "rules")}
            assert told == expected, f"seed {seed}, facts {number}: {facts}\n{text}"
            for _ in range(2):
                assert json.loads(snapshot.decide(facts, memory=True)) == fresh, f"seed {seed}, facts {number}: memory"
            AGREED["pairs"] += 1
            AGREED[expected["decision"]] += 1


@pytest.fixture(scope="module", autouse=True)
def _tell(pytestconfig: pytest.Config):  # type: ignore[no-untyped-def]
    yield
    line = f"engine and oracle agree on {AGREED['pairs']} pairs, {AGREED['allow']} of them allowed, memory on and off"
    reporter = pytestconfig.pluginmanager.get_plugin("terminalreporter")
    reporter.ensure_newline()
    reporter.write_line(line)
