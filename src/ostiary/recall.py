"""Tells a decision of the past again: what it was, whether it can be reproduced, and what it would be today.

The record holds the facts that the rules of then could read, and names the Snapshot that decided; the store keeps
Snapshots by digest. So the same code decides once more, on the same facts. What was redacted is not guessed at: where
a rule read it, the answer is `unknown`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from ostiary import config as configuration
from ostiary._core import Snapshot
from ostiary.audit.read import find_decision
from ostiary.compile import compile as compile_snapshot
from ostiary.policy.explanation import REASONS
from ostiary.store import Store, StorePath

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ostiary.config import Config

Json = dict[str, Any]

HIDDEN: Json = {"redacted": True}
"""What stands in recorded facts for an argument that was taken out."""
Replay = Literal["agree", "differ", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A decision as it was made, replayed under its own Snapshot, and made again under today's configuration."""

    id: str
    time: str
    then: Json
    """The answer of then; `nearest` is that of the replay, where it agrees."""
    replay: Replay
    today: Json | None
    """None where it cannot be told."""
    same: bool | None
    """Whether today's decision is that of then; None where it cannot be told."""
    remarks: tuple[str, ...]

    def as_json(self) -> Json:
        """Return the whole story as one object."""
        return {
            "id": self.id,
            "time": self.time,
            **self.then,
            "replay": self.replay,
            "today": self.today,
            "same": self.same,
            "remarks": list(self.remarks),
        }


def recall(decision: str, config: Path) -> Past:
    """Tell the decision with this id. Raises `ConfigError`, `AuditError` or `StoreError`."""
    loaded = configuration.load(config)
    record = find_decision(loaded.audit_dir, decision)
    remarks: list[str] = []
    facts = _facts(record, remarks)
    with Store.open_public(StorePath.from_url(loaded.store.url, loaded.folder)) as store:
        kept = None if facts is None else store.snapshot(str(record["snapshot"]))
        locked = store.lockdown() is not None
    then: Json = {**{name: record.get(name) for name in ("decision", "reason", "shadow", "remedy")}, "nearest": []}
    then["rules"] = [_rule(rule) for rule in record.get("rules") or []]
    again = _again(record, facts, kept, remarks)
    replay: Replay = "unknown"
    if again is not None:
        replay = "agree" if _verdict(again) == _verdict(then) else "differ"
        if replay == "agree":
            then["nearest"] = again["nearest"]
    remarks.append(_told(replay))
    today = None if facts is None else _today(loaded, facts, record, locked=locked, remarks=remarks)
    same = None if today is None else bool(today["decision"] == then["decision"])
    if same is not None:
        remarks.append("today's policy decides the same" if same else "today's policy decides otherwise")
    return Past(
        id=decision,
        time=str(record["time"]),
        then=then,
        replay=replay,
        today=today,
        same=same,
        remarks=tuple(remarks),
    )


def _facts(record: Mapping[str, Any], remarks: list[str]) -> Json | None:
    """Return the facts of the decision, or None after saying why they cannot be used."""
    facts = record.get("facts")
    if not isinstance(facts, dict) or (record.get("reason") or "no_rule") not in REASONS:
        remarks.append("it was not made by rules, so there is nothing to decide again")
        return None
    return facts


def _again(record: Mapping[str, Any], facts: Json | None, kept: bytes | None, remarks: list[str]) -> Json | None:
    """Return the answer of the Snapshot of then, or None after saying why there is none."""
    if facts is None:
        return None
    if kept is None:
        remarks.append(f"the Snapshot {str(record['snapshot'])[:12]}… is not in the store")
        return None
    if record.get("redacted") and _hidden(facts.get("arguments")):
        remarks.append("a rule read arguments that are redacted in the record")
        return None
    return _decide(kept, facts, remarks)


def _hidden(value: object) -> bool:
    """Say whether something was taken out of arguments that rules read."""
    if isinstance(value, dict):
        return value in (HIDDEN, {}) or any(_hidden(item) for item in value.values())
    return isinstance(value, list) and any(_hidden(item) for item in value)


def _decide(snapshot: bytes, facts: Json, remarks: list[str]) -> Json | None:
    """Return the answer, or None after saying why there is none: an earlier version recorded fewer facts."""
    try:
        answer: Json = json.loads(Snapshot(snapshot).decide(json.dumps(facts)))
    except ValueError as error:
        remark = f"this version cannot decide on its facts: {error}"
        if remark not in remarks:
            remarks.append(remark)
        return None
    return answer


def _rule(rule: Mapping[str, Any]) -> Json:
    return {name: rule[name] for name in ("name", "file", "line")}


def _verdict(answer: Mapping[str, Any]) -> object:
    return answer["decision"], answer["reason"], [_rule(rule) for rule in answer["rules"]]


def _told(replay: Replay) -> str:
    return {
        "agree": "decided again on the same facts and Snapshot: the same answer",
        "differ": "decided again on the same facts and Snapshot: another answer; the record or the store was changed",
        "unknown": "it cannot be decided again",
    }[replay]


def _whole(facts: Json, record: Mapping[str, Any]) -> Json:
    """Return `facts` with everything else that the record knows: rules of today may read other facts."""
    whole = dict(facts)
    principal = record.get("principal") or {}
    known = {name: principal[name] for name in ("email", "groups", "owner") if principal.get(name) is not None}
    whole["principal"] = {**facts["principal"], **known}
    takes = facts.get("tool") is not None or facts["mcp_method"] == "prompts/get" or "server_request" in facts
    if takes and record.get("args") is not None:
        whole["arguments"] = record["args"]
    for name, values in (("token", _scope(record)), ("request", _request(record))):
        if values:
            whole[name] = {**values, **(facts.get(name) or {})}
    whole.setdefault("time", record["time"])
    return whole


def _scope(record: Mapping[str, Any]) -> Json:
    token = record.get("token") or {}
    return {name: token[name] for name in ("scope", "client_id") if token.get(name) is not None}


def _request(record: Mapping[str, Any]) -> Json:
    request = record.get("request") or {}
    return {name: request[name] for name in ("ip", "method", "path", "user_agent") if request.get(name) is not None}


def _today(config: Config, facts: Json, record: Mapping[str, Any], *, locked: bool, remarks: list[str]) -> Json | None:
    """Return what today's policy decides, or None after saying which facts it would take to know.

    A rule that reads what was not recorded may be met or not. That leaves the decision open only where such an allow
    could turn a refusal for want of a rule, or such a deny an allow.
    """
    open_rules = [rule for rule in config.rules if next(_unrecorded(rule, facts, record), None) is not None]
    whole = _whole(facts, record)
    sure = replace(config, rules=tuple(rule for rule in config.rules if rule not in open_rules))
    answer = _decide(compile_snapshot(sure, local_keys=(), lockdown=locked), whole, remarks)
    if answer is None:
        return None
    turning = {None: "deny", "no_rule": "allow"}.get(answer["reason"])
    if any(rule["effect"] == turning and rule["mode"] == "enforce" for rule in open_rules):
        unread = sorted({fact for rule in open_rules for fact in _unrecorded(rule, facts, record)})
        remarks.append(f"today's rules also read {', '.join(unread)}, which the record does not hold")
        return None
    return _decide(compile_snapshot(config, local_keys=(), lockdown=locked), whole, remarks)


def _unrecorded(rule: Mapping[str, Any], facts: Json, record: Mapping[str, Any]) -> Iterator[str]:
    """Yield what `rule` reads and neither `facts` nor the record holds."""
    claims = facts["principal"].get("claims") or {}
    human = facts["principal"]["type"] == "human"
    for leaf in (leaf for branch in rule["any"] for leaf in branch["of"]):
        criterion, path = leaf["criterion"], leaf["path"]
        if criterion == "claim" and human and path not in claims and path.partition("/")[0] not in claims:
            yield f"claim/{path}"
        elif criterion == "origin" and "origin" not in (facts.get("request") or {}):
            yield "origin"
        elif criterion == "argument" and any(_meet(path, hidden) for hidden in record.get("redacted") or ()):
            yield f"argument/{path}"


def _meet(path: str, hidden: str) -> bool:
    """Say whether a path of a rule leads to, through or above what was taken out."""
    return hidden == "*" or f"{path}/".startswith(f"{hidden}/") or f"{hidden}/".startswith(f"{path}/")
