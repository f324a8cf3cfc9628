"""The real gateway as a child process: `ostiary run --config FILE`, its command line, its log and its records."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from .wire import DEADLINE_S, CutError, Reply, Wire, call_headers, http, message, tool_call, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .issuer import Issuer


def command() -> list[str]:
    """Return how `ostiary` is called: the script installed beside this interpreter."""
    script = Path(sys.executable).with_name("ostiary")
    found = str(script) if script.exists() else shutil.which("ostiary")
    if found is None:
        raise FileNotFoundError("`ostiary` is not installed in this environment")
    return [found]


def free_port() -> int:
    """Return a port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def settings(servers: Mapping[str, str], issuer: Issuer, *, listen: int, admin: int) -> dict[str, Any]:
    """Return a configuration like the one that users copy: `servers` maps a name to an upstream URL."""
    tools = {
        "echo": {"class": "read"},
        "read_file": {"class": "read"},
        "add": {"class": "query"},
        "count": {"class": "query"},
        "rename": {"class": "update"},
        "delete_file": {"class": "admin"},
    }
    names = list(servers)
    return {
        "gateway": {
            "listen": f"127.0.0.1:{listen}",
            "url": f"http://127.0.0.1:{listen}",
            "allowed_hosts": [f"localhost:{listen}"],
        },
        "admin": {"listen": f"127.0.0.1:{admin}"},
        "store": {"url": "sqlite:///var/ostiary.db"},
        "audit": {"dir": "var/audit", "durability": "by_class"},
        "people": {"alice": {"email": "alice@example.com", "issuer": "corp", "subject": "alice@example.com"}},
        "identity": {
            "issuers": {
                issuer.name: {
                    "issuer": issuer.issuer,
                    "jwks": {"file": "jwks.json"},
                    "algorithms": [issuer.alg],
                    "audience": issuer.audience,
                    "servers": names,
                    "type": issuer.type,
                    "direct": True,
                    "claims": {"email": "sub", "groups": "groups"},
                    "email_domains": ["example.com"],
                }
            }
        },
        "agents": {
            "release-bot": {
                "owner": "alice",
                "purpose": "cut releases",
                "ceiling": {"servers": names, "classes": ["read", "query", "update"]},
            }
        },
        "servers": {
            name: {"url": url, "owner": "alice", "identity": "jwt", "pins": "off", "tools": tools}
            for name, url in servers.items()
        },
        "policy": [
            {
                "name": "dev-reads",
                "allow": {"and": [{"groups": {"has": "dev"}}, {"action": {"in": ["read", "query"]}}]},
            },
            {"name": "bot-works", "allow": {"and": [{"agent": "release-bot"}]}},
            {"name": "no-etc", "deny": {"or": [{"argument/path": {"starts_with": "/etc"}}]}},
        ],
    }


def as_yaml(config: Mapping[str, Any]) -> str:
    """Write `config` as YAML with one rule, server and agent a line, so that tests can name lines."""
    lines = []
    for key, value in config.items():
        if key == "policy" and isinstance(value, list):
            lines += ["policy:", *(f"  - {json.dumps(rule)}" for rule in value)]
        elif key in {"servers", "agents", "people"}:
            lines += [f"{key}:", *(f"  {name}: {json.dumps(entry)}" for name, entry in value.items())]
        else:
            lines.append(f"{key}: {json.dumps(value)}")
    return "\n".join(lines) + "\n"


def line_of(file: Path, needle: str) -> int:
    """Return the number of the only line of `file` that holds `needle`."""
    found = [number for number, line in enumerate(file.read_text().splitlines(), 1) if needle in line]
    if len(found) != 1:
        raise AssertionError(f"`{needle}` stands on lines {found}")
    return found[0]


@dataclass(slots=True)
class Segments:
    """Reads a folder of audit segments that grows meanwhile; an unfinished last line is left for the next reading."""

    folder: Path
    records: list[dict[str, Any]] = field(default_factory=list)
    _offsets: dict[str, int] = field(default_factory=dict)

    def read(self) -> list[dict[str, Any]]:
        """Read what is new, and return every record in the order of the chain."""
        for segment in sorted(self.folder.glob("*.jsonl")) if self.folder.exists() else []:
            offset = self._offsets.get(segment.name, 0)
            with segment.open("rb") as file:
                file.seek(offset)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._offsets[segment.name] = offset + len(whole)
            self.records += [json.loads(line) for line in whole.splitlines()]
        return self.records


class Gateway:
    """One gateway in one folder. `with Gateway(folder, config) as gateway` starts it and ends it."""

    def __init__(self, folder: Path, config: Mapping[str, Any], *, env: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.config = dict(config)
        self.file = folder / "ostiary.yaml"
        self.env = {**os.environ, **(env or {})}
        self.log_file = folder / "gateway.log"
        self.segments = Segments(folder / "var" / "audit")
        self.process: subprocess.Popen[bytes] | None = None
        self.address = _address(config["gateway"]["listen"])
        self.admin = _address(config["admin"]["listen"])
        self.host = f"{self.address[0]}:{self.address[1]}"
        self.url = config["gateway"]["url"]
        self.save(as_yaml(config))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def save(self, text: str) -> None:
        """Write the configuration file in place, as an editor does."""
        self.file.write_text(text)

    def launch(self) -> None:
        """Start the process; it need not be ready yet."""
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*command(), "run", "--config", str(self.file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.env,
                cwd=self.folder,
            )

    def start(self, *, deadline_s: float = 30.0) -> None:
        """Start the process and wait until `/readyz` answers 200."""
        self.launch()
        try:
            wait_until(self._ready, deadline_s=deadline_s, step_s=0.01, what="/readyz")
        except BaseException:
            self.end()
            raise

    def _ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"`ostiary run` ended with {self.process.returncode}:\n{self.log()}")
        try:
            return self.admin_get("/readyz").status == 200
        except (OSError, CutError):
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        assert self.process is not None, "the gateway does not run"
        self.process.send_signal(number)

    def end(self, *, deadline_s: float = 20.0) -> int:
        """Ask the process to end (SIGTERM), wait, and return its exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self.process = None
        return code

    def kill(self) -> None:
        """End the process at once (SIGKILL)."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def log(self) -> str:
        """Return what the process has printed."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def run(self, *words: str, check: bool = True, input: str | None = None) -> subprocess.CompletedProcess[str]:  # noqa: A002
        """Run another `ostiary` command beside the gateway; `check` fails on a code other than 0."""
        done = subprocess.run(
            [*command(), *words],
            capture_output=True,
            text=True,
            timeout=60,
            env=self.env,
            cwd=self.folder,
            input=input,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"`ostiary {' '.join(words)}` gave {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def run_json(self, *words: str) -> Any:
        """Run a command with `--json` and read its answer."""
        return json.loads(self.run(*words, "--json").stdout)

    def issue(self, agent: str = "release-bot", server: str = "notes", *, scope: str | None = None) -> str:
        """Return a token from `ostiary tokens issue`."""
        scopes = ["--scope", scope] if scope is not None else []
        words = ["--config", str(self.file), "--agent", agent, "--server", server, *scopes, "--ttl", "10m"]
        token: str = self.run_json("tokens", "issue", *words)["access_token"]
        return token

    def wire(self, **options: Any) -> Wire:
        """Return a connection to the data plane, to be entered."""
        return Wire(self.address, **options)

    def admin_get(self, path: str) -> Reply:
        """GET from the admin listener."""
        with Wire(self.admin, deadline_s=5.0) as wire:
            return wire.ask(http("GET", path, [("Host", f"{self.admin[0]}:{self.admin[1]}"), ("Connection", "close")]))

    def get(self, path: str, headers: Sequence[tuple[str, str]] = ()) -> Reply:
        """GET from the data plane."""
        with self.wire() as wire:
            return wire.ask(http("GET", path, [("Host", self.host), *headers]))

    def post(
        self,
        body: Mapping[str, Any] | bytes,
        token: str | None,
        *,
        era: str = "stateless",
        server: str = "notes",
        headers: Sequence[tuple[str, str]] = (),
    ) -> Reply:
        """Send one message on a connection of its own, as a well-behaved client does; `headers` are added."""
        with self.wire() as wire:
            return wire.ask(self.layout(body, token, era=era, server=server, headers=headers))

    def layout(
        self,
        body: Mapping[str, Any] | bytes,
        token: str | None,
        *,
        era: str = "stateless",
        server: str = "notes",
        headers: Sequence[tuple[str, str]] = (),
    ) -> bytes:
        """Return the bytes of that request."""
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        shape = {"method": "tools/call", "params": {"name": "echo"}} if isinstance(body, bytes) else body
        return http("POST", f"/mcp/{server}", [*call_headers(self.host, token, shape, era=era), *headers], text)

    def call(
        self,
        tool: str,
        arguments: Mapping[str, Any] | None,
        token: str | None,
        *,
        era: str = "stateless",
        server: str = "notes",
        headers: Sequence[tuple[str, str]] = (),
    ) -> Reply:
        """Call a tool."""
        return self.post(tool_call(tool, arguments, era=era), token, era=era, server=server, headers=headers)

    def open_session(self, token: str, *, server: str = "notes") -> str:
        """Do the handshake of the session era and return our session id."""
        hello = message(
            "initialize",
            {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "kit", "version": "1"}},
            era="session",
        )
        reply = self.post(hello, token, era="session", server=server)
        session = reply.header("mcp-session-id")
        assert reply.status == 200, reply
        assert session is not None
        note = message("notifications/initialized", era="session", ident=None)
        reply = self.post(note, token, era="session", server=server, headers=[("Mcp-Session-Id", session)])
        assert reply.status == 202, reply
        return session

    def records(self) -> list[dict[str, Any]]:
        """Return every record on disk, in order."""
        return self.segments.read()

    def record_of(self, decision: str, kind: str | None = None) -> dict[str, Any]:
        """Wait for the record of one decision."""

        def found() -> dict[str, Any] | None:
            same = (each for each in self.records() if each["id"] == decision)
            return next((each for each in same if kind is None or each["kind"] == kind), None)

        return wait_until(found, what=f"the record {decision}") or {}

    def next_record(self, since: int, *kinds: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait for `count` records of `kinds` after the first `since` records."""

        def found() -> list[dict[str, Any]]:
            new = [each for each in self.records()[since:] if each["kind"] in kinds]
            return new if len(new) >= count else []

        return wait_until(found, deadline_s=DEADLINE_S, what=f"{count} records of {kinds}")

    def refused(self, since: int, *reasons: str) -> None:
        """Wait for the record of a refusal after the first `since`, for one of `reasons` where they are given.

        It may be one of its own or, where refusals came thick and fast, one for many.
        """

        def found() -> bool:
            new = (each for each in self.records()[since:] if each["kind"] == "deny")
            return any(not reasons or each["reason"] in reasons for each in new)

        wait_until(found, deadline_s=DEADLINE_S, what=f"a refusal for {reasons or 'any reason'}")

    def end_of(self, method: str, since: int) -> str:
        """Wait for the outcome of the one message of `method` that was allowed after the first `since` records."""

        def found() -> list[str]:
            new = self.records()[since:]
            ids = {each["id"] for each in new if each["kind"] == "intent" and each["mcp_method"] == method}
            return [each["outcome"] for each in new if each["kind"] == "outcome" and each["id"] in ids]

        (outcome,) = wait_until(found, what=f"the end of {method}")
        return outcome


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)
