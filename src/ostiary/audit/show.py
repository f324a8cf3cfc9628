"""Lays records out for people. Whatever came from a caller is shown without control characters."""

from __future__ import annotations

import json
from typing import Any

from rich.table import Table
from rich.text import Text

_STYLES = {"allow": "green", "deny": "red", "ask": "yellow"}


def one_line(record: dict[str, Any], *, with_id: bool = True) -> Text:
    """Return one record as one line: when, what kind, what became of it, who, what, and why."""
    kind = str(record["kind"])
    verdict = str((record.get("outcome") if kind == "outcome" else record.get("decision")) or "")
    style = {**_STYLES, "ok": "dim"}.get(verdict, "yellow")
    parts: list[tuple[str, str]] = [
        (_clean(str(record.get("time", ""))[:19]), "dim"),
        (f"{kind:<8}", "dim"),
        (f"{_clean(verdict):<5}", style),
        (_who(record), ""),
        (_what(record), "bold"),
        (_why(record), ""),
    ]
    if with_id:
        parts.append((_clean(str(record.get("id", ""))), "dim"))
    return Text(" ").join(Text(text, style=look) for text, look in parts if text)


def describe(decision: dict[str, Any]) -> Table:
    """Return one decision, as `find_decision` gives it, as a table of what matters."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    verdict = str(decision.get("decision") or decision["kind"])
    reason = f" ({decision['reason']})" if decision.get("reason") else ""
    table.add_row("decision", Text(_clean(verdict + reason), style=f"bold {_STYLES.get(verdict, 'cyan')}"))
    rows: list[tuple[str, Any]] = [
        ("id", decision.get("id")),
        ("time", decision.get("time")),
        ("principal", _who(decision)),
        ("what", _what(decision)),
        ("class", decision.get("action")),
        ("arguments", decision.get("args")),
        ("rules", [_rule(rule) for rule in decision.get("rules") or []]),
        ("shadow", decision.get("shadow")),
        ("remedy", decision.get("remedy")),
        ("token", decision.get("token")),
        ("request", decision.get("request")),
        ("upstream", decision.get("upstream")),
        ("outcome", decision.get("outcome")),
        ("by", decision.get("by")),
        ("detail", decision.get("detail")),
        ("snapshot", decision.get("snapshot")),
        ("records", [f"{part['kind']} {part['segment']}:{part['index'] + 1}" for part in decision["records"]]),
    ]
    for name, value in rows:
        if value not in (None, "", [], {}):
            table.add_row(name, Text(_plain(value)))
    return table


def _who(record: dict[str, Any]) -> str:
    principal = record.get("principal") or {}
    acting = record.get("agent")
    by = record.get("by") or {}
    who = principal.get("id") or by.get("login") or by.get("id") or "-"
    return _clean(f"{who} via {acting}" if acting and acting != who else str(who))


def _what(record: dict[str, Any]) -> str:
    tool, server = record.get("tool"), record.get("server")
    if tool and server and "/" not in str(tool):
        tool = f"{server}/{tool}"
    what = str(tool or record.get("event") or record.get("mcp_method") or server or "")
    return _clean(" ".join([what, *_revoked(record)]))


def _revoked(record: dict[str, Any]) -> list[str]:
    """Return what a revocation named, the first of many."""
    named = (record.get("detail") or {}).get("revoked") if record.get("event") == "revoked" else None
    if not isinstance(named, list):
        return []
    told = ", ".join(f"{each.get('kind')} {each.get('value')}" for each in named[:3])
    return [told + (f" and {len(named) - 3} more" if len(named) > 3 else "")]


def _why(record: dict[str, Any]) -> str:
    parts = [str(record["reason"])] if record.get("reason") else []
    parts += [_rule(rule) for rule in record.get("rules") or []]
    return _clean(", ".join(parts))


def _rule(rule: dict[str, Any]) -> str:
    return f"{rule.get('name')} ({rule.get('file')}:{rule.get('line')})"


def _plain(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return _clean(", ".join(value))
    return _clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _clean(text: str) -> str:
    """Replace what could move the cursor, colour the terminal or turn the direction of text."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
