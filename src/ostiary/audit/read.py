"""Reads segments of the record: one JSON object a line, oldest first, in files `00000001.jsonl` and so on."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ostiary.errors import OperationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEGMENT: Final = re.compile(r"[0-9]{8,}\.jsonl\Z")


class AuditError(OperationError):
    """The record cannot be read as asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a record stands: the file's name, and its line from 0."""

    segment: str
    index: int


def segments(folder: Path) -> list[Path]:
    """Return the segments of `folder` in the order of the chain. Raises `AuditError` if there is no such folder."""
    try:
        names = [path for path in folder.iterdir() if SEGMENT.match(path.name)]
    except OSError as error:
        raise AuditError(f"there is no record in {folder}: {error.strerror}") from error
    return sorted(names, key=lambda path: int(path.stem))


def lines(segment: Path) -> Iterator[tuple[Place, bytes]]:
    """Yield the complete lines; one that is still being written, at the very end, is left out."""
    with segment.open("rb") as file:
        for index, line in enumerate(file):
            if not line.endswith(b"\n"):
                return
            yield Place(segment=segment.name, index=index), line


def parse(place: Place, line: bytes) -> dict[str, Any]:
    """Return the record in `line`. Raises `AuditError` if it is none."""
    try:
        record = json.loads(line)
        if isinstance(record, dict) and isinstance(record.get("kind"), str):
            return record
    except ValueError:
        pass
    raise AuditError(
        f"line {place.index + 1} of {place.segment} is no record", hint="`ostiary audit verify` says what is wrong"
    )


def last_records(folder: Path, count: int) -> list[dict[str, Any]]:
    """Return the last `count` records, the oldest of them first."""
    found: list[dict[str, Any]] = []
    for segment in reversed(segments(folder)):
        if len(found) >= count:
            break
        tail = list(lines(segment))[-(count - len(found)) :]
        found = [parse(place, line) for place, line in tail] + found
    return found


class Follower:
    """Yields what is appended to a folder after the follower was made, over the change of segments."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Of each segment: bytes and lines that are behind us.
        self._behind = {path.name: _complete(path) for path in segments(folder)}

    def new_records(self) -> Iterator[dict[str, Any]]:
        """Yield the records that are there now and were not before."""
        for segment in segments(self._folder):
            size, count = self._behind.get(segment.name, (0, 0))
            with segment.open("rb") as file:
                file.seek(size)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    size, count = size + len(line), count + 1
                    self._behind[segment.name] = size, count
                    yield parse(Place(segment=segment.name, index=count - 1), line)


def _complete(segment: Path) -> tuple[int, int]:
    sizes = [len(line) for _, line in lines(segment)]
    return sum(sizes), len(sizes)


def find_decision(folder: Path, decision: str) -> dict[str, Any]:
    """Return one object for a decision: the intent and its outcome joined, or the one record that there is.

    `records` lists where its parts stand. `outcome` is null while a call still runs (or if the gateway died then).
    Raises `AuditError` if there is none.
    """
    if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", decision):
        raise AuditError(
            f"{decision!r} is no decision id",
            hint="it looks like 01930b7e-0000-7000-8000-000000000000; `ostiary audit tail` shows ids",
        )
    needle = decision.encode()
    parts: list[tuple[Place, dict[str, Any]]] = []
    # From the newest segment back, until the record that opens it: an intent comes before its outcome.
    for segment in reversed(segments(folder)):
        here = [(place, parse(place, line)) for place, line in lines(segment) if needle in line]
        parts = [(place, record) for place, record in here if record.get("id") == decision] + parts
        if any(record["kind"] != "outcome" for _, record in parts):
            break
    if not parts:
        raise AuditError(f"there is no decision {decision} in {folder}", hint="`ostiary audit tail` shows ids")
    return _join(parts)


def _join(parts: list[tuple[Place, dict[str, Any]]]) -> dict[str, Any]:
    joined = {name: value for name, value in parts[0][1].items() if name not in {"prev", "hash"}}
    for _, record in parts[1:]:
        if record["kind"] == "outcome":
            changed = {name: record.get(name) for name in ("upstream", "outcome", "ms")}
            joined.update(changed, ended=record.get("time"))
    joined["records"] = [
        {"kind": record["kind"], "segment": place.segment, "index": place.index, "hash": record.get("hash")}
        for place, record in parts
    ]
    return joined
