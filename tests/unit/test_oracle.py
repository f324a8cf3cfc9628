"""The oracle of the property tests is itself held to the table of doubt, row by row."""

from pathlib import Path
from typing import Any

import pytest
from tests.kit.facts import read
from tests.kit.oracle import Oracle

TABLE = Path(__file__).resolve().parents[1] / "golden" / "table_of_doubt.json"
CASES = read(TABLE.read_text())
NOTHING_BUT_RULES = {"partial": True, "lockdown": False, "agents": [], "servers": [], "people": []}


@pytest.mark.parametrize("part", range(8))
def test_the_oracle_says_what_the_table_of_doubt_says(part: int) -> None:
    for case in CASES[part::8]:
        oracle = Oracle({**NOTHING_BUT_RULES, "policy": {"timezone": "UTC", "rules": case["rules"]}})
        answer: dict[str, Any] = oracle.decide(case["facts"])
        told = {**answer, "rules": [rule["name"] for rule in answer["rules"]]}
        assert told == case["expect"], case["why"]
