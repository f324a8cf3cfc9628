"""What rules can speak of: one table of criteria, and the words for those that are not served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scalars = Literal["text", "any"]
Who = Literal["subject", "actor"]

EQUALITY = ("is", "not", "in", "not_in")
TEXT = (*EQUALITY, "contains", "starts_with", "ends_with", "matches")
ORDER = ("lt", "lte", "gt", "gte")
MEMBERS = ("has", "is", "exclude")

CLASSES = ("read", "query", "update", "admin")
ACTORS = ("human", "service", "agent")
SERVER_REQUESTS = ("sampling/createMessage", "elicitation/create", "roots/list", "ping")

WHO_MATCHERS = frozenset({"is", "sole", "in", "has", "starts_with", "ends_with"})
"""Matchers that, unnegated, name somebody. `sole` is what `is` becomes on a list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One thing that a rule can speak of, and what it can be compared with."""

    name: str
    matchers: tuple[str, ...] = ()
    """Keys of its mapping form. Empty: it has a form of its own (`form`)."""
    path: str = ""
    """What stands after `name/`, for messages; empty where nothing may."""
    form: Literal["tests", "flag", "networks", "time_of_day", "day_of_week", "date"] = "tests"
    scalars: Scalars = "text"
    words: tuple[str, ...] = ()
    """The closed list of values, where there is one."""
    refers: str = ""
    """What kind of name its values are (see `names.resolve`)."""
    members: bool = False
    """Its fact is a list: a bare value means `has`, and `is` means the only element."""
    who: Who | None = None
    """Whom it can name."""


def _table(*criteria: Criterion) -> dict[str, Criterion]:
    return {criterion.name: criterion for criterion in criteria}


CRITERIA = _table(
    Criterion(name="accept", form="flag", who="subject"),
    Criterion(name="reject", form="flag"),
    Criterion(name="authenticated_user", form="flag", who="subject"),
    Criterion(name="user", matchers=TEXT, refers="user", who="subject"),
    Criterion(name="email", matchers=TEXT, who="subject"),
    Criterion(name="domain", matchers=TEXT, who="subject"),
    Criterion(name="groups", matchers=MEMBERS, members=True, who="subject"),
    Criterion(
        name="claim",
        path="NAME",
        matchers=(*MEMBERS, "not", "in", "not_in", *TEXT[4:], *ORDER),
        scalars="any",
        members=True,
        who="subject",
    ),
    Criterion(name="service", matchers=TEXT, refers="service", who="subject"),
    Criterion(name="actor_type", matchers=EQUALITY, words=ACTORS, who="subject"),
    Criterion(name="agent", matchers=TEXT, refers="agent", who="actor"),
    Criterion(name="owner", matchers=TEXT, refers="owner", who="actor"),
    Criterion(name="server", matchers=TEXT, refers="server"),
    Criterion(name="tool", matchers=TEXT, refers="tool"),
    Criterion(name="mcp_tool", matchers=TEXT, refers="mcp_tool"),
    Criterion(name="action", matchers=EQUALITY, words=CLASSES),
    Criterion(name="mcp_method", matchers=TEXT, refers="mcp_method"),
    Criterion(name="resource_uri", matchers=(*TEXT, "host")),
    Criterion(name="prompt", matchers=TEXT),
    Criterion(name="server_request", matchers=TEXT, words=SERVER_REQUESTS),
    Criterion(name="argument", path="PATH", matchers=(*TEXT, *ORDER, "under", "host"), scalars="any"),
    Criterion(name="source_ip", form="networks"),
    Criterion(name="origin", matchers=(*TEXT, "host")),
    Criterion(name="scope", matchers=MEMBERS, members=True),
    Criterion(name="time_of_day", form="time_of_day"),
    Criterion(name="day_of_week", form="day_of_week"),
    Criterion(name="date", form="date"),
)
"""Every criterion of this version. `docs/reference/policy.md` lists the same, held by a test."""

NOT_IN_THIS_VERSION = frozenset(
    {
        *("task", "purpose", "label", "environment"),
        *("acr", "session_age", "device", "http_method", "http_path", "client_certificate"),
        *("invalid_client_certificate", "cors_preflight", "record", "pomerium_routes"),
    }
)
"""Criteria of the language that this version does not serve yet."""

MATCHERS = frozenset(matcher for criterion in CRITERIA.values() for matcher in criterion.matchers)
"""Every matcher of the mapping form."""
