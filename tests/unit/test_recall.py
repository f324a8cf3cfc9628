"""A decision of the past, told from its record, its Snapshot, and the policy of today."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from ostiary.audit.read import AuditError
from ostiary.compile import compile as compile_snapshot
from ostiary.config import load
from ostiary.recall import Past, recall
from ostiary.store import Store, StorePath

ID = "01930b7e-0000-7000-8000-000000000001"
CONFIG = """\
gateway: {{listen: 127.0.0.1:8811, url: http://127.0.0.1:8811}}
people: {{alice: {{email: alice@example.com}}}}
servers:
  notes: {{url: http://127.0.0.1:9901/mcp, owner: alice, pins: off, tools: {{echo: {{class: read}}}}}}
policy:
{rules}
"""
DEV = "  - {name: dev, allow: {and: [{groups: dev}, {server: notes}]}}"
NO_ETC = "  - {name: no-etc, deny: {or: [{argument/path: {starts_with: /etc}}]}}"
CLAIM = "  - {name: core, allow: {and: [{claim/team: core}]}}"
RULE = {"name": "dev", "file": "ostiary.yaml", "line": 6, "owner": None}
ALLOWED = {"decision": "allow", "reason": None, "rules": [RULE]}
FACTS = {
    "principal": {"type": "human", "id": "human:corp:alice", "groups": ["dev"]},
    "server": "notes",
    "mcp_method": "tools/call",
    "tool": "echo",
    "class": "read",
}


class House:
    """A configuration with a store and a record, as a gateway leaves them."""

    def __init__(self, folder: Path, rules: str) -> None:
        self.file = folder / "ostiary.yaml"
        self.rules(rules)
        config = load(self.file)
        config.audit_dir.mkdir(parents=True)
        with Store.open(StorePath.from_url(config.store.url, folder), key=None, base=folder) as store:
            self.digest = store.keep_snapshot(compile_snapshot(config, local_keys=()), now=int(time.time()))
        self.segment = config.audit_dir / "00000001.jsonl"

    def rules(self, rules: str) -> None:
        self.file.write_text(CONFIG.format(rules=rules))

    def record(self, **members: Any) -> None:
        record = {
            "id": ID,
            "kind": "intent",
            "time": "2026-11-22T10:00:00.000Z",
            "snapshot": self.digest,
            "principal": FACTS["principal"],
            "tool": "notes/echo",
            "args": {},
            "facts": FACTS,
            "redacted": None,
            "shadow": None,
            "remedy": None,
            "request": {"ip": "192.0.2.7"},
            "token": None,
            **ALLOWED,
            **members,
        }
        self.segment.write_text(json.dumps(record) + "\n")

    def recall(self) -> Past:
        return recall(ID, self.file)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path, f"{DEV}\n{NO_ETC}")


def test_an_untouched_decision_is_reproduced_and_holds_today(house: House) -> None:
    house.record()
    past = house.recall()
    assert (past.replay, past.same, past.then["decision"]) == ("agree", True, "allow")
    assert past.then["rules"] == [{"name": "dev", "file": "ostiary.yaml", "line": 6}]
    assert past.today is not None
    assert past.as_json()["decision"] == "allow"


def test_another_policy_of_today_is_told_and_changes_nothing_of_then(house: House) -> None:
    house.record()
    house.rules("  - {name: ops, allow: {and: [{groups: ops}]}}")
    past = house.recall()
    assert (past.replay, past.same, past.then["decision"]) == ("agree", False, "allow")
    assert past.today is not None
    assert (past.today["reason"], past.today["nearest"][0]["failed"]) == ("no_rule", ["groups: ops"])


def test_rules_of_today_see_what_the_record_holds_beside_the_facts(house: House) -> None:
    house.record(args={"path": "/etc/passwd"})
    house.rules(f"{DEV}\n{NO_ETC}")
    past = house.recall()
    assert past.today is not None
    assert (past.today["reason"], past.same) == ("denied_by_rule", False)


def test_a_record_that_was_changed_is_told(house: House) -> None:
    house.record(decision="deny", reason="no_rule", rules=[])
    past = house.recall()
    assert (past.replay, past.then["decision"]) == ("differ", "deny")


@pytest.mark.parametrize(
    ("members", "remark"),
    [
        ({"snapshot": "0" * 64}, "the Snapshot 000000000000… is not in the store"),
        (
            {"redacted": ["path"], "facts": {**FACTS, "arguments": {"path": {"redacted": True}}}},
            "a rule read arguments that are redacted in the record",
        ),
        (
            {"redacted": ["*"], "facts": {**FACTS, "arguments": {}}},
            "a rule read arguments that are redacted in the record",
        ),
        (
            {"kind": "deny", "decision": "deny", "reason": "token_expired", "facts": None, "rules": []},
            "it was not made by rules, so there is nothing to decide again",
        ),
    ],
)
def test_what_cannot_be_known_is_unknown(house: House, members: dict[str, Any], remark: str) -> None:
    house.record(**members)
    past = house.recall()
    assert past.replay == "unknown"
    assert remark in past.remarks


def test_what_was_redacted_and_not_read_does_not_matter(house: House) -> None:
    house.record(redacted=["secret"], facts={**FACTS, "arguments": {"path": "x"}})
    assert house.recall().replay == "agree"


OPS = "  - {name: ops, allow: {and: [{groups: ops}]}}"
NOT_CORE = "  - {name: not-core, deny: {or: [{claim/team: {not: core}}]}}"
NO_ORIGIN = "  - {name: no-origin, mode: shadow, deny: {or: [{origin: 'null'}]}}"


@pytest.mark.parametrize(
    ("rules", "same"),
    [
        ([OPS, CLAIM], None),  # an allow that may be met, and nothing else allows
        ([DEV, NOT_CORE], None),  # a deny that may be met
        ([DEV, CLAIM], True),  # allowed either way
        ([OPS, NOT_CORE], False),  # refused either way
        ([DEV, NO_ORIGIN], True),  # shadow rules decide nothing
    ],
)
def test_todays_decision_is_told_only_if_no_unrecorded_fact_could_turn_it(
    house: House, rules: list[str], same: bool | None
) -> None:
    house.record()
    house.rules("\n".join(rules))
    past = house.recall()
    assert (past.replay, past.same, past.today is None) == ("agree", same, same is None)
    told = "today's rules also read claim/team, which the record does not hold" in past.remarks
    assert told is (same is None)


@pytest.mark.parametrize(("redacted", "same"), [(["other"], True), (["path"], None), (["path/x"], None), (["*"], None)])
def test_redacted_arguments_that_todays_rules_read_leave_today_open(
    house: House, redacted: list[str], same: bool | None
) -> None:
    house.record(redacted=redacted)
    assert house.recall().same is same


def test_prompts_and_resources_are_told_again_like_tools(house: House) -> None:
    files = "  - {name: files, allow: {and: [{groups: dev}, {resource_uri: {starts_with: 'file:///srv/'}}]}}"
    prompts = "  - {name: prompts, allow: {and: [{groups: dev}, {prompt: review}, {argument/style: short}]}}"
    nobody = {"decision": "deny", "reason": "no_rule", "rules": []}
    common = {name: FACTS[name] for name in ("principal", "server", "class")}
    read = {**common, "mcp_method": "resources/read", "resource_uri": "file:///srv/a"}
    house.record(facts=read, tool=None, args=None, **nobody)
    house.rules(f"{files}\n{prompts}")
    past = house.recall()
    assert past.today is not None
    assert (past.replay, past.today["decision"]) == ("agree", "allow")
    get = {**common, "mcp_method": "prompts/get", "prompt": "review"}
    for style, decision in (("short", "allow"), ("long", "deny")):
        house.record(facts=get, tool=None, args={"style": style}, **nobody)
        past = house.recall()
        assert past.today is not None
        assert (past.replay, past.today["decision"]) == ("agree", decision)


def test_facts_that_this_version_cannot_decide_on_leave_it_open(house: House) -> None:
    facts = {name: FACTS[name] for name in ("principal", "server")}
    house.record(facts={**facts, "mcp_method": "prompts/get"}, decision="deny", reason="unknown_method", rules=[])
    past = house.recall()
    assert (past.replay, past.today) == ("unknown", None)
    assert [remark for remark in past.remarks if "prompt: is missing" in remark]


def test_an_unknown_decision_is_an_error(house: House) -> None:
    house.record()
    with pytest.raises(AuditError):
        recall(ID.replace("1", "2"), house.file)
