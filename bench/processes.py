"""Starting programs, and what the kernel says of them: CPU time and memory of a whole process tree."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of a process tree; `pss` counts a page that n processes share as 1/n."""

    rss_mb: float
    pss_mb: float


def _stat(pid: int) -> tuple[int, float] | None:
    """Parent and CPU seconds (user and system) of a process, as in proc(5); None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def tree(root: int) -> list[int]:
    """`root` and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            children.setdefault(stat[0], []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def cpu_s(root: int) -> float:
    """CPU seconds used so far by the tree under `root`."""
    return sum(stat[1] for pid in tree(root) if (stat := _stat(pid)))


def busy_s() -> float:
    """CPU seconds in which any core of this machine did anything, other guests' stolen time included."""
    user, nice, system, _idle, _wait, irq, softirq, steal, *_ = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_S


def memory(root: int) -> Memory:
    """What the tree under `root` holds now."""
    kib = {"Rss": 0, "Pss": 0}
    for pid in tree(root):
        with contextlib.suppress(OSError):
            for name, value in re.findall(
                r"^(Rss|Pss):\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE
            ):
                kib[name] += int(value)
    return Memory(rss_mb=round(kib["Rss"] / 1024, 1), pss_mb=round(kib["Pss"] / 1024, 1))


def free_port() -> int:
    """A port on the loopback that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], *, log: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that writes to `log`, asked to stop at the end and killed if it has not after 10 s."""
    with log.open("wb") as out:
        process = subprocess.Popen(  # a group of its own, so that Ctrl-C reaches it only through us
            [str(part) for part in command], stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=env, process_group=0
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def upstream(module: str) -> Iterator[str]:
    """A server of ours behind the gateway, in a process of its own: a module that prints its port."""
    words = [sys.executable, "-m", module]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/mcp"
        finally:
            process.terminate()


def wait_until(
    ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, *, timeout_s: float = 30
) -> None:
    """Return when `ready` says so; raises RuntimeError with the end of `log` if the program ends or is too slow."""
    end = time.monotonic() + timeout_s
    while not ready():
        if process.poll() is not None or time.monotonic() > end:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise RuntimeError(f"{process.args!r} is not ready:\n{tail}")
        time.sleep(0.05)


def accepts(port: int) -> bool:
    """Whether something listens on a port of the loopback."""
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0


def answers_200(url: str) -> bool:
    """Whether a GET of `url` is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
