"""Reading the record: joined decisions, the last lines, what is added meanwhile, and nothing that moves the cursor."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from ostiary.audit.read import AuditError, Follower, find_decision, last_records, segments
from ostiary.audit.show import describe, one_line

if TYPE_CHECKING:
    from pathlib import Path

A = "01930b7e-0000-7000-8000-00000000000a"
B = "01930b7e-0000-7000-8000-00000000000b"
C = "01930b7e-0000-7000-8000-00000000000c"


def record(kind: str, ident: str, **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "id": ident, "time": "2026-11-22T10:00:00.000Z", "prev": "0", "hash": ident, **fields}


def write(segment: Path, *records: dict[str, Any], rest: str = "") -> None:
    segment.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in records) + rest)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(
        tmp_path / "00000001.jsonl",
        record("intent", A, decision="allow", tool="notes/echo", args={"quoted": B}, upstream=None, ms=1),
        record("deny", B, decision="deny", reason="no_rule"),
    )
    upstream = {"url": "http://u", "status": 200, "ms": 7, "bytes": 2}
    write(
        tmp_path / "00000002.jsonl",
        record("outcome", A, outcome="ok", upstream=upstream, ms=8),
        record("intent", C, decision="allow"),
        rest='{"kind":"outc',
    )
    (tmp_path / "notes.txt").write_text("not a segment")
    return tmp_path


def test_only_segments_count_in_the_order_of_their_numbers(folder: Path) -> None:
    (folder / "100000000.jsonl").touch()
    assert [path.name for path in segments(folder)] == ["00000001.jsonl", "00000002.jsonl", "100000000.jsonl"]


def test_intent_and_outcome_are_one_object_over_segments(folder: Path) -> None:
    found = find_decision(folder, A)
    assert (found["decision"], found["outcome"], found["upstream"]["status"], found["ms"]) == ("allow", "ok", 200, 8)
    assert found["records"] == [
        {"kind": "intent", "segment": "00000001.jsonl", "index": 0, "hash": A},
        {"kind": "outcome", "segment": "00000002.jsonl", "index": 0, "hash": A},
    ]
    assert not {"prev", "hash"} & found.keys()


def test_a_refusal_is_one_record(folder: Path) -> None:
    found = find_decision(folder, B)
    assert (found["kind"], found["reason"], len(found["records"])) == ("deny", "no_rule", 1)


def test_a_call_without_outcome_is_shown_as_it_is(folder: Path) -> None:
    found = find_decision(folder, C)
    assert found.get("outcome") is None
    assert [part["kind"] for part in found["records"]] == ["intent"]


@pytest.mark.parametrize("ident", ["", "x", A.upper(), A + "0", "01930b7e-0000-7000-8000-0000000000ff", "../../etc"])
def test_an_id_that_is_not_there_is_an_error(folder: Path, ident: str) -> None:
    with pytest.raises(AuditError):
        find_decision(folder, ident)


@pytest.mark.parametrize(("count", "ids"), [(0, []), (1, [C]), (3, [B, A, C]), (99, [A, B, A, C])])
def test_the_last_records_come_oldest_first_without_the_unfinished_line(
    folder: Path, count: int, ids: list[str]
) -> None:
    assert [each["id"] for each in last_records(folder, count)] == ids


def test_following_gives_each_new_record_once_over_segments(folder: Path) -> None:
    follower = Follower(folder)
    assert list(follower.new_records()) == []
    with (folder / "00000002.jsonl").open("a") as file:
        file.write(f'ome","id":"{C}"}}\n')
    write(folder / "00000003.jsonl", record("deny", B))
    assert [(each["kind"], each["id"]) for each in follower.new_records()] == [("outcome", C), ("deny", B)]
    assert list(follower.new_records()) == []


def test_a_line_that_is_no_record_is_named(folder: Path) -> None:
    (folder / "00000002.jsonl").write_text("[]\n")
    with pytest.raises(AuditError, match=r"line 1 of 00000002\.jsonl"):
        last_records(folder, 5)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="absent"):
        last_records(tmp_path / "absent", 5)


def test_a_line_says_what_was_revoked() -> None:
    named = [{"kind": "agent", "value": f"agent:local:{name}", "epoch": 1} for name in "abcde"]
    for count, told in ((1, "revoked agent agent:local:a"), (5, "agent:local:b, agent agent:local:c and 2 more")):
        line = one_line(record("control", A, event="revoked", detail={"revoked": named[:count]})).plain
        assert told in line
    assert "agent:local:a" not in one_line(record("control", A, event="other", detail={"revoked": named})).plain


def test_what_a_caller_wrote_cannot_move_the_cursor(tmp_path: Path) -> None:
    evil = "\x1b[2J\r\n\u202e\u2028x"
    principal = {"type": "human", "id": evil}
    rules = [{"name": "r", "file": "f", "line": 1}]
    one = record("deny", A, principal=principal, tool=evil, decision="deny", args={"a": evil}, rules=rules)
    write(tmp_path / "00000001.jsonl", one)
    console = Console(record=True, width=400, force_terminal=False, file=(tmp_path / "out").open("w"))
    console.print(one_line(one))
    console.print(describe(find_decision(tmp_path, A)))
    text = console.export_text()
    console.file.close()
    assert "r (f:1)" in text
    assert all(char.isprintable() or char == "\n" for char in text)
    assert text.count("\n") == len(text.splitlines())
