"""Resources, prompts and completion."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver.prompts.base import Message, UserMessage
from mcp.types import (
    Completion,
    CompletionArgument,
    CompletionContext,
    ElicitResult,
    EmbeddedResource,
    ImageContent,
    InputRequiredResult,
    PromptReference,
    ResourceTemplateReference,
    TextContent,
    TextResourceContents,
)

from .changes import WATCHED
from .plain import Ctx  # noqa: TC001  (the SDK reads annotations at run time)
from .samples import PICTURE, form

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

WORDS = {"arg1": ("paris", "park", "party"), "id": ("1", "12", "123")}


def add_resources(server: MCPServer[Any]) -> None:
    """Text, bytes, a template, and one that changes."""

    @server.resource("test://static-text", name="static text", mime_type="text/plain")
    def static_text() -> str:
        """A line of text."""
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", name="static binary", mime_type="image/png")
    def static_binary() -> bytes:
        """A picture."""
        return base64.b64decode(PICTURE)

    @server.resource(WATCHED, name="watched", mime_type="text/plain")
    def watched() -> str:
        """Says that it changes, and does not."""
        return "touch me"

    @server.resource("test://template/{id}/data", name="by id", mime_type="application/json")
    def by_id(id: str) -> str:  # noqa: A002
        """Data by id."""
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


def _say(text: str) -> Message:
    return UserMessage(content=TextContent(type="text", text=text))


def add_prompts(server: MCPServer[Any]) -> None:
    """Prompts of every shape."""

    @server.prompt()
    def test_simple_prompt() -> list[Message]:
        """Takes nothing."""
        return [_say("This is a simple prompt for testing.")]

    @server.prompt()
    def test_prompt_with_arguments(arg1: str, arg2: str) -> list[Message]:
        """Takes two arguments."""
        return [_say(f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'")]

    @server.prompt()
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[Message]:  # noqa: N803
        """Holds a resource."""
        held = TextResourceContents(uri=resourceUri, mime_type="text/plain", text="The content of that resource.")
        return [UserMessage(content=EmbeddedResource(type="resource", resource=held)), _say("Please look at it.")]

    @server.prompt()
    def test_prompt_with_image() -> list[Message]:
        """Holds a picture."""
        picture = ImageContent(type="image", data=PICTURE, mime_type="image/png")
        return [UserMessage(content=picture), _say("Please look at the picture.")]

    @server.prompt()
    async def test_input_required_result_prompt(ctx: Ctx) -> list[Message] | InputRequiredResult:
        """Asks before it answers (SEP-2322)."""
        answer = (ctx.input_responses or {}).get("user_context")
        if isinstance(answer, ElicitResult):
            return [_say(f"In this context: {(answer.content or {}).get('context')}")]
        asked = form("What context should the prompt use?", context="string")
        return InputRequiredResult(input_requests={"user_context": asked})


def add_completion(server: MCPServer[Any]) -> None:
    """Completes the arguments of prompts and templates from a few words."""

    @server.completion()  # type: ignore[no-untyped-call, untyped-decorator]
    async def complete(
        ref: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        context: CompletionContext | None,
    ) -> Completion:
        values = [word for word in WORDS.get(argument.name, ()) if word.startswith(argument.value)]
        return Completion(values=values, total=len(values), has_more=False)
