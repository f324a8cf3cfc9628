"""The figures of one run as a table: costs as measured, everything else as a ratio to the yardsticks."""

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.load import Run

FLOOR, PEER = "nginx", "envoy jwt+mcp+rbac"
COLUMNS = (
    "revision", "c", "what", "CPU-ms/call", "x nginx", "x Envoy", "p50 x nginx", "x Envoy", "p99 x nginx", "x Envoy",
    "MB", "noise",
)  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Report:
    """All runs of one go, those that were void with why, and what was found in the record afterwards."""

    date: str
    seconds: float
    runs: list[Run] = field(default_factory=list)
    void: list[str] = field(default_factory=list)
    record: dict[str, Any] | None = None

    def rows(self) -> list[tuple[str, ...]]:
        """The table's rows, text only, in the order measured."""
        at = {(run.target, run.revision, run.connections): run for run in self.runs}

        def ratio(run: Run, other: str, figure: str) -> str:
            base = at.get((other, run.revision, run.connections))
            return f"{getattr(run, figure) / getattr(base, figure):.2f}" if base and getattr(base, figure) else "-"

        return [
            (
                run.revision,
                str(run.connections),
                run.target,
                f"{run.cpu_ms_per_call:.4f}",
                *(ratio(run, o, f) for f in ("cpu_ms_per_call", "p50_ms", "p99_ms") for o in (FLOOR, PEER)),
                f"{run.pss_mb:.0f}",
                f"{run.noise:.2f}",
            )
            for run in sorted(self.runs, key=lambda run: (run.revision, run.connections))
        ]

    def lines(self) -> list[str]:
        """The table and what is to be said beside it, as Markdown."""
        table = [COLUMNS, tuple("-" * len(column) for column in COLUMNS), *self.rows()]
        widths = [max(len(row[i]) for row in table) for i in range(len(COLUMNS))]
        out = [
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
            for row in table
        ]
        out += [
            "",
            f"{self.seconds:g} s a run; noise: cores used by others meanwhile; {platform.machine()}, {_cores()} cores.",
        ]
        if self.record is not None:
            out.append(f"The gateway's record afterwards: {json.dumps(self.record)}")
        return out + [f"VOID {why}" for why in self.void]

    def write(self, folder: Path) -> Sequence[Path]:
        """Keep this report as JSON and Markdown; returns both paths."""
        folder.mkdir(parents=True, exist_ok=True)
        data = {"date": self.date, "seconds": self.seconds, "cores": _cores(), "void": self.void, "record": self.record}
        paths = folder / f"{self.date}.json", folder / f"{self.date}.md"
        paths[0].write_text(json.dumps({**data, "runs": [run.as_json() for run in self.runs]}, indent=1) + "\n")
        paths[1].write_text(f"# Measured on {self.date}\n\n" + "\n".join(self.lines()) + "\n")
        return paths


def _cores() -> int:
    return len(Path("/proc/cpuinfo").read_text().split("processor\t:")) - 1
