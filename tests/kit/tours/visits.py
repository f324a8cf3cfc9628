"""Each client's tour as one function of URL, token and era; and the Inspector's command line, which visits a little."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .plan import as_task
from .python import SdkWays, sdk, take, turn_pages

if TYPE_CHECKING:
    from collections.abc import Sequence

TESTS = Path(__file__).parent.parent.parent
INSPECTOR = TESTS / "node_modules" / "@modelcontextprotocol" / "inspector"
LOOKS = [
    ("tools/list",),
    ("tools/call", "--tool-name", "test_image_content"),
    ("resources/read", "--uri", "test://static-binary"),
    ("prompts/get", "--prompt-name", "test_prompt_with_arguments", "--prompt-args", "arg1=one", "arg2=two"),
]


def by_python(url: str, token: str | None, era: str) -> dict[str, Any]:
    """The official Python client."""

    async def visit() -> dict[str, Any]:
        async with sdk(url, token, era) as ways:
            return await take(ways, era=era)

    return asyncio.run(visit())


def page_by_page(url: str, token: str | None, era: str) -> dict[str, Any]:
    """The official Python client, turning the pages of every list."""

    async def visit() -> dict[str, Any]:
        async with sdk(url, token, era) as ways:
            assert isinstance(ways, SdkWays)
            return await turn_pages(ways.client)

    return asyncio.run(visit())


def by_fastmcp(url: str, token: str | None, era: str) -> dict[str, Any]:
    """fastmcp's client."""
    from .fast import fast

    async def visit() -> dict[str, Any]:
        async with fast(url, token, era) as ways:
            return await take(ways, era=era)

    return asyncio.run(visit())


def by_typescript(node: str, url: str, token: str | None, era: str) -> dict[str, Any]:
    """The official TypeScript client."""
    done = subprocess.run(
        [node, str(TESTS / "node" / "tour.mjs")],
        input=json.dumps(as_task(url, token, era)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(f"the TypeScript client failed:\n{done.stdout}{done.stderr}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def by_inspector(node: str, home: Path, url: str, token: str | None, era: str) -> dict[str, Any]:
    """The Inspector's command line: one run per look; gives its exit code and what it printed, as JSON."""
    words = [node, str(_program()), "--cli", url, "--transport", "http", "--format", "json", "--quiet"]
    words += ["--stored-auth-only", "--protocol-era", "legacy" if era == "session" else "modern"]
    if token:
        words += ["--header", f"Authorization: Bearer {token}"]
    env = {**os.environ, "HOME": str(home), "MCP_INSPECTOR_SECRET_STORE": "memory"}

    def look(what: Sequence[str]) -> dict[str, Any]:
        done = subprocess.run(
            [*words, "--method", *what], capture_output=True, text=True, timeout=60, check=False, env=env
        )
        told = (done.stdout.strip() or done.stderr.strip()).splitlines()
        try:
            return {"code": done.returncode, "told": json.loads(told[-1])}
        except (IndexError, ValueError):
            return {"code": done.returncode, "told": "\n".join(told)}

    with ThreadPoolExecutor(2) as pool:
        return {what[0]: found for what, found in zip(LOOKS, pool.map(look, LOOKS), strict=True)}


def _program() -> Path:
    bins: dict[str, str] = json.loads((INSPECTOR / "package.json").read_text())["bin"]
    return INSPECTOR / bins["mcp-inspector"]
