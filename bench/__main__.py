"""`make bench`: the yardsticks and the gateway in one run, at 1, 16 and 64 connections and in both protocol eras.

Targets take turns under each load, so that what a ratio compares was measured within seconds of each other.
"""

import argparse
import contextlib
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import identity, targets
from bench.load import REVISIONS, Run, VoidError, drive, prove
from bench.report import Report
from bench.targets import Target

CONNECTIONS = (1, 16, 64)
NOISY = 0.15
SPARE_TRIES = 6
RESULTS = Path(__file__).with_name("results")
NAMES = ("nginx", "envoy", "envoy-auth", "ostiary", "ostiary-tls")


def install_missing() -> None:
    """Bring nginx and wrk from Debian when they are not there."""
    path = os.environ.get("PATH", "") + ":/usr/sbin"
    packages = [
        package for tool, package in (("nginx", "nginx-light"), ("wrk", "wrk")) if not shutil.which(tool, path=path)
    ]
    if not packages:
        return
    if not shutil.which("apt-get"):
        sys.exit(f"bench needs {' and '.join(packages)}, and there is no apt-get here to install them with")
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run([*sudo, "apt-get", "update", "-qq"], check=True)
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    subprocess.run([*sudo, *install], check=True, env=quiet, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def all_running(
    work: Path, who: identity.Identity, wanted: list[str], before: Path | None
) -> Iterator[tuple[Target, list[Target]]]:
    """The upstream and every wanted target, stopped again at the end."""
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(targets.upstream(work))
        start = {
            "nginx": lambda: targets.nginx(work, upstream),
            "envoy": lambda: targets.envoy(work, upstream, None),
            "envoy-auth": lambda: targets.envoy(work, upstream, who),
            "ostiary": lambda: targets.gateway(work, upstream, who),
            "ostiary-tls": lambda: targets.gateway(work, upstream, who, name="ostiary-tls", tls=True),
            "before": lambda: targets.gateway(work, upstream, who, name="before", command=before),
        }
        names = [*wanted, "before"] if before else wanted
        yield upstream, [stack.enter_context(start[name]()) for name in names]


def measure(report: Report, upstream: Target, measured: list[Target], token: str) -> None:
    """Every load on every target. A noisy run is done once more, while spare tries last, and the quieter one kept."""
    spare = SPARE_TRIES
    for revision in REVISIONS:
        sound = [target for target in measured if _is_sound(report, target, upstream, revision, token)]
        for connections in CONNECTIONS:
            for target in sound:
                try:
                    run, tried = _quietest(target, upstream, revision, token, connections, report.seconds, spare)
                except VoidError as void:
                    report.void.append(f"{revision} c={connections}: {void}")
                    continue
                spare -= tried - 1
                report.runs.append(run)
                print(
                    f"{revision} c={connections:<2} {target.name:<18} {run.cpu_ms_per_call:.4f} CPU-ms/call", flush=True
                )


def _is_sound(report: Report, target: Target, upstream: Target, revision: str, token: str) -> bool:
    """Whether a few single calls and a second of load come through; if not, the report says why."""
    try:
        prove(target, revision, token)
        drive(target, upstream, revision=revision, token=token, connections=4, seconds=1)
    except VoidError as void:
        report.void.append(f"{revision}: {void}")
        return False
    return True


def _quietest(
    target: Target, upstream: Target, revision: str, token: str, connections: int, seconds: float, spare: int
) -> tuple[Run, int]:
    """The quieter of at most two runs, and how many there were."""
    load: dict[str, Any] = {"revision": revision, "token": token, "connections": connections, "seconds": seconds}
    first = drive(target, upstream, **load)
    if first.noise <= NOISY or not spare:
        return first, 1
    return min(first, drive(target, upstream, **load), key=lambda run: run.noise), 2


def read_record(work: Path) -> dict[str, Any]:
    """What `ostiary audit verify` says of the record that the measured calls left."""
    command = [
        Path(sys.executable).with_name("ostiary"),
        "audit",
        "verify",
        "--config",
        work / "ostiary" / "ostiary.yaml",
        "--json",
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False)
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        return {"ok": False, "why": (done.stdout + done.stderr)[-300:]}


def main() -> int:
    """Measure, print, keep. 0 when every run counted and the record holds all calls, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--secs", type=float, default=5, help="seconds a run (there are three loads, two eras)")
    parser.add_argument("--only", default=",".join(NAMES), help=f"which of {','.join(NAMES)}")
    parser.add_argument("--before", type=Path, help="the `ostiary` command of another installation, measured beside")
    options = parser.parse_args()
    wanted = [name for name in NAMES if name in options.only.split(",")]
    install_missing()
    who = identity.make()
    report = Report(date=datetime.datetime.now(datetime.UTC).date().isoformat(), seconds=options.secs)
    scratch = Path("target")  # on the same disk as everything else: records on a tmpfs would flatter us
    scratch.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=scratch) as folder:
        work = Path(folder).resolve()
        with all_running(work, who, wanted, options.before) as (upstream, measured):
            measure(report, upstream, measured, who.token)
        if "ostiary" in wanted:
            report.record = read_record(work)
    print("\n" + "\n".join(report.lines()))
    if wanted == list(NAMES):
        print("kept as " + " and ".join(str(path.relative_to(Path.cwd())) for path in report.write(RESULTS)))
    return 1 if report.void or (report.record is not None and not report.record.get("ok")) else 0


if __name__ == "__main__":
    sys.exit(main())
