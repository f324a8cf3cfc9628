"""The tour: one call that is allowed, one that is refused and why, one around the gateway, and the record of it all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from rich.syntax import Syntax
from rich.text import Text

from ostiary.audit.read import last_records
from ostiary.audit.show import one_line
from ostiary.audit.verify import verify_folder
from ostiary.cli.reach import ask, locate_store
from ostiary.demo.house import DemoError, House, furnish, keep_secret, require_free, sample_server
from ostiary.policy import explanation
from ostiary.recall import recall
from ostiary.serve import configure_log, serve
from ostiary.store import Store

if TYPE_CHECKING:
    from rich.console import Console

TIMEOUT_S: Final = 20.0
GOOD_PATH: Final = "releases/1.4.md"
BAD_PATH: Final = "/etc/passwd"


async def run_demo(console: Console, *, port: int, once: bool) -> None:
    """Give the tour and, unless `once`, serve until Ctrl-C. Raises `OstiaryError` if it cannot be given."""
    require_free(port)
    with tempfile.TemporaryDirectory(prefix="ostiary-demo-") as name:
        folder = Path(name)
        with (folder / "gateway.log").open("w") as log_file:
            configure_log(log_file)
            async with sample_server(f"http://127.0.0.1:{port}") as server_url:
                house = furnish(folder, port=port, server_url=server_url)
                await _with_gateway(console, house, once=once)


async def _with_gateway(console: Console, house: House, *, once: bool) -> None:
    ready, stopping = asyncio.Event(), asyncio.Event()
    gateway = asyncio.create_task(serve(house.config, ready=ready, stopping=stopping))
    tour = asyncio.create_task(_tour(console, house, ready))
    try:
        # Whatever ends first: the tour, or the gateway because of Ctrl-C or a fault.
        await asyncio.wait({gateway, tour}, return_when=asyncio.FIRST_COMPLETED)
        if tour.done():
            tour.result()
            if not once:
                token = await asyncio.to_thread(_issue, house, 3600)
                # In a file, since a terminal keeps what it shows.
                keep_secret(house.folder / "token", token["access_token"])
                _tell_clients(console, house)
                await gateway
    finally:
        tour.cancel()
        stopping.set()
        await asyncio.gather(tour, return_exceptions=True)
        await gateway


async def _tour(console: Console, house: House, ready: asyncio.Event) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        await ready.wait()
    token = await asyncio.to_thread(_issue, house, 600)
    console.print(Text.assemble(("\nOstiary", "bold"), f"  a tour on this machine alone, in {house.folder}\n"))
    _row(console, "server", f"{house.server_url}  four tools, guarded by ostiary.verify")
    _row(console, "gateway", f"{house.gateway_url}  two rules in ostiary.yaml")
    _row(console, "token", f"{token['subject']}, owned by {token['owner']}: {token['scope']}, 10 min")

    before = 0
    refusal: MCPError | None = None
    async with _client(house.endpoint, token["access_token"]) as client:
        _head(console, "1", "A call that the rules allow", f"read_file {GOOD_PATH}")
        result = await client.call_tool("read_file", {"path": GOOD_PATH})
        console.print(Text.assemble("   ", ("✓ ", "green"), str(getattr(result.content[0], "text", ""))))

        _head(console, "2", "A call that they refuse", f"read_file {BAD_PATH}")
        before = await _hits(house)
        try:
            await client.call_tool("read_file", {"path": BAD_PATH})
        except MCPError as error:
            refusal = error
    if refusal is None or refusal.code != 4030:
        raise DemoError(f"the rules refuse this call, and the gateway answered {refusal or 'with a result'}")
    decision = str(refusal.data["decision"])
    console.print(Text.assemble("   ", ("✗ ", "red"), f"error {refusal.code}: {refusal.message}"))
    await asyncio.to_thread(_explain, console, house, decision)
    after = await _hits(house)
    if after != before:
        raise DemoError("the refused call reached the server: this must never happen")
    _row(console, "reached", f"nothing: the server's own counter says {before} before and {after} after")

    _head(console, "3", "The same agent, around the gateway", house.server_url)
    status, why = await _around(house, token["access_token"])
    console.print(Text.assemble("   ", ("✗ ", "red"), f"HTTP {status} from the server itself: {why}"))

    _head(console, "4", "What is on record", "ostiary audit tail")
    await asyncio.to_thread(_tell_record, console, house)


def _issue(house: House, ttl_s: int) -> dict[str, Any]:
    body = {"type": "agent", "name": "release-bot", "server": "notes", "ttl_s": ttl_s}
    answer = ask(locate_store(house.config), "POST", "/tokens", body)
    if answer is None:
        raise DemoError("the gateway does not answer on its admin socket")
    return answer


@contextlib.asynccontextmanager
async def _client(url: str, token: str) -> Any:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=TIMEOUT_S, trust_env=False) as http,
        Client(streamable_http_client(url, http_client=http), read_timeout_seconds=TIMEOUT_S) as client,
    ):
        yield client


async def _hits(house: House) -> int:
    async with httpx2.AsyncClient(trust_env=False, timeout=TIMEOUT_S) as http:
        answer = await http.get(house.server_url.removesuffix("/mcp") + "/hits")
        return int(answer.json()["total"])


async def _around(house: House, token: str) -> tuple[int, str]:
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "echo", "arguments": {"text": "x"}},
    }
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(trust_env=False, timeout=TIMEOUT_S) as http:
        answer = await http.post(house.server_url, json=message, headers=headers)
    if answer.status_code != 401:
        raise DemoError(f"the server took a call around the gateway (HTTP {answer.status_code})")
    return answer.status_code, answer.text.strip()


def _explain(console: Console, house: House, decision: str) -> None:
    past = recall(decision, house.config)
    _row(console, "because", explanation.deciding(past.then))
    for rule in past.then["rules"]:
        line = (house.folder / rule["file"]).read_text().splitlines()[rule["line"] - 1]
        _row(console, "", line.strip())
    for _, leaves in explanation.nearest(past.then):
        _row(console, "", f"met by {'; '.join(leaves)}")
    for change in explanation.changes(past.then):
        _row(console, "to change", change)


def _tell_record(console: Console, house: House) -> None:
    folder = house.folder / "var" / "audit"
    for record in last_records(folder, 50):
        # What the client asks on its own account is on record as well, and only fills this page.
        if record.get("tool") or record.get("event"):
            console.print(Text("   ").append_text(one_line(record, with_id=False)))
    with Store.open_public(locate_store(house.config)) as store:
        keys = [key.public for key in store.all_keys()]
    verdict = verify_folder(folder, keys)
    if verdict.first_bad is not None:
        raise DemoError(f"the record does not verify: {verdict.first_bad.why}")
    console.print(Text.assemble("   ", ("✓ ", "green"), f"{verdict.records} records in one unbroken chain"))


def _tell_clients(console: Console, house: House) -> None:
    """Say how to connect."""
    command = shlex.quote(sys.argv[0])
    _head(console, "5", "Connect a client of your own", "")
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "echo", "arguments": {"text": "hello"}, "_meta": meta},
    }
    shell = f"""\
export TOKEN=$(cat {house.folder}/token)   # good for an hour; the next one comes from
# {command} tokens issue -c {house.config} --agent release-bot --server notes
curl -s {house.endpoint} -H "Authorization: Bearer $TOKEN" \\
  -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \\
  -H 'MCP-Protocol-Version: 2026-07-28' -H 'Mcp-Method: tools/call' -H 'Mcp-Name: echo' \\
  -d '{json.dumps(body)}'"""
    python = f"""\
import asyncio, os
from mcp import Client  # pip install "mcp>=2.3"
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

async def main():
    http = create_mcp_http_client(headers={{"Authorization": "Bearer " + os.environ["TOKEN"]}})
    async with Client(streamable_http_client("{house.endpoint}", http_client=http)) as client:
        print(await client.call_tool("add", {{"a": 1, "b": 2}}))

asyncio.run(main())"""
    server = {"type": "http", "url": house.endpoint, "headers": {"Authorization": "Bearer ${TOKEN}"}}
    snippet = json.dumps({"mcpServers": {"notes": server}}, indent=2)
    for title, text, language in (
        ("shell", shell, "bash"),
        ("Python", python, "python"),
        ("mcp.json", snippet, "json"),
    ):
        # As text, neither wrapped nor padded: what is copied from the terminal is what runs.
        console.print(Text(f"\n{title}", style="dim underline"))
        console.print(Syntax("", language, background_color="default", theme="ansi_dark").highlight(text), end="")
    console.print(
        Text.assemble(
            f"\nEdit {house.config} and see it come into force. ",
            ("Ctrl-C", "bold"),
            " ends it all and removes the folder.",
        )
    )


def _head(console: Console, number: str, title: str, what: str) -> None:
    console.print(Text.assemble(f"\n{number}  ", (title, "bold"), (f"  {what}" if what else "", "cyan")))


def _row(console: Console, label: str, text: str) -> None:
    console.print(Text.assemble(("   " + f"{label:<10}", "dim"), text))
