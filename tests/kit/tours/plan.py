"""What is visited on a tour, for all clients alike."""

from __future__ import annotations

from typing import Any

WATCHED = "test://watched-resource"
LOGIN = "https://login.example.com/connect"
ROOT = "file:///home/alice/project"

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("test_simple_text", {}),
    ("test_image_content", {}),
    ("test_audio_content", {}),
    ("test_embedded_resource", {}),
    ("test_multiple_content_types", {}),
    ("link", {}),
    ("test_error_handling", {}),
    ("test_x_mcp_header", {"region": "Zürich, 東"}),
    ("json_schema_2020_12_tool", {"name": "a", "contactMethod": "phone", "phone": "1"}),
    ("no_such_tool", {}),
    ("test_tool_with_progress", {}),
    ("test_tool_with_logging", {}),
    ("ask_model", {}),
    ("ask_user", {}),
    ("ask_visit", {"url": LOGIN}),
    ("ask_roots", {}),
]
READS = ["test://static-text", "test://static-binary", WATCHED, "test://template/12/data", "test://nothing-here"]
PROMPTS: list[tuple[str, dict[str, str]]] = [
    ("test_simple_prompt", {}),
    ("test_prompt_with_arguments", {"arg1": "one", "arg2": "two"}),
    ("test_prompt_with_embedded_resource", {"resourceUri": "test://static-text"}),
    ("test_prompt_with_image", {}),
    ("no_such_prompt", {}),
]
COMPLETIONS: list[tuple[dict[str, str], dict[str, str]]] = [
    ({"type": "ref/prompt", "name": "test_prompt_with_arguments"}, {"name": "arg1", "value": "par"}),
    ({"type": "ref/resource", "uri": "test://template/{id}/data"}, {"name": "id", "value": "1"}),
    ({"type": "ref/prompt", "name": "test_prompt_with_image"}, {"name": "arg1", "value": "pa"}),
]
CHANGES = {"test_trigger_tool_change": "tools/list_changed", "test_trigger_prompt_change": "prompts/list_changed"}

ANSWERS: dict[str, Any] = {
    "sampling/createMessage": {"role": "assistant", "content": {"type": "text", "text": "four"}, "model": "stub"},
    "elicitation/create": {"action": "accept", "content": {"name": "alice"}},
    "roots/list": {"roots": [{"uri": ROOT, "name": "project"}]},
}
"""What the user and the model behind each client say."""


def as_task(url: str, token: str | None, era: str) -> dict[str, Any]:
    """The whole plan for a client in another language."""
    return {
        "url": url,
        "token": token,
        "era": era,
        "calls": CALLS,
        "reads": READS,
        "prompts": PROMPTS,
        "completions": COMPLETIONS,
        "changes": CHANGES,
        "answers": ANSWERS,
        "watched": WATCHED,
    }
