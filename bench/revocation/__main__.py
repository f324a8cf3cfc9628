"""`python -m bench.revocation`: how long until a revoked principal's next call is refused and its open streams end.

Ten thousand streams are open over two hundred HTTP/2 connections; a hundred of them belong to the two agents of one
owner. Each round issues their tokens anew, opens their streams and revokes `--owner` over the admin socket, while
their calls go on. Passes if every stream and call of theirs ended, and nobody else's did.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.kit.gateway import Gateway, free_port, settings
from tests.kit.issuer import Issuer
from tests.kit.pki import Authority
from tests.kit.wire import call_headers, message, tool_call

from bench.processes import memory, upstream
from bench.revocation.client import Connection, Exchange
from ostiary.cli.reach import ask
from ostiary.store import StorePath

if TYPE_CHECKING:
    import ssl

RESULTS = Path(__file__).parent.parent / "results"
PER_CONNECTION = 50
PER_AGENT = 50
"""A caller may hold 64 streams open."""
PROBES = 5
DEADLINE_S = 20.0


@dataclass(slots=True)
class Scene:
    """The gateway under load."""

    gateway: Gateway
    store: StorePath
    context: ssl.SSLContext

    def token(self, agent: str) -> str:
        """Issue a token as an operator does."""
        body = {"type": "agent", "name": agent, "server": "notes", "scope": None, "ttl_s": 3600}
        return str((ask(self.store, "POST", "/tokens", body) or {})["access_token"])

    def fields(self, token: str, shape: dict[str, Any]) -> list[tuple[str, str]]:
        """The head of a request in the form of HTTP/2."""
        pairs = [
            (name.lower(), value) for name, value in call_headers(self.gateway.host, token, shape, era="stateless")
        ]
        kept = [(name, value) for name, value in pairs if name not in {"host", "connection", "content-length"}]
        return [(":authority", self.gateway.host), *kept]

    def listen(self, connection: Connection, token: str, ident: int) -> Exchange:
        """Open a stream."""
        wanted = {"notifications": {"toolsListChanged": True}}
        shape = message("subscriptions/listen", wanted, era="stateless", ident=ident)
        return connection.post("/mcp/notes", self.fields(token, shape), json.dumps(shape).encode())

    async def refused_at(self, connection: Connection, token: str) -> float:
        """Call without a pause until a call is refused, and say when that one was answered."""
        shape = tool_call("echo", {"text": "still there?"}, era="stateless")
        fields, body = self.fields(token, shape), json.dumps(shape).encode()
        while True:
            exchange = connection.post("/mcp/notes", fields, body)
            await asyncio.wait_for(exchange.ended.wait(), DEADLINE_S)
            if exchange.status == 401:
                return exchange.ended_at


@dataclass(slots=True)
class Tally:
    """Milliseconds from the moment at which the operator's request was sent."""

    streams: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)


async def opened(exchanges: list[Exchange]) -> None:
    """Wait until every stream has begun. Raises `RuntimeError` if one was refused."""
    await asyncio.wait_for(asyncio.gather(*(each.began.wait() for each in exchanges)), DEADLINE_S)
    refused = [each.status for each in exchanges if each.status != 200]
    if refused:
        raise RuntimeError(f"{len(refused)} streams were not opened: {refused[:5]}")


async def crowd(scene: Scene, agents: list[str]) -> list[Exchange]:
    """Open everybody else's streams."""
    found: list[Exchange] = []
    for agent in agents:
        token = await asyncio.to_thread(scene.token, agent)
        connection = await Connection.open(scene.gateway.address, scene.context)
        batch = [scene.listen(connection, token, number) for number in range(PER_AGENT)]
        await opened(batch)
        found += batch
    return found


async def revoke_once(scene: Scene, tally: Tally) -> None:
    """One round."""
    tokens = [await asyncio.to_thread(scene.token, agent) for agent in ("doomed-0", "doomed-1")]
    lines = [await Connection.open(scene.gateway.address, scene.context) for _ in tokens]
    pairs = list(zip(lines, tokens, strict=True))
    theirs = [scene.listen(line, token, number) for line, token in pairs for number in range(PER_CONNECTION)]
    await opened(theirs)
    probes = [asyncio.create_task(scene.refused_at(*pairs[number % 2])) for number in range(PROBES)]
    await asyncio.sleep(0.2)
    began = time.perf_counter()
    await asyncio.to_thread(
        ask, scene.store, "POST", "/revoke", {"kind": "owner", "value": "mallory", "reason": "bench"}
    )
    tally.answers.append((time.perf_counter() - began) * 1000)
    await asyncio.wait_for(asyncio.gather(*(each.ended.wait() for each in theirs)), DEADLINE_S)
    tally.streams += [(each.ended_at - began) * 1000 for each in theirs]
    tally.calls += [(at - began) * 1000 for at in await asyncio.gather(*probes)]
    for line in lines:
        await line.close()


def config(url: str, issuer: Issuer, crowd_size: int) -> dict[str, Any]:
    """One server, and as many agents as it takes."""
    found = settings({"notes": url}, issuer, listen=free_port(), admin=free_port())
    found["gateway"] |= {"url": f"https://localhost:{found['gateway']['listen'].rpartition(':')[2]}"}
    found["gateway"]["tls"] = {"cert": "cert.pem", "key": "key.pem"}
    found["gateway"].pop("allowed_hosts")
    found["people"]["mallory"] = {"email": "mallory@example.com"}
    ceiling = {"servers": ["notes"], "classes": ["read", "query"]}
    others = {f"crowd-{number}": {"owner": "alice", "ceiling": ceiling} for number in range(crowd_size)}
    doomed = {f"doomed-{number}": {"owner": "mallory", "ceiling": ceiling} for number in range(2)}
    found["agents"] = {**others, **doomed}
    found["policy"] = [{"name": "all", "allow": {"and": [{"actor_type": "agent"}, {"accept": True}]}}]
    return found


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of them do not exceed."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)


async def measure(scene: Scene, streams: int, rounds: int) -> dict[str, Any]:
    """Open the crowd, revoke again and again, and look who is left."""
    tally = Tally()
    others = await crowd(scene, [f"crowd-{number}" for number in range(streams // PER_AGENT - 2)])
    for _ in range(rounds):
        await revoke_once(scene, tally)
    return {
        "streams open": len(others) + 2 * PER_CONNECTION,
        "connections": len(others) // PER_CONNECTION + 2,
        "of them revoked a round": 2 * PER_CONNECTION,
        "rounds": rounds,
        "streams of others that ended": sum(each.ended.is_set() for each in others),
        **{
            f"ms until {what}": {"p50": percentile(found, 0.5), "p99": percentile(found, 0.99), "most": max(found)}
            for what, found in (
                ("an open stream ends", tally.streams),
                ("a call is refused", tally.calls),
                ("the operator is told", tally.answers),
            )
        },
    }


def main() -> int:
    """Run, print, keep. 0 when all of the revoked ended and nobody else's did."""
    words = argparse.ArgumentParser(prog="python -m bench.revocation", description=__doc__)
    words.add_argument("--streams", type=int, default=10_000)
    words.add_argument("--rounds", type=int, default=10)
    given = words.parse_args()
    issuer, authority = Issuer(), Authority()
    Path("target").mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="revocation-", dir="target") as scratch,
        upstream("bench.revocation.upstream") as behind,
    ):
        folder = Path(scratch).resolve()
        issuer.write(folder / "jwks.json")
        authority.pair().write(folder)
        told = config(behind, issuer, given.streams // PER_AGENT)
        with Gateway(folder, told) as gateway:
            assert gateway.process is not None
            store = StorePath.from_url("sqlite:///var/ostiary.db", folder)
            gateway.host = gateway.url.removeprefix("https://")
            scene = Scene(gateway, store, authority.context("h2"))
            found = asyncio.run(measure(scene, given.streams, given.rounds))
            found["gateway memory, MB"] = memory(gateway.process.pid).rss_mb
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    file = RESULTS / f"revocation-{date}.json"
    file.write_text(json.dumps({"date": date, **found}, indent=1) + "\n")
    print(file.read_text() + f"kept as {file}")
    return 0 if found["streams of others that ended"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
