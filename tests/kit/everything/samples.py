"""The things that the fixtures hand out: a picture, a sound, schemas, the questions that tools ask."""

from __future__ import annotations

from typing import Any

from mcp.types import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    SamplingMessage,
    TextContent,
)
from pydantic import BaseModel, Field

PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
"""A PNG of one transparent pixel, in base64."""

SOUND = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA="
"""A WAV file of no samples, in base64."""

DIALECT_2020_12: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
"""The schema that the suite's `json-schema-2020-12` scenario expects, keyword for keyword."""


class Reply(BaseModel):
    """One line from the user."""

    response: str = Field(description="What the user says")


class WithDefaults(BaseModel):
    """Every primitive type, each with a default (SEP-1034)."""

    name: str = Field(default="John Doe", description="Who you are")
    age: int = Field(default=30, description="Years")
    score: float = Field(default=95.5, description="Points")
    status: str = Field(default="active", json_schema_extra={"enum": ["active", "inactive", "pending"]})
    verified: bool = Field(default=True, description="Whether checked")


def _titled(**titles: str) -> list[Any]:
    return [{"const": value, "title": title} for value, title in titles.items()]


class Choices(BaseModel):
    """Every way to write a choice (SEP-1330); the names are the suite's."""

    untitledSingle: str = Field(json_schema_extra={"enum": ["option1", "option2", "option3"]})  # noqa: N815
    titledSingle: str = Field(  # noqa: N815
        json_schema_extra={"oneOf": _titled(value1="First Option", value2="Second Option", value3="Third Option")}
    )
    legacyEnum: str = Field(  # noqa: N815
        json_schema_extra={
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        }
    )
    untitledMulti: list[str] = Field(  # noqa: N815
        json_schema_extra={"items": {"type": "string", "enum": ["option1", "option2", "option3"]}}
    )
    titledMulti: list[str] = Field(  # noqa: N815
        json_schema_extra={
            "items": {"anyOf": _titled(value1="First Choice", value2="Second Choice", value3="Third Choice")}
        }
    )


def form(message: str, **fields: str) -> ElicitRequest:
    """A form of the given fields (name and JSON type), all required."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in fields.items()},
        "required": list(fields),
    }
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def page(message: str, url: str) -> ElicitRequest:
    """A page that the user is asked to visit."""
    return ElicitRequest(params=ElicitRequestURLParams(message=message, url=url))


def question(text: str) -> SamplingMessage:
    """A question for the client's model."""
    return SamplingMessage(role="user", content=TextContent(type="text", text=text))


def sample(text: str) -> CreateMessageRequest:
    """The same as a whole request."""
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[question(text)], max_tokens=50))
