"""Tells what a value of the wrong shape should have been: pydantic's findings as problems with a place and a hint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel

from ostiary.errors import Problem
from ostiary.fields import describe
from ostiary.policy.names import listed, nearest
from ostiary.yamlsource import KIND_WORDS, Entry, Node

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

Path = tuple[str | int, ...]

NOT_IN_THIS_VERSION: tuple[tuple[str, ...], ...] = (
    ("audit", "retain"),
    ("audit", "anchor"),
    ("apps",),
    ("limits",),
    ("ask",),
    ("servers", "*", "command"),
    ("servers", "*", "limits"),
)
"""Keys of the design that are not served yet. They are told apart from keys that mean nothing at all."""

TAGS = ("(word)", "(stored)")
"""How pydantic tells apart what a value that may be a word or a mapping was read as. They are no part of the file."""

_SECRET_WORDS = ("secret", "password", "passwd", "token", "api_key", "apikey", "private_key", "credential", "bearer")
_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "`true` or `false`",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
}


def to_data(node: Node) -> Any:
    """Return the plain value of a node. Lists become tuples, since what is read does not change."""
    if node.kind == "mapping":
        return {entry.name: to_data(entry.node) for entry in node.entries}
    if node.kind == "list":
        return tuple(to_data(item) for item in node.items)
    return node.value


def empty_values(root: Node) -> list[Problem]:
    """Return a problem for every value that is left empty: it may mean nothing, the default, or a mistake."""
    hint = "give it a value, or remove the key"
    return [node.problem("the value is empty", hint) for node in root.walk() if node.kind == "null"]


def problems_of(error: ValidationError, root: Node, model: type[BaseModel]) -> list[Problem]:
    """Return what pydantic found in the data of `root` when it was read as `model`."""
    found = (_problem(detail, root, model) for detail in error.errors(include_url=False))
    return [problem for problem in found if problem is not None]


def _problem(detail: ErrorDetails, root: Node, model: type[BaseModel]) -> Problem | None:
    path: Path = tuple(part for part in detail["loc"] if part not in TAGS)
    node, entry, missing = _locate(root, path)
    if entry is not None and (detail["type"] == "extra_forbidden" or path[-1] == "[key]"):
        if detail["type"] == "extra_forbidden":
            return _unknown_key(entry, path, model)
        message, hint, _ = _message(detail, node)
        return entry.problem(message, hint)
    if detail["type"] == "missing":
        return _missing(node, entry, str(missing), model, path)
    if node.kind == "null":
        return None  # told by `empty_values`
    if detail["type"] == "too_short" and node.items:
        return None  # there are items, but each of them has a problem of its own
    message, hint, secret = _message(detail, node)
    problem = node.problem(message, hint)
    return _hidden(problem) if secret else problem


def _hidden(problem: Problem) -> Problem:
    return Problem(
        file=problem.file,
        line=problem.line,
        column=problem.column,
        key=problem.key,
        message=problem.message,
        hint=problem.hint,
        secret=True,
    )


def _locate(root: Node, path: Path) -> tuple[Node, Entry | None, str | int]:
    """Return the node at `path`, or the last one on the way to it; its entry if it has a name; what came next."""
    node: Node = root
    entry: Entry | None = None
    for part in path:
        if isinstance(part, int) and part < len(node.items):
            node, entry = node.items[part], None
            continue
        found = next((each for each in node.entries if each.name == part), None)
        if found is None:
            return node, entry, part
        node, entry = found.node, found
    return node, entry, ""


def _message(detail: ErrorDetails, node: Node) -> tuple[str, str, bool]:
    """Return message, hint, and whether the value may be a secret."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in {"ostiary", "later", "secret"}:
        return str(context["message"]), str(context["hint"]), kind == "secret"
    if kind in _WANTED:
        hint = "put it in quotes" if kind == "string_type" and node.kind in {"number", "bool"} else ""
        if kind == "tuple_type" and node.kind == "string":
            hint = "write `[…]` around it"
        return f"expected {_WANTED[kind]}, found {KIND_WORDS[node.kind]}", hint, False
    if kind == "literal_error":
        allowed = _allowed(str(context["expected"]))
        close = nearest(str(node.value), allowed)
        return f"{describe(detail['input'])} is not {listed(allowed)}", close, False
    if kind == "too_short":
        return "the list is empty", "name at least one, or remove the key", False
    return detail["msg"], "", False


def _allowed(expected: str) -> list[str]:
    return [word.strip("'\"") for word in expected.replace(" or ", ", ").split(", ")]


def _unknown_key(entry: Entry, path: Path, model: type[BaseModel]) -> Problem:
    for later in NOT_IN_THIS_VERSION:
        if len(later) == len(path) and all(want in ("*", part) for want, part in zip(later, path, strict=True)):
            return entry.problem(f"`{entry.name}` is not in this version", "remove it")
    known = _keys_at(model, path[:-1])
    hint = nearest(entry.name, known) or (f"known here: {', '.join(f'`{key}`' for key in known)}" if known else "")
    if any(word in entry.name.lower().replace("-", "_") for word in _SECRET_WORDS) and entry.node.kind == "string":
        message = f"`{entry.name}` is not a key of this place, and a secret must not be written here"
        return _hidden(entry.problem(message, "secrets are given as `env:NAME` or `file:PATH`, where one is asked for"))
    return entry.problem(f"`{entry.name}` is not a key of this place", hint)


def _missing(node: Node, entry: Entry | None, name: str, model: type[BaseModel], path: Path) -> Problem:
    at = entry.problem if entry is not None else node.problem
    section = _section_at(model, path[:-1])
    fields = {} if section is None else {field.alias or key: field for key, field in section.model_fields.items()}
    about = (fields[name].description or "").partition(". ")[0].rstrip(".") if name in fields else ""
    hint = "write `pins: off`" if name == "pins" else f"add `{name}:`" + (f" ({about})" if about else "")
    problem = at(f"`{name}` is missing", hint)
    key = f"{node.key}.{name}" if node.key else name
    return Problem(
        file=problem.file, line=problem.line, column=problem.column, key=key, message=problem.message, hint=problem.hint
    )


def _keys_at(model: type[BaseModel], path: Path) -> list[str]:
    section = _section_at(model, path)
    return [] if section is None else [field.alias or name for name, field in section.model_fields.items()]


def _section_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """Return the section of the file that `path` leads to, by the types of `model`."""
    section: type[BaseModel] | None = model
    parts = iter(path)
    for part in parts:
        field = None if section is None else section.model_fields.get(str(part))
        if field is None:
            return None
        section, inside = _section_of(field.annotation)
        if inside:
            next(parts, None)
    return section


def _section_of(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """Return the section within a type, and whether it stands under names of the user's own, or in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    inside = get_origin(annotation) in (Mapping, tuple)
    for inner in get_args(annotation):
        section, deeper = _section_of(inner)
        if section is not None:
            return section, inside or deeper
    return None, False
