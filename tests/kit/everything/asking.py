"""Tools that ask the client something: by requests on the stream (session era), or in rounds (stateless era)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp.types import (
    CreateMessageResult,
    ElicitResult,
    InputRequest,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
)

from .changes import STATELESS
from .plain import Ctx  # noqa: TC001  (the SDK reads annotations at run time)
from .samples import Choices, Reply, WithDefaults, form, page, question, sample

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer
    from pydantic import BaseModel

PAGE = "https://login.example.com/connect"


def _said(answer: object) -> str:
    """What the client answered, as text."""
    if isinstance(answer, CreateMessageResult) and answer.content.type == "text":
        return answer.content.text
    if isinstance(answer, ElicitResult):
        return f"{answer.action} {json.dumps(answer.content, sort_keys=True)}"
    if isinstance(answer, ListRootsResult):
        return ", ".join(str(root.uri) for root in answer.roots)
    return "nothing"


async def _elicited(ctx: Ctx, message: str, schema: type[BaseModel]) -> str:
    try:
        result = await ctx.elicit(message=message, schema=schema)
    except MCPError as refused:
        return f"refused: {refused.code}"
    content = result.data.model_dump_json() if result.action == "accept" else "{}"
    return f"action={result.action}, content={content}"


def add_requests(server: MCPServer[Any]) -> None:
    """The session era's way, as the suite's fixtures want it."""

    @server.tool()
    async def test_sampling(prompt: str, ctx: Ctx) -> str:
        """Asks the client's model."""
        try:
            result = await ctx.session.create_message(
                messages=[question(prompt)], max_tokens=100, related_request_id=ctx.request_id
            )
        except MCPError as refused:
            return f"refused: {refused.code}"
        return f"LLM response: {_said(result)}"

    @server.tool()
    async def test_elicitation(message: str, ctx: Ctx) -> str:
        """Asks the user for one line."""
        return f"User response: {await _elicited(ctx, message, Reply)}"

    @server.tool()
    async def test_elicitation_sep1034_defaults(ctx: Ctx) -> str:
        """Asks with a default for every field (SEP-1034)."""
        return f"Elicitation completed: {await _elicited(ctx, 'Please review and update the form', WithDefaults)}"

    @server.tool()
    async def test_elicitation_sep1330_enums(ctx: Ctx) -> str:
        """Asks to choose, in every way to write choices (SEP-1330)."""
        return f"Elicitation completed: {await _elicited(ctx, 'Please select options', Choices)}"


def add_both(server: MCPServer[Any]) -> None:
    """Our own, for the tours: one tool per kind of question, each in the era's own form."""

    async def ask(ctx: Ctx, request: Any, result_type: type[Any]) -> str | InputRequiredResult:
        if ctx.protocol_version == STATELESS:
            if ctx.input_responses and "it" in ctx.input_responses:
                return f"answered: {_said(ctx.input_responses['it'])}"
            return InputRequiredResult(input_requests={"it": request}, request_state="asked")
        on_this_stream = ServerMessageMetadata(related_request_id=ctx.request_id)
        try:
            answer = await ctx.session.send_request(request, result_type, metadata=on_this_stream)
        except MCPError as refused:
            return f"refused: {refused.code}"
        return f"answered: {_said(answer)}"

    @server.tool()
    async def ask_model(ctx: Ctx) -> str | InputRequiredResult:
        """Asks the client's model."""
        return await ask(ctx, sample("What is two plus two?"), CreateMessageResult)

    @server.tool()
    async def ask_user(ctx: Ctx) -> str | InputRequiredResult:
        """Asks the user by a form."""
        return await ask(ctx, form("Who are you?", name="string"), ElicitResult)

    @server.tool()
    async def ask_visit(ctx: Ctx, url: str = PAGE) -> str | InputRequiredResult:
        """Asks the user to visit a page."""
        request = page("Please sign in", url)
        if ctx.protocol_version != STATELESS:
            request.params.elicitation_id = "visit-1"  # type: ignore[union-attr]
        return await ask(ctx, request, ElicitResult)

    @server.tool()
    async def ask_roots(ctx: Ctx) -> str | InputRequiredResult:
        """Asks for the client's roots."""
        return await ask(ctx, ListRootsRequest(), ListRootsResult)


def add_rounds(server: MCPServer[Any]) -> None:
    """The stateless era's way, as the suite's fixtures want it (SEP-2322): one round of one question each."""

    def one_question(name: str, key: str, request: InputRequest, greeting: str) -> None:
        async def tool(ctx: Ctx) -> str | InputRequiredResult:
            answers = ctx.input_responses or {}
            if key in answers:
                return greeting.format(_said(answers[key]))
            return InputRequiredResult(input_requests={key: request})

        server.add_tool(tool, name=name, description=f"Asks once: {request.method}.")

    prefix = "test_input_required_result_"
    one_question(f"{prefix}elicitation", "user_name", form("What is your name?", name="string"), "Hello, {}!")
    one_question(f"{prefix}sampling", "capital_question", sample("What is the capital of France?"), "Model: {}")
    one_question(f"{prefix}list_roots", "client_roots", ListRootsRequest(), "Roots: {}")
    one_question("test_streaming_elicitation", "confirm", form("Shall we?", ok="boolean"), "You said {}")


def add_states(server: MCPServer[Any]) -> None:
    """Rounds with a state that comes back."""

    @server.tool()
    async def test_input_required_result_request_state(ctx: Ctx) -> str | InputRequiredResult:
        """Gives a state and wants it back."""
        if ctx.request_state == "first-round" and "confirm" in (ctx.input_responses or {}):
            return "state-ok: it came back as it was"
        return InputRequiredResult(
            input_requests={"confirm": form("Please confirm", ok="boolean")}, request_state="first-round"
        )

    @server.tool()
    async def test_input_required_result_tampered_state(ctx: Ctx) -> str | InputRequiredResult:
        """The same; the SDK seals the state and refuses one that was changed."""
        if ctx.request_state is not None:
            return f"state-ok: {ctx.request_state}"
        return InputRequiredResult(
            input_requests={"confirm": form("Please confirm", ok="boolean")}, request_state="untouched"
        )

    @server.tool()
    async def test_input_required_result_multiple_inputs(ctx: Ctx) -> str | InputRequiredResult:
        """Asks three things at once."""
        asked: dict[str, InputRequest] = {
            "user_name": form("What is your name?", name="string"),
            "greeting": sample("Generate a greeting"),
            "client_roots": ListRootsRequest(),
        }
        if set(asked) <= set(ctx.input_responses or {}):
            return "all three were answered"
        return InputRequiredResult(input_requests=asked, request_state="three-asked")


def add_longer(server: MCPServer[Any]) -> None:
    """More than one round, and questions by capability."""

    @server.tool()
    async def test_input_required_result_multi_round(ctx: Ctx) -> str | InputRequiredResult:
        """Asks twice, and the state grows."""
        state: dict[str, Any] = json.loads(ctx.request_state) if ctx.request_state else {}
        answers = ctx.input_responses or {}
        if "name" in state and "step2" in answers:
            return f"{state['name']} and {_said(answers['step2'])}"
        if "asked" in state and "step1" in answers:
            state["name"] = _said(answers["step1"])
            asked: InputRequest = form("Step 2: What is your favorite color?", color="string")
            return InputRequiredResult(input_requests={"step2": asked}, request_state=json.dumps(state))
        asked = form("Step 1: What is your name?", name="string")
        return InputRequiredResult(input_requests={"step1": asked}, request_state=json.dumps({"asked": True}))

    @server.tool()
    async def test_input_required_result_capabilities(ctx: Ctx) -> InputRequiredResult:
        """Asks only what the client says it can answer."""
        can = ctx.client_capabilities
        asked: dict[str, InputRequest] = {}
        if can is not None and can.sampling is not None:
            asked["sample"] = sample("Say hello")
        if can is not None and can.elicitation is not None:
            asked["ask"] = form("What is your name?", name="string")
        return InputRequiredResult(input_requests=asked, request_state="by-capability")
