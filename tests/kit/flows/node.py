"""Programs under Node that sign in: each says when it needs the browser, which stays here (`tests/node/talk.mjs`)."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .flow import DeniedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .browser import Browser
    from .flow import Answer, Visit

SCRIPTS = Path(__file__).parent.parent.parent / "node"
DEADLINE_S = 60.0


class NodeFlow:
    """One such program."""

    def __init__(self, process: subprocess.Popen[str], browser: Browser) -> None:
        self._process, self._browser = process, browser
        self.tools: list[str] = []

    def ask(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """Tell the program something, and return its answer; on the way to it the browser does what it must."""
        self._say(told)
        while True:
            answer = self._hear()
            if "denied" in answer:
                raise DeniedError(answer["denied"])
            if "visit" not in answer:
                return answer
            self._say({"came": self._browser.arrive(answer["visit"])})

    def _say(self, told: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError("the program ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def call(self, name: str, arguments: Mapping[str, Any]) -> Answer:
        """Call a tool."""
        answer: Answer = self.ask({"call": name, "arguments": dict(arguments)})["answer"]
        return answer

    def stale(self) -> None:
        """Let the access token be of no more use: the next request is answered 401, and the client refreshes."""
        self.ask({"stale": True})


@contextlib.contextmanager
def under_node(node: str, script: str, visit: Visit) -> Iterator[NodeFlow]:
    """Sign in and connect with `tests/node/SCRIPT`."""
    task = {"url": visit.url, "era": visit.era, "redirect": visit.redirect, "document": visit.document}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [node, str(SCRIPTS / script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        watchdog = threading.Timer(DEADLINE_S, process.kill)
        watchdog.start()
        try:
            flow = NodeFlow(process, visit.browser)
            flow.tools = flow.ask({**task, "keeps": visit.keeps})["ready"]
            yield flow
            visit.keeps.update(flow.ask({"end": True})["keeps"])
        except AssertionError as error:
            errors.seek(0)
            raise AssertionError(f"{script}: {error}\n{errors.read()}") from error
        finally:
            watchdog.cancel()
            process.kill()
            process.communicate()
