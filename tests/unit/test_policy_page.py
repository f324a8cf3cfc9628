"""The page on the rule language is held to the code: every criterion, matcher, refusal and example."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ostiary.policy import Names, read_policy
from ostiary.policy.criteria import CRITERIA, EQUALITY, MATCHERS, MEMBERS, NOT_IN_THIS_VERSION, ORDER, TEXT
from ostiary.yamlsource import read_bytes

if TYPE_CHECKING:
    from ostiary.errors import Problem

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "policy.md").read_text()
ROW = re.compile(r"^\| `(\w+)` \| .* \| ([^|]*) ?\|$", re.MULTILINE)
GROUPS = {"equality": EQUALITY, "text": TEXT, "members": MEMBERS, "order": ORDER}
NAMES = Names(
    people={"alice": "human:corp:alice"},
    agents={"release-bot": "agent:local:release-bot"},
    services={},
    servers={"notes": frozenset({"echo"})},
    issuers={"corp": "human"},
)


def section(heading: str) -> str:
    return re.split(r"^## ", PAGE.split(f"\n## {heading}\n", 1)[1], flags=re.MULTILINE)[0]


def test_the_table_lists_every_criterion_with_its_matchers() -> None:
    told = {}
    for name, cell in ROW.findall(section("Criteria")):
        words = [word.strip().strip("`") for word in cell.split(",") if word.strip()]
        told[name] = {matcher for word in words for matcher in GROUPS.get(word, (word,))}
    assert told == {name: set(criterion.matchers) for name, criterion in CRITERIA.items()}


def test_every_matcher_is_explained() -> None:
    text = section("Criteria").split("**Matchers.**", 1)[1]
    explained = set(re.findall(r"`(\w+)[`:]", text))
    assert explained >= MATCHERS


def test_what_is_not_in_this_version_is_listed() -> None:
    told = PAGE.split("refused with these words: ", 1)[1].split("\n\n", 1)[0]
    assert set(re.findall(r"`(\w+)`", told)) == NOT_IN_THIS_VERSION


EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_loads(example: str) -> None:
    problems: list[Problem] = []
    root = read_bytes(example.encode(), "example.yaml", problems)
    assert root is not None
    policy = root.get("policy")
    assert policy is not None
    rules = read_policy(policy, NAMES, problems)
    assert problems == []
    assert len(rules) == len(policy.items)


@pytest.mark.parametrize("value", re.findall(r"^\| `(?:time_of_day|date)` \| `(\{.*?\})`", PAGE, re.MULTILINE))
def test_times_in_the_table_can_be_read(value: str) -> None:
    name = "time_of_day" if "timezone" in value else "date"
    problems: list[Problem] = []
    root = read_bytes(f"- {{name: r, deny: {{or: [{{{name}: {value}}}]}}}}".encode(), "cell.yaml", problems)
    assert root is not None
    read_policy(root, NAMES, problems)
    assert problems == []
