"""Whatever stands in a policy file is either refused with its place or taken by the core; nothing falls between."""

import json
from random import Random
from typing import TYPE_CHECKING

import pytest

from ostiary._core import Snapshot, SnapshotError
from ostiary.policy import Names, read_policy
from ostiary.policy.criteria import CRITERIA, MATCHERS
from ostiary.yamlsource import read_bytes

if TYPE_CHECKING:
    from ostiary.errors import Problem

NAMES = Names(
    people={"alice": "human:corp:alice", "bob": None},
    agents={"bot": "agent:local:bot"},
    services={"batch": "service:local:batch"},
    servers={"notes": frozenset({"echo"})},
    issuers={"corp": "human"},
)
GOOD = """
alice bob bot batch notes notes/echo echo read agent human:corp:x tools/call dev 1 1.0 true null mon mon-fri 10:00 4:20PM
2026-11-22 10.0.0.0/8 ::1 1.2.3.4/8 /srv /srv/ /a/../b https://x.test x.test X.test 1.2.3.4 0x7f.1 256.1 - a..b [ a(b
(?i)x * [[:alpha:]] a{2,1} (?P<n>a)
"""
BARE = "1 1.0 -0 1e400 9007199254740993 0.1 true null ~ [] {} on 2026-11-22"
PATHS = "argument/a argument/a/b argument/~1 claim/x claim/https://x/y grups device or"
WORDS = [*GOOD.split(), "", "é", "a b", "\\", "\\p{Greek}", "\u2028", "x" * 2000]
PLAIN = [*BARE.split(), ""]
NAMED = [*CRITERIA, *CRITERIA, *PATHS.split()]
KEYS = [*sorted(MATCHERS), "after", "before", "timezone", "strats_with"]


class Writer:
    """Writes rules in YAML's flow style, most of them nearly right."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def scalar(self) -> str:
        return json.dumps(self.random.choice(WORDS)) if self.random.random() < 0.8 else self.random.choice(PLAIN)

    def value(self) -> str:
        roll = self.random.random()
        if roll < 0.4:
            return self.scalar()
        if roll < 0.5:
            return "[" + ", ".join(self.scalar() or '""' for _ in range(self.random.randint(0, 3))) + "]"
        keys = dict.fromkeys(self.random.choice(KEYS) for _ in range(self.random.choice([1, 1, 2])))
        return "{" + ", ".join(f"{key}: {self.operand(key)}" for key in keys) + "}"

    def operand(self, key: str) -> str:
        if (key in ("in", "not_in")) is (self.random.random() < 0.95):
            return "[" + ", ".join(self.scalar() or '""' for _ in range(self.random.randint(1, 3))) + "]"
        return self.scalar()

    def rule(self, number: int) -> str:
        leaves = ", ".join(
            "{" + f"{self.random.choice(NAMED)}: {self.value()}" + "}" for _ in range(self.random.choice([1, 1, 2]))
        )
        effect, operator = (
            self.random.choice(["allow", "deny", "deny"]),
            self.random.choice(["and", "or", "not", "nor"]),
        )
        return f"- {{name: r{number}, {effect}: {{{operator}: [{leaves}]}}}}\n"


def snapshot(rules: list[dict[str, object]]) -> bytes:
    whole = {
        "format": 1,
        "partial": True,
        "lockdown": False,
        "issuers": [],
        "people": [],
        "agents": [],
        "services": [],
        "gateway": {"url": "http://g.test", "hosts": [], "origins": [], "refusals": "error"},
        "audit": {"durability": "os", "redact": []},
        "servers": [],
        "policy": {"timezone": "UTC", "rules": rules},
    }
    return json.dumps(whole, allow_nan=False).encode()


def fault_of(data: bytes) -> str | None:
    """The path at which the core refuses a Snapshot, if it does."""
    try:
        Snapshot(data)
    except SnapshotError as error:
        return error.path
    return None


@pytest.mark.parametrize("chunk", range(4))
def test_what_the_reader_takes_the_core_takes(chunk: int) -> None:
    taken = refused = 0
    for seed in range(chunk * 1000, chunk * 1000 + 1000):
        text = Writer(seed).rule(seed)
        problems: list[Problem] = []
        node = read_bytes(text.encode(), "p.yaml", problems)
        rules = [] if node is None or problems else read_policy(node, NAMES, problems)
        if problems:
            assert all(problem.line >= 1 and problem.column >= 1 and problem.message for problem in problems), text
            refused += 1
            continue
        # The core alone compiles patterns and knows which hosts are canonical.
        path = fault_of(snapshot(rules))
        assert path is None or (path.endswith(".value") and ("matches" in text or "host" in text)), f"{path}: {text}"
        taken += path is None
    assert taken > 50
    assert refused > 50
