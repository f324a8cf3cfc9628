"""`python -m bench.reuse --secs 300`: 64 clients reuse the same ids through the gateway.

Passes if no client ever got what was another's, no call failed, and the gateway's memory is flat.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean
from typing import Any

from tests.kit.gateway import Gateway, free_port
from tests.kit.issuer import Issuer
from tests.kit.openhouse import open_settings

from bench.processes import cpu_s, memory, upstream
from bench.reuse.client import Client, Tally

RESULTS = Path(__file__).parent.parent / "results"
PEOPLE = 8
GROWTH = 0.05


async def load(gateway: Gateway, issuer: Issuer, clients: int, seconds: float) -> tuple[Tally, list[float]]:
    """Let the clients loose, and look at the gateway's memory meanwhile."""
    assert gateway.process is not None
    tally, rss, until = Tally(), [], time.monotonic() + seconds
    exp = int(time.time() + seconds + 300)
    lives = [
        Client(
            number=number,
            address=gateway.address,
            path="/mcp/notes",
            token=issuer.token(sub=f"person-{number % PEOPLE}@example.com", exp=exp),
            era="session" if number % 2 else "stateless",
            tally=tally,
        ).live(until)
        for number in range(clients)
    ]
    work = asyncio.gather(*lives)
    while not work.done():
        rss.append(memory(gateway.process.pid).rss_mb)
        await asyncio.wait([work], timeout=max(0.5, seconds / 120))
    await work
    return tally, rss


def judge(rss: list[float]) -> dict[str, Any]:
    """Memory after the first fifth, when pools and caches are filled, against memory in the last fifth."""
    fifth = max(1, len(rss) // 5)
    early, late = fmean(rss[fifth : 2 * fifth] or rss), fmean(rss[-fifth:])
    flat = late <= early * (1 + GROWTH)
    return {"early_mb": round(early, 1), "late_mb": round(late, 1), "most_mb": max(rss), "flat": flat}


def main() -> int:
    """Run, print, keep. 0 when nothing was mixed, nothing failed and memory is flat."""
    words = argparse.ArgumentParser(prog="python -m bench.reuse", description=__doc__)
    words.add_argument("--secs", type=float, default=300)
    words.add_argument("--clients", type=int, default=64)
    given = words.parse_args()
    issuer = Issuer()
    Path("target").mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="reuse-", dir="target") as scratch,
        upstream("bench.reuse.upstream") as behind,
    ):
        folder = Path(scratch).resolve()
        issuer.write(folder / "jwks.json")
        config = open_settings(behind, issuer, listen=free_port(), admin=free_port(), tools={"echo": "read"})
        with Gateway(folder, config) as gateway:
            assert gateway.process is not None
            tally, rss = asyncio.run(load(gateway, issuer, given.clients, given.secs))
            used = cpu_s(gateway.process.pid)
    found = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "clients": given.clients,
        "seconds": given.secs,
        "calls": tally.calls,
        "of them asked back": tally.asked,
        "mixed": len(tally.mixed),
        "failed": len(tally.failed),
        "examples": (tally.mixed + tally.failed)[:10],
        "gateway_cpu_s": round(used, 1),
        "memory": judge(rss),
        "rss_mb": rss,
    }
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"reuse-{found['date']}.json"
    file.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({name: value for name, value in found.items() if name != "rss_mb"}, indent=1))
    print(f"kept as {file}")
    return 0 if not tally.mixed and not tally.failed and tally.calls and judge(rss)["flat"] else 1


if __name__ == "__main__":
    sys.exit(main())
