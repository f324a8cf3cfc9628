"""The official conformance suite as a program: run it, and read what it found, scenario by scenario."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PROGRAM = Path(__file__).parent.parent / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
STAMP = re.compile(r"-\d{4}-\d\d-\d\dT[\d-]+Z$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one run found: its exit code, and per scenario how often each check came out how."""

    code: int
    told: str
    scenarios: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def count(self, status: str, *, scenarios: Sequence[str] | None = None) -> int:
        """How many checks came out as `status`."""
        found = self.scenarios.values() if scenarios is None else [self.scenarios[name] for name in scenarios]
        return sum(times for checks in found for name, times in checks.items() if name.endswith(f" {status}"))

    def failing(self) -> list[str]:
        """The scenarios in which a check failed, in order."""
        return sorted(name for name, checks in self.scenarios.items() if any(c.endswith(" FAILURE") for c in checks))

    def without_failure(self) -> int:
        """How many scenarios have no failed check."""
        return len(self.scenarios) - len(self.failing())


def run(node: str, words: Sequence[str], out: Path, *, env: Mapping[str, str] | None = None) -> Verdict:
    """Run the suite with `words` and keep its results under `out`."""
    done = subprocess.run(
        [node, str(PROGRAM), *words, "-o", str(out)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **(env or {})},
    )
    return Verdict(code=done.returncode, told=done.stdout + done.stderr, scenarios=read(out))


def authorize(node: str, words: Sequence[str], out: Path, visit: Callable[[str], None]) -> Verdict:
    """Run the suite's scenarios for authorization servers; `visit` is the browser at the URL that the suite prints."""
    with subprocess.Popen(
        [node, str(PROGRAM), "authorization", *words, "-o", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        watchdog = threading.Timer(120, process.kill)
        watchdog.start()
        told, url = "", ""
        assert process.stdout is not None
        try:
            for line in process.stdout:
                told += line
                if line.startswith("http"):
                    url = line.strip()
                elif line.startswith("Callback server started"):
                    visit(url)
        except BaseException:
            process.kill()
            raise
        finally:
            watchdog.cancel()
        code = process.wait(30)
    return Verdict(code=code, told=told, scenarios=read(out))


def read(out: Path) -> dict[str, dict[str, int]]:
    """Read every `checks.json` under `out`; what a check says of mere traffic (INFO) is left out."""
    found: dict[str, dict[str, int]] = {}
    for file in sorted(out.rglob("checks.json")):
        scenario = STAMP.sub("", str(file.parent.relative_to(out)))
        checks: list[dict[str, Any]] = json.loads(file.read_text())
        told = Counter(f"{each['id']} {each['status']}" for each in checks if each["status"] != "INFO")
        found[scenario] = dict(sorted(told.items()))
    return found


def complaints(out: Path) -> dict[tuple[str, str], str]:
    """What the suite says of each check that did not succeed, by scenario and check."""
    return {
        (STAMP.sub("", str(file.parent.relative_to(out))), each["id"]): str(each.get("errorMessage", ""))[:400]
        for file in sorted(out.rglob("checks.json"))
        for each in json.loads(file.read_text())
        if each["status"] not in {"SUCCESS", "INFO"}
    }


def differences(bare: Verdict, through: Verdict, said: Mapping[tuple[str, str], str]) -> list[str]:
    """One line for each check that came out otherwise through the gateway, with what the suite says of it."""
    lines = []
    for scenario in sorted({*bare.scenarios, *through.scenarios}):
        one, other = bare.scenarios.get(scenario, {}), through.scenarios.get(scenario, {})
        for check in sorted({*one, *other}):
            if one.get(check, 0) != other.get(check, 0):
                why = said.get((scenario, check.split(" ")[0]), "")
                lines.append(f"{scenario}: {check} x{one.get(check, 0)} bare, x{other.get(check, 0)} through; {why}")
    if bare.code != through.code:
        lines.append(f"exit code {bare.code} bare, {through.code} through")
    return lines
