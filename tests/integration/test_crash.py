"""Nothing is forwarded unrecorded, however the gateway dies and whatever becomes of its disk."""

import itertools
import json
import random
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.kit.chain import first_break
from tests.kit.gateway import Gateway, free_port, settings
from tests.kit.issuer import Issuer
from tests.kit.load import Load
from tests.kit.upstream import Upstream
from tests.kit.wire import Reply, tool_call, wait_until

KILLS = 50
#: Gateways that live and die beside one another: starting one takes a core.
LIVES = 5


def number_of(message: dict[str, Any]) -> int:
    return int(message["params"]["arguments"]["n"])


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Path:
    folder = tmp_path_factory.mktemp("crash")
    issuer.write(folder / "jwks.json")
    return folder


def test_50_kills_under_load_leave_no_call_without_its_intent(
    tmp_path_factory: pytest.TempPathFactory, issuer: Issuer
) -> None:
    seed = random.randrange(1 << 32)

    def life(number: int) -> int:
        folder = tmp_path_factory.mktemp(f"kills-{number}", numbered=False)
        issuer.write(folder / "jwks.json")
        return live_and_die(folder, issuer, random.Random(seed + number), KILLS // LIVES)

    with ThreadPoolExecutor(LIVES) as lives:
        arrived = sum(lives.map(life, range(LIVES)))
    assert arrived > KILLS, f"seed {seed}"


def live_and_die(folder: Path, issuer: Issuer, chance: random.Random, kills: int) -> int:
    """Kill a gateway under load again and again, then hold its record to what its upstream counted; return that."""
    token = issuer.token()
    with Upstream() as upstream:
        config = settings({"notes": upstream.url}, issuer, listen=free_port(), admin=free_port())
        config["servers"]["notes"]["tools"]["echo"] = {"class": "update"}  # on disk before a byte goes upstream
        config["policy"] = [{"name": "dev", "allow": {"and": [{"groups": {"has": "dev"}}]}}]
        gateway = Gateway(folder, config)

        def make(number: int) -> bytes:
            tool = "echo" if number % 2 else "add"
            return gateway.layout(tool_call(tool, {"n": number}, era="stateless"), token)

        answered: set[int] = set()

        def keep(number: int, reply: Reply) -> None:
            if reply.status == 200 and not reply.error:
                answered.add(number)

        numbers = itertools.count()
        pause = threading.Event()
        for _ in range(kills):
            gateway.start()
            before = upstream.count
            with Load(gateway.address, make, keep, callers=3, numbers=numbers):
                wait_until(lambda before=before: upstream.count > before + 2, step_s=0.001, what="calls under way")
                pause.wait(chance.uniform(0, 0.06))
                gateway.kill()
        with gateway:
            told = gateway.run_json("audit", "verify", "--config", str(gateway.file))
        records = gateway.records()
        intended = {record["args"]["n"] for record in records if record["kind"] == "intent"}
        arrived = {number_of(seen.message) for seen in upstream.calls()}
        assert arrived <= intended
        assert answered <= arrived
        assert first_break(records) is None
        assert (told["ok"], told["first_bad"]) == (True, None)
        return len(arrived)


def test_a_torn_last_line_is_cut_and_recorded(folder: Path, issuer: Issuer) -> None:
    with Upstream() as upstream:
        config = settings({"notes": upstream.url}, issuer, listen=free_port(), admin=free_port())
        gateway = Gateway(folder, config)
        with gateway:
            assert gateway.call("echo", {"n": 1}, issuer.token()).status == 200
            gateway.kill()
        last = max((folder / "var" / "audit").glob("*.jsonl"))
        with last.open("ab") as file:
            file.write(b'{"kind":"intent","id":"')
        with gateway:
            assert gateway.call("echo", {"n": 2}, issuer.token()).status == 200
            records = gateway.records()
            assert "recovery" in [record["kind"] for record in records]
            assert first_break(records) is None
            told = gateway.run_json("audit", "verify", "--config", str(gateway.file))
            assert told["ok"] is True


def test_a_broken_line_that_is_not_the_last_is_not_mended(folder: Path, issuer: Issuer) -> None:
    with Upstream() as upstream:
        config = settings({"notes": upstream.url}, issuer, listen=free_port(), admin=free_port())
        gateway = Gateway(folder, config)
        with gateway:
            for n in range(3):
                assert gateway.call("echo", {"n": n}, issuer.token()).status == 200
        segment = min((folder / "var" / "audit").glob("*.jsonl"))
        lines = segment.read_bytes().splitlines(keepends=True)
        lines[1] = lines[1][: len(lines[1]) // 2] + b"\n"
        segment.write_bytes(b"".join(lines))
        done = gateway.run("audit", "verify", "--json", "--config", str(gateway.file), check=False)
        told = json.loads(done.stdout)
        assert (done.returncode, told["ok"], told["first_bad"]["index"]) == (1, False, 1)


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """`var/audit` on a disk of its own, 256 KiB."""
    disk = folder / "var" / "audit"
    disk.mkdir(parents=True)
    disk.parent.chmod(0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.needs("tmpfs")
@pytest.mark.parametrize("durability", ["by_class", "disk", "os"])
def test_a_full_disk_refuses_calls_and_loses_nothing(
    folder: Path, issuer: Issuer, small_disk: Path, durability: str
) -> None:
    token = issuer.token()
    with Upstream() as upstream:
        config = settings({"notes": upstream.url}, issuer, listen=free_port(), admin=free_port())
        config["audit"]["durability"] = durability
        with Gateway(folder, config) as gateway:

            def call(number: int) -> Reply:
                return gateway.call("echo", {"n": number, "padding": "x" * 3000}, token)

            said: list[Reply] = []
            while not (said and said[-1].error):
                said.append(call(len(said)))
                assert len(said) < 500, "the disk does not fill"
            last = said[-1]
            assert (last.status, last.error["code"]) == (503, 5030)
            arrived = upstream.count
            if not last.error["data"].get("executed"):
                assert arrived == len(said) - 1
            for number in range(len(said), len(said) + 20):
                reply = call(number)
                assert (reply.status, reply.error["code"]) == (503, 5030)
            assert upstream.count == arrived
            assert gateway.admin_get("/healthz").status == 200

            subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
            wait_until(lambda: call(1000).status == 200, what="a call once there is room")
            intended = {record["args"]["n"] for record in gateway.records() if record["kind"] == "intent"}
            assert {number_of(seen.message) for seen in upstream.calls()} <= intended
            told = gateway.run_json("audit", "verify", "--config", str(gateway.file))
            assert (told["ok"], told["first_bad"]) == (True, None)
