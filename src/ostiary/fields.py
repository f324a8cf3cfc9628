"""The types of single values in the configuration: names, durations, sizes, references to secrets.

Each turns what stands in the file into the one form that the rest of the product uses, and says what to write where
it cannot. Addresses and URLs have a module of their own, `ostiary.webfields`.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema
from pydantic_core import PydanticCustomError

from ostiary.yamlsource import switch_of

ActionClass = Literal["read", "query", "update", "admin"]
PrincipalType = Literal["human", "service", "agent"]

CLASSES = ("read", "query", "update", "admin")
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
RESERVED_ISSUERS = ("local", "client")
MAX_TTL_S = 3600
MAX_GRANT_S = 90 * 24 * 3600

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_DURATION = re.compile(r"(-?[0-9]{1,8})(s|m|h|d)\Z")
_DURATION_PATTERN = "^[1-9][0-9]*(s|m|h|d)$"
_SIZE = re.compile(r"([1-9][0-9]{0,11})(B|KiB|MiB|GiB)\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SWITCH_WORD = {"type": "string", "pattern": "^([oO][nN]|[oO][fF][fF])$"}
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\Z")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Section(BaseModel):
    """A section of the file: exactly its keys, and nothing that changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


def refuse(message: str, hint: str = "", kind: str = "ostiary") -> NoReturn:
    """Refuse a value; `kind` is `ostiary`, `secret` (the value is not to be shown) or `later`."""
    raise PydanticCustomError(kind, "{message}", {"message": message, "hint": hint})


def text_of(value: Any, what: str) -> str:
    """Return `value` if it is text that holds something; `what` it should be is for the message."""
    if isinstance(value, str) and value.strip():
        return value
    refuse(f"{describe(value)} is not {what}")


def describe(value: Any) -> str:
    """Return what a value is, for messages: text and numbers as they are, the rest by its kind."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f"`{value[:80]}`" if value else "empty text"
    if value is None:
        return "an empty value"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    return f"the number {str(value)[:40]}"


def _name(value: Any) -> str:
    text = text_of(value, "a name")
    if _NAME.match(text) is None:
        form = "use letters, digits, `.`, `_` and `-`, at most 64, a letter or digit first"
        instead = {"*": "there are no wildcards: write each name", "@": f"a name is no address: {form}"}
        hint = next((hint for sign, hint in instead.items() if sign in text), form)
        refuse(f"`{text[:80]}` is not a name", hint)
    return text


def _word(value: Any) -> str:
    if isinstance(value, (bool, dict, list, tuple)) or value is None:
        refuse(f"expected text, found {describe(value)}")
    if not isinstance(value, str):
        refuse(f"expected text, found {describe(value)}", "put it in quotes")
    if not value.strip():
        refuse("the text is empty")
    if CONTROL.search(value):
        refuse("the text holds a control character")
    if len(value) > 1024:
        refuse("the text is longer than 1024 characters")
    return value


def _duration(value: Any) -> int:
    hint = "write a number and a unit, as in `60s`, `10m`, `1h` or `30d`"
    number = value if isinstance(value, int) and not isinstance(value, bool) else None
    match = None if number is not None else _DURATION.match(text_of(value, "a duration"))
    if number is not None and number > 0:
        refuse(f"{describe(value)} has no unit", f"write `{value}s`, `{value}m`, `{value}h` or `{value}d`")
    if number is not None or (match is not None and int(match[1]) <= 0):
        refuse(f"a duration must be longer than 0, and {describe(value)} is not", hint)
    if match is None or match[1].startswith("0"):
        refuse(f"{describe(value)} is not a duration", hint)
    return int(match[1]) * _SECONDS[match[2]]


def _email(value: Any) -> str:
    word = _word(value)
    if _EMAIL.match(word) is None:
        refuse(f"`{word[:80]}` is not an e-mail address", "write it as in `alice@example.com`")
    return word


def is_duration(text: str) -> bool:
    """Say whether `text` is written as a duration, of whatever length."""
    return _DURATION.match(text) is not None


def _ttl(value: Any) -> int:
    seconds = _duration(value)
    if seconds > MAX_TTL_S:
        refuse(f"{describe(value)} is too long for a token", "at most `60m`")
    return seconds


def _timeout(value: Any) -> int:
    seconds = _duration(value)
    if seconds > MAX_TTL_S:
        refuse(f"{describe(value)} is too long to wait for an answer", "at most `1h`")
    return seconds


def _size(value: Any) -> int:
    hint = "write a number and a unit, as in `512KiB` or `16MiB`"
    if isinstance(value, int) and not isinstance(value, bool):
        refuse(f"{describe(value)} has no unit", hint)
    match = _SIZE.match(text_of(value, "a size"))
    if match is None:
        refuse(f"{describe(value)} is not a size", hint)
    size = int(match[1]) * _BYTES[match[2]]
    if not 1024 <= size <= 1024**3:
        refuse(f"{describe(value)} is out of bounds", "from `1KiB` to `1GiB`")
    return size


def is_reference(text: str) -> bool:
    """Say whether `text` names the place of a secret, in one of the ways of the design, and is none itself."""
    kind, _, name = text.partition(":")
    names = {"env": _ENVIRONMENT_NAME, "store": _NAME}
    return bool(names[kind].match(name)) if kind in names else kind == "file" and _is_path(name)


def _is_path(name: str) -> bool:
    return bool(name.strip()) and not CONTROL.search(name)


def _secret(value: Any) -> str:
    hint = "write `env:NAME` or `file:PATH`"
    if not isinstance(value, str):
        refuse("a secret must not be written here", hint, "secret")
    kind, _, name = value.partition(":")
    if kind == "env" and _ENVIRONMENT_NAME.match(name):
        return value
    if kind == "file" and _is_path(name):
        return value
    if kind == "store":
        refuse("`store:` references are not in this version", hint, "later")
    if kind in {"env", "file"}:
        refuse(f"`{kind}:` is not followed by a name", hint)
    refuse("a secret must not be written here", hint, "secret")


def _pem_source(value: Any) -> str:
    hint = "write the path of a PEM file, or `env:NAME`"
    if isinstance(value, str) and ("-----BEGIN" in value or "\n" in value):
        refuse("a certificate or key must not be written here", hint, "secret")
    text = _word(value)
    return _secret(text) if text.startswith(("env:", "file:", "store:")) else text


def _store_url(value: Any) -> str:
    text = text_of(value, "the URL of a store")
    hint = "write `sqlite:///var/ostiary.db`"
    if text.startswith(("postgresql:", "postgresql+", "postgres:")):
        refuse("PostgreSQL is not in this version", hint, "secret" if "@" in text else "later")
    path = text.removeprefix("sqlite:///")
    if path == text or not path or path == ":memory:" or path.endswith("/") or any(c in path for c in "?#%"):
        refuse("the store must be an SQLite file", hint, "secret" if "@" in text else "ostiary")
    return text


def _algorithm(value: Any) -> str:
    if isinstance(value, str) and (value.lower() == "none" or value.upper().startswith("HS")):
        why = (
            "accepts tokens that nobody signed"
            if value.lower() == "none"
            else "lets whoever can check a token make one"
        )
        refuse(f"`{value[:20]}` {why}", f"use one of {', '.join(ALGORITHMS)}")
    if value not in ALGORITHMS:
        refuse(f"{describe(value)} is not an algorithm of this version", f"use one of {', '.join(ALGORITHMS)}")
    return str(value)


def _direct(value: Any) -> bool | tuple[str, ...]:
    switched = switch_of(value)
    if switched is not None:
        return switched
    if isinstance(value, tuple) and all(isinstance(item, str) and item.strip() for item in value):
        return value
    refuse(f"{describe(value)} does not say who acts in person", "write `true`, `false` or a list of client ids")


def _words(value: Any) -> tuple[str, ...]:
    """Read one word or a list of words."""
    items = value if isinstance(value, tuple) else (value,)
    if not items:
        refuse("the list is empty")
    return tuple(_word(item) for item in items)


def _pins(value: Any) -> str:
    if switch_of(value) is False:
        return "off"
    if value == "required":
        refuse("`required` is not in this version", "write `pins: off`", "later")
    refuse(f"{describe(value)} is not a way to pin tools", "write `pins: off`")


def _identity(value: Any) -> str:
    if value in ("jwt", "none"):
        return str(value)
    ways = "write `jwt`, `none` or `{credential: store:NAME, header: Authorization}`"
    if value == "oauth":
        refuse("`oauth` is not in this version", ways, "later")
    hint = "in quotes, `none` is a word" if value is None else ways
    refuse(f"{describe(value)} is not a way to be known upstream", hint)


def _redact(value: Any) -> str:
    text = text_of(value, "an argument")
    path = text.removeprefix("argument/")
    if text == "*":
        return text
    if path == text or not path or any(not part for part in path.split("/")) or re.search("~(?![01])", path):
        refuse(f"`{text[:80]}` is not an argument", 'write `argument/PATH`, keys joined by `/`, or `"*"` for all')
    return text


def _moment(value: Any) -> int:
    text = text_of(value, "a date")
    hint = "write `2027-06-30` (the day begins in UTC) or `2027-06-30T18:00:00Z`"
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
            day = date.fromisoformat(text)
            moment = datetime(day.year, day.month, day.day, tzinfo=UTC)
        elif re.fullmatch(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(Z|[+-]\d{2}:\d{2})", text, re.ASCII):
            moment = datetime.fromisoformat(text)
        else:
            refuse(f"`{text[:80]}` is not a date", hint)
        seconds = int(moment.timestamp())
    except (ValueError, OverflowError):
        refuse(f"`{text[:80]}` is not a date", hint)
    if seconds <= 0:
        refuse(f"`{text[:80]}` is not a date of our time", hint)
    return seconds


def _switch(value: Any) -> bool:
    switched = switch_of(value)
    if switched is None:
        refuse(f"{describe(value)} is neither on nor off", "write `on` or `off`")
    return switched


def _exact(value: Any) -> str:
    word = _word(value)
    if "*" in word:
        refuse(f"`{word[:80]}` holds a `*`, and there are no wildcards here", "write one entry for each exact value")
    return word


def _grant_life(value: Any) -> int:
    seconds = _duration(value)
    if seconds > MAX_GRANT_S:
        refuse(f"{describe(value)} is too long", "at most `90d`")
    return seconds


def _store_reference(value: Any) -> str:
    if isinstance(value, str) and value.startswith("store:") and _NAME.match(value.removeprefix("store:")):
        return value
    hint = "write `store:NAME`, and set it with `ostiary credentials set NAME`"
    refuse("a credential must not be written here", hint, "secret")


def schema_of(**schema: Any) -> WithJsonSchema:
    """Return how a type of text is described in `ostiary schema`."""
    return WithJsonSchema({"type": "string", **schema})


Name = Annotated[str, BeforeValidator(_name), schema_of(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""What people, agents, services, servers and issuers are called. Never holds `:` or `/`, which separate names."""
Switch = Annotated[bool, BeforeValidator(_switch), WithJsonSchema({"anyOf": [{"type": "boolean"}, _SWITCH_WORD]})]
GrantLife = Annotated[int, BeforeValidator(_grant_life), schema_of(pattern=_DURATION_PATTERN, examples=["8h"])]
StoreReference = Annotated[str, BeforeValidator(_store_reference), schema_of(pattern="^store:.+$")]
Preset = Literal["generic", "entra", "google", "okta", "keycloak", "workos"]
FederationPreset = Literal["kubernetes", "github-actions"]
Word = Annotated[str, BeforeValidator(_word), schema_of(minLength=1)]
Email = Annotated[str, BeforeValidator(_email), schema_of(pattern="^[^@ ]+@[^@ ]+$", examples=["alice@example.com"])]
Exact = Annotated[str, BeforeValidator(_exact), schema_of(pattern="^[^*]+$")]
Seconds = Annotated[int, BeforeValidator(_timeout), schema_of(pattern=_DURATION_PATTERN, examples=["60s"])]
TokenLife = Annotated[int, BeforeValidator(_ttl), schema_of(pattern=_DURATION_PATTERN, examples=["60m"])]
Bytes = Annotated[int, BeforeValidator(_size), schema_of(pattern="^[1-9][0-9]*(B|KiB|MiB|GiB)$", examples=["16MiB"])]
SecretReference = Annotated[str, BeforeValidator(_secret), schema_of(pattern="^(env|file):.+$")]
PemSource = Annotated[str, BeforeValidator(_pem_source), schema_of(minLength=1, examples=["tls/cert.pem"])]
StoreUrl = Annotated[str, BeforeValidator(_store_url), schema_of(pattern="^sqlite:///.+$")]
Algorithm = Annotated[str, BeforeValidator(_algorithm), schema_of(enum=list(ALGORITHMS))]
Argument = Annotated[str, BeforeValidator(_redact), schema_of(pattern=r"^(argument/.+|\*)$")]
Moment = Annotated[int, BeforeValidator(_moment), schema_of(examples=["2027-06-30", "2027-06-30T18:00:00Z"])]
Direct = Annotated[
    bool | tuple[str, ...],
    BeforeValidator(_direct),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, _SWITCH_WORD, {"type": "array", "items": {"type": "string"}}]}),
]
Words = Annotated[
    tuple[str, ...],
    BeforeValidator(_words),
    WithJsonSchema(
        {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}]}
    ),
]
Pins = Annotated[
    Literal["off"],
    BeforeValidator(_pins),
    WithJsonSchema({"anyOf": [{"enum": [False]}, {"type": "string", "pattern": "^[oO][fF][fF]$"}]}),
]
UpstreamIdentity = Annotated[
    Literal["jwt", "none"], BeforeValidator(_identity), WithJsonSchema({"enum": ["jwt", "none"]})
]
