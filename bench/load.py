"""One run of wrk against one target, and what it cost: calls, latency, CPU of the target and noise of the machine."""

import json
import os
import re
import resource
import ssl
import subprocess
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.processes import busy_s, cpu_s, memory
from bench.targets import Target

SCRIPT = Path(__file__).with_name("call.lua")
STATELESS = "2026-07-28"
REVISIONS = ("2025-06-18", STATELESS)
ANSWER = "an answer from the upstream"
# The certificate is of this run alone, as is the server behind it.
UNVERIFIED = ssl._create_unverified_context()


class VoidError(RuntimeError):
    """The run measured something other than authorised calls that reached the upstream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one target did under one load. `noise` is the share of one core that others used meanwhile."""

    target: str
    revision: str
    connections: int
    calls: int
    calls_per_s: float
    cpu_ms_per_call: float
    p50_ms: float
    p99_ms: float
    rss_mb: float
    pss_mb: float
    noise: float

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


def _upstream_calls(upstream: Target) -> int:
    url = upstream.url.removesuffix("/mcp") + "/stats"
    with urllib.request.urlopen(url, timeout=5) as response:
        stats = json.load(response)
    if stats["bad"] or stats["unknown"]:
        raise VoidError(f"the upstream got what it could not read: {stats}")
    return int(stats["tools_call"])


def prove(target: Target, revision: str, token: str, *, calls: int = 5) -> None:
    """Raise `VoidError` unless each of a few single calls comes back under its own id with the upstream's answer."""
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "MCP-Protocol-Version": revision,
    }
    params: dict[str, Any] = {"name": "echo", "arguments": {"text": "is this the way"}}
    if revision == STATELESS:
        headers |= {"Mcp-Method": "tools/call", "Mcp-Name": "echo"}
        prefix = "io.modelcontextprotocol/"
        params["_meta"] = {
            f"{prefix}protocolVersion": revision,
            f"{prefix}clientInfo": {"name": "bench", "version": "1"},
            f"{prefix}clientCapabilities": {},
        }
    for number in range(1, calls + 1):
        message = {"jsonrpc": "2.0", "id": f"proof-{number}", "method": "tools/call", "params": params}
        request = urllib.request.Request(target.url, json.dumps(message).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=10, context=UNVERIFIED) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise VoidError(f"{target.name} answered {error.code}: {error.read(300)!r}") from error
        if answer.get("id") != message["id"] or ANSWER not in json.dumps(answer):
            raise VoidError(f"{target.name} answered {json.dumps(answer)[:300]}")


def drive(target: Target, upstream: Target, *, revision: str, token: str, connections: int, seconds: float) -> Run:
    """Load `target` for `seconds` and account for it; raises `VoidError` if calls and upstream disagree."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
    env = os.environ | {"BENCH_TOKEN": token, "BENCH_REVISION": revision}
    counted, busy = _upstream_calls(upstream), busy_s()
    cpu, upstream_cpu, own = cpu_s(target.pid), cpu_s(upstream.pid), _own_cpu_s()
    done = subprocess.run(
        [*command, "-s", str(SCRIPT), target.url],
        env=env,
        capture_output=True,
        text=True,
        timeout=seconds + 30,
        check=False,
    )
    cpu, upstream_cpu, own = cpu_s(target.pid) - cpu, cpu_s(upstream.pid) - upstream_cpu, _own_cpu_s() - own
    busy, counted = busy_s() - busy, _upstream_calls(upstream) - counted
    found = re.search(r"^BENCH (\{.*\})$", done.stdout, re.MULTILINE)
    if found is None:
        raise VoidError(f"wrk failed: {done.stdout[-500:]}{done.stderr[-500:]}")
    told = json.loads(found[1])
    # A call under way when wrk hangs up may reach the upstream or not; every answered one must have, and exactly once.
    if told["refused"] or told["broken"] or not told["answered"] <= counted <= told["sent"]:
        raise VoidError(f"{target.name}: wrk says {told}, the upstream counted {counted}")
    held = memory(target.pid)
    return Run(
        target=target.name,
        revision=revision,
        connections=connections,
        calls=told["answered"],
        calls_per_s=round(told["answered"] / told["seconds"], 1),
        cpu_ms_per_call=round(cpu * 1000 / max(1, counted), 4),
        p50_ms=told["p50_ms"],
        p99_ms=told["p99_ms"],
        rss_mb=held.rss_mb,
        pss_mb=held.pss_mb,
        noise=round(max(0.0, busy - cpu - upstream_cpu - own) / told["seconds"], 2),
    )


def _own_cpu_s() -> float:
    """CPU seconds of this process and of all that it has waited for, wrk among them."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)
