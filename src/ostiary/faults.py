"""Tells what a value of the wrong shape should have been: pydantic's findings as problems with a place and a hint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel

from ostiary.errors import Problem
from ostiary.fields import describe, is_duration, is_reference
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

_FORMS = {
    ("", "people"): "write `NAME: {email: …}`, one line for each person",
    ("identity", "providers"): "write `NAME: {issuer: …, client_id: …}`, one for each provider",
    ("identity", "issuers"): "write `NAME: {issuer: …, jwks: …, algorithms: […], type: …}`, one for each issuer",
    ("", "agents"): "write `NAME: {owner: …, ceiling: …}`, one for each agent",
    ("", "services"): "write `NAME: {owner: …}`, one for each service",
    ("", "servers"): "write `NAME: {url: …, owner: …, pins: off}`, one for each server",
    ("claims",): "write `claims: {groups: groups}`",
    ("jwks",): "write `jwks: {file: PATH}` or `jwks: {url: URL}`",
    ("private_key_jwt",): "write `private_key_jwt: {jwks: {file: PATH}}`",
    ("federated",): "write `federated: {preset: …, subject: …}`",
    ("credentials",): "write a list: `- private_key_jwt: …` or `- federated: …`",
    ("clients",): "write `clients: {local: [ID]}`: client ids, by issuer",
    ("ceiling",): "write `ceiling: {servers: […], classes: […]}`",
}
"""What a value of the wrong kind should look like, by the end of its path; the empty name is the top of the file."""
_OTHERWISE = {
    ("federated", "preset"): "for another platform leave `preset` out, and write `issuer`",
    ("preset",): "`generic` is for every other OpenID provider",
}
"""What to write instead of a word that is not on the list, by the end of its path, where none is near."""

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
        message, hint, _ = _message(detail, node, path)
        return entry.problem(message, hint)
    if detail["type"] == "missing":
        return _missing(node, entry, str(missing), model, path)
    if node.kind == "null":
        return None  # told by `empty_values`
    if detail["type"] == "too_short" and node.items:
        return None  # there are items, but each of them has a problem of its own
    message, hint, secret = _message(detail, node, path)
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


def _message(detail: ErrorDetails, node: Node, path: Path) -> tuple[str, str, bool]:
    """Return message, hint, and whether the value may be a secret."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in {"ostiary", "later", "secret"}:
        return str(context["message"]), str(context["hint"]), kind == "secret"
    if kind in _WANTED:
        hint = "put it in quotes" if kind == "string_type" and node.kind in {"number", "bool"} else ""
        if kind == "tuple_type" and node.kind == "string":
            hint = "write `[…]` around it"
        hint = _by_end(_FORMS, path) or hint
        return f"expected {_WANTED[kind]}, found {KIND_WORDS[node.kind]}", hint, False
    if kind == "literal_error":
        allowed = _allowed(str(context["expected"]))
        close = nearest(str(node.value), allowed) or _by_end(_OTHERWISE, path)
        return f"{describe(detail['input'])} is not {listed(allowed)}", close, False
    if kind == "too_short":
        return "the list is empty", "name at least one, or remove the key", False
    return detail["msg"], "", False


def _by_end(known: Mapping[tuple[str, ...], str], path: Path) -> str:
    """Return what is known for an end of `path`, or nothing."""
    names = ("", *(str(part) for part in path))
    return next((told for end, told in known.items() if names[-len(end) :] == end), "")


def _allowed(expected: str) -> list[str]:
    return [word.strip("'\"") for word in expected.replace(" or ", ", ").split(", ")]


def _unknown_key(entry: Entry, path: Path, model: type[BaseModel]) -> Problem:
    for later in NOT_IN_THIS_VERSION:
        if len(later) == len(path) and all(want in ("*", part) for want, part in zip(later, path, strict=True)):
            return entry.problem(f"`{entry.name}` is not in this version", "remove it")
    known = _keys_at(model, path[:-1])
    name, colon, _ = entry.name.partition(":")
    if colon and name in known:
        return entry.problem(f"a space is missing after `{name}:`", f"write `{name}: …`")
    near = nearest(entry.name, known)
    message = f"`{entry.name}` is not a key of this place"
    if _may_hold_a_secret(entry):
        given = "secrets are given as `env:NAME` or `file:PATH`" + ("" if near else ", where one is asked for")
        message, hint = f"{message}, and a secret must not be written here", f"{near} {given}".strip()
        return _hidden(entry.problem(message, hint))
    hint = near or (f"known here: {', '.join(f'`{key}`' for key in known)}" if known else "")
    return entry.problem(message, hint)


def _may_hold_a_secret(entry: Entry) -> bool:
    """Say whether an unknown key is called like a secret and its value could be one: no duration, and no reference."""
    name, node = entry.name.lower().replace("-", "_"), entry.node
    if node.kind != "string" or is_duration(node.text) or is_reference(node.text):
        return False
    return any(word in name for word in _SECRET_WORDS)


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
