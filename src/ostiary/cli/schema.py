"""`ostiary schema`: prints the JSON Schema of the configuration, for editors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ostiary.cli.output import print_json

if TYPE_CHECKING:
    import typer

    from ostiary.policy.criteria import Criterion

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Json = dict[str, Any]

_SCALAR: Json = {"type": ["string", "number", "boolean", "null"]}


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("schema")(schema)


def schema() -> None:
    """Print the JSON Schema (draft 2020-12) of the configuration file.

    It helps while writing. `ostiary check` knows more: references, clashes, and what the rules mean together.
    """
    print_json(document_schema())


def document_schema() -> Json:
    """Return the JSON Schema of `ostiary.yaml`."""
    from ostiary.config import Document

    body = Document.model_json_schema()
    body["properties"]["policy"] = _policy()
    definitions = {**body.pop("$defs"), "Rule": _rule(), "Block": _block(), "Criterion": _criteria()}
    return {"$schema": DIALECT, "title": "ostiary.yaml", **_plain(body), "$defs": _plain(definitions)}


def _plain(schema: Json) -> Json:
    """Return `schema` without pydantic's repetitive titles and null defaults, and with the keys of maps closed."""
    found: Json = {}
    for key, value in schema.items():
        if (key == "title" and isinstance(value, str)) or (key == "default" and value is None):
            continue
        if isinstance(value, dict):
            found[key] = _plain(value)
        elif isinstance(value, list):
            found[key] = [_plain(item) if isinstance(item, dict) else item for item in value]
        else:
            found[key] = value
    if "patternProperties" in found:
        found["additionalProperties"] = False
    return found


def _policy() -> Json:
    rules = {"description": "The rules, in place.", "type": "array", "items": {"$ref": "#/$defs/Rule"}}
    files = {
        "description": "Files of rules, relative to this file.",
        "type": "array",
        "items": {"type": "string", "minLength": 1},
    }
    zone = {"description": "The zone of dates and times in rules that name none.", "type": "string", "default": "UTC"}
    elsewhere = {
        "type": "object",
        "properties": {"files": files, "timezone": zone},
        "additionalProperties": False,
        "required": ["files"],
    }
    return {"description": "Who may do what.", "anyOf": [rules, elsewhere]}


def _rule() -> Json:
    block = {"$ref": "#/$defs/Block"}
    return {
        "description": "One rule. Deny beats allow; what no rule allows is refused.",
        "type": "object",
        "properties": {
            "name": {"description": "What decisions and records call it.", "type": "string", "minLength": 1},
            "owner": {"description": "The person who answers for it.", "type": "string"},
            "mode": {"description": "`shadow` only records what it would do.", "enum": ["enforce", "shadow"]},
            "allow": {**block, "description": "When the rule allows a call."},
            "deny": {**block, "description": "When the rule refuses a call."},
        },
        "additionalProperties": False,
        "required": ["name"],
        "anyOf": [{"required": ["allow"]}, {"required": ["deny"]}],
    }


def _block() -> Json:
    meaning = {
        "and": "All of these hold.",
        "or": "One of these holds.",
        "not": "None of these holds.",
        "nor": "Not all of these hold.",
    }
    leaves = {"type": "array", "items": {"$ref": "#/$defs/Criterion"}}
    return {
        "description": "Operators; the block is met if one of them is.",
        "type": "object",
        "properties": {name: {**leaves, "description": text} for name, text in meaning.items()},
        "additionalProperties": False,
        "minProperties": 1,
    }


def _criteria() -> Json:
    from ostiary.policy.criteria import CRITERIA

    plain = {name: _value(criterion) for name, criterion in CRITERIA.items() if not criterion.path}
    with_path = {f"^{name}/.+$": _value(criterion) for name, criterion in CRITERIA.items() if criterion.path}
    return {
        "description": "One criterion: a name, and what it is compared with.",
        "type": "object",
        "properties": plain,
        "patternProperties": with_path,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }


def _value(criterion: Criterion) -> Json:
    from ostiary.policy.criteria import EQUALITY

    if criterion.form == "flag":
        return {"enum": [True, 1]}
    if criterion.form != "tests":
        return {"type": ["string", "array", "object"]}
    word: Json = {"enum": list(criterion.words)} if criterion.words else _SCALAR
    many: Json = {"type": "array", "items": word, "minItems": 1}
    matchers = {name: many if name in ("in", "not_in") else word for name in criterion.matchers}
    if criterion.words:  # a part of a word is none of them
        matchers |= {name: {"type": "string"} for name in criterion.matchers if name not in EQUALITY}
    mapping = {"type": "object", "properties": matchers, "additionalProperties": False, "minProperties": 1}
    return {"anyOf": [word, mapping]}
