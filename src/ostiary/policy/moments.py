"""Times in rules: hours of the day, days of the week and dates, read into one spelling each."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ostiary.policy.names import Findings, Names, listed, nearest
from ostiary.yamlsource import KIND_WORDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from ostiary.yamlsource import Node

Test = dict[str, object]

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FULL_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_TIME = re.compile(r"([0-9]{1,2})(?::([0-9]{2})(?::([0-9]{2}))?)? ?([AaPp][Mm])?\Z")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2})?)?([Zz]|[-+][0-9]{2}:[0-9]{2})?\Z")


def read_time_of_day(node: Node, names: Names, findings: Findings) -> list[Test]:
    """Return the tests of `time_of_day: {after, before, timezone}`; `after` includes its moment, `before` does not."""
    bounds = _bounds(node, "time_of_day", ("after", "before", "timezone"), _time, findings)
    zone = names.timezone
    if (given := node.get("timezone")) is not None:
        zone = given.text
        if not known_timezone(zone):
            hint = "write a name of the time zone database, as in `Europe/Madrid`, or `UTC`"
            findings.problems.append(given.problem(f"there is no time zone `{zone}`", hint))
    if "after" in bounds and "before" in bounds and bounds["after"] >= bounds["before"]:
        message = f"no moment of a day is after {bounds['after']} and before {bounds['before']}"
        findings.problems.append(node.problem(message, "for a night, write two criteria under `or`"))
    return [{"op": op, "value": value, "timezone": zone} for op, value in bounds.items()]


def read_date(node: Node, names: Names, findings: Findings) -> list[Test]:
    """Return the tests of `date: {after, before}` in UTC; a moment without offset is one of the policy's time zone."""

    def moment(text: str) -> str | None:
        return _date(text, names.timezone)

    bounds = _bounds(node, "date", ("after", "before"), moment, findings)
    if "after" in bounds and "before" in bounds and bounds["after"] >= bounds["before"]:
        message = f"no moment is after {bounds['after']} and before {bounds['before']}"
        findings.problems.append(node.problem(message, "exchange them"))
    return [{"op": op, "value": value} for op, value in bounds.items()]


def read_day_of_week(node: Node, findings: Findings) -> list[Test]:
    """Return the test of `day_of_week`: days, ranges and `*` as text, or a list of them."""
    if node.kind == "list" and not node.items:
        findings.problems.append(node.problem("the list is empty", "name at least one day"))
    found: set[str] = set()
    for item in node.items if node.kind == "list" else (node,):
        if item.kind not in ("string", "number"):
            message = f"`day_of_week` takes days, not {KIND_WORDS[item.kind]}"
            findings.problems.append(item.problem(message, "write `mon-fri`, or `[mon, wed]`"))
            continue
        for part in item.text.split(","):
            days = _days(part.strip().lower())
            if not days:
                hint = nearest(part.strip(), (*DAYS, *_FULL_DAYS)) or f"it is one of {listed(DAYS)}, or 0 (sunday) to 6"
                findings.problems.append(item.problem(f"`{part.strip()}` is no day of the week", hint))
            found.update(days)
    return [{"op": "in", "value": [day for day in DAYS if day in found]}]


def known_timezone(name: str) -> bool:
    """Say whether the time zone database knows `name`."""
    if name == "UTC":  # known even where the machine has no database
        return True
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _bounds(
    node: Node, name: str, known: tuple[str, ...], read: Callable[[str], str | None], findings: Findings
) -> dict[str, str]:
    hint = f"write `{name}: {{after: …, before: …}}`, or one of the two"
    if node.kind != "mapping":
        findings.problems.append(node.problem(f"`{name}` takes a mapping, not {KIND_WORDS[node.kind]}", hint))
        return {}
    found: dict[str, str] = {}
    for entry in node.entries:
        if entry.name not in known:
            problem = entry.problem(f"`{name}` has no `{entry.name}`", nearest(entry.name, known) or hint)
            findings.problems.append(problem)
        elif entry.name != "timezone":
            value = read(entry.node.text) if entry.node.kind == "string" else None
            if value is None:
                example = (
                    "`16:20:00` or `4:20PM`" if name == "time_of_day" else "`2026-11-22` or `2026-11-22T16:20:00Z`"
                )
                message = f"`{entry.node.text}` cannot be read as a `{name}`"
                findings.problems.append(entry.node.problem(message, f"write it as in {example}"))
            else:
                found[entry.name] = value
    if not any(bound in ("after", "before") for bound in (entry.name for entry in node.entries)):
        findings.problems.append(node.problem(f"`{name}` without `after` or `before` says nothing", hint))
    return found


def _time(text: str) -> str | None:
    match = _TIME.match(text)
    if match is None or (match[2] is None and match[4] is None):
        return None
    hour, minute, second = int(match[1]), int(match[2] or 0), int(match[3] or 0)
    if match[4]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if match[4].lower() == "pm" else 0)
    if hour > 23 or minute > 59 or second > 59:
        return None
    return f"{hour:02}:{minute:02}:{second:02}"


def _date(text: str, timezone: str) -> str | None:
    if not _DATE.match(text):
        return None
    try:
        moment = datetime.fromisoformat(text.upper())
        if moment.tzinfo is None:
            known = timezone != "UTC" and known_timezone(timezone)
            moment = moment.replace(tzinfo=ZoneInfo(timezone) if known else UTC)
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _days(text: str) -> tuple[str, ...]:
    if text == "*":
        return DAYS
    first, dash, last = text.partition("-")
    start, end = _day(first.strip()), _day(last.strip()) if dash else _day(first.strip())
    if start is None or end is None:
        return ()
    return tuple(DAYS[(start + step) % 7] for step in range((end - start) % 7 + 1))


def _day(text: str) -> int | None:
    """Return the index of a day, monday first; as a number, sunday is 0."""
    if text in DAYS:
        return DAYS.index(text)
    if text in _FULL_DAYS:
        return _FULL_DAYS.index(text)
    return (int(text) + 6) % 7 if re.fullmatch("[0-6]", text) else None
